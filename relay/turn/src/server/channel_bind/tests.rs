use sterna_stun::{
    attr::{AttributeType, ChannelNumber, XorPeerAddress},
    message::Method,
};

use crate::{
    DropReason, Verdict,
    testing::{Caller, Node, config, edited},
};

fn channel_data(number: u16, data: &[u8]) -> Vec<u8> {
    let len = u16::try_from(data.len()).expect("short");
    [&number.to_be_bytes()[..], &len.to_be_bytes(), data].concat()
}

// pion, eturnal and turn-rs accept more.
#[test]
fn channel_numbers_are_0x4000_to_0x4fff() {
    let mut node = Node::default();
    let mut alice = Caller::alice();
    node.allocate(&mut alice);
    for (number, code) in [
        (0x3fff, 400),
        (0x4000, 0),
        (0x4fff, 0),
        (0x5000, 400),
        (0x7fff, 400),
        (0x0000, 400),
        (0xffff, 400),
    ] {
        let peer = format!("8.8.8.8:{}", 5000 + u32::from(number) % 100);
        assert_eq!(node.bind(&mut alice, number, &peer), code, "{number:#x}");
    }
}

// coturn's turnutils_uclient draws its numbers from all of them.
#[test]
fn the_channel_numbers_of_rfc_5766_can_be_let_in() {
    let mut config = config();
    config.rfc5766_channels = true;
    let mut node = Node::new(1, config);
    let mut alice = Caller::alice();
    node.allocate(&mut alice);
    for (number, code) in [(0x3fff, 400), (0x5000, 0), (0x7fff, 0), (0x8000, 400)] {
        let peer = format!("8.8.8.8:{}", 5000 + u32::from(number) % 100);
        assert_eq!(node.bind(&mut alice, number, &peer), code, "{number:#x}");
    }
}

#[test]
fn a_bound_number_or_peer_is_not_bound_otherwise() {
    let mut node = Node::default();
    let mut alice = Caller::alice();
    node.allocate(&mut alice);
    assert_eq!(node.bind(&mut alice, 0x4000, "8.8.8.8:5000"), 0);
    assert_eq!(node.bind(&mut alice, 0x4000, "8.8.8.8:5001"), 400);
    assert_eq!(node.bind(&mut alice, 0x4001, "8.8.8.8:5000"), 400);
    assert_eq!(
        node.bind(&mut alice, 0x4000, "8.8.8.8:5000"),
        0,
        "the same again refreshes"
    );
    assert_eq!(node.bind(&mut alice, 0x4001, "8.8.8.8:5001"), 0);
    assert_eq!(node.server().counters().channels_bound, 2);
    let mut bob = Caller::bob();
    node.allocate(&mut bob);
    assert_eq!(
        node.bind(&mut bob, 0x4000, "8.8.8.8:5001"),
        0,
        "numbers are an allocation's own"
    );
}

#[test]
fn number_and_peer_are_both_needed() {
    let mut node = Node::default();
    let mut alice = Caller::alice();
    node.allocate(&mut alice);
    let peer = XorPeerAddress("8.8.8.8:5000".parse().expect("ok"));
    let no_peer = node.ask(&mut alice, Method::CHANNEL_BIND, |writer| {
        writer.attr(&ChannelNumber(0x4000))
    });
    let no_number = node.ask(&mut alice, Method::CHANNEL_BIND, |writer| {
        writer.attr(&peer)
    });
    let malformed = node.ask(&mut alice, Method::CHANNEL_BIND, |writer| {
        writer.raw(AttributeType::CHANNEL_NUMBER, &[0x40])?;
        writer.attr(&peer)
    });
    assert_eq!(
        [no_peer.code(), no_number.code(), malformed.code()],
        [400; 3]
    );
}

#[test]
fn peers_are_of_the_relays_family_and_within_the_policy() {
    let mut node = Node::default();
    let mut alice = Caller::alice();
    node.allocate(&mut alice);
    assert_eq!(node.bind(&mut alice, 0x4000, "[2606:4700::1]:5000"), 443);
    assert_eq!(node.bind(&mut alice, 0x4000, "10.0.0.1:5000"), 403);
    assert_eq!(
        node.bind(&mut alice, 0x4000, "8.8.8.8:53"),
        403,
        "privileged"
    );
    assert_eq!(node.bind(&mut alice, 0x4000, "8.8.8.8:0"), 403);
    assert_eq!(
        node.bind(&mut alice, 0x4000, "198.51.100.1:3478"),
        403,
        "this very node"
    );
    assert_eq!(node.bind(&mut alice, 0x4000, "8.8.8.8:1024"), 0);
}

#[test]
fn a_channel_brings_a_permission_that_dies_before_it() {
    let mut node = Node::default();
    let mut alice = Caller::alice();
    let relayed = node.allocate(&mut alice);
    assert_eq!(node.bind(&mut alice, 0x4000, "8.8.8.8:5000"), 0);
    let packet = channel_data(0x4000, b"hello");
    node.pass_s(299);
    assert!(matches!(node.send(&alice, &packet), Verdict::ToPeer { .. }));
    node.pass_s(1);
    assert_eq!(node.dropped(&alice, &packet), DropReason::NoPermission);
    let inward = node.peer_sends(0, relayed, "8.8.8.8:5000", 5);
    assert_eq!(inward, Verdict::Drop(DropReason::NoPermission));
    // CreatePermission alone revives it.
    assert_eq!(node.permit(&mut alice, "8.8.8.8:1"), 0);
    assert!(matches!(node.send(&alice, &packet), Verdict::ToPeer { .. }));
    // But does not prolong the binding: 600 s after ChannelBind it is over.
    node.refresh(&mut alice, 3600).expect("granted");
    node.pass_s(299);
    assert!(matches!(node.send(&alice, &packet), Verdict::ToPeer { .. }));
    node.pass_s(1);
    assert_eq!(node.permit(&mut alice, "8.8.8.8:1"), 0);
    assert_eq!(node.dropped(&alice, &packet), DropReason::NoChannel);
    assert_eq!(
        node.bind(&mut alice, 0x4001, "8.8.8.8:5000"),
        0,
        "the peer is free again"
    );
}

#[test]
fn binding_again_refreshes_binding_and_permission() {
    let mut node = Node::default();
    let mut alice = Caller::alice();
    node.allocate(&mut alice);
    node.refresh(&mut alice, 3600).expect("granted");
    for _ in 0..5 {
        assert_eq!(node.bind(&mut alice, 0x4000, "8.8.8.8:5000"), 0);
        node.pass_s(299);
        assert!(matches!(
            node.send(&alice, &channel_data(0x4000, b"x")),
            Verdict::ToPeer { .. }
        ));
    }
}

#[test]
fn channels_are_capped_and_the_dead_do_not_count() {
    let mut node = Node::new(
        1,
        edited(|config| config.limits.channels_per_allocation_max = 2),
    );
    let mut alice = Caller::alice();
    node.allocate(&mut alice);
    node.refresh(&mut alice, 3600).expect("granted");
    assert_eq!(node.bind(&mut alice, 0x4000, "8.8.8.8:5000"), 0);
    assert_eq!(node.bind(&mut alice, 0x4001, "8.8.8.8:5001"), 0);
    assert_eq!(node.bind(&mut alice, 0x4002, "8.8.8.8:5002"), 508);
    assert_eq!(node.bind(&mut alice, 0x4001, "8.8.8.8:5001"), 0);
    assert_eq!(node.server().counters().channels_refused, 1);
    node.pass_s(600);
    assert_eq!(node.bind(&mut alice, 0x4002, "8.8.8.8:5002"), 0);
}
