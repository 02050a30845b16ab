//! Processor time and memory of other processes on this host, from `/proc`.
//!
//! The scheduler's own account (`schedstat`) is exact to the nanosecond, where `stat` counts ticks.
//! It does not hold what interrupts do outside the process: bench/README.md says how `compare` adds
//! that up.

use std::fs;
use std::path::Path;

use crate::BenchError;
use crate::limits::WATCHED_MAX;

/// Processes under observation since the last [`Watch::restart`].
#[derive(Debug)]
pub(crate) struct Watch {
    processes: Vec<Watched>,
}

#[derive(Debug)]
struct Watched {
    pid: u32,
    name: String,
    cpu_ns_at_start: u64,
}

/// What one process has used.
#[derive(Clone, Debug)]
pub(crate) struct Usage {
    pub(crate) pid: u32,
    pub(crate) name: String,
    pub(crate) cpu_ns: u64,
    pub(crate) resident_bytes: u64,
}

impl Watch {
    pub(crate) fn new(pids: &[u32]) -> Result<Self, BenchError> {
        if pids.len() > WATCHED_MAX {
            return Err(BenchError::Usage("too many --watch"));
        }
        let watched = |pid: &u32| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm"));
            let name = name.map_err(|error| BenchError::NoSuchProcess { pid: *pid, error })?;
            let name = name.trim().to_owned();
            Ok(Watched {
                pid: *pid,
                name,
                cpu_ns_at_start: 0,
            })
        };
        let processes = pids
            .iter()
            .map(watched)
            .collect::<Result<_, BenchError>>()?;
        Ok(Self { processes })
    }

    /// Counts from now on.
    pub(crate) fn restart(&mut self) {
        for process in &mut self.processes {
            process.cpu_ns_at_start = cpu_ns(process.pid);
        }
    }

    /// What was used since then. A process that has ended has used nothing.
    pub(crate) fn usage(&self) -> Vec<Usage> {
        let usage = |process: &Watched| Usage {
            pid: process.pid,
            name: process.name.clone(),
            cpu_ns: cpu_ns(process.pid).saturating_sub(process.cpu_ns_at_start),
            resident_bytes: resident_bytes(process.pid),
        };
        self.processes.iter().map(usage).collect()
    }
}

/// Time that all threads of a process have run.
pub(crate) fn cpu_ns(pid: u32) -> u64 {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return 0;
    };
    threads
        .flatten()
        .map(|thread| thread_cpu_ns(&thread.path()))
        .sum()
}

/// First field of `schedstat`: time spent on the processor, in nanoseconds.
fn thread_cpu_ns(thread: &Path) -> u64 {
    let text = fs::read_to_string(thread.join("schedstat")).unwrap_or_default();
    text.split(' ')
        .next()
        .and_then(|field| field.parse().ok())
        .unwrap_or(0)
}

/// `VmRSS` of a process; 0 for a kernel thread.
pub(crate) fn resident_bytes(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_work_is_seen() {
        let mut watch = Watch::new(&[std::process::id()]).expect("we exist");
        watch.restart();
        let mut sum = 0u64;
        while watch.usage()[0].cpu_ns < 1_000_000 {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(watch.usage()[0].resident_bytes > 100_000);
    }

    #[test]
    fn a_process_that_does_not_exist_is_an_error() {
        assert!(matches!(
            Watch::new(&[u32::MAX]),
            Err(BenchError::NoSuchProcess { .. })
        ));
    }
}
