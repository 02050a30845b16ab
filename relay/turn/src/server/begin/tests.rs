use std::net::SocketAddr;

use sterna_stun::{
    attr::{
        AdditionalAddressFamily, AddressErrorCode, AddressFamily, AttributeType, ChannelNumber,
        EvenPort, Lifetime, RequestedAddressFamily, RequestedTransport, XorPeerAddress,
        XorRelayedAddress,
    },
    message::Method,
    writer::{Full, MessageWriter},
};

use crate::{
    DropReason, EndReason, Event, PortError, Transport, Verdict,
    testing::{Answer, Caller, Node, config, edited},
};

const V4: AddressFamily = AddressFamily::Ipv4;
const V6: AddressFamily = AddressFamily::Ipv6;
const PEER_V4: &str = "8.8.8.8:5000";
const PEER_V6: &str = "[2606:4700::1]:5000";

fn ask_for_both(writer: &mut MessageWriter<'_>) -> Result<(), Full> {
    writer.attr(&RequestedTransport::UDP)?;
    writer.attr(&AdditionalAddressFamily(V6))
}

fn relayed(answer: &Answer) -> Vec<SocketAddr> {
    let message = answer.message();
    let all = message.find_all::<XorRelayedAddress>();
    all.map(|addr| addr.expect("well formed").0).collect()
}

fn refused(answer: &Answer) -> Option<(AddressFamily, u16)> {
    let refused = answer.find::<AddressErrorCode<'_>>()?;
    Some((refused.family, refused.code))
}

/// A dual allocation, its IPv4 half first.
fn dual(node: &mut Node, caller: &mut Caller) -> (SocketAddr, SocketAddr) {
    let answer = node.ask(caller, Method::ALLOCATE, ask_for_both);
    assert_eq!(refused(&answer), None);
    let relayed = relayed(&answer);
    assert_eq!(relayed.len(), 2);
    assert!(relayed[0].is_ipv4() && relayed[1].is_ipv6());
    (relayed[0], relayed[1])
}

/// Refreshes one half; the granted lifetime or the error's code.
fn refresh_half(
    node: &mut Node,
    caller: &mut Caller,
    family: AddressFamily,
    lifetime_s: u32,
) -> Result<u32, u16> {
    let answer = node.ask(caller, Method::REFRESH, |writer| {
        writer.attr(&RequestedAddressFamily(family))?;
        writer.attr(&Lifetime(lifetime_s))
    });
    match answer.find::<Lifetime>() {
        Some(Lifetime(granted_s)) if answer.is_success() => Ok(granted_s),
        _ => Err(answer.code()),
    }
}

fn send_to(node: &mut Node, caller: &mut Caller, peer: &str) -> Verdict {
    let packet = caller.indication(Method::SEND, |writer| {
        writer.attr(&XorPeerAddress(peer.parse().expect("an address")))?;
        writer.attr(&sterna_stun::attr::Data(b"x"))
    });
    node.send(caller, &packet)
}

#[test]
fn a_dual_allocation_has_an_address_of_each_family_under_either_number_of_the_attribute() {
    for type_ in [
        AttributeType::ADDITIONAL_ADDRESS_FAMILY,
        AttributeType::ADDITIONAL_ADDRESS_FAMILY_COTURN,
    ] {
        let mut node = Node::default();
        let answer = node.ask(&mut Caller::alice(), Method::ALLOCATE, |writer| {
            writer.attr(&RequestedTransport::UDP)?;
            writer.raw(type_, &[2, 0, 0, 0])
        });
        assert!(answer.is_success());
        assert_eq!(refused(&answer), None);
        let [v4, v6] = relayed(&answer)[..] else {
            panic!("two addresses")
        };
        assert!(v4.is_ipv4() && v6.is_ipv6());
        assert_eq!(node.server().allocation_count(), 1);
        let view = node.server().allocations(node.now).next().expect("one");
        assert_eq!((view.relayed, view.relayed_second), (v4, Some(v6)));
        assert_eq!(node.server().counters().allocated_dual, 1);
        assert_eq!(node.registry.usage().allocations, 2, "each counts");
    }
}

