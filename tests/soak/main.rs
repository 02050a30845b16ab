//! A soak: allocations come and go at random over UDP, TCP and TLS, and in the end nothing is left.
//!
//! Clients make allocations of every kind, refresh them, permit peers, bind channels, connect to peers
//! by TCP and are connected to, and check each byte that comes back from a peer or from another client.
//! Some take their allocation along to another address, some begin anew from there, some are gone
//! without a word. Meanwhile nonsense arrives, the configuration is reloaded, and an operator
//! ends the sessions of a user. When all have gone, the node must hold what it held before: no port,
//! buffer, descriptor or entry more, and no memory.
//!
//! `STERNA_SOAK_S` sets how long each engine is soaked (120 s without it; `cargo xtask soak` an hour),
//! `STERNA_SEED` what happens: who does what is repeated by it, the moments are the machine's.
#![forbid(unsafe_code)]

#[path = "../common/mod.rs"]
mod common;
mod crowd;
mod operator;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use common::holdings::{Holdings, udp_sockets_within};
use common::http::metric;
use common::node::Node;
use common::{SOON, number, raise_descriptor_limit, report};

use crowd::{Crowd, Seen};
use operator::Operator;

/// Clients at a time.
const CLIENTS: u64 = 24;

/// Allocations that are held together before anything is measured, so that tables, pools and the
/// allocator have the size that the soak needs.
const HELD_AT_ONCE: usize = 500;

/// What memory may move about without anything being kept.
const NOISE_BYTES: u64 = 6 * 1024 * 1024;

/// A reserved port is held for 60 s. None is left to that later than this before the end.
const RESERVATIONS_LAST: Duration = Duration::from_secs(70);

/// Packets that may be lost of a million: loopback loses none unless a buffer is full.
const LOST_PER_MILLION: u64 = 1_000;

/// One address is many clients here, and what is killed over UDP lingers.
const SETTINGS: [&str; 8] = [
    "node.workers=3",
    "limits.allocations_per_user_max=20000",
    "limits.allocations_per_prefix_max=20000",
    "limits.tcp_connections_per_prefix_max=0",
    "limits.unauthenticated_replies_per_prefix_per_s=100000",
    "limits.tcp_unauthenticated_idle_s=3",
    "turn.lifetime_max_s=600",
    "turn.tcp_allocations=true",
];

#[test]
fn a_soak_leaves_nothing_behind_with_the_engine_of_choice() {
    soak("node.engine=auto", 3_000..=6_999);
}

#[test]
fn a_soak_leaves_nothing_behind_with_the_engine_of_last_resort() {
    soak("node.engine=mmsg", 7_000..=10_999);
}

/// The relay ports are below those that the system deals out, so that whoever has one is the node.
fn soak(engine: &str, ports: RangeInclusive<u16>) {
    let duration = Duration::from_secs(number("STERNA_SOAK_S", 120));
    let seed = number("STERNA_SEED", 0x50AC);
    raise_descriptor_limit();
    let mut settings = SETTINGS.to_vec();
    settings.push(engine);
    let relay_ports = format!("turn.relay_ports={}-{}", ports.start(), ports.end());
    settings.push(&relay_ports);
    let others = udp_sockets_within(&ports);
    let mut node = Node::start(&settings);
    operator::add_users(&node);
    let crowd = Crowd::new(&node, seed);

    // What grows once is no leak: all kinds of sessions, and more of them than there will be.
    crowd.hold(HELD_AT_ONCE);
    run(
        &node,
        &crowd,
        seed,
        engine,
        (duration / 4).min(Duration::from_secs(60)),
        false,
    );
    operator::end_all(&node, &crowd);
    let before = Holdings::of_idle(&node, SOON);
    let resident_before = node.resident_bytes();

    run(&node, &crowd, seed ^ 1, engine, duration, true);
    operator::end_all(&node, &crowd);
    let deadline = Instant::now() + SOON;
    while Holdings::of(&node) != before || udp_sockets_within(&ports) > others {
        assert!(
            Instant::now() < deadline,
            "{engine}, seed {seed:#x}: something is left: {:#?}, {} relay sockets\nbefore: {before:#?}, {others}",
            Holdings::of(&node),
            udp_sockets_within(&ports),
        );
        std::thread::park_timeout(Duration::from_millis(100));
    }
    let resident = node.resident_bytes();
    let seen = crowd.seen();
    report(&format!(
        "soak, {engine}, {} s: {seen}; ended {}; descriptors, ports, buffers and entries as before, \
         resident memory {} KiB, before {} KiB (seed {seed:#x})",
        duration.as_secs(),
        ends(&node),
        resident / 1024,
        resident_before / 1024,
    ));
    check(
        &mut node,
        &seen,
        duration,
        &format!("{engine}, seed {seed:#x}"),
    );
    assert!(
        resident < resident_before + NOISE_BYTES,
        "{engine}, seed {seed:#x}: {} bytes of memory are kept",
        resident - resident_before
    );
    node.stop_now();
}

