//! From a snapshot to metrics, family by family.

use std::time::Duration;

use sterna_daemon::metrics::Page;
use sterna_daemon::metrics::process::{Gauges, Process};
use sterna_turn::{Counters, DropReason, TokenRefusal, Traffic};

use super::snapshot::{NodeSnapshot, WorkerSnapshot};
use super::{table as metric, worker_cpu_s};
use crate::admin::NodeState;
use crate::config::Config;
use crate::control_link::{Call, CallResult, LinkFigures};
use crate::stream::StreamCounters;
use crate::stream::peer::PeerCounters;

/// Sets every metric of the table.
pub(super) fn publish(page: &Page, snapshot: &NodeSnapshot, config: &Config) {
    node(page, snapshot, config);
    process(page);
    io(page, snapshot);
    drops(page, &snapshot.workers);
    messages(page, &snapshot.workers);
    allocations(page, snapshot);
    relayed(page, &snapshot.workers);
    tokens(page, &snapshot.workers);
    caps(page, &snapshot.workers);
    streams(page, &snapshot.streams, &snapshot.workers);
    super::flow::publish(page, snapshot.flow.as_ref());
    peers(page, &snapshot.peers, &snapshot.workers);
    control(page, &snapshot.control);
}

/// Adds one figure of all workers up.
fn sum(workers: &[WorkerSnapshot], figure: impl Fn(&WorkerSnapshot) -> u64) -> u64 {
    workers.iter().map(figure).sum()
}

fn turn(workers: &[WorkerSnapshot], figure: impl Fn(&Counters) -> u64) -> u64 {
    sum(workers, |worker| figure(&worker.turn))
}

fn node(page: &Page, snapshot: &NodeSnapshot, config: &Config) {
    let node = &config.node;
    page.set(
        metric::BUILD_INFO,
        &[
            env!("CARGO_PKG_VERSION"),
            &node.display_name(),
            &node.region,
        ],
        1u64,
    );
    for state in NodeState::ALL {
        page.set(
            metric::STATE,
            &[state.as_str()],
            u64::from(state == snapshot.state),
        );
    }
    page.set_f64(metric::UPTIME, &[], seconds(snapshot.uptime));
    let answered = snapshot.workers.len();
    page.set(metric::WORKERS, &["answering"], answered as u64);
    page.set(
        metric::WORKERS,
        &["silent"],
        snapshot.worker_count.saturating_sub(answered) as u64,
    );
    let on_off = |on| if on { "on" } else { "off" };
    let engine = &snapshot.engine;
    page.set(
        metric::ENGINE,
        &[
            &engine.engine.to_string(),
            on_off(engine.gro),
            on_off(engine.gso),
        ],
        1u64,
    );
    for line in &snapshot.budget {
        page.set(
            metric::BUDGET,
            &[line.what],
            (line.bytes() * snapshot.worker_count) as u64,
        );
    }
    for worker in &snapshot.workers {
        page.set(
            metric::BUFFERS_FREE,
            &[&worker.worker.0.to_string()],
            worker.buffers_free as u64,
        );
    }
    page.set(
        metric::CERTIFICATE,
        &[],
        snapshot.certificate_not_after_unix_s,
    );
    page.total(metric::ACME_ORDERS, &["issued"], snapshot.acme.issued);
    page.total(metric::ACME_ORDERS, &["failed"], snapshot.acme.failed);
}

fn control(page: &Page, link: &LinkFigures) {
    page.set(metric::CONTROL_REGISTERED, &[], u64::from(link.registered));
    page.set_f64(metric::CONTROL_AGE, &[], link.heartbeat_age_s);
    page.set(metric::CONTROL_REACHABLE, &[], u64::from(link.reachable));
    let version = link.orders.as_ref().map_or(0, |orders| orders.version);
    page.set(metric::CONTROL_ORDERS, &[], version);
    for (call, results) in Call::ALL.into_iter().zip(&link.calls) {
        for (result, total) in CallResult::ALL.into_iter().zip(results) {
            page.total(
                metric::CONTROL_REQUESTS,
                &[call.as_str(), result.as_str()],
                *total,
            );
        }
    }
}

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

