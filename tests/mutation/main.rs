//! Nearly right messages against the living node, by everybody: strangers, insiders with real
//! credentials, clients of TCP and TLS whose writes are cut anywhere, and a load balancer.
//!
//! However it goes, the node stays alive and says nothing in its log, whoever behaves is served, no
//! stranger is answered with more than the budget, nothing reaches a peer that is denied, and in the
//! end nothing is left.
//!
//! `STERNA_SOAK_S` sets how long each engine is worked on (6 s without it), `STERNA_SEED` with what.
#![forbid(unsafe_code)]

mod attackers;
#[path = "../common/mod.rs"]
mod common;
mod mutator;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::client::Echo;
use common::holdings::Holdings;
use common::http::metric;
use common::node::{Node, OTHER_USER, PASSWORD, USER};
use common::tls::Certificate;
use common::{SOON, alone, number, report, wait_for};
use sterna_bench::{Credentials, Route, Session, Transport, Trust};
use sterna_turn::client::Timers;
use tokio::runtime::Runtime;

use attackers::Attack;

/// What memory may move about without anything being kept.
const NOISE_BYTES: u64 = 6 * 1024 * 1024;

/// Load balancers are believed from here, and from nowhere else.
const BALANCER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

/// A peer that nobody may reach: loopback, which only `peers.allow` opens, and it opens one address.
const DENIED: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

#[test]
fn mutants_do_no_harm_with_the_engine_of_choice() {
    mutate("node.engine=auto");
}

#[test]
fn mutants_do_no_harm_with_the_engine_of_last_resort() {
    mutate("node.engine=mmsg");
}

fn mutate(engine: &str) {
    let _alone = alone();
    let seed = number("STERNA_SEED", 0x3147);
    let duration = Duration::from_secs(number("STERNA_SOAK_S", 6));
    let folder = tempfile::tempdir().expect("a folder");
    let certificate = Certificate::new();
    let (file, key) = certificate.install(folder.path());
    let node = Node::start(&[
        engine,
        &format!("tls.certificate={file:?}"),
        &format!("tls.key={key:?}"),
        "node.workers=2",
        "peers.allow=[\"127.0.0.1/32\"]",
        &format!("tcp.proxy_protocol_from=[\"{BALANCER}/32\"]"),
        "limits.unauthenticated_replies_per_prefix_per_s=100000",
        "limits.tcp_connections_per_prefix_max=0",
        "limits.tcp_unauthenticated_idle_s=3",
        "turn.lifetime_max_s=600",
    ]);
    let echo = Echo::start(Ipv4Addr::LOCALHOST);
    let trap = UdpSocket::bind((DENIED, 0)).expect("loopback");
    trap.set_nonblocking(true).expect("a socket");
    let attack = Attack {
        udp: node.v4(),
        tls: SocketAddr::from((Ipv4Addr::LOCALHOST, node.tls_port)),
        certificate,
        peers: peers(echo.addr(), trap.local_addr().expect("bound")),
        stop: AtomicBool::new(false),
        packets: AtomicU64::new(0),
        answers: AtomicU64::new(0),
    };
    let attack = Arc::new(attack);

    // Once round before anything is measured: what grows once is no leak.
    run(&node, &attack, seed ^ 1, Duration::from_secs(1));
    end_all(&node);
    let before = Holdings::of_idle(&node, SOON);
    let resident_before = node.resident_bytes();
    run(&node, &attack, seed, duration);
    end_all(&node);
    wait_for(
        &format!("{engine}, seed {seed:#x}: what there was before: {before:#?}"),
        SOON,
        || (Holdings::of(&node) == before).then_some(()),
    );
    let resident = node.resident_bytes();
    let reached = reached(&node);
    report(&format!(
        "mutation, {engine}: {} packets, {} answers to strangers, all within the budget; {reached:?}; resident memory {} KiB, \
         before {} KiB (seed {seed:#x})",
        attack.packets.load(Ordering::Relaxed),
        attack.answers.load(Ordering::Relaxed),
        resident / 1024,
        resident_before / 1024,
    ));
    assert!(
        resident < resident_before + NOISE_BYTES,
        "{engine}, seed {seed:#x}: memory is kept"
    );
    for (what, count) in &reached {
        assert!(
            *count >= 1.0,
            "{engine}, seed {seed:#x}: too few of {what}: {reached:?}"
        );
    }
    let mut buffer = [0; 2_048];
    let trapped = trap.recv_from(&mut buffer);
    assert!(
        trapped.is_err(),
        "{engine}, seed {seed:#x}: a denied peer was reached: {trapped:?}"
    );
    let written = node.process.written();
    assert!(
        !written.contains(" ERROR ") && !written.contains("panicked"),
        "{engine}, seed {seed:#x}: {written}"
    );
    node.stop_now();
}

