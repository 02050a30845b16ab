//! NAT behaviour discovery (RFC 5780) with coturn's client, without a NAT and behind several kinds.
//!
//! A test runs itself again in a network namespace of its own, which is the public side and ends
//! with it: the node has two addresses there. Behind a NAT, two more namespaces are the router and
//! the home behind it:
//!
//! ```text
//!   home 10.77.0.2 ── 10.77.0.1 router 198.51.100.9 ── 198.51.100.1, 198.51.100.2 the node
//! ```
#![forbid(unsafe_code)]

mod common;
#[path = "../xtask/src/lab/nat.rs"]
#[allow(dead_code, reason = "the lab has more kinds, and their names")]
mod nat;

use std::process::{Command, Stdio};

use common::namespace::{self, home_behind_router, router_rules, shell};
use common::node::Node;
use common::tools::which;
use nat::Nat;

/// Runs this test in namespaces of its own; true in there.
fn enter(test: &str) -> bool {
    namespace::enter(
        test,
        &[
            ("ip", "iproute2"),
            ("nft", "nftables"),
            ("python3", "python3"),
            ("turnutils_natdiscovery", "coturn"),
        ],
        "mount -t tmpfs tests /run && ip link set lo up && ip netns add one && nft list ruleset",
    )
}

/// The node on both of its addresses; loopback for the test's own questions.
fn node() -> Node {
    Node::start(&[
        "turn.listen=[\"198.51.100.1:3478\"]",
        "turn.alternate_listen=[\"198.51.100.2:3479\"]",
    ])
}

/// A host with four addresses and no NAT.
fn no_nat() -> Node {
    shell(
        "ip link set lo up
         for host in 1 2 10 11; do ip addr add 198.51.100.$host/24 dev lo; done",
    );
    node()
}

/// A home behind a router that translates so.
fn behind(nat: Nat) -> Node {
    home_behind_router("198.51.100.9");
    router_rules(&nat.rules("198.51.100.9"));
    node()
}

/// What coturn's client says, run with these arguments where `enter` begins the command.
fn natdiscovery(enter: &[&str], arguments: &str) -> String {
    let program = which("turnutils_natdiscovery").expect("seen before");
    let program = program.to_string_lossy().into_owned();
    let words: Vec<&str> = enter
        .iter()
        .copied()
        .chain([program.as_str()])
        .chain(arguments.split(' '))
        .chain(["198.51.100.1"])
        .collect();
    let output = Command::new(words[0])
        .args(&words[1..])
        .output()
        .expect("turnutils_natdiscovery");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

const HOME: [&str; 4] = ["ip", "netns", "exec", "home"];

fn silent(text: &str, sentence: &str) {
    assert!(!text.contains(sentence), "{sentence:?} in:\n{text}");
}

fn says(text: &str, sentence: &str) {
    assert!(text.contains(sentence), "no {sentence:?} in:\n{text}");
}

/// The early-packet test of docs/NAT_DISCOVERY.md: prints the mapped port of each step, or 0 where
/// nobody was heard.
const EARLY_PACKET: &str = r#"
import os, socket, struct, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("0.0.0.0", 41037))
def ask(to, change, patience):
    """Asks until answered; the mapped port, or 0 when nobody answers. A change is asked for once."""
    id = os.urandom(12)
    body = struct.pack("!HHI", 3, 4, change) if change else b""
    request = struct.pack("!HHI", 1, len(body), 0x2112A442) + id + body
    s.settimeout(patience)
    for _ in range(1 if change else 5):
        s.sendto(request, to)
        try:
            answer = s.recv(999)
        except TimeoutError:
            continue
        at = 20
        while at < len(answer) and answer[8:20] == id:
            kind, length = struct.unpack_from("!HH", answer, at)
            if kind == 0x20:
                return struct.unpack_from("!H", answer, at + 6)[0] ^ 0x2112
            at += 4 + (length + 3 & ~3)
    return 0
a1, a2 = "198.51.100.1", "198.51.100.2"
print(ask((a1, 3478), 0, 3), ask((a2, 3478), 0, 3), ask((a1, 3478), 6, 0.7), ask((a2, 3479), 0, 3))
"#;

fn early_packet() -> Vec<u16> {
    let output = Command::new(HOME[0])
        .args(&HOME[1..])
        .args(["python3", "-c", EARLY_PACKET])
        .stderr(Stdio::inherit())
        .output()
        .expect("python3");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let ports = text
        .split_whitespace()
        .map(|word| word.parse().expect("a port"));
    ports.collect()
}