fn process(page: &Page) {
    let gauges = Gauges {
        resident_bytes: metric::RESIDENT,
        open_descriptors: metric::DESCRIPTORS,
        max_descriptors: metric::DESCRIPTORS_MAX,
        cpu_s: metric::CPU,
    };
    Process::read().show(page, gauges);
    for (worker, cpu_s) in worker_cpu_s() {
        page.set_f64(metric::WORKER_CPU, &[&worker], cpu_s);
    }
}

fn io(page: &Page, snapshot: &NodeSnapshot) {
    let io = |figure: fn(&sterna_io::Counters) -> u64| {
        sum(&snapshot.workers, |worker| figure(&worker.io))
    };
    let streams = &snapshot.streams;
    page.total(metric::PACKETS, &["udp", "in"], io(|io| io.packets_in));
    page.total(metric::PACKETS, &["udp", "out"], io(|io| io.packets_out));
    page.total(metric::PACKETS, &["stream", "in"], streams.frames_in);
    page.total(metric::PACKETS, &["stream", "out"], streams.frames_out);
    page.total(metric::BYTES, &["udp", "in"], io(|io| io.bytes_in));
    page.total(metric::BYTES, &["udp", "out"], io(|io| io.bytes_out));
    page.total(metric::BYTES, &["stream", "in"], streams.bytes_in);
    page.total(metric::BYTES, &["stream", "out"], streams.bytes_out);
    page.total(metric::IO_CALLS, &["in"], io(|io| io.trains_in));
    page.total(metric::IO_CALLS, &["out"], io(|io| io.sends_out));
    page.total(metric::GSO, &["sent"], io(|io| io.gso_groups));
    page.total(metric::GSO, &["refused"], io(|io| io.gso_fallbacks));
    page.total(
        metric::SEND_ERRORS,
        &["would_block"],
        io(|io| io.send_would_block),
    );
    page.total(metric::SEND_ERRORS, &["refused"], io(|io| io.send_refused));
    page.total(
        metric::SEND_ERRORS,
        &["unreachable"],
        io(|io| io.send_unreachable),
    );
    page.total(metric::SEND_ERRORS, &["too_big"], io(|io| io.send_too_big));
    page.total(
        metric::SEND_ERRORS,
        &["forbidden"],
        io(|io| io.send_forbidden),
    );
    page.total(
        metric::SEND_ERRORS,
        &["no_memory"],
        io(|io| io.send_no_memory),
    );
    page.total(metric::SEND_ERRORS, &["stale"], io(|io| io.send_stale));
    page.total(metric::SEND_ERRORS, &["other"], io(|io| io.send_other));
    page.total(
        metric::RECEIVE_ERRORS,
        &["overflow"],
        io(|io| io.receive_overflow),
    );
    page.total(
        metric::RECEIVE_ERRORS,
        &["truncated"],
        io(|io| io.truncated),
    );
    page.total(
        metric::RECEIVE_ERRORS,
        &["no_buffer"],
        io(|io| io.buffers_exhausted),
    );
    page.total(
        metric::RECEIVE_ERRORS,
        &["error"],
        io(|io| io.receive_errors),
    );
    page.total(metric::ICMP, &["received"], io(|io| io.icmp_errors));
    page.total(metric::ICMP, &["forgotten"], io(|io| io.notices_lost));
    page.total(
        metric::ICMP,
        &["told"],
        turn(&snapshot.workers, |turn| turn.icmp_relayed),
    );
    page.total(metric::SEND_RETRIES, &[], io(|io| io.send_retries));
    page.total(metric::WORKER_TURNS, &[], io(|io| io.turns));
    page.total(metric::WAKES, &[], io(|io| io.wakes));
    page.total(metric::REARMED, &[], io(|io| io.rearmed));
    page.total(
        metric::HANDOVERS,
        &["sent"],
        turn(&snapshot.workers, |turn| turn.to_workers),
    );
    page.total(
        metric::HANDOVERS,
        &["moved"],
        turn(&snapshot.workers, |turn| turn.moved_to_workers),
    );
    page.total(
        metric::HANDOVERS,
        &["inbox_full"],
        sum(&snapshot.workers, |worker| worker.own.mailbox_full),
    );
    page.total(
        metric::HANDOVERS,
        &["buffers_away"],
        io(|io| io.share_limit),
    );
}

