//! The metrics page: plain counters of the workers, published when somebody asks.
//!
//! A worker counts in integers of its own, since a shared counter costs more than relaying a packet
//! does. A scrape takes a snapshot, sets every metric to it (`absolute`), and renders.

use sterna_daemon::metrics::{Page, process};

mod flow;
mod publish;
mod snapshot;
mod table;

pub use snapshot::{FlowFigures, NodeSnapshot, WorkerCounters, WorkerSnapshot};
pub use table::markdown;

use crate::config::Config;
use table::METRICS;

/// Workers' threads are called so, with their number behind it.
pub(crate) const WORKER_THREAD: &str = "worker-";

/// A page that is filled and rendered on each request.
pub struct MetricsPage(Page);

impl Default for MetricsPage {
    fn default() -> Self {
        Self::new()
    }
}

impl MetricsPage {
    /// An empty page with every metric described.
    pub fn new() -> Self {
        Self(Page::new(METRICS, &[]))
    }

    /// Publishes a snapshot and renders it in Prometheus' text format.
    pub fn render(&self, snapshot: &NodeSnapshot, config: &Config) -> String {
        publish::publish(&self.0, snapshot, config);
        self.0.render()
    }
}

/// Processor time of each worker's thread, by the number in its name.
pub(crate) fn worker_cpu_s() -> Vec<(String, f64)> {
    process::threads_cpu_s(WORKER_THREAD)
}

#[cfg(test)]
mod tests;
