//! What stands around a packet, on a path with a router: DF, DSCP, ECN, fragments, and the ICMP
//! errors of the other side, with both engines (RFC 8656 §11.5, §14).
//!
//! ```text
//!   client and node 198.51.100.1 ── 198.51.100.9 router 203.0.113.1 ── 203.0.113.2 the peer
//!                   2001:db8:1::1   2001:db8:1::9        2001:db8:2::1   2001:db8:2::2
//!                        MTU 1500                            MTU 1300
//! ```
#![forbid(unsafe_code)]

mod common;

use std::net::SocketAddr;
use std::process::Command;

use common::client::Client;
use common::namespace::{self, shell};
use common::node::{Node, PASSWORD, USER};
use common::process::Process;
use common::{SOON, wait_for};
use sterna_stun::attr::{
    AddressFamily, DontFragment, Icmp, RequestedAddressFamily, RequestedTransport,
};
use sterna_stun::message::Method;

const ENGINES: [&str; 2] = ["uring", "mmsg"];

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn enter(test: &str) -> bool {
    let tools = [("ip", "iproute2"), ("python3", "python3")];
    let needs = "mount -t tmpfs tests /run && ip link set lo up && ip netns add one";
    if !namespace::enter(test, &tools, needs) {
        return false;
    }
    shell(
        "mount -t tmpfs tests /run
         ip link set lo up
         ip netns add far
         ip netns add router
         ip link add uplink type veth peer name wan netns router
         ip link add lan netns router type veth peer name uplink netns far
         ip -n router link set lan mtu 1300
         ip -n far link set uplink mtu 1300
         ip addr add 198.51.100.1/24 dev uplink
         ip addr add 2001:db8:1::1/64 dev uplink nodad
         ip link set uplink up
         ip -n router addr add 198.51.100.9/24 dev wan
         ip -n router addr add 2001:db8:1::9/64 dev wan nodad
         ip -n router addr add 203.0.113.1/24 dev lan
         ip -n router addr add 2001:db8:2::1/64 dev lan nodad
         ip -n router link set wan up
         ip -n router link set lan up
         ip -n far addr add 203.0.113.2/24 dev uplink
         ip -n far addr add 2001:db8:2::2/64 dev uplink nodad
         ip -n far link set uplink up
         ip -n far link set lo up
         ip route add default via 198.51.100.9
         ip route add default via 2001:db8:1::9
         ip -n far route add default via 203.0.113.1
         ip -n far route add default via 2001:db8:2::1
         for ns in router far; do
           ip netns exec $ns sysctl -qw net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0
         done
         ip netns exec router sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1",
    );
    true
}

fn node(engine: &str, more: &[&str]) -> Node {
    let engine = format!("node.engine={engine}");
    let mut settings = vec![
        engine.as_str(),
        "turn.listen=[\"198.51.100.1:3478\", \"[2001:db8:1::1]:3478\"]",
        "peers.allow=[\"203.0.113.0/24\", \"2001:db8:2::/64\"]",
    ];
    settings.extend(more);
    Node::start(&settings)
}

fn client() -> Client {
    let own = addr("198.51.100.1:0").ip();
    Client::from_address(own, addr("198.51.100.1:3478"), USER, PASSWORD)
}

/// Sends every datagram back from port 7, and says of each IPv4 packet that comes to that host what
/// its header says.
const PEER: &str = r#"
import socket, struct, sys, threading
echo = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
echo.bind(("203.0.113.2", 7))
wire = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
def serve():
    while True:
        data, sender = echo.recvfrom(65536)
        echo.sendto(data, sender)
threading.Thread(target=serve, daemon=True).start()
print("ready", flush=True)
while True:
    packet, link = wire.recvfrom(65536)
    if link[2] == socket.PACKET_OUTGOING or packet[9] != 17:
        continue
    tos, length, fragment = packet[1], *struct.unpack("!H2xH", packet[2:8])
    df, mf, offset = fragment >> 14 & 1, fragment >> 13 & 1, (fragment & 0x1fff) * 8
    print(f"tos={tos} len={length} df={df} mf={mf} offset={offset} ttl={packet[8]}", flush=True)
