use sterna_stun::{
    attr::{AttributeType, XorPeerAddress},
    message::Method,
};

use crate::{
    DropReason, Verdict,
    limits::PEERS_PER_REQUEST_MAX,
    testing::{Caller, Node, edited},
};

fn permit_all(node: &mut Node, caller: &mut Caller, peers: &[&str]) -> u16 {
    let answer = node.ask(caller, Method::CREATE_PERMISSION, |writer| {
        let mut peers = peers
            .iter()
            .map(|peer| XorPeerAddress(peer.parse().expect("ok")));
        peers.try_for_each(|peer| writer.attr(&peer))
    });
    answer.code()
}

fn may_come_in(node: &mut Node, relayed: std::net::SocketAddr, from: &str) -> bool {
    matches!(
        node.peer_sends(0, relayed, from, 1),
        Verdict::ToClient { .. }
    )
}

#[test]
fn a_permission_is_for_an_address_whatever_the_port() {
    let mut node = Node::default();
    let mut alice = Caller::alice();
    let relayed = node.allocate(&mut alice);
    assert!(!may_come_in(&mut node, relayed, "8.8.8.8:5000"));
    assert_eq!(node.permit(&mut alice, "8.8.8.8:0"), 0);
    assert!(may_come_in(&mut node, relayed, "8.8.8.8:5000"));
    assert!(may_come_in(&mut node, relayed, "8.8.8.8:5001"));
    assert!(!may_come_in(&mut node, relayed, "8.8.4.4:5000"));
}

#[test]
fn a_permission_lasts_300_seconds_and_traffic_does_not_refresh_it() {
    let mut node = Node::default();
    let mut alice = Caller::alice();
    let relayed = node.allocate(&mut alice);
    node.refresh(&mut alice, 3600).expect("granted");
    assert_eq!(node.permit(&mut alice, "8.8.8.8:1"), 0);
    node.pass_s(299);
    assert!(may_come_in(&mut node, relayed, "8.8.8.8:5000"));
    node.pass_s(1);
    assert!(!may_come_in(&mut node, relayed, "8.8.8.8:5000"));
    assert_eq!(node.permit(&mut alice, "8.8.8.8:1"), 0);
    node.pass_s(200);
    assert_eq!(node.permit(&mut alice, "8.8.8.8:1"), 0);
    node.pass_s(299);
    assert!(may_come_in(&mut node, relayed, "8.8.8.8:5000"));
}

// pion, and coturn until 4.16, install those before the one that is refused.
#[test]
fn several_peers_are_all_or_nothing() {
    let mut node = Node::default();
    let mut alice = Caller::alice();
    let relayed = node.allocate(&mut alice);
    assert_eq!(
        permit_all(
            &mut node,
            &mut alice,
            &["8.8.8.8:1", "127.0.0.1:1", "8.8.4.4:1"]
        ),
        403
    );
    assert_eq!(
        permit_all(&mut node, &mut alice, &["8.8.8.8:1", "[2606:4700::1]:1"]),
        443
    );
    assert!(!may_come_in(&mut node, relayed, "8.8.8.8:5000"));
    assert_eq!(
        permit_all(
            &mut node,
            &mut alice,
            &["8.8.8.8:1", "8.8.4.4:1", "8.8.8.8:2"]
        ),
        0
    );
    assert!(may_come_in(&mut node, relayed, "8.8.8.8:5000"));
    assert!(may_come_in(&mut node, relayed, "8.8.4.4:5000"));
    assert_eq!(node.server().counters().permissions_installed, 2);
}

#[test]
fn no_peer_or_a_malformed_one_is_400() {
    let mut node = Node::default();
    let mut alice = Caller::alice();
    node.allocate(&mut alice);
    assert_eq!(permit_all(&mut node, &mut alice, &[]), 400);
    let malformed = node.ask(&mut alice, Method::CREATE_PERMISSION, |writer| {
        writer.attr(&XorPeerAddress("8.8.8.8:1".parse().expect("ok")))?;
        writer.raw(AttributeType::XOR_PEER_ADDRESS, &[0, 1, 0])
    });
    assert_eq!(malformed.code(), 400);
}