fn drops(page: &Page, workers: &[WorkerSnapshot]) {
    for reason in DropReason::ALL {
        page.total(
            metric::DROPPED,
            &[reason.as_str()],
            turn(workers, |turn| turn.dropped(*reason)),
        );
    }
}

fn messages(page: &Page, workers: &[WorkerSnapshot]) {
    // The figures of one method and outcome stand in the same place for every worker.
    let Some(first) = workers.first() else { return };
    let mut requests = Vec::new();
    for (method, outcome, _) in first.turn.messages() {
        let total = turn(workers, |turn| turn.count(method, outcome));
        page.total(
            metric::RESPONSES,
            &[method.as_str(), outcome.as_str()],
            total,
        );
        match requests.last_mut() {
            Some((of, sum)) if *of == method => *sum += total,
            _ => requests.push((method, total)),
        }
    }
    for (method, total) in requests {
        page.total(metric::REQUESTS, &[method.as_str()], total);
    }
    for (code, _) in first.turn.errors() {
        page.total(metric::ERRORS, &[&code.to_string()], errors(workers, code));
    }
    page.total(
        metric::AUTH_FAILURES,
        &["unauthorized"],
        errors(workers, 401),
    );
    page.total(
        metric::AUTH_FAILURES,
        &["stale_nonce"],
        errors(workers, 438),
    );
    page.total(metric::AUTH_FAILURES, &["wrong_user"], errors(workers, 441));
    let discovery = |kind, figure: fn(&Counters) -> u64| {
        page.total(metric::DISCOVERY, &[kind], turn(workers, figure));
    };
    discovery("change_request", |turn| turn.discovery_changed);
    discovery("response_port", |turn| turn.discovery_redirected);
    discovery("padding", |turn| turn.discovery_padded);
    page.total(
        metric::REPLY_BYTES,
        &[],
        turn(workers, |turn| turn.reply_bytes),
    );
}

fn errors(workers: &[WorkerSnapshot], code: u16) -> u64 {
    turn(workers, |turn| {
        turn.errors()
            .filter(|(of, _)| *of == code)
            .map(|(_, total)| total)
            .sum()
    })
}

