//! What a run has shown: as lines for people, as JSON for programs.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Counts of the packets that were sent in the measured time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Sent.
    pub sent: u64,
    /// Of those: arrived in time, intact, each counted once.
    pub received: u64,
    /// Of those: not arrived within half a second.
    pub lost: u64,
    /// Arrived a second time.
    pub duplicated: u64,
    /// Arrived when they had been given up or counted already.
    pub late: u64,
    /// Overtaken by a later packet of the same flow.
    pub reordered: u64,
    /// Arrived with a wrong byte, or where they do not belong. The whole run, warm-up included.
    pub corrupted: u64,
    /// Arrivals within the measured time, whenever they were sent: what throughput counts.
    pub arrived_in_time: u64,
}

impl Totals {
    /// Share of the sent packets that were lost.
    #[must_use]
    pub fn loss_percent(&self) -> f64 {
        percent(self.lost, self.sent)
    }

    /// Adds another account's counts.
    pub(crate) fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.received += other.received;
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.late += other.late;
        self.reordered += other.reordered;
        self.corrupted += other.corrupted;
        self.arrived_in_time += other.arrived_in_time;
    }
}

/// `part` of `whole` in percent; nothing of nothing is 0.
#[must_use]
pub(crate) fn percent(part: u64, whole: u64) -> f64 {
    100.0 * ratio(part, whole)
}

/// `part / whole` as a float; nothing of nothing is 0.
#[must_use]
#[expect(
    clippy::cast_precision_loss,
    reason = "counts of packets stay far below 2^52"
)]
pub(crate) fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

/// Events per second.
#[must_use]
pub(crate) fn per_second(count: u64, time: Duration) -> f64 {
    #[expect(
        clippy::cast_precision_loss,
        reason = "counts of packets stay far below 2^52"
    )]
    let count = count as f64;
    if time.is_zero() {
        0.0
    } else {
        count / time.as_secs_f64()
    }
}

/// Latencies, to three significant digits.
#[derive(Clone, Debug)]
pub(crate) struct Latency(Histogram<u64>);

/// Longest latency that is told apart.
const LATENCY_NS_MAX: u64 = 60_000_000_000;

impl Default for Latency {
    fn default() -> Self {
        let bounds = Histogram::new_with_bounds(100, LATENCY_NS_MAX, 3);
        Self(bounds.expect("invariant: constants that the histogram accepts"))
    }
}

impl Latency {
    pub(crate) fn record_ns(&mut self, ns: u64) {
        self.0.saturating_record(ns);
    }

    /// Adds another account's latencies.
    pub(crate) fn add(&mut self, other: &Self) {
        let added = self.0.add(&other.0);
        added.expect("invariant: all histograms have the same bounds");
    }

    pub(crate) fn summary(&self) -> LatencySummary {
        let at = |quantile| us(self.0.value_at_quantile(quantile));
        LatencySummary {
            min_us: us(self.0.min()),
            p50_us: at(0.50),
            p90_us: at(0.90),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: us(self.0.max()),
            mean_us: self.0.mean() / 1000.0,
        }
    }
}

fn us(ns: u64) -> f64 {
    ratio(ns, 1000)
}

/// Percentiles of a latency, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct LatencySummary {
    /// Smallest.
    pub min_us: f64,
    /// Median.
    pub p50_us: f64,
    /// 90 % are not longer.
    pub p90_us: f64,
    /// 99 % are not longer.
    pub p99_us: f64,
    /// 99.9 % are not longer.
    pub p999_us: f64,
    /// Largest.
    pub max_us: f64,
    /// Arithmetic mean.
    pub mean_us: f64,
}

impl fmt::Display for LatencySummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = [
            ("p50", self.p50_us),
            ("p90", self.p90_us),
            ("p99", self.p99_us),
            ("p99.9", self.p999_us),
        ];
        for (name, value) in named {
            write!(f, "{name} {}  ", Micros(value))?;
        }
        write!(f, "max {}", Micros(self.max_us))
    }
}

/// A time for people: `87 µs`, `4.21 ms`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Micros(pub(crate) f64);

impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            us if us < 9.95 => write!(f, "{us:.1} µs"),
            us if us < 999.5 => write!(f, "{us:.0} µs"),
            us if us < 99_500.0 => write!(f, "{:.2} ms", us / 1e3),
            us => write!(f, "{:.2} s", us / 1e6),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_with_the_unit_that_suits_them() {
        let written = [0.5, 87.4, 999.6, 4210.0, 2_500_000.0].map(|us| Micros(us).to_string());
        assert_eq!(written, ["0.5 µs", "87 µs", "1.00 ms", "4.21 ms", "2.50 s"]);
    }

    #[test]
    fn percentiles_of_known_latencies_are_found() {
        let mut latency = Latency::default();
        (1..=1000).for_each(|us| latency.record_ns(us * 1000));
        let summary = latency.summary();
        assert!((summary.p50_us - 500.0).abs() < 1.0, "{summary}");
        assert!((summary.p99_us - 990.0).abs() < 1.0, "{summary}");
        assert!((summary.max_us - 1000.0).abs() < 1.0, "{summary}");
    }
}