// CVE-2026-27624, CVE-2020-26262 and others: the server's own network, however it is spelled.
#[test]
fn no_spelling_of_loopback_is_permitted() {
    use sterna_stun::attr::{AddressFamily, RequestedAddressFamily};
    let mut node = Node::default();
    let mut v4 = Caller::alice();
    node.allocate(&mut v4);
    for spelling in ["127.0.0.1:9", "127.9.9.9:9", "0.0.0.0:9", "0.0.0.1:9"] {
        assert_eq!(node.permit(&mut v4, spelling), 403, "{spelling}");
        assert_eq!(node.bind(&mut v4, 0x4000, spelling), 403, "{spelling}");
    }
    let mut v6 = Caller::bob();
    let family = RequestedAddressFamily(AddressFamily::Ipv6);
    node.allocate_with(&mut v6, |writer| writer.attr(&family))
        .expect("served");
    for spelling in [
        "[::]:9999",
        "[::1]:9999",
        "[::ffff:127.0.0.1]:9999",
        "[::127.0.0.1]:9999",
        "[::ffff:0.0.0.0]:9999",
        "[2002:7f00:1::1]:9999",
        "[64:ff9b::127.0.0.1]:9999",
        "[64:ff9b::7f00:1]:9999",
    ] {
        assert_eq!(node.permit(&mut v6, spelling), 403, "{spelling}");
        assert_eq!(node.bind(&mut v6, 0x4000, spelling), 403, "{spelling}");
    }
}

#[test]
fn permissions_are_capped_and_the_dead_do_not_count() {
    let mut node = Node::new(
        1,
        edited(|config| config.limits.permissions_per_allocation_max = 2),
    );
    let mut alice = Caller::alice();
    node.allocate(&mut alice);
    assert_eq!(
        permit_all(
            &mut node,
            &mut alice,
            &["8.8.8.1:1", "8.8.8.2:1", "8.8.8.3:1"]
        ),
        508
    );
    assert_eq!(
        permit_all(&mut node, &mut alice, &["8.8.8.1:1", "8.8.8.2:1"]),
        0
    );
    assert_eq!(node.permit(&mut alice, "8.8.8.3:1"), 508);
    assert_eq!(
        node.permit(&mut alice, "8.8.8.2:1"),
        0,
        "a refresh is not new"
    );
    assert_eq!(node.bind(&mut alice, 0x4000, "8.8.8.3:5000"), 508);
    assert_eq!(node.server().counters().permissions_refused, 3);
    node.pass_s(300);
    assert_eq!(node.permit(&mut alice, "8.8.8.3:1"), 0);
}

#[test]
fn new_peers_are_limited_in_their_rate() {
    let mut node = Node::new(
        1,
        edited(|config| config.limits.new_peers_per_allocation_per_s = 2),
    );
    let mut alice = Caller::alice();
    node.allocate(&mut alice);
    assert_eq!(node.permit(&mut alice, "8.8.8.1:1"), 0);
    assert_eq!(node.bind(&mut alice, 0x4000, "8.8.8.1:5000"), 0);
    assert_eq!(node.permit(&mut alice, "8.8.8.2:1"), 508);
    assert_eq!(node.bind(&mut alice, 0x4001, "8.8.8.1:5001"), 508);
    assert_eq!(
        node.permit(&mut alice, "8.8.8.1:1"),
        0,
        "a refresh is not new"
    );
    assert_eq!(
        node.bind(&mut alice, 0x4000, "8.8.8.1:5000"),
        0,
        "a refresh is not new"
    );
    assert_eq!(node.server().counters().new_peers_refused, 2);
    node.pass_s(1);
    assert_eq!(node.permit(&mut alice, "8.8.8.2:1"), 0);
}

#[test]
fn a_send_indication_never_installs_a_permission() {
    let mut node = Node::default();
    let mut alice = Caller::alice();
    let relayed = node.allocate(&mut alice);
    let packet = alice.indication(Method::SEND, |writer| {
        writer.attr(&XorPeerAddress("8.8.8.8:5000".parse().expect("ok")))?;
        writer.attr(&sterna_stun::attr::Data(b"hello"))
    });
    assert_eq!(node.dropped(&alice, &packet), DropReason::NoPermission);
    assert!(!may_come_in(&mut node, relayed, "8.8.8.8:5000"));
}

// A message over TCP has room for thousands.
#[test]
fn more_peers_in_one_request_than_a_packet_has_room_for_are_508_and_none_is_let_in() {
    let mut node = Node::new(
        1,
        edited(|config| {
            config.limits.permissions_per_allocation_max = 0;
            config.limits.new_peers_per_allocation_per_s = 0;
        }),
    );
    let mut alice = Caller::alice();
    let relayed = node.allocate(&mut alice);
    let peers: Vec<String> = (0..=PEERS_PER_REQUEST_MAX)
        .map(|n| format!("8.8.{n}.8:1"))
        .collect();
    let peers: Vec<&str> = peers.iter().map(String::as_str).collect();
    assert_eq!(permit_all(&mut node, &mut alice, &peers), 508);
    assert!(!may_come_in(&mut node, relayed, "8.8.1.8:5000"));
    assert_eq!(node.server().counters().permissions_refused, 1);
    assert_eq!(permit_all(&mut node, &mut alice, &peers[1..]), 0);
    assert!(may_come_in(&mut node, relayed, "8.8.1.8:5000"));
}