#[test]
fn a_retransmitted_allocate_is_told_both_addresses_again() {
    let mut node = Node::default();
    let mut alice = Caller::alice();
    node.challenge(&mut alice);
    let packet = alice.signed(Method::ALLOCATE, ask_for_both);
    let first = node.answer(&alice, &packet);
    assert_eq!(node.answer(&alice, &packet), first);
    assert_eq!(node.open.len(), 2);
}

#[test]
fn each_half_reaches_the_peers_of_its_own_family() {
    let mut node = Node::default();
    let mut alice = Caller::alice();
    let (v4, v6) = dual(&mut node, &mut alice);
    for (relayed, peer) in [(v4, PEER_V4), (v6, PEER_V6)] {
        assert_eq!(node.permit(&mut alice, peer), 0);
        let Verdict::ToPeer { port, peer: to, .. } = send_to(&mut node, &mut alice, peer) else {
            panic!("{peer} is not reached")
        };
        assert_eq!((node.open[&port], to), (relayed, peer.parse().expect("ok")));
        let back = node.peer_sends(0, relayed, peer, 5);
        assert!(matches!(back, Verdict::ToClient { client, .. } if client == alice.client));
    }
    for (number, peer, relayed) in [(0x4000, PEER_V4, v4), (0x4001, PEER_V6, v6)] {
        assert_eq!(node.bind(&mut alice, number, peer), 0);
        let packet = [&number.to_be_bytes()[..], &[0, 1, b'x', 0, 0, 0]].concat();
        let Verdict::ToPeer { port, .. } = node.send(&alice, &packet) else {
            panic!("the channel leads nowhere")
        };
        assert_eq!(node.open[&port], relayed);
    }
}

#[test]
fn one_create_permission_names_peers_of_both_families() {
    let mut node = Node::default();
    let mut alice = Caller::alice();
    dual(&mut node, &mut alice);
    let answer = node.ask(&mut alice, Method::CREATE_PERMISSION, |writer| {
        writer.attr(&XorPeerAddress(PEER_V4.parse().expect("ok")))?;
        writer.attr(&XorPeerAddress(PEER_V6.parse().expect("ok")))
    });
    assert_eq!(answer.code(), 0);
    let view = node.server().allocations(node.now).next().expect("one");
    assert_eq!(view.permissions, 2);
}

// RFC 8656 §7.2 step 9, §18.12: 440 for a family that is not served, success for the other one.
#[test]
fn a_family_that_is_not_served_is_refused_by_address_error_code() {
    for (served, missing) in [("198.51.100.1", V6), ("2620:5::1", V4)] {
        let config = edited(|config| config.relay_addresses = vec![served.parse().expect("ok")]);
        let mut node = Node::new(1, config);
        let answer = node.ask(&mut Caller::alice(), Method::ALLOCATE, ask_for_both);
        assert!(answer.is_success());
        assert_eq!(refused(&answer), Some((missing, 440)));
        assert_eq!(relayed(&answer).len(), 1);
        assert_eq!(
            relayed(&answer)[0].ip(),
            served.parse::<std::net::IpAddr>().expect("ok")
        );
        assert_eq!(node.server().counters().allocated_in_part, 1);
        assert_eq!(node.registry.usage().allocations, 1);
    }
    let config = edited(|config| config.relay_addresses = vec!["0.0.0.0".parse().expect("ok")]);
    let answer = Node::new(1, config).ask(&mut Caller::alice(), Method::ALLOCATE, ask_for_both);
    assert_eq!(answer.code(), 440, "neither is served");
}

