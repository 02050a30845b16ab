//! A flood from 10,000 sources that nobody can call back, beside sessions that must not notice.
//!
//! A network namespace is the node's host, where the sessions are too; another one is the rest of the
//! world. From there come unauthenticated Allocates, Allocates with a wrong MAC and Bindings, each from
//! the next of 10,000 addresses, and what is answered is lost there. The sessions' packets wait in the
//! same sockets as the flood's.
//!
//! `STERNA_SOAK_S` sets how long the flood lasts (5 s without it), `STERNA_FLOOD_PPS` how many packets
//! come a second.
#![forbid(unsafe_code)]

#[path = "../common/mod.rs"]
mod common;
mod strangers;

use std::process::Command;
use std::time::{Duration, Instant};

use common::http::metric;
use common::namespace::{self, shell};
use common::node::{BINARY, Node, PASSWORD, USER};
use common::{SOON, number, raise_descriptor_limit, report, wait_for};

/// Sessions that go on meanwhile, in pairs, and what they send together.
const SESSIONS: u32 = 50;
const SESSIONS_PPS: u32 = 2_000;

/// The flood, unless it is set: more than 400 times what its prefixes may have answered each second.
const FLOOD_PPS: u64 = 40_000;

/// What the sessions may lose of a million packets: 0.1 %.
const LOST_PER_MILLION: u64 = 1_000;

/// What memory may move about without anything being kept.
const NOISE_BYTES: u64 = 1024 * 1024;

/// Lines of the log may be this much apart, and one more comes for the rest.
const WINDOW: Duration = Duration::from_secs(10);

const SERVER: &str = "198.51.100.1:3478";

#[test]
fn sessions_do_not_notice_a_flood_with_the_engine_of_choice() {
    flood(
        "sessions_do_not_notice_a_flood_with_the_engine_of_choice",
        "node.engine=auto",
    );
}

#[test]
fn sessions_do_not_notice_a_flood_with_the_engine_of_last_resort() {
    flood(
        "sessions_do_not_notice_a_flood_with_the_engine_of_last_resort",
        "node.engine=mmsg",
    );
}

/// Not a test of its own: what the process in the other namespace does.
#[test]
fn strangers_send_what_they_are_told_to() {
    if let Some(orders) = strangers::Orders::from_environment() {
        println!("sent {}", strangers::flood(&orders));
    }
}

/// The node's host, and behind a link everybody else. Answers to the strangers end there: nobody has
/// their addresses.
fn build_network() {
    shell(&format!(
        "mount -t tmpfs tests /run
         ip link set lo up
         ip netns add strangers
         ip link add uplink type veth peer name uplink netns strangers
         ip addr add 198.51.100.1/24 dev uplink
         ip link set uplink up
         ip -n strangers addr add 198.51.100.254/24 dev uplink
         ip -n strangers link set uplink up
         ip -n strangers link set lo up
         ip netns exec strangers sysctl -qw net.ipv4.ip_forward=0
         sysctl -qw net.ipv4.conf.all.rp_filter=0
         ip route add {} via 198.51.100.254",
        strangers::NETWORK
    ));
}

fn flood(test: &str, engine: &str) {
    let needs = "mount -t tmpfs tests /run && ip netns add one";
    // One flood at a time: the other test waits for this process.
    let _alone = common::alone();
    if !namespace::enter(test, &[("ip", "iproute2"), ("sysctl", "procps")], needs) {
        return;
    }
    raise_descriptor_limit();
    build_network();
    let node = Node::start(&[
        engine,
        &format!("turn.listen=[\"{SERVER}\"]"),
        "peers.allow=[\"198.51.100.0/24\"]",
    ]);
    let duration = Duration::from_secs(number("STERNA_SOAK_S", 5));
    let rate = number("STERNA_FLOOD_PPS", FLOOD_PPS);

    let sessions = Sessions::start(duration + Duration::from_secs(3));
    node.wait_for_metric("turn_allocations_active", &[], f64::from(SESSIONS));
    node.wait_for_metric(
        "turn_relayed_packets_total",
        &["to_peer"],
        f64::from(SESSIONS_PPS / 2),
    );
    let before = Books::of(&node);
    let resident_before = node.resident_bytes();
    let began = Instant::now();
    let sent = strangers::send(SERVER, rate, duration);
    let took = began.elapsed();
    let resident = node.resident_bytes();
    let report_of_sessions = sessions.wait();
    // What waits in the sockets is counted when it is read.
    let after = Books::settled(&node).since(&before);

    let count = |name: &str| {
        report_of_sessions["packets"][name]
            .as_u64()
            .expect("a count")
    };
    let (offered, lost) = (count("sent"), count("lost"));
    report(&format!(
        "flood, {engine}: {sent} packets of {} sources in {:.1} s, {} read, {} answered ({} bytes a byte), {} dropped \
         by the prefix's rate, {} in full sockets; beside them {SESSIONS} sessions sent {offered} packets and lost \
         {lost}; resident memory {:+} KiB",
        strangers::SOURCES,
        took.as_secs_f64(),
        after.requests,
        after.answered,
        after.reply_bytes / after.request_bytes(sent),
        after.rate_limited,
        after.overflow,
        (resident as i64 - resident_before as i64) / 1024,
    ));
    assert!(
        lost * 1_000_000 <= offered * LOST_PER_MILLION && offered > 0,
        "{engine}: {report_of_sessions:#}"
    );
    assert_eq!(count("corrupted"), 0);
    assert!(resident < resident_before + NOISE_BYTES, "memory grew");
    after.explain(sent, took, engine);

    let said = |text: &str| {
        let lines = text.lines().filter(|line| line.contains(" WARN "));
        lines
            .filter(|line| line.contains("packets were dropped"))
            .count()
    };
    // A machine that is busy with other things may not bring a flood about that goes over the rate.
    if after.rate_limited > 0.0 {
        wait_for("a line in the log", WINDOW + SOON, || {
            (said(&node.process.written()) > 0).then_some(())
        });
    }
    let written = node.process.written();
    let windows = duration.as_secs() / WINDOW.as_secs();
    let most = usize::try_from(windows).expect("a few") + 2;
    assert!(said(&written) <= most, "{written}");
    let flooded = written
        .lines()
        .filter(|line| !line.contains(" INFO "))
        .count();
    assert!(flooded <= 2 * most, "more than a line a window:\n{written}");
    node.stop_now();
}

