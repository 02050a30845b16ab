//! Both address families in one allocation, with clients that we did not write: coturn's (whose
//! attribute has another number in Debian's release) and `turn-client-proto`, which signs by SHA-256.
#![forbid(unsafe_code)]

mod common;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use common::client::Echo;
use common::node::{Node, PASSWORD, USER};
use common::ports::has_ipv6;
use common::tools::{EchoPeer, tool, uclient};
use common::{SOON, skip};
use turn_client_proto::api::{Transmit, TurnConfig, TurnEvent, TurnPollRet, TurnRecvRet};
use turn_client_proto::prelude::*;
use turn_client_proto::types::stun::message::IntegrityAlgorithm;
use turn_client_proto::types::{
    AddressFamily, Instant as ProtoInstant, TransportType, TurnCredentials,
};
use turn_client_proto::udp::TurnClientUdp;

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// coturn's client against an echo peer, with these options; every message must come back.
fn coturn(test: &str, options: &[&str], server: IpAddr, peer: IpAddr) -> Option<Node> {
    let client = tool(test, "turnutils_uclient", "coturn")?;
    let echo = tool(test, "turnutils_peer", "coturn")?;
    if !has_ipv6() {
        skip(test, "this machine has no ::1");
        return None;
    }
    let node = Node::start(&[]);
    let echo = EchoPeer::start(&echo, peer);
    let (addr, port) = (echo.addr.to_string(), echo.port.to_string());
    let mut arguments = vec!["-l", "172", "-m", "4", "-n", "50", "-e", &addr, "-r", &port];
    arguments.extend(options);
    let counted = uclient(&client, &node, server, node.port, &arguments);
    assert_eq!(
        (counted.sent, counted.received, counted.lost),
        (200, 200, 0)
    );
    Some(node)
}

#[test]
fn coturns_dual_allocations_reach_peers_of_either_family() {
    let test = "coturns_dual_allocations_reach_peers_of_either_family";
    for (server, peer) in [(V4, V4), (V4, V6), (V6, V4)] {
        let Some(node) = coturn(test, &["-Z"], server, peer) else {
            return;
        };
        node.wait_for_metric("turn_allocations_dual_total", &["result=\"both\""], 4.0);
        assert_eq!(
            node.metric("turn_allocations_dual_total", &["result=\"one\""]),
            0.0
        );
        node.stop_now();
    }
}

#[test]
fn coturns_dual_allocations_work_over_tcp() {
    let test = "coturns_dual_allocations_work_over_tcp";
    let Some(node) = coturn(test, &["-Z", "-t"], V4, V6) else {
        return;
    };
    node.wait_for_metric("turn_allocations_dual_total", &["result=\"both\""], 4.0);
    node.stop_now();
}

#[test]
fn coturns_client_gets_the_one_family_that_it_asks_for() {
    let test = "coturns_client_gets_the_one_family_that_it_asks_for";
    for (option, server, peer) in [("-x", V4, V6), ("-X", V6, V4)] {
        let Some(node) = coturn(test, &[option], server, peer) else {
            return;
        };
        assert_eq!(
            node.metric("turn_allocations_dual_total", &["result=\"both\""]),
            0.0
        );
        node.stop_now();
    }
}

/// A `turn-client-proto` client on a socket of its own.
struct Proto {
    client: TurnClientUdp,
    socket: UdpSocket,
    start: Instant,
    events: Vec<TurnEvent>,
    data: Vec<(SocketAddr, Vec<u8>)>,
}

impl Proto {
    fn new(server: SocketAddr) -> Self {
        let socket = UdpSocket::bind((server.ip(), 0)).expect("a socket");
        socket
            .set_read_timeout(Some(Duration::from_millis(20)))
            .expect("a timeout");
        let mut config = TurnConfig::new(TurnCredentials::new(USER, PASSWORD));
        config.set_supported_integrity(IntegrityAlgorithm::Sha256);
        config.add_address_family(AddressFamily::IPV6);
        let local = socket.local_addr().expect("a bound socket");
        Self {
            client: TurnClientUdp::allocate(local, server, config),
            socket,
            start: Instant::now(),
            events: Vec::new(),
            data: Vec::new(),
        }
    }

