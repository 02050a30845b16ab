#![allow(clippy::unwrap_used)]
use sterna_stun::{attr::ConnectionId, message::Method};

use crate::{
    Event, Transport,
    testing::{Caller, Node, edited},
};

const PEER: &str = "8.8.8.8:7000";

fn node(workers: u8) -> (Node, Caller) {
    let mut node = Node::new(workers, edited(|config| config.tcp_allocations = true));
    let mut caller = Caller::alice().over(Transport::Tcp, 7);
    node.allocate_tcp(&mut caller).unwrap();
    (node, caller)
}

#[test]
fn any_worker_joins_the_connection_and_only_once() {
    let (mut node, mut caller) = node(3);
    for (worker, peer) in ["8.8.8.8:1024", "8.8.8.8:1025", "8.8.8.8:1026"]
        .iter()
        .enumerate()
    {
        let (handle, id) = node.connect_now(&mut caller, peer);
        let route = 100 + u32::try_from(worker).unwrap();
        let mut data = caller.again(route, worker);
        assert_eq!(node.bind_connection(&mut data, id), 0);
        assert_eq!(node.joined.pop(), Some((data.client, handle)));
        let mut late = caller.again(route + 50, (worker + 1) % 3);
        assert_eq!(node.bind_connection(&mut late, id), 400);
        assert_eq!(node.servers[worker].counters().peers_bound, 1);
    }
}

#[test]
fn only_the_maker_of_the_allocation_may_bind() {
    let (mut node, mut caller) = node(1);
    let (handle, id) = node.connect_now(&mut caller, PEER);
    let mut bob = Caller::bob().over(Transport::Tcp, 9);
    assert_eq!(node.bind_connection(&mut bob, id), 441);
    let mut data = caller.again(10, 0);
    assert_eq!(node.bind_connection(&mut data, id), 0, "it is still there");
    assert_eq!(node.joined, [(data.client, handle)]);
}

#[test]
fn a_bind_over_udp_without_an_id_or_with_nobody_s_is_400() {
    let (mut node, mut caller) = node(1);
    let (_, id) = node.connect_now(&mut caller, PEER);
    let mut udp = Caller::alice();
    assert_eq!(node.bind_connection(&mut udp, id), 400);
    let mut data = caller.again(10, 0);
    assert_eq!(node.bind_connection(&mut data, id.wrapping_add(1)), 400);
    let answer = node.ask(&mut data, Method::CONNECTION_BIND, |_| Ok(()));
    assert_eq!(answer.code(), 400);
    assert_eq!(
        node.bind_connection(&mut data, id),
        0,
        "the same connection may try again"
    );
}

#[test]
fn a_connection_that_controls_an_allocation_binds_nothing() {
    let (mut node, mut caller) = node(1);
    let (_, id) = node.connect_now(&mut caller, PEER);
    assert_eq!(node.bind_connection(&mut caller, id), 400);
    assert!(node.joined.is_empty());
}

#[test]
fn a_bind_without_credentials_is_401() {
    let (mut node, mut caller) = node(1);
    let (_, id) = node.connect_now(&mut caller, PEER);
    let mut data = caller.again(10, 0);
    let packet = data.unsigned(Method::CONNECTION_BIND, |writer| {
        writer.attr(&ConnectionId(id))
    });
    assert_eq!(node.answer(&data, &packet).code(), 401);
    assert!(node.joined.is_empty());
}

#[test]
fn what_nobody_binds_within_30_seconds_is_closed() {
    let (mut node, mut caller) = node(2);
    let (abandoned, id) = node.connect_now(&mut caller, PEER);
    let (kept, other) = node.connect_now(&mut caller, "8.8.8.8:7001");
    assert_eq!(node.bind_connection(&mut caller.again(10, 1), other), 0);
    node.pass_s(29);
    assert!(node.peers.contains_key(&abandoned));
    node.pass_s(1);
    assert!(!node.peers.contains_key(&abandoned) && node.peers.contains_key(&kept));
    assert_eq!(node.bind_connection(&mut caller.again(11, 0), id), 400);
    assert_eq!(node.server().counters().peers_unbound, 1);
    let usage = node.registry.usage();
    assert_eq!((usage.peer_connections, usage.unbound_connections), (1, 0));
}

#[test]
fn a_peer_that_went_before_it_was_bound_leaves_no_id() {
    let (mut node, mut caller) = node(1);
    let (handle, id) = node.connect_now(&mut caller, PEER);
    node.connection_closes(0, handle);
    assert_eq!(node.bind_connection(&mut caller.again(10, 0), id), 400);
    let view = node.servers[0].allocations(node.now).next().unwrap();
    assert_eq!(view.connections, Some(0));
}

#[test]
fn bytes_count_while_a_connection_stands_and_when_the_allocation_ends() {
    let (mut node, mut caller) = node(1);
    let (_, id) = node.connect_now(&mut caller, PEER);
    assert_eq!(node.bind_connection(&mut caller.again(10, 0), id), 0);
    let (_, meter) = node.meters.first_key_value().unwrap();
    meter.add_to_peers(10);
    meter.add_to_client(20);
    let view = node.servers[0].allocations(node.now).next().unwrap();
    assert_eq!((view.to_peers.bytes, view.to_client.bytes), (10, 20));
    assert_eq!(node.refresh(&mut caller, 0), Ok(0));
    assert!(node.events.iter().any(|event| {
        matches!(event, Event::Ended { to_peers, to_client, .. }
            if (to_peers.bytes, to_client.bytes) == (10, 20))
    }));
}