/// Lets the crowd, the operator and the nonsense loose for a while; a line a window.
fn run(node: &Node, crowd: &Crowd, seed: u64, engine: &str, duration: Duration, measured: bool) {
    let began = Instant::now();
    let window = (duration / 4).clamp(Duration::from_secs(5), Duration::from_secs(60));
    let mut operator = Operator::start(node, seed);
    crowd.start(seed, CLIENTS);
    let mut next_line = began + window;
    while began.elapsed() < duration {
        crowd.may_forget(measured && began.elapsed() + RESERVATIONS_LAST < duration);
        operator.step(node, crowd);
        if let Some(failure) = crowd.failure() {
            panic!("{engine}, seed {seed:#x}: {failure}");
        }
        if measured && Instant::now() >= next_line {
            next_line += window;
            line(node, &crowd.seen(), began.elapsed());
        }
        std::thread::park_timeout(Duration::from_millis(50));
    }
    operator.stop(node);
    crowd.stop();
    if let Some(failure) = crowd.failure() {
        panic!("{engine}, seed {seed:#x}: {failure}");
    }
}

fn line(node: &Node, seen: &Seen, at: Duration) {
    let now = Holdings::of(node);
    let line = format!(
        "\nsoak {:>5} s: {seen}; live {}, descriptors {}, resident memory {} KiB\n",
        at.as_secs(),
        now.entries["turn_allocations_active"],
        now.descriptors.values().sum::<usize>(),
        node.resident_bytes() / 1024,
    );
    std::io::stderr()
        .write_all(line.as_bytes())
        .expect("standard error");
}

/// Ended allocations by reason, as /metrics counts them.
fn ends(node: &Node) -> String {
    let page = node.get("/metrics").body;
    let reasons = [
        "released",
        "stream_closed",
        "revoked",
        "user_removed",
        "expired",
    ];
    let counts: Vec<String> = reasons
        .iter()
        .map(|reason| {
            let label = format!("reason=\"{reason}\"");
            let count = metric(&page, "turn_allocations_ended_total", &[&label]).unwrap_or(0.0);
            format!("{reason} {count}")
        })
        .collect();
    counts.join(", ")
}

/// That the soak reached what it is meant to reach, and that the books agree.
fn check(node: &mut Node, seen: &Seen, duration: Duration, run: &str) {
    let page = node.get("/metrics").body;
    let count = |name: &str, labels: &[&str]| metric(&page, name, labels).unwrap_or(0.0);
    let made = count("turn_allocations_total", &["result=\"made\""]);
    let ended = count("turn_allocations_ended_total", &[]);
    assert!(
        made >= 1.0 && (made - ended).abs() < 0.5,
        "{run}: {made} made, {ended} ended"
    );
    let mut reached = BTreeMap::from([
        ("released", 1.0),
        ("stream_closed", 1.0),
        ("revoked", 1.0),
        ("user_removed", 1.0),
    ]);
    // Those that nobody ends, ten minutes after their client has gone.
    if duration > Duration::from_secs(1_200) {
        reached.insert("expired", 1.0);
    }
    for (reason, least) in reached {
        let label = format!("reason=\"{reason}\"");
        let ended = count("turn_allocations_ended_total", &[&label]);
        assert!(ended >= least, "{run}: {ended} ended as {reason}");
    }
    assert!(seen.verified > 1_000, "{run}: {seen}");
    assert!(seen.moved > 0 && seen.connections > 0, "{run}: {seen}");
    let moves = count("turn_moves_total", &["result=\"granted\""]);
    assert!(
        moves >= seen.moved as f64,
        "{run}: {moves} of {}",
        seen.moved
    );
    let bound = count("turn_tcp_peer_connections_total", &["result=\"bound\""]);
    assert!(
        bound >= seen.connections as f64,
        "{run}: {bound} of {}",
        seen.connections
    );
    assert!(
        seen.lost * 1_000_000 <= seen.sent * LOST_PER_MILLION,
        "{run}: {seen}"
    );
    assert!(node.process.ended().is_none(), "{run}: the node has ended");
    let written = node.process.written();
    assert!(
        !written.contains(" ERROR ") && !written.contains("panicked"),
        "{run}: {written}"
    );
}
