//! What an allocation costs in memory: the process's share and the kernel's.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::rows::number_at;
use crate::BenchError;
use crate::watch::resident_bytes;

/// How often memory is looked at; the most is what counts.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Runs the load, and the generator's sockets without any server behind them, and returns what an
/// allocation took of the server's resident memory, what it took of the kernel's slabs beyond what
/// the generator's own sockets take, and the loss.
pub(super) fn measure(
    pid: u32,
    allocations: u64,
    run: impl FnOnce() -> Result<Value, BenchError>,
    own_sockets: impl FnOnce() -> Result<(), BenchError>,
) -> Result<Vec<f64>, BenchError> {
    let (done, own) = growth(pid, own_sockets);
    done?;
    let (report, all) = growth(pid, run);
    let kernel = all.kernel_bytes.saturating_sub(own.kernel_bytes);
    Ok(vec![
        each(all.resident_bytes, allocations),
        each(kernel, allocations),
        number_at(&report?, &["loss_percent"])?,
    ])
}

fn each(bytes: u64, allocations: u64) -> f64 {
    crate::report::ratio(bytes, allocations)
}

/// How much more memory there was in use at most than at the beginning.
#[derive(Clone, Copy, Debug, Default)]
struct Growth {
    resident_bytes: u64,
    kernel_bytes: u64,
}

fn growth<T>(pid: u32, work: impl FnOnce() -> T) -> (T, Growth) {
    let look = || (resident_bytes(pid), slab_bytes());
    let (resident_before, kernel_before) = look();
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut most = Growth::default();
            while !is_done.load(Ordering::Relaxed) {
                let (resident, kernel) = look();
                let resident = resident.saturating_sub(resident_before);
                most.resident_bytes = most.resident_bytes.max(resident);
                most.kernel_bytes = most.kernel_bytes.max(kernel.saturating_sub(kernel_before));
                thread::sleep(LOOK_EVERY);
            }
            most
        });
        let result = work();
        is_done.store(true, Ordering::Relaxed);
        (
            result,
            watcher
                .join()
                .expect("invariant: a look at /proc does not panic"),
        )
    })
}

/// What the kernel's allocator of small objects holds: sockets, files, requests.
fn slab_bytes() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Slab:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}