fn allocations(page: &Page, snapshot: &NodeSnapshot) {
    let workers = &snapshot.workers;
    page.set(
        metric::ALLOCATIONS,
        &[],
        sum(workers, |worker| worker.allocations as u64),
    );
    page.total(
        metric::ALLOCATIONS_TOTAL,
        &["made"],
        turn(workers, |turn| turn.allocated),
    );
    page.total(
        metric::ALLOCATIONS_TOTAL,
        &["repeated"],
        turn(workers, |turn| turn.allocate_repeated),
    );
    page.total(
        metric::ALLOCATIONS_TOTAL,
        &["draining"],
        turn(workers, |turn| turn.refused_draining),
    );
    page.total(
        metric::ALLOCATIONS_TOTAL,
        &["redirected"],
        turn(workers, |turn| turn.redirected),
    );
    page.total(
        metric::ALLOCATIONS_BY_ALGORITHM,
        &["md5"],
        turn(workers, |turn| turn.allocated_md5),
    );
    page.total(
        metric::ALLOCATIONS_BY_ALGORITHM,
        &["sha256"],
        turn(workers, |turn| turn.allocated_sha256),
    );
    let dual = [
        ("both", turn(workers, |turn| turn.allocated_dual)),
        ("one", turn(workers, |turn| turn.allocated_in_part)),
        ("half_ended", turn(workers, |turn| turn.halves_ended)),
    ];
    for (result, total) in dual {
        page.total(metric::ALLOCATIONS_DUAL, &[result], total);
    }
    let capped = |turn: &Counters| {
        turn.allocations_refused_total
            + turn.allocations_refused_user
            + turn.allocations_refused_prefix
    };
    page.total(
        metric::ALLOCATIONS_TOTAL,
        &["capped"],
        turn(workers, capped),
    );
    if let Some(first) = workers.first() {
        for (index, (reason, _)) in first.turn.ends().enumerate() {
            let ended = |turn: &Counters| turn.ends().nth(index).map_or(0, |(_, total)| total);
            page.total(
                metric::ALLOCATIONS_ENDED,
                &[reason.as_str()],
                turn(workers, ended),
            );
        }
    }
    let usage = &snapshot.usage;
    page.set(metric::USERS, &[], usage.users as u64);
    page.set(metric::PREFIXES, &[], usage.prefixes as u64);
    page.set(metric::PORTS, &[], usage.ports as u64);
    page.set(metric::PORTS_CAPACITY, &[], snapshot.ports_capacity);
    page.set(metric::RESERVATIONS, &[], usage.reservations as u64);
    page.set(metric::TICKETS, &[], usage.tickets as u64);
    let moved = sum(workers, |worker| worker.moved as u64);
    page.set(metric::MOVED_CLIENTS, &[], moved);
    page.total(
        metric::MOBILE,
        &[],
        turn(workers, |turn| turn.allocated_mobile),
    );
    let moves = [
        ("granted", turn(workers, |turn| turn.moves_granted)),
        ("repeated", turn(workers, |turn| turn.moves_repeated)),
        ("completed", turn(workers, |turn| turn.moves_completed)),
        ("refused", turn(workers, |turn| turn.moves_refused)),
    ];
    for (result, total) in moves {
        page.total(metric::MOVES, &[result], total);
    }
    page.total(
        metric::RESERVATIONS_TOTAL,
        &["made"],
        turn(workers, |turn| turn.reservations_made),
    );
    page.total(
        metric::RESERVATIONS_TOTAL,
        &["expired"],
        turn(workers, |turn| turn.reservations_expired),
    );
    page.total(
        metric::PORTS_FAILED,
        &["held_elsewhere"],
        sum(workers, |worker| worker.own.ports_held_elsewhere),
    );
    page.total(
        metric::PORTS_FAILED,
        &["exhausted"],
        sum(workers, |worker| worker.own.ports_exhausted),
    );
}

fn relayed(page: &Page, workers: &[WorkerSnapshot]) {
    relayed_one_way(page, workers, "to_peer", |turn| turn.to_peers);
    relayed_one_way(page, workers, "to_client", |turn| turn.to_clients);
    relayed_one_way(page, workers, "in_process", |turn| turn.in_process);
    page.total(
        metric::PERMISSIONS,
        &[],
        turn(workers, |turn| turn.permissions_installed),
    );
    page.total(
        metric::CHANNELS,
        &[],
        turn(workers, |turn| turn.channels_bound),
    );
    page.total(
        metric::PEERS_REVOKED,
        &[],
        turn(workers, |turn| turn.peers_revoked),
    );
}

fn relayed_one_way(
    page: &Page,
    workers: &[WorkerSnapshot],
    direction: &str,
    traffic: fn(&Counters) -> Traffic,
) {
    page.total(
        metric::RELAYED_PACKETS,
        &[direction],
        turn(workers, |turn| traffic(turn).packets),
    );
    page.total(
        metric::RELAYED_BYTES,
        &[direction],
        turn(workers, |turn| traffic(turn).bytes),
    );
}

fn tokens(page: &Page, workers: &[WorkerSnapshot]) {
    page.total(
        metric::TOKENS,
        &["accepted"],
        turn(workers, |turn| turn.tokens_accepted),
    );
    for (place, refusal) in TokenRefusal::ALL.into_iter().enumerate() {
        let refused = |turn: &Counters| turn.tokens_refused().nth(place).map_or(0, |pair| pair.1);
        page.total(metric::TOKENS, &[refusal.as_str()], turn(workers, refused));
    }
}

