//! From a snapshot to metrics, family by family.

use std::time::Duration;

use sterna_turn::{Counters, DropReason, TokenRefusal, Traffic};

use super::process::Process;
use super::snapshot::{NodeSnapshot, WorkerSnapshot};
use super::{count, set, set_f64, table as metric};
use crate::admin::NodeState;
use crate::config::Config;
use crate::control_link::{Call, CallResult, LinkFigures};
use crate::stream::StreamCounters;
use crate::stream::peer::PeerCounters;

/// Sets every metric of the table.
pub(super) fn publish(snapshot: &NodeSnapshot, config: &Config) {
    node(snapshot, config);
    process();
    io(snapshot);
    drops(&snapshot.workers);
    messages(&snapshot.workers);
    allocations(snapshot);
    relayed(&snapshot.workers);
    tokens(&snapshot.workers);
    caps(&snapshot.workers);
    streams(&snapshot.streams, &snapshot.workers);
    super::flow::publish(snapshot.flow.as_ref());
    peers(&snapshot.peers, &snapshot.workers);
    control(&snapshot.control);
}

/// Adds one figure of all workers up.
fn sum(workers: &[WorkerSnapshot], figure: impl Fn(&WorkerSnapshot) -> u64) -> u64 {
    workers.iter().map(figure).sum()
}

fn turn(workers: &[WorkerSnapshot], figure: impl Fn(&Counters) -> u64) -> u64 {
    sum(workers, |worker| figure(&worker.turn))
}

fn node(snapshot: &NodeSnapshot, config: &Config) {
    let node = &config.node;
    set(
        metric::BUILD_INFO,
        &[
            env!("CARGO_PKG_VERSION"),
            &node.display_name(),
            &node.region,
        ],
        1u64,
    );
    for state in NodeState::ALL {
        set(
            metric::STATE,
            &[state.as_str()],
            u64::from(state == snapshot.state),
        );
    }
    set_f64(metric::UPTIME, &[], seconds(snapshot.uptime));
    let answered = snapshot.workers.len();
    set(metric::WORKERS, &["answering"], answered as u64);
    set(
        metric::WORKERS,
        &["silent"],
        snapshot.worker_count.saturating_sub(answered) as u64,
    );
    let on_off = |on| if on { "on" } else { "off" };
    let engine = &snapshot.engine;
    set(
        metric::ENGINE,
        &[
            &engine.engine.to_string(),
            on_off(engine.gro),
            on_off(engine.gso),
        ],
        1u64,
    );
    for line in &snapshot.budget {
        set(
            metric::BUDGET,
            &[line.what],
            (line.bytes() * snapshot.worker_count) as u64,
        );
    }
    for worker in &snapshot.workers {
        set(
            metric::BUFFERS_FREE,
            &[&worker.worker.0.to_string()],
            worker.buffers_free as u64,
        );
    }
    set(
        metric::CERTIFICATE,
        &[],
        snapshot.certificate_not_after_unix_s,
    );
    count(metric::ACME_ORDERS, &["issued"], snapshot.acme.issued);
    count(metric::ACME_ORDERS, &["failed"], snapshot.acme.failed);
}

