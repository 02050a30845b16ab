//! The metrics page. Counters are counted where things happen; gauges are set when somebody asks.

use sterna_daemon::metrics::Page;
use sterna_daemon::metrics::process::{Gauges, Process};

mod table;

pub use table::markdown;
pub(crate) use table::*;

/// Bounds of the latencies' histogram, in seconds: the bar of a registration is 20 ms.
const LATENCY_BUCKETS_S: [f64; 10] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2.5,
];

/// A page with every metric described.
pub(crate) fn page() -> Page {
    Page::new(METRICS, &[(LATENCY, &LATENCY_BUCKETS_S)])
}

/// Sets what the kernel says, and renders the page.
pub(crate) fn render(page: &Page) -> String {
    let gauges = Gauges {
        resident_bytes: RESIDENT,
        open_descriptors: DESCRIPTORS,
        max_descriptors: DESCRIPTORS_MAX,
        cpu_s: CPU,
    };
    Process::read().show(page, gauges);
    page.render()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_on_the_page_with_its_help() {
        let metrics = page();
        metrics.count(REQUESTS, &["/nodes", "200"]);
        metrics.set(WEBSOCKETS, &[], 3_u64);
        metrics.histogram(LATENCY, &["/nodes"]).record(0.003);
        let page = render(&metrics);
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
        sterna_daemon::documents::assert_current("CONTROL_METRICS.md", &markdown());
    }
}
