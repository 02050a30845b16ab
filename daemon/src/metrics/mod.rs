//! The metrics of a process: a table that says what each is, and the page that shows them.

use metrics::{Counter, Histogram, Key, KeyName, Label, Level, Metadata, Recorder, SharedString};
use metrics_exporter_prometheus::{
    Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};

mod document;
pub mod process;

pub use document::{markdown, values};
pub use metrics::Unit;

/// One metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// What it is called.
    pub name: &'static str,
    /// How it moves.
    pub kind: Kind,
    /// What it counts.
    pub unit: Unit,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it means.
    pub help: &'static str,
}

/// How a metric moves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Grows until the process restarts.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by size.
    Histogram,
}

impl Kind {
    /// As the page and the documents call it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Makes a table of metrics: a constant each, and all of them in `METRICS`, in the order of the document.
///
/// ```
/// sterna_daemon::metrics! {
///     TURNS = Counter "mill_turns_total" Count ["wheel"] "Turns of each wheel.";
///     WATER = Gauge "mill_water_bytes" Bytes [] "Water above the mill.";
/// }
/// assert_eq!((METRICS.len(), WATER.name), (2, "mill_water_bytes"));
/// # assert_eq!(TURNS.labels, ["wheel"]);
/// ```
#[macro_export]
macro_rules! metrics {
    ($($const:ident = $kind:ident $name:literal $unit:ident [$($label:literal),*] $help:literal;)+) => {
        $(pub(crate) const $const: $crate::metrics::Metric = $crate::metrics::Metric {
            name: $name,
            kind: $crate::metrics::Kind::$kind,
            unit: $crate::metrics::Unit::$unit,
            labels: &[$($label),*],
            help: $help,
        };)+
        /// Every metric, in the order of the document.
        pub(crate) const METRICS: &[$crate::metrics::Metric] = &[$($const),+];
    };
}

const METADATA: Metadata<'static> = Metadata::new("sterna", Level::INFO, None);

/// A page of metrics in Prometheus' text format. Labels are given in the order of the table.
pub struct Page {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
}

impl Page {
    /// An empty page with every metric of the table described, and the bounds of its histograms.
    ///
    /// # Panics
    /// Where a histogram has no bounds.
    #[must_use]
    pub fn new(table: &[Metric], bounds: &[(Metric, &[f64])]) -> Self {
        let mut builder = PrometheusBuilder::new();
        for (metric, bounds) in bounds {
            let name = Matcher::Full(metric.name.to_owned());
            builder = builder
                .set_buckets_for_metric(name, bounds)
                .expect("invariant: there are bounds");
        }
        let recorder = builder.build_recorder();
        for metric in table {
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
    pub fn counter(&self, metric: Metric, values: &[&str]) -> Counter {
        debug_assert_eq!(metric.kind, Kind::Counter, "{}", metric.name);
        self.recorder
            .register_counter(&key(metric, values), &METADATA)
    }

    /// Counts one.
    pub fn count(&self, metric: Metric, values: &[&str]) {
        self.counter(metric, values).increment(1);
    }

    /// Sets a counter to what its source has counted.
    pub fn total(&self, metric: Metric, values: &[&str], total: u64) {
        self.counter(metric, values).absolute(total);
    }

    /// The histogram of these labels.
    pub fn histogram(&self, metric: Metric, values: &[&str]) -> Histogram {
        debug_assert_eq!(metric.kind, Kind::Histogram, "{}", metric.name);
        self.recorder
            .register_histogram(&key(metric, values), &METADATA)
    }

    /// Sets a gauge.
    // A gauge of 2^53 or more is nothing that a process of ours has.
    #[allow(clippy::cast_precision_loss)]
    pub fn set(&self, metric: Metric, values: &[&str], value: impl TryInto<u64>) {
        self.set_f64(metric, values, value.try_into().unwrap_or_default() as f64);
    }

    /// Sets a gauge that is no whole number.
    pub fn set_f64(&self, metric: Metric, values: &[&str], value: f64) {
        debug_assert_eq!(metric.kind, Kind::Gauge, "{}", metric.name);
        let gauge = self
            .recorder
            .register_gauge(&key(metric, values), &METADATA);
        gauge.set(value);
    }

    /// Renders the page.
    #[must_use]
    pub fn render(&self) -> String {
        self.handle.run_upkeep();
        self.handle.render()
    }

    /// Bounds what histograms hold between two scrapes.
    pub fn upkeep(&self) {
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

    mod table {
        crate::metrics! {
            TURNS = Counter "mill_turns_total" Count ["wheel"] "Turns of each wheel.";
            WATER = Gauge "mill_water_bytes" Bytes [] "Water above the mill.";
            GRIND = Histogram "mill_grind_seconds" Seconds [] "How long a sack took.";
        }
    }

    #[test]
    fn the_page_shows_what_was_counted_under_what_the_table_says() {
        let page = Page::new(table::METRICS, &[(table::GRIND, &[0.5, 2.0])]);
        page.count(table::TURNS, &["left"]);
        page.total(table::TURNS, &["right"], 7);
        page.set(table::WATER, &[], 5_u8);
        page.histogram(table::GRIND, &[]).record(1.0);
        let text = page.render();
        for line in [
            "# HELP mill_turns_total Turns of each wheel.",
            "# TYPE mill_grind_seconds histogram",
            "mill_turns_total{wheel=\"left\"} 1",
            "mill_turns_total{wheel=\"right\"} 7",
            "mill_water_bytes 5",
            "mill_grind_seconds_bucket{le=\"0.5\"} 0",
            "mill_grind_seconds_bucket{le=\"2\"} 1",
        ] {
            assert!(
                text.lines().any(|of| of == line),
                "{line} is not in:\n{text}"
            );
        }
        page.total(table::TURNS, &["right"], 9);
        assert!(
            page.render()
                .contains("mill_turns_total{wheel=\"right\"} 9\n")
        );
    }

    #[test]
    fn the_document_has_a_row_for_each_metric_and_for_each_value_of_a_label() {
        let mut text = markdown("# Mill\n\n", table::METRICS);
        values(
            &mut text,
            ("Which wheel", "`wheel` of `mill_turns_total`.", "wheel"),
            [("left", " The old one. ")],
        );
        assert_eq!(
            text,
            "# Mill\n\n| metric | type | labels | meaning |\n|---|---|---|---|\n\
             | `mill_turns_total` | counter | `wheel` | Turns of each wheel. |\n\
             | `mill_water_bytes` | gauge |  | Water above the mill. |\n\
             | `mill_grind_seconds` | histogram |  | How long a sack took. |\n\
             \n## Which wheel\n\n`wheel` of `mill_turns_total`.\n\n| wheel | meaning |\n|---|---|\n| `left` | The old one. |\n"
        );
    }
}
