//! The metrics page: plain counters of the workers, published when somebody asks.
//!
//! A worker counts in integers of its own, since a shared counter costs more than relaying a packet
//! does. A scrape takes a snapshot, sets every metric to it (`absolute`), and renders.

use metrics::{Label, describe_counter, describe_gauge, with_local_recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

mod flow;
mod process;
mod publish;
mod snapshot;
mod table;

pub(crate) use process::worker_cpu_s;
pub use snapshot::{FlowFigures, NodeSnapshot, WorkerCounters, WorkerSnapshot};
pub use table::markdown;

use crate::config::Config;
use table::{Kind, METRICS, Metric};

/// A page that is filled and rendered on each request.
pub struct MetricsPage {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
}

impl Default for MetricsPage {
    fn default() -> Self {
        Self::new()
    }
}

impl MetricsPage {
    /// An empty page with every metric described.
    pub fn new() -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        with_local_recorder(&recorder, || {
            for metric in METRICS {
                match metric.kind {
                    Kind::Counter => describe_counter!(metric.name, metric.unit, metric.help),
                    Kind::Gauge => describe_gauge!(metric.name, metric.unit, metric.help),
                }
            }
        });
        Self { recorder, handle }
    }

    /// Publishes a snapshot and renders it in Prometheus' text format.
    pub fn render(&self, snapshot: &NodeSnapshot, config: &Config) -> String {
        with_local_recorder(&self.recorder, || publish::publish(snapshot, config));
        self.handle.run_upkeep();
        self.handle.render()
    }
}

/// Sets a counter to what its source has counted.
fn count(metric: Metric, values: &[&str], total: u64) {
    metrics::counter!(metric.name, labels(metric, values)).absolute(total);
}

/// Sets a gauge.
// A gauge of 2^53 or more is nothing that this node has.
#[allow(clippy::cast_precision_loss)]
fn set(metric: Metric, values: &[&str], value: impl TryInto<u64>) {
    set_f64(metric, values, value.try_into().unwrap_or_default() as f64);
}

fn set_f64(metric: Metric, values: &[&str], value: f64) {
    metrics::gauge!(metric.name, labels(metric, values)).set(value);
}

fn labels(metric: Metric, values: &[&str]) -> Vec<Label> {
    debug_assert_eq!(metric.labels.len(), values.len(), "{}", metric.name);
    metric
        .labels
        .iter()
        .zip(values)
        .map(|(name, value)| Label::new(*name, (*value).to_owned()))
        .collect()
}

#[cfg(test)]
mod tests;
