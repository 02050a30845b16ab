use std::{net::SocketAddr, ops::RangeInclusive};

use sterna_stun::attr::EvenPort;

use super::*;
use crate::{
    PortError, Transport, Verdict,
    limits::RELAY_PORT_INDEX_MAX,
    testing::{Caller, Node, config, edited},
};

fn relay(port: u16) -> SocketAddr {
    SocketAddr::new("198.51.100.1".parse().expect("an address"), port)
}

fn with_ports(ports: RangeInclusive<u16>) -> Node {
    Node::new(1, edited(|config| config.relay_ports = ports))
}

fn pair(
    writer: &mut sterna_stun::writer::MessageWriter<'_>,
) -> Result<(), sterna_stun::writer::Full> {
    writer.attr(&EvenPort { reserve_next: true })
}

#[test]
fn a_port_that_somebody_else_holds_is_skipped_and_counted() {
    let mut node = with_ports(50_000..=50_007);
    node.foreign = (50_000..50_007).map(relay).collect();
    assert_eq!(
        node.allocate(&mut Caller::alice()),
        relay(50_007),
        "the one that is free"
    );
    let skipped = node.server().counters().ports_skipped;
    assert_eq!(skipped, u64::try_from(node.asked.len() - 1).expect("few"));
    assert_eq!(node.allocate_with(&mut Caller::bob(), |_| Ok(())), Err(508));
}

#[test]
fn a_foreign_port_is_tried_again_once_it_is_free() {
    let mut node = with_ports(50_000..=50_000);
    node.foreign.insert(relay(50_000));
    assert_eq!(
        node.allocate_with(&mut Caller::alice(), |_| Ok(())),
        Err(508)
    );
    node.foreign.clear();
    node.pass_s(5);
    assert_eq!(node.allocate(&mut Caller::bob()), relay(50_000));
}

// CVE-2025-69217 and CVE-2020-6061's time: ports that can be foretold.
#[test]
fn consecutive_ports_are_not_foretold_by_the_ones_before() {
    let mut node = Node::default();
    let ports: Vec<i32> = (1..200)
        .map(|port| Caller::new(&format!("203.0.113.10:{port}"), "alice", "alice's"))
        .map(|mut caller| node.allocate(&mut caller).port().into())
        .collect();
    let mut steps: Vec<i32> = ports.windows(2).map(|pair| pair[1] - pair[0]).collect();
    steps.sort_unstable();
    steps.dedup();
    assert!(steps.len() > 190, "steps between ports repeat");
    let mut other = Node::seeded(1, config(), 1);
    assert_ne!(
        other.allocate(&mut Caller::alice()).port(),
        Node::default().allocate(&mut Caller::alice()).port()
    );
}

#[test]
fn a_pair_whose_second_port_is_foreign_is_given_back_whole() {
    let mut node = with_ports(50_000..=50_003);
    node.foreign.insert(relay(50_001));
    let relayed = node
        .allocate_with(&mut Caller::alice(), pair)
        .expect("the other pair");
    assert_eq!(relayed, relay(50_002));
    assert_eq!(node.open.len(), 1);
    assert_eq!(node.registry.usage().ports, 2);
    node.foreign.insert(relay(50_000));
    node.pass_s(5);
    assert_eq!(node.allocate_with(&mut Caller::bob(), pair), Err(508));
    node.pass_s(600);
    node.assert_nothing_is_left();
}

#[test]
fn want_of_descriptors_is_508_and_leaves_nothing_behind() {
    for wants_pair in [false, true] {
        for error in [PortError::Exhausted, PortError::Other] {
            let mut node = Node::default();
            let mut alice = Caller::alice();
            node.challenge(&mut alice);
            node.refuse_next = Some(error);
            let outcome =
                node.allocate_with(
                    &mut alice,
                    |writer| {
                        if wants_pair { pair(writer) } else { Ok(()) }
                    },
                );
            assert_eq!(outcome, Err(508));
            assert_eq!(node.server().counters().ports_exhausted, 1);
            node.assert_nothing_is_left();
        }
    }
}

#[test]
fn a_held_socket_that_cannot_be_adopted_is_dropped() {
    let mut node = Node::default();
    let mut alice = Caller::alice();
    let answer = node.ask(
        &mut alice,
        sterna_stun::message::Method::ALLOCATE,
        |writer| {
            writer.attr(&sterna_stun::attr::RequestedTransport::UDP)?;
            pair(writer)
        },
    );
    let token: sterna_stun::attr::ReservationToken = answer.find().expect("a token");
    let mut again = Caller::new("203.0.113.10:40001", "alice", "alice's");
    node.challenge(&mut again);
    node.refuse_next = Some(PortError::Exhausted);
    assert_eq!(
        node.allocate_with(&mut again, |writer| writer.attr(&token)),
        Err(508)
    );
    node.refresh(&mut alice, 0).expect("released");
    node.pass_s(60);
    node.assert_nothing_is_left();
}

#[test]
fn a_handle_beyond_the_index_is_refused_and_closed() {
    let mut node = Node::default();
    let mut alice = Caller::alice();
    node.challenge(&mut alice);
    let packet = alice.signed(sterna_stun::message::Method::ALLOCATE, |writer| {
        writer.attr(&sterna_stun::attr::RequestedTransport::UDP)
    });
    let server = &mut node.servers[0];
    server.handle_client(node.now, alice.client, &packet);
    let mut out = [0; 1280];
    let Some(Command::BindPort { token, .. }) = server.poll_command(&mut out) else {
        panic!("asks for a port")
    };
    let port = RelayPort(RELAY_PORT_INDEX_MAX);
    server.handle_port(node.now, token, Ok(port));
    assert_eq!(
        server.poll_command(&mut out),
        Some(Command::ReleasePort { port })
    );
    node.settle(0);
    assert_eq!(node.answers.pop_back().expect("an answer").code(), 508);
    node.assert_nothing_is_left();
}

#[test]
fn a_connection_that_closes_before_its_socket_is_open_leaves_nothing() {
    let mut node = Node::default();
    let mut alice = Caller::alice().over(Transport::Tcp, 5);
    node.challenge(&mut alice);
    let packet = alice.signed(sterna_stun::message::Method::ALLOCATE, |writer| {
        writer.attr(&sterna_stun::attr::RequestedTransport::UDP)?;
        pair(writer)
    });
    let verdict = node.servers[0].handle_client(node.now, alice.client, &packet);
    assert_eq!(verdict, Verdict::Handled);
    // The same request again waits for the same socket; another one is a mismatch.
    assert_eq!(
        node.servers[0].handle_client(node.now, alice.client, &packet),
        Verdict::Handled
    );
    node.servers[0].handle_stream_closed(node.now, alice.client);
    node.settle(0);
    assert!(node.answers.iter().all(|answer| !answer.is_success()));
    node.pass_s(60);
    node.assert_nothing_is_left();
}
