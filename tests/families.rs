//! From one address family to the other through the node: a client that has no IPv4 reaches a peer
//! that has nothing else, and the other way round.
//!
//! A test runs itself again in a network namespace of its own, where the node is; two more are a
//! host with IPv6 only and one with IPv4 only:
//!
//! ```text
//!   six 2001:db8:6::2 ── 2001:db8:6::1 the node 198.51.100.1 ── 198.51.100.2 four
//! ```
#![forbid(unsafe_code)]

mod common;

use std::process::Command;
use std::time::Duration;

use common::namespace::{enter, shell};
use common::node::{Node, PASSWORD, USER};
use common::process::Process;
use common::tools::{parse_totals, which};
use common::{SOON, wait_for};

const PEER_PORT: u16 = 9_000;
const MESSAGES: u64 = 100;

/// The three hosts, and the node on the one in between.
fn node_between() -> Node {
    shell(
        "mount -t tmpfs tests /run
         ip link set lo up
         ip netns add six
         ip netns add four
         ip link add to_six type veth peer name uplink netns six
         ip link add to_four type veth peer name uplink netns four
         ip addr add 2001:db8:6::1/64 dev to_six nodad
         ip addr add 198.51.100.1/24 dev to_four
         ip link set to_six up
         ip link set to_four up
         ip -n six addr add 2001:db8:6::2/64 dev uplink nodad
         ip -n four addr add 198.51.100.2/24 dev uplink
         for host in six four; do ip -n $host link set lo up; ip -n $host link set uplink up; done",
    );
    Node::start(&[
        "turn.listen=[\"198.51.100.1:3478\", \"[2001:db8:6::1]:3478\"]",
        "turn.tls_listen=[]",
        "turn.relay_addresses=[\"198.51.100.1\", \"2001:db8:6::1\"]",
        "peers.allow=[\"198.51.100.0/24\", \"2001:db8:6::/64\"]",
    ])
}

fn on(host: &str, program: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", host]);
    command.arg(which(program).expect("seen before"));
    command
}

fn echo_on(host: &str, addr: &str) -> Process {
    let mut command = on(host, "turnutils_peer");
    command.args(["-p", &PEER_PORT.to_string(), "-L", addr]);
    let peer = Process::start(&mut command).expect("turnutils_peer");
    // It says nothing when it is ready; its socket does.
    wait_for("turnutils_peer to listen", SOON, || {
        let sockets = Command::new("ip")
            .args([
                "netns",
                "exec",
                host,
                "cat",
                "/proc/net/udp",
                "/proc/net/udp6",
            ])
            .output()
            .expect("cat");
        let port = format!(":{PEER_PORT:04X} ");
        String::from_utf8_lossy(&sockets.stdout)
            .contains(&port)
            .then_some(())
    });
    peer
}

/// Every message of a client comes back from the peer.
fn reaches(client: &str, options: &[&str], peer: &str, server: &str) {
    let mut command = on(client, "turnutils_uclient");
    command
        .args([
            "-u", USER, "-w", PASSWORD, "-p", "3478", "-l", "172", "-m", "2", "-n", "50",
        ])
        .args(["-e", peer, "-r", &PEER_PORT.to_string()])
        .args(options)
        .arg(server);
    let mut process = Process::start(&mut command).expect("turnutils_uclient");
    let status = process.wait(Duration::from_secs(60));
    let text = process.written();
    assert!(status.success(), "{text}");
    let counted = parse_totals(&text).unwrap_or_else(|| panic!("no totals in:\n{text}"));
    let seen = (counted.sent, counted.received, counted.lost);
    assert_eq!(seen, (MESSAGES, MESSAGES, 0), "{text}");
}

const PROGRAMS: [(&str, &str); 3] = [
    ("ip", "iproute2"),
    ("turnutils_uclient", "coturn"),
    ("turnutils_peer", "coturn"),
];
const NEEDS: &str = "mount -t tmpfs tests /run && ip link set lo up && ip netns add one";

#[test]
fn a_client_without_ipv4_reaches_a_peer_without_ipv6() {
    if !enter(
        "a_client_without_ipv4_reaches_a_peer_without_ipv6",
        &PROGRAMS,
        NEEDS,
    ) {
        return;
    }
    let node = node_between();
    let _peer = echo_on("four", "198.51.100.2");
    // By an IPv4 relay, and by the IPv4 half of a dual allocation, over UDP and TCP.
    for options in [&["-X"][..], &["-Z"], &["-X", "-t"]] {
        reaches("six", options, "198.51.100.2", "2001:db8:6::1");
    }
    assert!(node.metric("turn_allocations_dual_total", &["result=\"both\""]) >= 1.0);
    node.stop_now();
}

#[test]
fn a_client_without_ipv6_reaches_a_peer_without_ipv4() {
    if !enter(
        "a_client_without_ipv6_reaches_a_peer_without_ipv4",
        &PROGRAMS,
        NEEDS,
    ) {
        return;
    }
    let node = node_between();
    let _peer = echo_on("six", "2001:db8:6::2");
    for options in [&["-x"][..], &["-Z"], &["-x", "-t"]] {
        reaches("four", options, "2001:db8:6::2", "198.51.100.1");
    }
    assert!(node.metric("turn_allocations_dual_total", &["result=\"both\""]) >= 1.0);
    node.stop_now();
}
