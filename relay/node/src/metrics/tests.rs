#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::time::Duration;

use sterna_daemon::metrics::Kind;
use sterna_io::{BudgetLine, Description, EngineKind};
use sterna_turn::WorkerId;

use super::*;
use crate::admin::NodeState;

fn worker(id: u8, dropped_by_inbox: u64) -> WorkerSnapshot {
    WorkerSnapshot {
        worker: WorkerId(id),
        turn: sterna_turn::Counters::default(),
        io: sterna_io::Counters {
            packets_in: 5,
            bytes_in: 500,
            ..sterna_io::Counters::default()
        },
        buffers_free: 500,
        own: WorkerCounters {
            mailbox_full: dropped_by_inbox,
            ..WorkerCounters::default()
        },
        allocations: 2,
        streams: 1,
        moved: 0,
    }
}

fn snapshot() -> NodeSnapshot {
    let mut streams = crate::stream::StreamCounters::default();
    streams.open = 7;
    NodeSnapshot {
        flow: None,
        state: NodeState::Ready,
        uptime: Duration::from_millis(1500),
        engine: Description {
            engine: EngineKind::Mmsg,
            gro: true,
            gso: false,
            detail: "",
        },
        budget: vec![BudgetLine {
            what: "receive buffers",
            count: 512,
            bytes_each: 1000,
        }],
        worker_count: 3,
        workers: vec![worker(0, 1), worker(1, 10)],
        streams,
        peers: crate::stream::peer::PeerCounters::default(),
        usage: sterna_turn::Registry::new().usage(),
        ports_capacity: 16_384,
        certificate_not_after_unix_s: 2_000_000_000,
        acme: crate::tls::AcmeCounters::default(),
        control: crate::control_link::LinkFigures::default(),
    }
}

/// Renders on a thread that looks like a worker's, so that every metric has a value.
fn page() -> String {
    let thread = std::thread::Builder::new().name(format!("{}0", WORKER_THREAD));
    thread.spawn(rendered).unwrap().join().unwrap()
}

fn rendered() -> String {
    let mut config = Config::default();
    config.node.name = "n1".to_owned();
    MetricsPage::new().render(&snapshot(), &config)
}

fn has(page: &str, line: &str) {
    assert!(
        page.lines().any(|of| of == line),
        "{line} is missing in\n{page}"
    );
}

#[test]
fn figures_of_all_workers_are_added_up() {
    let page = page();
    has(
        &page,
        "sterna_packets_total{transport=\"udp\",direction=\"in\"} 10",
    );
    has(&page, "sterna_handovers_total{result=\"inbox_full\"} 11");
    has(&page, "turn_allocations_active 4");
    has(&page, "sterna_workers{state=\"silent\"} 1");
    has(
        &page,
        "sterna_buffer_budget_bytes{part=\"receive buffers\"} 1536000",
    );
    has(&page, "sterna_buffer_pool_free{worker=\"1\"} 500");
    has(&page, "sterna_stream_connections 7");
    has(&page, "sterna_uptime_seconds 1.5");
    has(&page, "sterna_state{state=\"ready\"} 1");
    has(&page, "sterna_state{state=\"draining\"} 0");
    has(
        &page,
        "sterna_io_engine_info{engine=\"mmsg\",gro=\"on\",gso=\"off\"} 1",
    );
    has(
        &page,
        "sterna_packets_dropped_total{reason=\"no_permission\"} 0",
    );
    has(
        &page,
        "sterna_tls_certificate_expiry_timestamp_seconds 2000000000",
    );
}

#[test]
fn the_page_and_the_table_name_the_same_metrics_with_the_same_types() {
    let page = page();
    let on_page: BTreeSet<_> = page
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .collect();
    let in_table: Vec<_> = METRICS
        .iter()
        .map(|metric| format!("{} {}", metric.name, metric.kind.as_str()))
        .collect();
    assert_eq!(on_page, in_table.iter().map(String::as_str).collect());
    for metric in METRICS {
        assert!(
            page.contains(&format!("# HELP {} ", metric.name)),
            "{} has no help",
            metric.name
        );
    }
}

#[test]
fn every_counter_ends_in_total_and_no_gauge_does() {
    for metric in METRICS {
        assert_eq!(
            metric.name.ends_with("_total"),
            metric.kind == Kind::Counter,
            "{}",
            metric.name
        );
    }
}

#[test]
fn a_page_that_is_rendered_again_shows_the_newer_figures() {
    let page = MetricsPage::new();
    let config = Config::default();
    page.render(&snapshot(), &config);
    let mut later = snapshot();
    later.state = NodeState::Draining;
    later.workers[0].io.packets_in = 20;
    let text = page.render(&later, &config);
    has(
        &text,
        "sterna_packets_total{transport=\"udp\",direction=\"in\"} 25",
    );
    has(&text, "sterna_state{state=\"ready\"} 0");
    has(&text, "sterna_state{state=\"draining\"} 1");
}

#[test]
fn documents_metrics_is_current() {
    sterna_daemon::documents::assert_current("METRICS.md", &markdown());
}