#[test]
fn a_half_without_a_free_port_is_refused_with_508_and_the_other_one_granted() {
    for (taken, missing) in [("198.51.100.1:50000", V4), ("[2620:5::1]:50000", V6)] {
        let mut node = Node::new(1, edited(|config| config.relay_ports = 50_000..=50_000));
        node.foreign.insert(taken.parse().expect("an address"));
        let mut alice = Caller::alice();
        let answer = node.ask(&mut alice, Method::ALLOCATE, ask_for_both);
        assert!(answer.is_success());
        assert_eq!(refused(&answer), Some((missing, 508)));
        assert_eq!(relayed(&answer).len(), 1);
        assert_eq!(node.registry.usage().allocations, 1);
        assert_eq!(node.refresh(&mut alice, 0), Ok(0));
        node.assert_nothing_is_left();
    }
    let mut node = Node::new(1, edited(|config| config.relay_ports = 50_000..=50_000));
    node.foreign = ["198.51.100.1:50000", "[2620:5::1]:50000"]
        .map(|addr| addr.parse().expect("an address"))
        .into();
    let answer = node.ask(&mut Caller::alice(), Method::ALLOCATE, ask_for_both);
    assert_eq!(answer.code(), 508, "neither is to be had");
    node.assert_nothing_is_left();
}

#[test]
fn a_node_out_of_sockets_gives_one_half_or_none() {
    let mut node = Node::default();
    node.refuse_next = Some(PortError::Exhausted);
    let answer = node.ask(&mut Caller::alice(), Method::ALLOCATE, ask_for_both);
    // A challenge came before it, which opens nothing.
    assert_eq!(refused(&answer), Some((V4, 508)));
    assert_eq!(node.registry.usage().allocations, 1);
    assert_eq!(node.registry.usage().ports, 1);
}

#[test]
fn a_quota_with_one_place_left_gives_one_half() {
    let config = edited(|config| config.limits.allocations_per_user_max = 1);
    let mut node = Node::new(1, config);
    let mut alice = Caller::alice();
    let answer = node.ask(&mut alice, Method::ALLOCATE, ask_for_both);
    assert_eq!(refused(&answer), Some((V6, 508)));
    assert_eq!(relayed(&answer).len(), 1);
    let mut other = Caller::new("203.0.113.11:4000", "alice", "alice's");
    assert_eq!(
        node.ask(&mut other, Method::ALLOCATE, ask_for_both).code(),
        486
    );
    assert_eq!(node.refresh(&mut alice, 0), Ok(0));
    node.assert_nothing_is_left();
}

#[test]
fn even_port_is_about_both_halves() {
    for port in 1..=10 {
        let mut caller = Caller::new(&format!("203.0.113.10:{port}"), "alice", "alice's");
        let mut node = Node::seeded(1, config(), port);
        let answer = node.ask(&mut caller, Method::ALLOCATE, |writer| {
            ask_for_both(writer)?;
            writer.attr(&EvenPort {
                reserve_next: false,
            })
        });
        assert_eq!(
            relayed(&answer)
                .iter()
                .filter(|addr| addr.port() % 2 == 0)
                .count(),
            2
        );
    }
}

// RFC 8656 §8.2, §5: "Deleting a single allocation destroys any permissions or channels associated
// with that particular allocation; it MUST NOT affect any permissions or channels associated with
// allocations for the other address family."
#[test]
fn a_refresh_to_zero_of_one_family_ends_that_half_and_what_belongs_to_it() {
    for (gone, kept) in [(V4, V6), (V6, V4)] {
        let mut node = Node::default();
        let mut alice = Caller::alice();
        let (v4, v6) = dual(&mut node, &mut alice);
        assert_eq!(node.bind(&mut alice, 0x4000, PEER_V4), 0);
        assert_eq!(node.bind(&mut alice, 0x4001, PEER_V6), 0);
        assert_eq!(refresh_half(&mut node, &mut alice, gone, 0), Ok(0));

        let (lost, left) = if gone == V4 {
            ((PEER_V4, v4), (PEER_V6, v6))
        } else {
            ((PEER_V6, v6), (PEER_V4, v4))
        };
        assert_eq!(node.open.values().copied().collect::<Vec<_>>(), [left.1]);
        assert_eq!(node.registry.usage().allocations, 1);
        let ended = node.events.iter().any(|event| {
            matches!(event, Event::HalfEnded { relayed, reason: EndReason::Released, .. }
                if *relayed == lost.1)
        });
        assert!(ended);
        let view = node.server().allocations(node.now).next().expect("one");
        assert_eq!((view.relayed, view.relayed_second), (left.1, None));
        assert_eq!((view.permissions, view.channels), (1, 1));

        assert_eq!(node.permit(&mut alice, lost.0), 443);
        assert_eq!(node.bind(&mut alice, 0x4002, lost.0), 443);
        assert_eq!(
            send_to(&mut node, &mut alice, lost.0),
            Verdict::Drop(DropReason::PeerFamilyMismatch)
        );
        assert!(matches!(
            send_to(&mut node, &mut alice, left.0),
            Verdict::ToPeer { .. }
        ));
        assert!(matches!(
            node.peer_sends(0, left.1, left.0, 3),
            Verdict::ToClient { .. }
        ));
        // It is an allocation of one family now.
        assert_eq!(refresh_half(&mut node, &mut alice, gone, 600), Err(443));
        assert_eq!(refresh_half(&mut node, &mut alice, kept, 0), Ok(0));
        node.assert_nothing_is_left();
    }
}

