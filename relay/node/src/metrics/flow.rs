//! The flow relay's metrics.

use sterna_flow::queue::QueueCounters;
use sterna_flow::{Counters, DropReason, Rung, Traffic};

use super::snapshot::FlowFigures;
use super::{count, set, set_f64, table as metric};
use crate::flow::{FlowSnapshot, LinkCounters};

type Figure = fn(&Counters) -> u64;
type RungFigure = fn(&Counters, usize) -> Traffic;
type LinkFigure = fn(&LinkCounters) -> u64;

/// The parts of the sojourns that are shown.
const QUANTILES: [(&str, u64); 3] = [("0.5", 50), ("0.95", 95), ("0.99", 99)];

/// Sets every metric of the flow relay; to nothing where it is off.
pub(super) fn publish(figures: Option<&FlowFigures>) {
    let none = FlowFigures {
        sessions: [0; Rung::ALL.len()],
        shards: Vec::new(),
    };
    let figures = figures.unwrap_or(&none);
    sessions(figures);
    traffic(&figures.shards);
    connections(&figures.shards);
}

fn sessions(figures: &FlowFigures) {
    let shards = &figures.shards;
    for rung in Rung::ALL {
        let place = rung as usize;
        set(
            metric::FLOW_SESSIONS,
            &[rung.as_str()],
            u64::from(figures.sessions[place]),
        );
        count(
            metric::FLOW_SESSIONS_TOTAL,
            &[rung.as_str()],
            sum(shards, |counters| counters.sessions_begun[place]),
        );
    }
    let flows: usize = shards.iter().map(|shard| shard.flows).sum();
    set(metric::FLOW_FLOWS, &[], flows as u64);
    for (place, (reason, _)) in Counters::default().ends().enumerate() {
        let ended = |counters: &Counters| counters.ends().nth(place).map_or(0, |(_, total)| total);
        count(metric::FLOW_ENDED, &[reason.as_str()], sum(shards, ended));
    }
    for (refusal, _) in Counters::default().refusals() {
        count(
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
        count(metric::FLOW_HANDSHAKES, &[step], sum(shards, figure));
    }
    let kinds: [(&str, Figure); 3] = [
        ("rebound", |counters| counters.rebound),
        ("displaced", |counters| counters.displaced),
        ("promoted", |counters| counters.promoted),
    ];
    for (kind, figure) in kinds {
        count(metric::FLOW_MOVED, &[kind], sum(shards, figure));
    }
}

fn traffic(shards: &[FlowSnapshot]) {
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
            count(metric::FLOW_PACKETS, &labels, packets);
            count(metric::FLOW_BYTES, &labels, bytes);
        }
    }
    for reason in DropReason::ALL {
        count(
            metric::FLOW_DROPPED,
            &[reason.as_str()],
            sum(shards, |counters| counters.dropped(*reason)),
        );
    }
    count(
        metric::FLOW_OVERSIZE,
        &["dropped"],
        sum(shards, |counters| counters.dropped(DropReason::TooLong))
            + shards.iter().map(|shard| shard.links.oversize).sum::<u64>(),
    );
    count(
        metric::FLOW_CROSSED,
        &["payload"],
        sum(shards, |counters| counters.to_shards),
    );
    count(
        metric::FLOW_CROSSED,
        &["datagram"],
        sum(shards, |counters| counters.passed_on),
    );
}

fn connections(shards: &[FlowSnapshot]) {
    let mut queues = QueueCounters::default();
    for shard in shards {
        queues.add(&shard.queues);
    }
    for (quantile, percent) in QUANTILES {
        let waited_us = queues.sojourn_percentile_us(percent);
        set_f64(
            metric::FLOW_SOJOURN,
            &[quantile],
            f64::from(waited_us) / 1e6,
        );
    }
    count(metric::FLOW_MARKED, &[], queues.marked);
    let links =
        |figure: LinkFigure| -> u64 { shards.iter().map(|shard| figure(&shard.links)).sum() };
    set(
        metric::FLOW_CONNECTIONS,
        &["quic"],
        links(|links| links.quic_open),
    );
    set(
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
        count(metric::FLOW_CONNECTIONS_TOTAL, &[result], links(figure));
    }
}

fn sum(shards: &[FlowSnapshot], figure: impl Fn(&Counters) -> u64) -> u64 {
    shards.iter().map(|shard| figure(&shard.counters)).sum()
}
