//! The metrics page. Counters are counted where things happen; gauges are set when somebody asks.

use metrics::{
    Counter, Gauge, Histogram, Key, KeyName, Label, Level, Metadata, Recorder, SharedString,
};
use metrics_exporter_prometheus::{
    Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};

mod process;
mod table;

pub use table::markdown;
pub(crate) use table::*;

use process::Process;

const METADATA: Metadata<'static> = Metadata::new("control", Level::INFO, None);

/// Bounds of the latencies' histogram, in seconds: the bar of a registration is 20 ms.
const LATENCY_BUCKETS_S: [f64; 10] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2.5,
];

/// What the service counts.
pub(crate) struct Metrics {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
}

impl Metrics {
    /// A page with every metric described.
    pub(crate) fn new() -> Self {
        let latency = Matcher::Full(LATENCY.name.to_owned());
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(latency, &LATENCY_BUCKETS_S)
            .expect("invariant: there are buckets")
            .build_recorder();
        for metric in METRICS {
            let name = KeyName::from_const_str(metric.name);
            let (unit, help) = (Some(metric.unit), SharedString::const_str(metric.help));
            match metric.kind {
                Kind::Counter => recorder.describe_counter(name, unit, help),
                Kind::Gauge => recorder.describe_gauge(name, unit, help),
                Kind::Histogram => recorder.describe_histogram(name, unit, help),
            }
        }
        let handle = recorder.handle();
        Self { recorder, handle }
    }

    /// The counter of these labels. Whoever counts often keeps it.
    pub(crate) fn counter(&self, metric: Metric, values: &[&str]) -> Counter {
        debug_assert_eq!(metric.kind, Kind::Counter);
        self.recorder
            .register_counter(&key(metric, values), &METADATA)
    }

    /// Counts one.
    pub(crate) fn count(&self, metric: Metric, values: &[&str]) {
        self.counter(metric, values).increment(1);
    }

    /// The histogram of these labels.
    pub(crate) fn histogram(&self, metric: Metric, values: &[&str]) -> Histogram {
        self.recorder
            .register_histogram(&key(metric, values), &METADATA)
    }

    /// Sets a gauge.
    // A gauge of 2^53 or more is nothing that this service has.
    #[allow(clippy::cast_precision_loss)]
    pub(crate) fn set(&self, metric: Metric, values: &[&str], value: impl TryInto<u64>) {
        self.set_f64(metric, values, value.try_into().unwrap_or_default() as f64);
    }

    pub(crate) fn set_f64(&self, metric: Metric, values: &[&str], value: f64) {
        let gauge: Gauge = self
            .recorder
            .register_gauge(&key(metric, values), &METADATA);
        gauge.set(value);
    }

    /// Sets what the kernel says, and renders the page.
    pub(crate) fn render(&self) -> String {
        let process = Process::read();
        for (metric, value) in [
            (RESIDENT, process.resident_bytes),
            (DESCRIPTORS, process.open_descriptors),
            (DESCRIPTORS_MAX, process.max_descriptors),
        ] {
            if let Some(value) = value {
                self.set(metric, &[], value);
            }
        }
        if let Some(cpu_s) = process.cpu_s {
            self.set_f64(CPU, &[], cpu_s);
        }
        self.handle.run_upkeep();
        self.handle.render()
    }

    /// Bounds what histograms hold between two scrapes.
    pub(crate) fn upkeep(&self) {
        self.handle.run_upkeep();
    }
}

fn key(metric: Metric, values: &[&str]) -> Key {
    debug_assert_eq!(metric.labels.len(), values.len(), "{}", metric.name);
    let labels: Vec<_> = metric
        .labels
        .iter()
        .zip(values)
        .map(|(name, value)| Label::new(*name, (*value).to_owned()))
        .collect();
    Key::from_parts(metric.name, labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_on_the_page_with_its_help() {
        let metrics = Metrics::new();
        metrics.count(REQUESTS, &["/nodes", "200"]);
        metrics.set(WEBSOCKETS, &[], 3_u64);
        metrics.histogram(LATENCY, &["/nodes"]).record(0.003);
        let page = metrics.render();
        for line in [
            "# TYPE control_requests_total counter",
            "control_requests_total{route=\"/nodes\",code=\"200\"} 1",
            "control_websockets 3",
            "control_request_seconds_bucket{route=\"/nodes\",le=\"0.005\"} 1",
            "# HELP process_resident_memory_bytes",
        ] {
            assert!(page.contains(line), "{line} is not in:\n{page}");
        }
    }

    #[test]
    fn documents_control_metrics_is_current() {
        crate::documents::assert_current("CONTROL_METRICS.md", &markdown());
    }
}