fn control(link: &LinkFigures) {
    set(metric::CONTROL_REGISTERED, &[], u64::from(link.registered));
    set_f64(metric::CONTROL_AGE, &[], link.heartbeat_age_s);
    set(metric::CONTROL_REACHABLE, &[], u64::from(link.reachable));
    let version = link.orders.as_ref().map_or(0, |orders| orders.version);
    set(metric::CONTROL_ORDERS, &[], version);
    for (call, results) in Call::ALL.into_iter().zip(&link.calls) {
        for (result, total) in CallResult::ALL.into_iter().zip(results) {
            count(
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

fn process() {
    let process = Process::read();
    if let Some(bytes) = process.resident_bytes {
        set(metric::RESIDENT, &[], bytes);
    }
    if let Some(descriptors) = process.open_descriptors {
        set(metric::DESCRIPTORS, &[], descriptors);
    }
    if let Some(descriptors) = process.max_descriptors {
        set(metric::DESCRIPTORS_MAX, &[], descriptors);
    }
    for (worker, cpu_s) in &process.worker_cpu_s {
        set_f64(metric::WORKER_CPU, &[worker], *cpu_s);
    }
    if let Some(cpu_s) = process.cpu_s {
        set_f64(metric::CPU, &[], cpu_s);
    }
}

fn io(snapshot: &NodeSnapshot) {
    let io = |figure: fn(&sterna_io::Counters) -> u64| {
        sum(&snapshot.workers, |worker| figure(&worker.io))
    };
    let streams = &snapshot.streams;
    count(metric::PACKETS, &["udp", "in"], io(|io| io.packets_in));
    count(metric::PACKETS, &["udp", "out"], io(|io| io.packets_out));
    count(metric::PACKETS, &["stream", "in"], streams.frames_in);
    count(metric::PACKETS, &["stream", "out"], streams.frames_out);
    count(metric::BYTES, &["udp", "in"], io(|io| io.bytes_in));
    count(metric::BYTES, &["udp", "out"], io(|io| io.bytes_out));
    count(metric::BYTES, &["stream", "in"], streams.bytes_in);
    count(metric::BYTES, &["stream", "out"], streams.bytes_out);
    count(metric::IO_CALLS, &["in"], io(|io| io.trains_in));
    count(metric::IO_CALLS, &["out"], io(|io| io.sends_out));
    count(metric::GSO, &["sent"], io(|io| io.gso_groups));
    count(metric::GSO, &["refused"], io(|io| io.gso_fallbacks));
    count(
        metric::SEND_ERRORS,
        &["would_block"],
        io(|io| io.send_would_block),
    );
    count(metric::SEND_ERRORS, &["refused"], io(|io| io.send_refused));
    count(
        metric::SEND_ERRORS,
        &["unreachable"],
        io(|io| io.send_unreachable),
    );
    count(metric::SEND_ERRORS, &["too_big"], io(|io| io.send_too_big));
    count(
        metric::SEND_ERRORS,
        &["forbidden"],
        io(|io| io.send_forbidden),
    );
    count(
        metric::SEND_ERRORS,
        &["no_memory"],
        io(|io| io.send_no_memory),
    );
    count(metric::SEND_ERRORS, &["stale"], io(|io| io.send_stale));
    count(metric::SEND_ERRORS, &["other"], io(|io| io.send_other));
    count(
        metric::RECEIVE_ERRORS,
        &["overflow"],
        io(|io| io.receive_overflow),
    );
    count(
        metric::RECEIVE_ERRORS,
        &["truncated"],
        io(|io| io.truncated),
    );
    count(
        metric::RECEIVE_ERRORS,
        &["no_buffer"],
        io(|io| io.buffers_exhausted),
    );
    count(
        metric::RECEIVE_ERRORS,
        &["error"],
        io(|io| io.receive_errors),
    );
    count(metric::ICMP, &["received"], io(|io| io.icmp_errors));
    count(metric::ICMP, &["forgotten"], io(|io| io.notices_lost));
    count(
        metric::ICMP,
        &["told"],
        turn(&snapshot.workers, |turn| turn.icmp_relayed),
    );
    count(metric::SEND_RETRIES, &[], io(|io| io.send_retries));
    count(metric::WORKER_TURNS, &[], io(|io| io.turns));
    count(metric::WAKES, &[], io(|io| io.wakes));
    count(metric::REARMED, &[], io(|io| io.rearmed));
    count(
        metric::HANDOVERS,
        &["sent"],
        turn(&snapshot.workers, |turn| turn.to_workers),
    );
    count(
        metric::HANDOVERS,
        &["moved"],
        turn(&snapshot.workers, |turn| turn.moved_to_workers),
    );
    count(
        metric::HANDOVERS,
        &["inbox_full"],
        sum(&snapshot.workers, |worker| worker.own.mailbox_full),
    );
    count(
        metric::HANDOVERS,
        &["buffers_away"],
        io(|io| io.share_limit),
    );
}

fn drops(workers: &[WorkerSnapshot]) {
    for reason in DropReason::ALL {
        count(
            metric::DROPPED,
            &[reason.as_str()],
            turn(workers, |turn| turn.dropped(*reason)),
        );
    }
}

fn messages(workers: &[WorkerSnapshot]) {
    // The figures of one method and outcome stand in the same place for every worker.
    let Some(first) = workers.first() else { return };
    let mut requests = Vec::new();
    for (method, outcome, _) in first.turn.messages() {
        let total = turn(workers, |turn| turn.count(method, outcome));
        count(
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
        count(metric::REQUESTS, &[method.as_str()], total);
    }
    for (code, _) in first.turn.errors() {
        count(metric::ERRORS, &[&code.to_string()], errors(workers, code));
    }
    count(
        metric::AUTH_FAILURES,
        &["unauthorized"],
        errors(workers, 401),
    );
    count(
        metric::AUTH_FAILURES,
        &["stale_nonce"],
        errors(workers, 438),
    );
    count(metric::AUTH_FAILURES, &["wrong_user"], errors(workers, 441));
    let discovery = |kind, figure: fn(&Counters) -> u64| {
        count(metric::DISCOVERY, &[kind], turn(workers, figure));
    };
    discovery("change_request", |turn| turn.discovery_changed);
    discovery("response_port", |turn| turn.discovery_redirected);
    discovery("padding", |turn| turn.discovery_padded);
    count(
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

fn allocations(snapshot: &NodeSnapshot) {
    let workers = &snapshot.workers;
    set(
        metric::ALLOCATIONS,
        &[],
        sum(workers, |worker| worker.allocations as u64),
    );
    count(
        metric::ALLOCATIONS_TOTAL,
        &["made"],
        turn(workers, |turn| turn.allocated),
    );
    count(
        metric::ALLOCATIONS_TOTAL,
        &["repeated"],
        turn(workers, |turn| turn.allocate_repeated),
    );
    count(
        metric::ALLOCATIONS_TOTAL,
        &["draining"],
        turn(workers, |turn| turn.refused_draining),
    );
    count(
        metric::ALLOCATIONS_TOTAL,
        &["redirected"],
        turn(workers, |turn| turn.redirected),
    );
    count(
        metric::ALLOCATIONS_BY_ALGORITHM,
        &["md5"],
        turn(workers, |turn| turn.allocated_md5),
    );
    count(
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
        count(metric::ALLOCATIONS_DUAL, &[result], total);
    }
    let capped = |turn: &Counters| {
        turn.allocations_refused_total
            + turn.allocations_refused_user
            + turn.allocations_refused_prefix
    };
    count(
        metric::ALLOCATIONS_TOTAL,
        &["capped"],
        turn(workers, capped),
    );
    if let Some(first) = workers.first() {
        for (index, (reason, _)) in first.turn.ends().enumerate() {
            let ended = |turn: &Counters| turn.ends().nth(index).map_or(0, |(_, total)| total);
            count(
                metric::ALLOCATIONS_ENDED,
                &[reason.as_str()],
                turn(workers, ended),
            );
        }
    }
    let usage = &snapshot.usage;
    set(metric::USERS, &[], usage.users as u64);
    set(metric::PREFIXES, &[], usage.prefixes as u64);
    set(metric::PORTS, &[], usage.ports as u64);
    set(metric::PORTS_CAPACITY, &[], snapshot.ports_capacity);
    set(metric::RESERVATIONS, &[], usage.reservations as u64);
    set(metric::TICKETS, &[], usage.tickets as u64);
    let moved = sum(workers, |worker| worker.moved as u64);
    set(metric::MOVED_CLIENTS, &[], moved);
    count(
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
        count(metric::MOVES, &[result], total);
    }
    count(
        metric::RESERVATIONS_TOTAL,
        &["made"],
        turn(workers, |turn| turn.reservations_made),
    );
    count(
        metric::RESERVATIONS_TOTAL,
        &["expired"],
        turn(workers, |turn| turn.reservations_expired),
    );
    count(
        metric::PORTS_FAILED,
        &["held_elsewhere"],
        sum(workers, |worker| worker.own.ports_held_elsewhere),
    );
    count(
        metric::PORTS_FAILED,
        &["exhausted"],
        sum(workers, |worker| worker.own.ports_exhausted),
    );
}

fn relayed(workers: &[WorkerSnapshot]) {
    relayed_one_way(workers, "to_peer", |turn| turn.to_peers);
    relayed_one_way(workers, "to_client", |turn| turn.to_clients);
    relayed_one_way(workers, "in_process", |turn| turn.in_process);
    count(
        metric::PERMISSIONS,
        &[],
        turn(workers, |turn| turn.permissions_installed),
    );
    count(
        metric::CHANNELS,
        &[],
        turn(workers, |turn| turn.channels_bound),
    );
    count(
        metric::PEERS_REVOKED,
        &[],
        turn(workers, |turn| turn.peers_revoked),
    );
}

fn relayed_one_way(workers: &[WorkerSnapshot], direction: &str, traffic: fn(&Counters) -> Traffic) {
    count(
        metric::RELAYED_PACKETS,
        &[direction],
        turn(workers, |turn| traffic(turn).packets),
    );
    count(
        metric::RELAYED_BYTES,
        &[direction],
        turn(workers, |turn| traffic(turn).bytes),
    );
}

fn tokens(workers: &[WorkerSnapshot]) {
    count(
        metric::TOKENS,
        &["accepted"],
        turn(workers, |turn| turn.tokens_accepted),
    );
    for (place, refusal) in TokenRefusal::ALL.into_iter().enumerate() {
        let refused = |turn: &Counters| turn.tokens_refused().nth(place).map_or(0, |pair| pair.1);
        count(metric::TOKENS, &[refusal.as_str()], turn(workers, refused));
    }
}

fn caps(workers: &[WorkerSnapshot]) {
    count(
        metric::QUOTA,
        &["allocations"],
        turn(workers, |turn| turn.allocations_refused_total),
    );
    count(
        metric::QUOTA,
        &["allocations_per_user"],
        turn(workers, |turn| turn.allocations_refused_user),
    );
    count(
        metric::QUOTA,
        &["allocations_per_prefix"],
        turn(workers, |turn| turn.allocations_refused_prefix),
    );
    count(
        metric::QUOTA,
        &["permissions"],
        turn(workers, |turn| turn.permissions_refused),
    );
    count(
        metric::QUOTA,
        &["channels"],
        turn(workers, |turn| turn.channels_refused),
    );
    count(
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
        count(
            metric::RATE_LIMIT,
            &[scope],
            turn(workers, |turn| turn.dropped(reason)),
        );
    }
}

/// TCP allocations (RFC 6062).
fn peers(peers: &PeerCounters, workers: &[WorkerSnapshot]) {
    set(metric::PEER_CONNECTIONS, &["waiting"], peers.waiting);
    set(metric::PEER_CONNECTIONS, &["joined"], peers.joined);
    let total = |result, figure: fn(&Counters) -> u64| {
        count(
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
    count(
        metric::QUOTA,
        &["tcp_peer_connections"],
        turn(workers, |turn| turn.peer_connections_refused),
    );
    for (result, total) in peers.connects() {
        count(metric::PEER_CONNECTS, &[result.as_str()], total);
    }
    for (end, total) in peers.ends() {
        count(metric::PEER_ENDS, &[end.as_str()], total);
    }
    count(metric::PEER_BYTES, &["to_peer"], peers.to_peer_bytes);
    count(metric::PEER_BYTES, &["to_client"], peers.to_client_bytes);
    count(metric::PEER_ACCEPT_ERRORS, &[], peers.accept_errors);
    count(
        metric::ALLOCATIONS_TCP,
        &[],
        turn(workers, |turn| turn.allocated_tcp),
    );
}

fn streams(streams: &StreamCounters, workers: &[WorkerSnapshot]) {
    set(metric::CONNECTIONS, &[], streams.open);
    count(metric::ACCEPTED, &["tcp"], streams.accepted_tcp);
    count(metric::ACCEPTED, &["tls"], streams.accepted_tls);
    count(metric::ACCEPT_ERRORS, &[], streams.accept_errors);
    count(metric::STREAM_DROPPED, &[], streams.frames_dropped);
    count(metric::STREAM_OVER_BUDGET, &[], streams.frames_over_budget);
    set(metric::STREAM_QUEUED, &[], streams.queue_bytes);
    count(
        metric::STREAM_GONE,
        &[],
        sum(workers, |worker| worker.own.stream_gone),
    );
    for (reason, total) in streams.cuts() {
        count(metric::CUTS, &[reason.as_str()], total);
    }
}
