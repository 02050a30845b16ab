//! The flow relay's metrics.

use sterna_daemon::metrics::Page;
use sterna_flow::queue::QueueCounters;
use sterna_flow::{Counters, DropReason, Rung, Traffic};

use super::snapshot::FlowFigures;
use super::table as metric;
use crate::flow::{FlowSnapshot, LinkCounters};

type Figure = fn(&Counters) -> u64;
type RungFigure = fn(&Counters, usize) -> Traffic;
type LinkFigure = fn(&LinkCounters) -> u64;

/// The parts of the sojourns that are shown.
const QUANTILES: [(&str, u64); 3] = [("0.5", 50), ("0.95", 95), ("0.99", 99)];

/// Sets every metric of the flow relay; to nothing where it is off.
pub(super) fn publish(page: &Page, figures: Option<&FlowFigures>) {
    let none = FlowFigures {
        sessions: [0; Rung::ALL.len()],
        shards: Vec::new(),
    };
    let figures = figures.unwrap_or(&none);
    sessions(page, figures);
    traffic(page, &figures.shards);
    connections(page, &figures.shards);
}

fn sessions(page: &Page, figures: &FlowFigures) {
    let shards = &figures.shards;
    for rung in Rung::ALL {
        let place = rung as usize;
        page.set(
            metric::FLOW_SESSIONS,
            &[rung.as_str()],
            u64::from(figures.sessions[place]),
        );
        page.total(
            metric::FLOW_SESSIONS_TOTAL,
            &[rung.as_str()],
            sum(shards, |counters| counters.sessions_begun[place]),
        );
    }
    let flows: usize = shards.iter().map(|shard| shard.flows).sum();
    page.set(metric::FLOW_FLOWS, &[], flows as u64);
    for (place, (reason, _)) in Counters::default().ends().enumerate() {
        let ended = |counters: &Counters| counters.ends().nth(place).map_or(0, |(_, total)| total);
        page.total(metric::FLOW_ENDED, &[reason.as_str()], sum(shards, ended));
    }
    for (refusal, _) in Counters::default().refusals() {
        page.total(
            metric::FLOW_REFUSED,
            &[refusal.as_str()],
            sum(shards, |counters| counters.refused(refusal)),
        );
    }
    let steps: [(&str, Figure); 3] = [
        ("cookie", |counters| counters.cookies),
        ("welcome", |counters| counters.welcomes),
        ("repeated", |counters| counters.welcomes_repeated),
    ];
    for (step, figure) in steps {
        page.total(metric::FLOW_HANDSHAKES, &[step], sum(shards, figure));
    }
    let kinds: [(&str, Figure); 3] = [
        ("rebound", |counters| counters.rebound),
        ("displaced", |counters| counters.displaced),
        ("promoted", |counters| counters.promoted),
    ];
    for (kind, figure) in kinds {
        page.total(metric::FLOW_MOVED, &[kind], sum(shards, figure));
    }
}

fn traffic(page: &Page, shards: &[FlowSnapshot]) {
    for rung in Rung::ALL {
        let place = rung as usize;
        let directions: [(&str, RungFigure); 2] = [
            ("in", |counters, place| counters.received[place]),
            ("out", |counters, place| counters.sent[place]),
        ];
        for (direction, figure) in directions {
            let labels = [rung.as_str(), direction];
            let packets = sum(shards, |counters| figure(counters, place).packets);
            let bytes = sum(shards, |counters| figure(counters, place).bytes);
            page.total(metric::FLOW_PACKETS, &labels, packets);
            page.total(metric::FLOW_BYTES, &labels, bytes);
        }
    }
    for reason in DropReason::ALL {
        page.total(
            metric::FLOW_DROPPED,
            &[reason.as_str()],
            sum(shards, |counters| counters.dropped(*reason)),
        );
    }
    page.total(
        metric::FLOW_OVERSIZE,
        &["dropped"],
        sum(shards, |counters| counters.dropped(DropReason::TooLong))
            + shards.iter().map(|shard| shard.links.oversize).sum::<u64>(),
    );
    page.total(
        metric::FLOW_CROSSED,
        &["payload"],
        sum(shards, |counters| counters.to_shards),
    );
    page.total(
        metric::FLOW_CROSSED,
        &["datagram"],
        sum(shards, |counters| counters.passed_on),
    );
}

fn connections(page: &Page, shards: &[FlowSnapshot]) {
    let mut queues = QueueCounters::default();
    for shard in shards {
        queues.add(&shard.queues);
    }
    for (quantile, percent) in QUANTILES {
        let waited_us = queues.sojourn_percentile_us(percent);
        page.set_f64(
            metric::FLOW_SOJOURN,
            &[quantile],
            f64::from(waited_us) / 1e6,
        );
    }
    page.total(metric::FLOW_MARKED, &[], queues.marked);
    let links =
        |figure: LinkFigure| -> u64 { shards.iter().map(|shard| figure(&shard.links)).sum() };
    page.set(
        metric::FLOW_CONNECTIONS,
        &["quic"],
        links(|links| links.quic_open),
    );
    page.set(
        metric::FLOW_CONNECTIONS,
        &["wss"],
        links(|links| links.wss_open),
    );
    let results: [(&str, LinkFigure); 6] = [
        ("accepted", |links| links.accepted),
        ("refused", |links| links.refused),
        ("answered", |links| links.answered),
        ("failed", |links| links.failed),
        ("retried", |links| links.retried),
        ("cut", |links| links.cut),
    ];
    for (result, figure) in results {
        page.total(metric::FLOW_CONNECTIONS_TOTAL, &[result], links(figure));
    }
}

fn sum(shards: &[FlowSnapshot], figure: impl Fn(&Counters) -> u64) -> u64 {
    shards.iter().map(|shard| figure(&shard.counters)).sum()
}