"#;

fn peer() -> Process {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", "far", "python3", "-c", PEER]);
    let process = Process::start(&mut command).expect("the peer");
    wait_for("the peer", SOON, || {
        process.stdout().contains("ready").then_some(())
    });
    process
}

/// Waits for a packet whose header says all of this, and returns what it says.
fn seen(peer: &Process, words: &[&str]) -> String {
    wait_for(&format!("{words:?}"), SOON, || {
        let text = peer.stdout();
        let line = text
            .lines()
            .rev()
            .find(|line| words.iter().all(|word| line.split(' ').any(|w| w == *word)))?;
        Some(line.to_owned())
    })
}

fn icmp(type_: u8, code: u16, mtu: u32) -> Icmp {
    Icmp {
        type_,
        code,
        data: mtu.to_be_bytes(),
    }
}

#[test]
fn a_closed_port_of_a_peer_is_told_to_the_client_and_costs_no_data() {
    if !enter("a_closed_port_of_a_peer_is_told_to_the_client_and_costs_no_data") {
        return;
    }
    let peer = peer();
    for engine in ENGINES {
        let node = node(engine, &[]);
        let client = client();
        client.allocate().expect("an allocation");
        let (closed, open) = (addr("203.0.113.2:9"), addr("203.0.113.2:7"));
        client.permit(open).expect("a permission");
        for round in 0..5 {
            client.indicate(closed, b"anybody there?", false);
            let told = client.receive_indication(SOON).expect("an error");
            assert_eq!(told, (closed, None, Some(icmp(3, 3, 0))), "{engine}");
            // The next ones on the very same socket, one of them beside another error.
            client.indicate(closed, b"anybody there?", false);
            let data = format!("round {round}").into_bytes();
            client.indicate(open, &data, false);
            let mut came = [
                client.receive_indication(SOON),
                client.receive_indication(SOON),
            ];
            came.sort_by_key(|came| came.as_ref().map(|(from, ..)| from.port()));
            assert_eq!(came[0], Some((open, Some(data), None)), "{engine}");
            assert_eq!(came[1], Some((closed, None, Some(icmp(3, 3, 0)))));
        }
        // Also where a channel is bound.
        client.bind_channel(0x4000, closed).expect("a channel");
        client.send(0x4000, b"anybody there?");
        let told = client.receive_indication(SOON).expect("an error");
        assert_eq!(told, (closed, None, Some(icmp(3, 3, 0))), "{engine}");
        node.wait_for_metric("sterna_icmp_errors_total", &["result=\"told\""], 11.0);
        assert_eq!(
            node.metric("sterna_receive_errors_total", &["reason=\"error\""]),
            0.0
        );
        node.stop_now();
    }
    drop(peer);
}

#[test]
fn over_ipv6_a_closed_port_and_a_narrow_path_are_told_to_the_client() {
    if !enter("over_ipv6_a_closed_port_and_a_narrow_path_are_told_to_the_client") {
        return;
    }
    for engine in ENGINES {
        // The router's word about the path is remembered by the host.
        shell("ip -6 route flush cache");
        let node = node(engine, &[]);
        let own = addr("[2001:db8:1::1]:0").ip();
        let client = Client::from_address(own, addr("[2001:db8:1::1]:3478"), USER, PASSWORD);
        client
            .request(Method::ALLOCATE, &|writer| {
                writer.attr(&RequestedTransport::UDP)?;
                writer.attr(&RequestedAddressFamily(AddressFamily::Ipv6))
            })
            .expect("an allocation");
        let closed = addr("[2001:db8:2::2]:9");
        client.permit(closed).expect("a permission");
        client.indicate(closed, b"anybody there?", false);
        let told = client.receive_indication(SOON).expect("an error");
        assert_eq!(told, (closed, None, Some(icmp(1, 4, 0))), "{engine}");
        client.indicate(closed, &[7; 1_400], false);
        let told = client.receive_indication(SOON).expect("an error");
        assert_eq!(told, (closed, None, Some(icmp(2, 0, 1_300))), "{engine}");
        // From now on the host fragments, as it is allowed to: what comes is the port's answer.
        client.indicate(closed, &[7; 1_400], false);
        let told = client.receive_indication(SOON).expect("an error");
        assert_eq!(told, (closed, None, Some(icmp(1, 4, 0))), "{engine}");
        node.stop_now();
    }
}