fn caps(page: &Page, workers: &[WorkerSnapshot]) {
    page.total(
        metric::QUOTA,
        &["allocations"],
        turn(workers, |turn| turn.allocations_refused_total),
    );
    page.total(
        metric::QUOTA,
        &["allocations_per_user"],
        turn(workers, |turn| turn.allocations_refused_user),
    );
    page.total(
        metric::QUOTA,
        &["allocations_per_prefix"],
        turn(workers, |turn| turn.allocations_refused_prefix),
    );
    page.total(
        metric::QUOTA,
        &["permissions"],
        turn(workers, |turn| turn.permissions_refused),
    );
    page.total(
        metric::QUOTA,
        &["channels"],
        turn(workers, |turn| turn.channels_refused),
    );
    page.total(
        metric::QUOTA,
        &["new_peers"],
        turn(workers, |turn| turn.new_peers_refused),
    );
    for (scope, reason) in [
        ("unauthenticated", DropReason::UnauthenticatedRate),
        ("failed_credentials", DropReason::FailedCredentialsRate),
        ("icmp", DropReason::IcmpRate),
        ("session_packets", DropReason::SessionPacketRate),
        ("session_bytes", DropReason::SessionByteRate),
    ] {
        page.total(
            metric::RATE_LIMIT,
            &[scope],
            turn(workers, |turn| turn.dropped(reason)),
        );
    }
}

/// TCP allocations (RFC 6062).
fn peers(page: &Page, peers: &PeerCounters, workers: &[WorkerSnapshot]) {
    page.set(metric::PEER_CONNECTIONS, &["waiting"], peers.waiting);
    page.set(metric::PEER_CONNECTIONS, &["joined"], peers.joined);
    let total = |result, figure: fn(&Counters) -> u64| {
        page.total(
            metric::PEER_CONNECTIONS_TOTAL,
            &[result],
            turn(workers, figure),
        );
    };
    total("connected", |turn| turn.peers_connected);
    total("not_connected", |turn| turn.peers_not_connected);
    total("accepted", |turn| turn.peers_accepted);
    total("without_permission", |turn| turn.peers_without_permission);
    total("capped", |turn| turn.peer_connections_refused);
    total("bound", |turn| turn.peers_bound);
    total("unbound", |turn| turn.peers_unbound);
    page.total(
        metric::QUOTA,
        &["tcp_peer_connections"],
        turn(workers, |turn| turn.peer_connections_refused),
    );
    for (result, total) in peers.connects() {
        page.total(metric::PEER_CONNECTS, &[result.as_str()], total);
    }
    for (end, total) in peers.ends() {
        page.total(metric::PEER_ENDS, &[end.as_str()], total);
    }
    page.total(metric::PEER_BYTES, &["to_peer"], peers.to_peer_bytes);
    page.total(metric::PEER_BYTES, &["to_client"], peers.to_client_bytes);
    page.total(metric::PEER_ACCEPT_ERRORS, &[], peers.accept_errors);
    page.total(
        metric::ALLOCATIONS_TCP,
        &[],
        turn(workers, |turn| turn.allocated_tcp),
    );
}

fn streams(page: &Page, streams: &StreamCounters, workers: &[WorkerSnapshot]) {
    page.set(metric::CONNECTIONS, &[], streams.open);
    page.total(metric::ACCEPTED, &["tcp"], streams.accepted_tcp);
    page.total(metric::ACCEPTED, &["tls"], streams.accepted_tls);
    page.total(metric::ACCEPT_ERRORS, &[], streams.accept_errors);
    page.total(metric::STREAM_DROPPED, &[], streams.frames_dropped);
    page.total(metric::STREAM_OVER_BUDGET, &[], streams.frames_over_budget);
    page.set(metric::STREAM_QUEUED, &[], streams.queue_bytes);
    page.total(
        metric::STREAM_GONE,
        &[],
        sum(workers, |worker| worker.own.stream_gone),
    );
    for (reason, total) in streams.cuts() {
        page.total(metric::CUTS, &[reason.as_str()], total);
    }
}