    fn now(&self) -> ProtoInstant {
        ProtoInstant::from_std(self.start)
    }

    /// Lets the machine work until `done` finds what it waits for.
    fn until<T>(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> Option<T>) -> T {
        let deadline = Instant::now() + SOON;
        let mut buffer = [0; 2048];
        loop {
            let now = self.now();
            assert!(
                !matches!(self.client.poll(now), TurnPollRet::Closed),
                "{what}: closed"
            );
            while let Some(transmit) = self.client.poll_transmit(now) {
                self.socket
                    .send_to(&transmit.data, transmit.to)
                    .expect("sent");
            }
            while let Some(event) = self.client.poll_event() {
                self.events.push(event);
            }
            if let Some(found) = done(self) {
                return found;
            }
            assert!(Instant::now() < deadline, "{what}: {:?}", self.events);
            let Ok((len, from)) = self.socket.recv_from(&mut buffer) else {
                continue;
            };
            let to = self.client.local_addr();
            let packet = buffer[..len].to_vec();
            let received = Transmit::new(packet, TransportType::Udp, from, to);
            if let TurnRecvRet::PeerData(data) = self.client.recv(received, now) {
                self.data.push((data.peer, data.data().to_vec()));
            }
        }
    }

    fn echoes(&mut self, peer: SocketAddr, payload: &[u8]) {
        let now = self.now();
        let transmit = self
            .client
            .send_to(TransportType::Udp, peer, payload.to_vec(), now)
            .expect("permitted");
        if let Some(transmit) = transmit {
            let transmit = transmit.build();
            self.socket
                .send_to(&transmit.data, transmit.to)
                .expect("sent");
        }
        let back = (peer, payload.to_vec());
        self.until("an echo", |this| this.data.contains(&back).then_some(()));
    }
}

#[test]
fn turn_client_proto_signs_by_sha256_and_has_an_address_of_each_family() {
    let test = "turn_client_proto_signs_by_sha256_and_has_an_address_of_each_family";
    if !has_ipv6() {
        skip(test, "this machine has no ::1");
        return;
    }
    let node = Node::start(&[]);
    let mut proto = Proto::new(node.v4());
    let relayed = proto.until("two relayed addresses", |this| {
        let relayed: Vec<_> = this
            .client
            .relayed_addresses()
            .map(|(_, addr)| addr)
            .collect();
        (relayed.len() == 2).then_some(relayed)
    });
    assert!(relayed.iter().any(SocketAddr::is_ipv4));
    assert!(relayed.iter().any(SocketAddr::is_ipv6));
    let by_sha256 = "turn_allocations_by_password_algorithm_total";
    node.wait_for_metric(by_sha256, &["algorithm=\"sha256\""], 1.0);
    node.wait_for_metric("turn_allocations_dual_total", &["result=\"both\""], 1.0);

    for ip in [V4, V6] {
        let echo = Echo::start(ip);
        let now = proto.now();
        proto
            .client
            .create_permission(TransportType::Udp, ip, now)
            .expect("asked");
        proto.until("a permission", |this| {
            this.client
                .have_permission(TransportType::Udp, ip)
                .then_some(())
        });
        proto.echoes(echo.addr(), b"by an indication");
        // The crate counts channel numbers for each family from 0x4000, so that the second family's
        // first one is bound to another peer already and is refused (RFC 8656 §12.2).
        if ip == V4 {
            continue;
        }
        let now = proto.now();
        proto
            .client
            .bind_channel(TransportType::Udp, echo.addr(), now)
            .expect("asked");
        proto.until("a channel", |this| {
            let bound = |event: &TurnEvent| {
                matches!(event, TurnEvent::ChannelCreated(_, peer) if *peer == echo.addr())
            };
            this.events.iter().any(bound).then_some(())
        });
        proto.echoes(echo.addr(), b"by a channel");
    }

    let now = proto.now();
    proto.client.delete(now).expect("asked");
    while let Some(transmit) = proto.client.poll_transmit(now) {
        proto
            .socket
            .send_to(&transmit.data, transmit.to)
            .expect("sent");
    }
    node.wait_for_metric(
        "turn_allocations_ended_total",
        &["reason=\"released\""],
        1.0,
    );
    node.stop();
}