#[test]
fn without_a_nat_every_mode_of_coturns_client_finds_none() {
    if !enter("without_a_nat_every_mode_of_coturns_client_finds_none") {
        return;
    }
    let node = no_nat();
    let ask = |arguments: &str| natdiscovery(&[], arguments);
    // The second time with 1500 bytes of PADDING, both ways.
    for padded in ["", "-P "] {
        let mapping = ask(&format!("{padded}-m -L 198.51.100.10"));
        says(&mapping, "No NAT! (Endpoint Independent Mapping)");
        let filtering = ask(&format!("{padded}-f -L 198.51.100.10"));
        says(&filtering, "NAT with Endpoint Independent Filtering!");
        let hairpin = ask(&format!("{padded}-H -L 198.51.100.10"));
        says(
            &hairpin,
            "Received a request (maybe a successful hairpinning)",
        );
        let collision = ask(&format!("{padded}-c -L 198.51.100.10 -A 198.51.100.11"));
        says(&collision, "Collision Behavior Discovery");
        silent(&collision, "STUN receive timeout");
    }
    let lifetime = ask("-t -T 1 -L 198.51.100.10");
    silent(&lifetime, "STUN receive timeout");
    for (kind, at_least) in [
        ("change_request", 2.0),
        ("response_port", 1.0),
        ("padding", 5.0),
    ] {
        node.wait_for_metric("stun_discovery_total", &[kind], at_least);
    }
    node.stop();
}

#[test]
fn a_home_router_maps_alike_for_all_and_lets_only_the_asked_port_in() {
    if !enter("a_home_router_maps_alike_for_all_and_lets_only_the_asked_port_in") {
        return;
    }
    let node = behind(Nat::LinuxHome);
    let mapping = natdiscovery(&HOME, "-m -L 10.77.0.2");
    says(&mapping, "NAT with Endpoint Independent Mapping!");
    let filtering = natdiscovery(&HOME, "-f -L 10.77.0.2");
    says(&filtering, "NAT with Address and Port Dependent Filtering!");
    assert_eq!(early_packet(), [41_037, 41_037, 0, 41_037]);
    node.stop();
}

#[test]
fn a_full_cone_maps_alike_for_all_and_lets_everybody_in() {
    if !enter("a_full_cone_maps_alike_for_all_and_lets_everybody_in") {
        return;
    }
    let node = behind(Nat::FullCone);
    let mapping = natdiscovery(&HOME, "-m -P -L 10.77.0.2");
    says(&mapping, "NAT with Endpoint Independent Mapping!");
    let filtering = natdiscovery(&HOME, "-f -L 10.77.0.2");
    says(&filtering, "NAT with Endpoint Independent Filtering!");
    assert_eq!(early_packet(), [41_037; 4]);
    node.stop();
}

#[test]
fn a_restricted_cone_lets_in_whom_the_inside_has_sent_to() {
    if !enter("a_restricted_cone_lets_in_whom_the_inside_has_sent_to") {
        return;
    }
    let node = behind(Nat::Restricted);
    let filtering = natdiscovery(&HOME, "-f -L 10.77.0.2");
    says(&filtering, "NAT with Address Dependent Filtering!");
    node.stop();
}

#[test]
fn a_symmetric_nat_has_a_mapping_for_each_address_and_port() {
    if !enter("a_symmetric_nat_has_a_mapping_for_each_address_and_port") {
        return;
    }
    let node = behind(Nat::Symmetric);
    let mapping = natdiscovery(&HOME, "-m -L 10.77.0.2");
    says(&mapping, "NAT with Address and Port Dependent Mapping!");
    let filtering = natdiscovery(&HOME, "-f -L 10.77.0.2");
    says(&filtering, "NAT with Address and Port Dependent Filtering!");
    node.stop();
}

/// The router's input accepts: what RFC 5780 calls endpoint-independent is moved by an early packet.
#[test]
fn an_early_packet_moves_the_mapping_of_a_router_that_accepts_input() {
    if !enter("an_early_packet_moves_the_mapping_of_a_router_that_accepts_input") {
        return;
    }
    let node = behind(Nat::LinuxHost);
    let mapping = natdiscovery(&HOME, "-m -L 10.77.0.2");
    says(&mapping, "NAT with Endpoint Independent Mapping!");
    let ports = early_packet();
    assert_eq!(ports[..3], [41_037, 41_037, 0]);
    assert!(ports[3] != 41_037 && ports[3] != 0, "{ports:?}");
    node.stop();
}
