use sterna_stun::{
    attr::{AddressFamily, AttributeType, Lifetime, RequestedAddressFamily},
    message::Method,
};

use crate::{
    EndReason, Event, Verdict,
    testing::{Caller, Node, edited},
};

#[test]
fn a_refresh_starts_the_lifetime_anew() {
    let mut node = Node::default();
    let mut alice = Caller::alice();
    node.allocate(&mut alice);
    node.pass_s(599);
    assert_eq!(node.refresh(&mut alice, 600), Ok(600));
    node.pass_s(599);
    assert_eq!(node.server().allocation_count(), 1);
    node.pass_s(1);
    node.assert_nothing_is_left();
    assert_eq!(node.refresh(&mut alice, 600), Err(437));
}

#[test]
fn lifetimes_below_the_default_are_raised_and_zero_is_the_end() {
    let mut node = Node::default();
    let mut alice = Caller::alice();
    node.allocate(&mut alice);
    assert_eq!(node.refresh(&mut alice, 1), Ok(600));
    assert_eq!(node.refresh(&mut alice, 5000), Ok(3600));
    let default = node.ask(&mut alice, Method::REFRESH, |_| Ok(()));
    assert_eq!(default.find(), Some(Lifetime(600)));
    assert_eq!(node.refresh(&mut alice, 0), Ok(0));
    assert!(node.events.iter().any(|event| {
        matches!(
            event,
            Event::Ended {
                reason: EndReason::Released,
                ..
            }
        )
    }));
    node.assert_nothing_is_left();
}

#[test]
fn a_refresh_of_the_other_family_is_443() {
    let mut node = Node::default();
    let mut alice = Caller::alice();
    node.allocate(&mut alice);
    let refresh = |node: &mut Node, alice: &mut Caller, family: &[u8]| {
        let answer = node.ask(alice, Method::REFRESH, |writer| {
            writer.raw(AttributeType::REQUESTED_ADDRESS_FAMILY, family)?;
            writer.attr(&Lifetime(0))
        });
        answer.code()
    };
    assert_eq!(refresh(&mut node, &mut alice, &[2, 0, 0, 0]), 443);
    assert_eq!(refresh(&mut node, &mut alice, &[9, 0, 0, 0]), 443);
    assert_eq!(refresh(&mut node, &mut alice, &[1]), 400);
    assert_eq!(node.server().allocation_count(), 1);
    let answer = node.ask(&mut alice, Method::REFRESH, |writer| {
        writer.attr(&RequestedAddressFamily(AddressFamily::Ipv4))
    });
    assert!(answer.is_success());
    assert_eq!(refresh(&mut node, &mut alice, &[1, 0, 0, 0]), 0);
    node.assert_nothing_is_left();
}

#[test]
fn a_malformed_lifetime_is_400() {
    let mut node = Node::default();
    let mut alice = Caller::alice();
    node.allocate(&mut alice);
    let answer = node.ask(&mut alice, Method::REFRESH, |writer| {
        writer.raw(AttributeType::LIFETIME, &[0])
    });
    assert_eq!(answer.code(), 400);
}

#[test]
fn no_refresh_reaches_beyond_the_longest_session() {
    let mut node = Node::new(1, edited(|config| config.session_max_s = 1000));
    let mut alice = Caller::alice();
    node.allocate(&mut alice);
    assert_eq!(node.refresh(&mut alice, 3600), Ok(1000));
    node.pass_s(550);
    assert_eq!(node.refresh(&mut alice, 600), Ok(450));
    node.pass_s(449);
    assert_eq!(node.refresh(&mut alice, 600), Ok(1));
    node.pass_s(1);
    node.assert_nothing_is_left();
}

#[test]
fn a_session_shorter_than_the_default_lifetime_is_told_so_at_once() {
    let mut node = Node::new(1, edited(|config| config.session_max_s = 60));
    let answer = node.ask(&mut Caller::alice(), Method::ALLOCATE, |writer| {
        writer.attr(&sterna_stun::attr::RequestedTransport::UDP)
    });
    assert_eq!(answer.find(), Some(Lifetime(60)));
    node.pass_s(60);
    node.assert_nothing_is_left();
}

// RFC 8656 §3.2: a client that moves has another 5-tuple, and no allocation there.
#[test]
fn a_client_behind_a_nat_that_rebinds_has_to_allocate_anew() {
    let mut node = Node::default();
    let mut alice = Caller::alice();
    let relayed = node.allocate(&mut alice);
    assert_eq!(node.permit(&mut alice, "8.8.8.8:5000"), 0);
    let mut moved = alice.clone();
    moved.client.addr.set_port(40_999);
    moved.nonce.clear();
    assert_eq!(node.refresh(&mut moved, 600), Err(437));
    assert_ne!(node.allocate(&mut moved), relayed);
    let verdict = node.peer_sends(0, relayed, "8.8.8.8:5000", 10);
    assert!(matches!(verdict, Verdict::ToClient { client, .. } if client == alice.client));
}