/// The generator with its sessions, as a process of its own.
struct Sessions(common::process::Process, Duration);

impl Sessions {
    fn start(duration: Duration) -> Self {
        let mut command = Command::new(BINARY);
        command
            .args([
                "bench", "turn", "--server", SERVER, "--mode", "pair", "--json",
            ])
            .args(["--user", USER, "--password", PASSWORD])
            .args(["--allocations", &SESSIONS.to_string()])
            .args(["--rate", &SESSIONS_PPS.to_string()])
            .args(["--duration", &duration.as_secs().to_string()]);
        let process = common::process::Process::start(&mut command);
        Self(process.expect("the generator"), duration)
    }

    fn wait(mut self) -> serde_json::Value {
        let status = self.0.wait(self.1 + SOON);
        assert!(status.success(), "{}", self.0.written());
        serde_json::from_str(&self.0.stdout()).expect("a report")
    }
}

/// What the node's counters say of strangers.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Books {
    requests: f64,
    answered: f64,
    rate_limited: f64,
    dropped_otherwise: f64,
    overflow: f64,
    reply_bytes: f64,
}

impl Books {
    fn of(node: &Node) -> Self {
        let page = node.get("/metrics").body;
        let sum = |name: &str, labels: &[&str]| metric(&page, name, labels).unwrap_or(0.0);
        let both = |name: &str, label: &str| {
            ["method=\"binding\"", "method=\"allocate\""]
                .iter()
                .map(|method| sum(name, &[method, label]))
                .sum::<f64>()
        };
        let rate_limited = sum("sterna_packets_dropped_total", &["unauthenticated_rate"]);
        Self {
            requests: both("stun_requests_total", ""),
            answered: both("stun_responses_total", "success")
                + both("stun_responses_total", "error"),
            rate_limited,
            dropped_otherwise: sum("sterna_packets_dropped_total", &[]) - rate_limited,
            overflow: sum("sterna_receive_errors_total", &["overflow"]),
            reply_bytes: sum("stun_reply_bytes_total", &[]),
        }
    }

    /// When two looks agree.
    fn settled(node: &Node) -> Self {
        let mut last = Self::of(node);
        wait_for("the flood to be read", SOON, || {
            let now = Self::of(node);
            let is_settled = now == last;
            last = now;
            is_settled.then_some(now)
        })
    }

    fn since(&self, before: &Self) -> Self {
        Self {
            requests: self.requests - before.requests,
            answered: self.answered - before.answered,
            rate_limited: self.rate_limited - before.rate_limited,
            dropped_otherwise: self.dropped_otherwise - before.dropped_otherwise,
            overflow: self.overflow - before.overflow,
            reply_bytes: self.reply_bytes - before.reply_bytes,
        }
    }

    fn request_bytes(&self, sent: u64) -> f64 {
        sent as f64 * strangers::MEAN_BYTES
    }

    /// Every packet is accounted for, and the budget of answers was kept.
    fn explain(&self, sent: u64, took: Duration, engine: &str) {
        let sent = sent as f64;
        assert_eq!(
            self.requests,
            self.answered + self.rate_limited,
            "{engine}: each was answered or dropped by its prefix's rate: {self:?}"
        );
        assert_eq!(self.dropped_otherwise, 0.0, "{engine}: {self:?}");
        // What a link of the namespaces loses, nobody counts.
        assert!(
            (0.99 * sent..=sent).contains(&(self.requests + self.overflow)),
            "{engine}: {sent} sent, {self:?}"
        );
        let allowed = (took.as_secs_f64() + 2.0) * 500.0 * strangers::PREFIXES;
        assert!(self.answered <= allowed, "{engine}: {self:?}");
    }
}