/// How often the node was led where the mutants are meant to lead it, by its own account.
fn reached(node: &Node) -> BTreeMap<String, f64> {
    let page = node.get("/metrics").body;
    let count = |name: &str, label: String| {
        let count = metric(&page, name, &[&label]).unwrap_or(0.0);
        (format!("{name} {label}"), count)
    };
    let codes = [400, 401, 403, 420, 437, 438, 442, 443];
    let codes = codes.map(|code| count("stun_errors_total", format!("code=\"{code}\"")));
    let dropped = [
        "malformed",
        "fingerprint_mismatch",
        "unexpected_class",
        "unknown_method",
        "unknown_attribute",
        "bad_indication",
        "no_requested_transport",
        "no_allocation",
        "no_permission",
        "truncated_channel_data",
    ];
    let name = "sterna_packets_dropped_total";
    let dropped = dropped.map(|reason| count(name, format!("reason=\"{reason}\"")));
    let cut = ["garbage", "proxy_header"];
    let cut = cut.map(|reason| count("sterna_stream_cut_total", format!("reason=\"{reason}\"")));
    let done = [
        ("turn_allocations_total", "result=\"made\""),
        ("turn_permissions_installed_total", ""),
        ("turn_channels_bound_total", ""),
        ("turn_relayed_packets_total", "direction=\"to_peer\""),
    ];
    let done = done.map(|(name, label)| count(name, label.to_owned()));
    codes
        .into_iter()
        .chain(dropped)
        .chain(cut)
        .chain(done)
        .collect()
}

/// The peer that is allowed, and the one that is not in all its spellings.
fn peers(echo: SocketAddr, trap: SocketAddr) -> Vec<SocketAddr> {
    let spellings = [
        "::ffff:127.0.0.2",
        "::127.0.0.2",
        "64:ff9b::127.0.0.2",
        "2002:7f00:2::",
    ];
    let spelled = spellings.map(|ip| SocketAddr::new(ip.parse().expect("an address"), trap.port()));
    let mut peers = vec![echo, echo, echo, trap, trap, SocketAddr::new(echo.ip(), 0)];
    peers.extend(spelled);
    peers.extend(
        ["0.0.0.0", "::", "::1", "255.255.255.255", "224.0.0.1"]
            .map(|ip| SocketAddr::new(ip.parse().expect("an address"), trap.port())),
    );
    peers
}

/// All attackers for a while, and those who behave beside them.
fn run(node: &Node, attack: &Arc<Attack>, seed: u64, duration: Duration) {
    attack.stop.store(false, Ordering::Relaxed);
    let threads = attackers::start(attack, seed);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let mut bystanders = Bystanders::new(node, &runtime);
    let began = Instant::now();
    while began.elapsed() < duration {
        bystanders.are_served(&runtime);
    }
    attack.stop.store(true, Ordering::Relaxed);
    for thread in threads {
        if thread.join().is_err() {
            panic!("seed {seed:#x}: see above");
        }
    }
    bystanders.are_served(&runtime);
}

fn end_all(node: &Node) {
    for user in [USER, OTHER_USER] {
        let path = format!("/users/{user}/allocations");
        let answer = common::http::request(node.admin, "DELETE", &path, "");
        assert_eq!(answer.expect("an answer").status, 200);
    }
}

/// Clients that behave, over each transport, each with a channel to an echo of its own.
struct Bystanders {
    sessions: Vec<Session>,
    echo: Echo,
    said: u64,
}

impl Bystanders {
    fn new(node: &Node, runtime: &Runtime) -> Self {
        let echo = Echo::start(Ipv4Addr::LOCALHOST);
        let ways = [
            (Transport::Udp, node.port),
            (Transport::Tcp, node.port),
            (Transport::Tls, node.tls_port),
        ];
        let sessions = ways.map(|(transport, port)| {
            let server = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            let route = Route::new(server, transport, &Trust::Anybody, "localhost");
            let credentials = Credentials {
                username: USER.to_owned(),
                password: PASSWORD.to_owned(),
            };
            runtime.block_on(async {
                let route = route.expect("a route");
                let connected =
                    Session::connect(&route, Some(credentials), Timers::default()).await;
                let mut session = connected.expect("a connection");
                session.allocate().await.expect("an allocation");
                session.bind_channel(echo.addr()).await.expect("a channel");
                session
            })
        });
        Self {
            sessions: sessions.into(),
            echo,
            said: 0,
        }
    }

    /// Each gets an echo; over UDP, a full socket may have lost some on the way.
    fn are_served(&mut self, runtime: &Runtime) {
        for session in &mut self.sessions {
            self.said += 1;
            let message = self.said.to_be_bytes();
            let (deadline, peer) = (Instant::now() + SOON, self.echo.addr());
            runtime.block_on(async {
                loop {
                    assert!(Instant::now() < deadline, "nobody serves {session:?}");
                    session.send(peer, &message).await.expect("it lives");
                    let patience = Instant::now() + Duration::from_millis(500);
                    let came = session.receive_until(patience).await.expect("it lives");
                    if came.is_some_and(|data| data.payload[..] == message) {
                        break;
                    }
                }
            });
        }
    }
}
