#![allow(clippy::unwrap_used)]
use sterna_stun::attr::{AttributeType, ConnectionId, XorPeerAddress};

use crate::{
    PeerConnection, RelayPort, Transport,
    testing::{Caller, Node, edited},
};

const PEER: &str = "8.8.8.8:7000";

fn node() -> (Node, Caller) {
    let node = Node::new(1, edited(|config| config.tcp_allocations = true));
    (node, Caller::alice().over(Transport::Tcp, 7))
}

#[test]
fn a_peer_with_a_permission_is_announced_with_its_address_and_an_id() {
    let (mut node, mut caller) = node();
    let relayed = node.allocate_tcp(&mut caller).unwrap();
    assert_eq!(node.permit(&mut caller, "8.8.8.8:1"), 0);
    let (handle, indication) = node.attempt(0, relayed, PEER);
    let indication = indication.unwrap();
    assert_eq!(indication.client, caller.client);
    assert_eq!(
        indication.types(),
        [
            AttributeType::XOR_PEER_ADDRESS,
            AttributeType::CONNECTION_ID
        ]
    );
    assert_eq!(
        indication.find::<XorPeerAddress>(),
        Some(XorPeerAddress(PEER.parse().unwrap()))
    );
    let ConnectionId(id) = indication.find().unwrap();
    let mut data = caller.again(9, 0);
    assert_eq!(node.bind_connection(&mut data, id), 0);
    assert_eq!(node.joined, [(data.client, handle)]);
    assert_eq!(node.server().counters().peers_accepted, 1);
}

#[test]
fn a_peer_without_a_permission_is_closed_at_once_and_nobody_is_told() {
    let (mut node, mut caller) = node();
    let relayed = node.allocate_tcp(&mut caller).unwrap();
    let (handle, indication) = node.attempt(0, relayed, PEER);
    assert!(indication.is_none() && !node.peers.contains_key(&handle));
    assert_eq!(node.permit(&mut caller, PEER), 0);
    assert!(node.attempt(0, relayed, PEER).1.is_some());
    node.pass_s(301);
    let (handle, indication) = node.attempt(0, relayed, "8.8.8.8:7001");
    assert!(
        indication.is_none() && !node.peers.contains_key(&handle),
        "expired"
    );
    assert_eq!(node.server().counters().peers_without_permission, 2);
    assert_eq!(node.registry.usage().peer_connections, 0);
}

#[test]
fn one_more_than_the_cap_is_closed() {
    let (mut node, mut caller) = node();
    node.reconfigure(|config| config.limits.tcp_peer_connections_per_allocation_max = 1);
    let relayed = node.allocate_tcp(&mut caller).unwrap();
    assert_eq!(node.permit(&mut caller, PEER), 0);
    assert!(node.attempt(0, relayed, PEER).1.is_some());
    let (handle, indication) = node.attempt(0, relayed, "8.8.8.8:7001");
    assert!(indication.is_none() && !node.peers.contains_key(&handle));
    assert_eq!(node.server().counters().peer_connections_refused, 1);
}

#[test]
fn nobody_s_listener_has_no_connections() {
    let (mut node, _) = node();
    let handle = PeerConnection(5);
    node.peers.insert(handle, RelayPort(1));
    let from = PEER.parse().unwrap();
    node.servers[0].handle_peer_connection(node.now, RelayPort(1), from, handle);
    node.settle(0);
    node.assert_nothing_is_left();
}

#[test]
fn a_permission_that_ends_leaves_what_is_connected() {
    let (mut node, mut caller) = node();
    let relayed = node.allocate_tcp(&mut caller).unwrap();
    assert_eq!(node.permit(&mut caller, PEER), 0);
    let (handle, indication) = node.attempt(0, relayed, PEER);
    let ConnectionId(id) = indication.unwrap().find().unwrap();
    assert_eq!(node.bind_connection(&mut caller.again(9, 0), id), 0);
    node.pass_s(400);
    assert!(node.peers.contains_key(&handle));
}