#[test]
fn a_refresh_without_a_family_is_about_both_halves() {
    let mut node = Node::default();
    let mut alice = Caller::alice();
    dual(&mut node, &mut alice);
    node.pass_s(500);
    assert_eq!(node.refresh(&mut alice, 600), Ok(600));
    node.pass_s(500);
    assert_eq!(node.open.len(), 2);
    assert_eq!(node.refresh(&mut alice, 0), Ok(0));
    node.assert_nothing_is_left();
}

#[test]
fn a_half_that_is_not_refreshed_expires_alone() {
    for (kept, gone) in [(V4, V6), (V6, V4)] {
        let mut node = Node::default();
        let mut alice = Caller::alice();
        let (v4, v6) = dual(&mut node, &mut alice);
        assert_eq!(node.bind(&mut alice, 0x4000, PEER_V4), 0);
        assert_eq!(node.bind(&mut alice, 0x4001, PEER_V6), 0);
        node.pass_s(400);
        assert_eq!(refresh_half(&mut node, &mut alice, kept, 600), Ok(600));
        let left = if kept == V4 { v4 } else { v6 };
        node.pass_s(199);
        assert_eq!(node.open.len(), 2);
        node.pass_s(1);
        assert_eq!(node.open.values().copied().collect::<Vec<_>>(), [left]);
        assert_eq!(node.server().counters().halves_ended, 1);
        assert_eq!(refresh_half(&mut node, &mut alice, gone, 600), Err(443));
        node.pass_s(400);
        node.assert_nothing_is_left();
    }
}

/// Nothing depends on a timer that is late: what is over is over.
#[test]
fn a_half_past_its_end_relays_nothing_before_its_timer_has_run() {
    let mut node = Node::default();
    let mut alice = Caller::alice();
    let (v4, v6) = dual(&mut node, &mut alice);
    node.pass_s(400);
    assert_eq!(refresh_half(&mut node, &mut alice, V6, 600), Ok(600));
    assert_eq!(node.bind(&mut alice, 0x4000, PEER_V4), 0);
    assert_eq!(node.bind(&mut alice, 0x4001, PEER_V6), 0);
    node.now += std::time::Duration::from_secs(200);
    let packet = [0x40, 0x00, 0, 1, b'x', 0, 0, 0];
    assert_eq!(
        node.dropped(&alice, &packet),
        DropReason::PeerFamilyMismatch
    );
    assert_eq!(
        node.peer_sends(0, v4, PEER_V4, 1),
        Verdict::Drop(DropReason::UnknownRelayPort)
    );
    assert_eq!(node.permit(&mut alice, PEER_V4), 443);
    let packet = [0x40, 0x01, 0, 1, b'x', 0, 0, 0];
    assert!(matches!(node.send(&alice, &packet), Verdict::ToPeer { .. }));
    assert!(matches!(
        node.peer_sends(0, v6, PEER_V6, 1),
        Verdict::ToClient { .. }
    ));
}