#[test]
fn on_a_narrow_path_what_must_stay_whole_is_told_and_the_rest_arrives_in_fragments() {
    if !enter("on_a_narrow_path_what_must_stay_whole_is_told_and_the_rest_arrives_in_fragments") {
        return;
    }
    for engine in ENGINES {
        shell("ip route flush cache");
        let peer = peer();
        let node = node(engine, &[]);
        let client = client();
        client
            .request(Method::ALLOCATE, &|writer| {
                writer.attr(&RequestedTransport::UDP)?;
                writer.attr(&DontFragment)
            })
            .expect("DONT-FRAGMENT is understood");
        let echo = addr("203.0.113.2:7");
        client.permit(echo).expect("a permission");
        let (long, short) = (vec![3; 1_400], vec![5; 1_100]);

        client.indicate(echo, &short, true);
        let came = client.receive_indication(SOON);
        assert_eq!(came, Some((echo, Some(short), None)), "{engine}");
        seen(&peer, &["len=1128", "df=1"]);

        // First the router says so, then the host itself, which has learnt it.
        for _ in 0..2 {
            client.indicate(echo, &long, true);
            let told = client.receive_indication(SOON).expect("an error");
            assert_eq!(told, (echo, None, Some(icmp(3, 4, 1_300))), "{engine}");
        }

        // On the same socket, in between, and in pieces.
        client.indicate(echo, &long, false);
        let came = client.receive_indication(SOON);
        assert_eq!(came, Some((echo, Some(long.clone()), None)), "{engine}");
        seen(&peer, &["df=0", "mf=1", "offset=0"]);
        client.indicate(echo, b"a small one", false);
        assert!(client.receive_indication(SOON).is_some());
        seen(&peer, &["len=39", "df=0", "mf=0", "offset=0"]);

        client.indicate(echo, &long, true);
        let told = client.receive_indication(SOON).expect("an error");
        assert_eq!(told, (echo, None, Some(icmp(3, 4, 1_300))), "{engine}");
        assert!(!peer.stdout().contains("len=1428"), "{}", peer.stdout());
        node.stop_now();
    }
}

#[test]
fn dscp_and_ecn_are_copied_unless_the_dscp_is_fixed_and_the_ttl_is_the_hosts_own() {
    if !enter("dscp_and_ecn_are_copied_unless_the_dscp_is_fixed_and_the_ttl_is_the_hosts_own") {
        return;
    }
    let peer = peer();
    for engine in ENGINES {
        // Expedited forwarding and ECT(0) come in.
        for (dscp, left) in [("copy", 0b1011_1010), ("0", 0b10), ("10", 0b0010_1010)] {
            let node = node(engine, &[&format!("turn.dscp={dscp}")]);
            let client = client();
            client.allocate().expect("an allocation");
            let echo = addr("203.0.113.2:7");
            client.bind_channel(0x4000, echo).expect("a channel");
            client.set_traffic_class(0b1011_1010);
            // A length of its own for each round.
            let data = vec![1; 100 + dscp.len() + 10 * engine.len() + left];
            client.send(0x4000, &data);
            assert_eq!(client.receive(SOON), Some((0x4000, data.clone())));
            let len = format!("len={}", data.len() + 28);
            // The router took one of 64.
            seen(&peer, &[&len, &format!("tos={left}"), "ttl=63"]);
            node.stop_now();
        }
    }
}
