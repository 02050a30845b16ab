//! What the kernel says of this process.

use std::fs;

use super::{Metric, Page};

/// The kernel's unit of processor time in /proc is fixed for user space (`USER_HZ`).
const TICKS_PER_S: f64 = 100.0;

/// Memory, descriptors and processor time; what cannot be read is left out.
#[derive(Clone, Debug, Default)]
pub struct Process {
    /// Memory that is in use.
    pub resident_bytes: Option<u64>,
    /// Descriptors that are open.
    pub open_descriptors: Option<u64>,
    /// Descriptors that may be open.
    pub max_descriptors: Option<u64>,
    /// Processor time so far, user and system.
    pub cpu_s: Option<f64>,
}

/// The gauges that a process shows itself by.
#[derive(Clone, Copy, Debug)]
pub struct Gauges {
    /// Of its memory.
    pub resident_bytes: Metric,
    /// Of its open descriptors.
    pub open_descriptors: Metric,
    /// Of their limit.
    pub max_descriptors: Metric,
    /// Of its processor time.
    pub cpu_s: Metric,
}

impl Process {
    /// How it is now.
    #[must_use]
    pub fn read() -> Self {
        Self {
            resident_bytes: status_kib("VmRSS:").map(|kib| kib * 1024),
            // The directory itself is open while it is counted.
            open_descriptors: fs::read_dir("/proc/self/fd")
                .ok()
                .map(|fds| fds.count().saturating_sub(1) as u64),
            max_descriptors: max_descriptors(),
            cpu_s: fs::read_to_string("/proc/self/stat")
                .ok()
                .and_then(|stat| cpu_s(&stat)),
        }
    }

    /// Sets the gauges of what could be read.
    pub fn show(&self, page: &Page, gauges: Gauges) {
        for (gauge, value) in [
            (gauges.resident_bytes, self.resident_bytes),
            (gauges.open_descriptors, self.open_descriptors),
            (gauges.max_descriptors, self.max_descriptors),
        ] {
            if let Some(value) = value {
                page.set(gauge, &[], value);
            }
        }
        if let Some(cpu_s) = self.cpu_s {
            page.set_f64(gauges.cpu_s, &[], cpu_s);
        }
    }
}

/// Processor time of each thread whose name begins so, by the rest of its name.
#[must_use]
pub fn threads_cpu_s(prefix: &str) -> Vec<(String, f64)> {
    let Ok(tasks) = fs::read_dir("/proc/self/task") else {
        return Vec::new();
    };
    tasks
        .filter_map(|task| {
            let stat = fs::read_to_string(task.ok()?.path().join("stat")).ok()?;
            let (_, name) = stat.split_once('(')?;
            let (name, _) = name.rsplit_once(')')?;
            Some((name.strip_prefix(prefix)?.to_owned(), cpu_s(&stat)?))
        })
        .collect()
}

fn status_kib(field: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.split_whitespace().next()?.parse().ok()
}

fn max_descriptors() -> Option<u64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Fields 14 and 15 of proc(5)'s stat, behind the name in parentheses, which may hold anything.
fn cpu_s(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_S)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_memory_descriptors_and_processor_time() {
        let process = Process::read();
        assert!(process.resident_bytes.is_some_and(|bytes| bytes > 1 << 16));
        assert!(process.open_descriptors.is_some_and(|count| count >= 3));
        assert!(process.max_descriptors >= process.open_descriptors);
        assert!(process.cpu_s.is_some_and(|seconds| seconds >= 0.0));
    }

    #[test]
    fn a_thread_is_found_by_its_name() {
        let found = std::thread::Builder::new()
            .name("wheel-7".to_owned())
            .spawn(|| threads_cpu_s("wheel-"));
        let found = found.expect("a thread").join().expect("its figures");
        assert!(found.iter().any(|(wheel, _)| wheel == "7"), "{found:?}");
    }

    #[test]
    fn a_name_with_parentheses_does_not_confuse_the_fields() {
        let stat = "1 (a) b) (c) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0";
        assert_eq!(cpu_s(stat), Some(3.0));
    }
}