#[test]
fn relays_of_one_node_meet_family_by_family() {
    let mut node = Node::new(2, config());
    let mut alice = Caller::alice();
    let mut bob = Caller::bob().on_worker(1);
    let hers = dual(&mut node, &mut alice);
    let his = dual(&mut node, &mut bob);
    for (ours, theirs) in [(hers.0, his.0), (hers.1, his.1)] {
        assert_eq!(node.permit(&mut alice, &theirs.to_string()), 0);
        assert_eq!(node.permit(&mut bob, &ours.to_string()), 0);
        let verdict = send_to(&mut node, &mut alice, &theirs.to_string());
        let Verdict::ToWorker { to, from, .. } = verdict else {
            panic!("{verdict:?}")
        };
        assert_eq!((to.0, from.0), (theirs, ours));
        let verdict = node.servers[1].handle_relayed(node.now, to, from, 1);
        assert!(matches!(verdict, Verdict::ToClient { client, .. } if client == bob.client));
    }
}

#[test]
fn revocation_and_a_closed_stream_take_both_halves() {
    let mut node = Node::default();
    let mut alice = Caller::alice().over(Transport::Tcp, 7);
    dual(&mut node, &mut alice);
    node.servers[0].handle_stream_closed(node.now, alice.client);
    node.settle(0);
    node.assert_nothing_is_left();

    let mut bob = Caller::bob();
    dual(&mut node, &mut bob);
    let revoked = node.servers[0].revoke(node.now, &crate::Revoke::User("bob".into()));
    node.settle(0);
    assert_eq!(revoked, 1);
    node.assert_nothing_is_left();
}

#[test]
fn a_stream_that_closes_while_the_second_half_opens_leaves_nothing() {
    let mut node = Node::default();
    let mut alice = Caller::alice().over(Transport::Tcp, 7);
    node.challenge(&mut alice);
    let packet = alice.signed(Method::ALLOCATE, ask_for_both);
    node.servers[0].handle_client(node.now, alice.client, &packet);
    let mut out = [0; crate::limits::REPLY_BYTES_MAX];
    let first = node.servers[0].poll_command(&mut out);
    let Some(crate::Command::BindPort { token, .. }) = first else {
        panic!("{first:?}")
    };
    let port = crate::RelayPort(900);
    node.servers[0].handle_port(node.now, token, Ok(port));
    node.open
        .insert(port, "198.51.100.1:1".parse().expect("ok"));
    // The second is being opened when the connection breaks.
    node.servers[0].handle_stream_closed(node.now, alice.client);
    node.settle(0);
    assert_eq!(node.server().counters().dropped(DropReason::ClientGone), 1);
    node.assert_nothing_is_left();
}

#[test]
fn a_session_that_is_over_takes_both_halves_with_it() {
    let mut node = Node::new(1, edited(|config| config.session_max_s = 700));
    let mut alice = Caller::alice();
    dual(&mut node, &mut alice);
    node.pass_s(300);
    assert_eq!(refresh_half(&mut node, &mut alice, V4, 3600), Ok(400));
    assert_eq!(refresh_half(&mut node, &mut alice, V6, 3600), Ok(400));
    node.pass_s(400);
    node.assert_nothing_is_left();
}

#[test]
fn a_channel_of_the_lost_half_may_be_bound_anew() {
    let mut node = Node::default();
    let mut alice = Caller::alice();
    dual(&mut node, &mut alice);
    assert_eq!(node.bind(&mut alice, 0x4000, PEER_V4), 0);
    assert_eq!(node.bind(&mut alice, 0x4000, PEER_V6), 400);
    assert_eq!(refresh_half(&mut node, &mut alice, V4, 0), Ok(0));
    let answer = node.ask(&mut alice, Method::CHANNEL_BIND, |writer| {
        writer.attr(&ChannelNumber(0x4000))?;
        writer.attr(&XorPeerAddress(PEER_V6.parse().expect("ok")))
    });
    assert_eq!(answer.code(), 0);
}
