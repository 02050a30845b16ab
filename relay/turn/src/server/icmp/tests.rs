#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;

use sterna_stun::{
    attr::{Data, DontFragment, Icmp, XorPeerAddress},
    data_indication::DataIndication,
    message::{Class, Method},
};

use crate::{
    DropReason, RelayPort, Transport, Verdict,
    testing::{Caller, Node},
};

const PEER: &str = "8.8.8.8:5000";
const PEER_V6: &str = "[2606:4700::1]:5000";

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn icmp(type_: u8, code: u16, data: [u8; 4]) -> Icmp {
    Icmp { type_, code, data }
}

/// What an error about a datagram from the caller's relay port to `peer` comes to: the indication
/// that the caller gets, or why it gets none.
fn tell(
    node: &mut Node,
    caller: &Caller,
    relayed: SocketAddr,
    peer: &str,
    icmp: Icmp,
) -> Result<DataIndication, DropReason> {
    let port = node.port_of(relayed);
    node.answers.clear();
    let verdict = node.servers[caller.worker].handle_icmp(node.now, port, addr(peer), icmp);
    node.settle(caller.worker);
    match verdict {
        Verdict::Handled => {
            assert_eq!(node.answers.len(), 1);
            let answer = node.answers.pop_front().unwrap();
            assert_eq!(answer.client, caller.client);
            let message = answer.message();
            let shape = (message.class(), message.method(), message.bytes().len());
            let address = if addr(peer).is_ipv4() { 12 } else { 24 };
            assert_eq!(shape, (Class::Indication, Method::DATA, 20 + address + 12));
            Ok(DataIndication::of(&message).unwrap())
        }
        Verdict::Drop(reason) => {
            assert!(node.answers.is_empty(), "a drop is silent");
            Err(reason)
        }
        verdict => panic!("{verdict:?}"),
    }
}

// RFC 8656 §11.5: "the server forms and sends a Data indication", with XOR-PEER-ADDRESS and ICMP.
#[test]
fn an_error_of_a_peers_side_comes_as_a_data_indication_also_beside_a_channel() {
    let mut node = Node::default();
    let mut alice = Caller::alice();
    let relayed = node.allocate(&mut alice);
    assert_eq!(node.bind(&mut alice, 0x4000, PEER), 0);
    let told = tell(&mut node, &alice, relayed, PEER, icmp(3, 3, [0; 4])).unwrap();
    assert_eq!(
        told,
        DataIndication {
            peer: addr(PEER),
            payload: None,
            icmp: Some(icmp(3, 3, [0; 4])),
        }
    );
    assert_eq!(node.server().counters().icmp_relayed, 1);
    // "Note that only addresses are compared and port numbers are not considered."
    let other_port = "8.8.8.8:6000";
    let told = tell(&mut node, &alice, relayed, other_port, icmp(11, 0, [0; 4])).unwrap();
    assert_eq!(
        (told.peer, told.icmp),
        (addr(other_port), Some(icmp(11, 0, [0; 4])))
    );
}

#[test]
fn a_stream_client_is_told_too() {
    let mut node = Node::default();
    let mut alice = Caller::alice().over(Transport::Tcp, 7);
    let relayed = node.allocate(&mut alice);
    assert_eq!(node.permit(&mut alice, "8.8.8.8:0"), 0);
    tell(&mut node, &alice, relayed, PEER, icmp(3, 1, [0; 4])).unwrap();
}

// RFC 8656 §11.5: type 3 or 11 of ICMPv4, 1, 2 or 3 of ICMPv6. §18.13: the MTU, "For other … types
// and … codes, the Error Data field MUST be set to zero."
#[test]
fn only_unreachable_too_big_and_time_exceeded_are_told_and_only_too_big_has_data() {
    let mut node = Node::default();
    let (mut alice, mut bob) = (Caller::alice(), Caller::bob());
    let v4 = node.allocate(&mut alice);
    assert_eq!(node.permit(&mut alice, "8.8.8.8:0"), 0);
    let family = sterna_stun::attr::RequestedAddressFamily(sterna_stun::attr::AddressFamily::Ipv6);
    let v6 = node
        .allocate_with(&mut bob, |writer| writer.attr(&family))
        .unwrap();
    assert_eq!(node.permit(&mut bob, PEER_V6), 0);
    let data = [0, 0, 5, 0];
    for type_ in 0..=127 {
        node.pass_s(1);
        for code in [0, 4] {
            let told_v4 = tell(&mut node, &alice, v4, PEER, icmp(type_, code, data));
            let told_v6 = tell(&mut node, &bob, v6, PEER_V6, icmp(type_, code, data));
            let kept = |too_big| if too_big { data } else { [0; 4] };
            match type_ {
                3 | 11 => {
                    let expected = icmp(type_, code, kept((type_, code) == (3, 4)));
                    assert_eq!(told_v4.unwrap().icmp, Some(expected));
                }
                _ => assert_eq!(told_v4, Err(DropReason::IcmpType), "{type_}"),
            }
            match type_ {
                1..=3 => {
                    let expected = icmp(type_, code, kept(type_ == 2));
                    assert_eq!(told_v6.unwrap().icmp, Some(expected));
                }
                _ => assert_eq!(told_v6, Err(DropReason::IcmpType), "{type_}"),
            }
        }
    }
}

// RFC 8656 §11.5: "If no match is found, relaying is not permitted and the server silently discards
// the ICMP packet."
#[test]
fn an_error_about_a_peer_without_a_permission_is_dropped() {
    let mut node = Node::default();
    let mut alice = Caller::alice();
    let relayed = node.allocate(&mut alice);
    let unreachable = icmp(3, 3, [0; 4]);
    let refused = tell(&mut node, &alice, relayed, PEER, unreachable);
    assert_eq!(refused, Err(DropReason::NoPermission));
    assert_eq!(node.permit(&mut alice, "8.8.8.8:0"), 0);
    tell(&mut node, &alice, relayed, PEER, unreachable).unwrap();
    node.pass_s(300);
    let refused = tell(&mut node, &alice, relayed, PEER, unreachable);
    assert_eq!(refused, Err(DropReason::NoPermission));
    let port = node.port_of(relayed);
    let unknown = RelayPort(port.0 + 1);
    let verdict = node.servers[0].handle_icmp(node.now, unknown, addr(PEER), unreachable);
    assert_eq!(verdict, Verdict::Drop(DropReason::UnknownRelayPort));
    node.now += std::time::Duration::from_secs(600); // and no handle_timeout
    let verdict = node.servers[0].handle_icmp(node.now, port, addr(PEER), unreachable);
    assert_eq!(verdict, Verdict::Drop(DropReason::UnknownRelayPort));
}

/// A forged flood costs its victim a few small packets a second, and nothing else.
#[test]
fn a_flood_of_forged_errors_is_cut_and_ends_nothing() {
    let mut node = Node::default();
    let mut alice = Caller::alice();
    let relayed = node.allocate(&mut alice);
    assert_eq!(node.bind(&mut alice, 0x4000, PEER), 0);
    let rate = node.config.limits.icmp_per_allocation_per_s;
    let mut told = 0;
    for _ in 0..10_000 {
        match tell(&mut node, &alice, relayed, PEER, icmp(3, 3, [0; 4])) {
            Ok(_) => told += 1,
            Err(reason) => assert_eq!(reason, DropReason::IcmpRate),
        }
    }
    assert_eq!(told, rate);
    let view = node.server().allocations(node.now).next().unwrap();
    assert_eq!((view.channels, view.permissions), (1, 1));
    let verdict = node.peer_sends(0, relayed, PEER, 5);
    assert!(matches!(verdict, Verdict::ToClient { .. }));
    node.pass_s(1);
    tell(&mut node, &alice, relayed, PEER, icmp(3, 3, [0; 4])).unwrap();
}

// RFC 8656 §14: "When the server sends a packet to a peer in response to a Send indication
// containing the DONT-FRAGMENT attribute, then set the outgoing UDP packet to not fragment."
#[test]
fn a_send_indication_with_dont_fragment_leaves_whole_and_any_other_does_not() {
    let mut node = Node::default();
    let mut alice = Caller::alice();
    node.allocate_with(&mut alice, |writer| writer.attr(&DontFragment))
        .unwrap();
    assert_eq!(node.permit(&mut alice, "8.8.8.8:0"), 0);
    for asked in [true, false, true] {
        let packet = alice.indication(Method::SEND, |writer| {
            writer.attr(&XorPeerAddress(addr(PEER)))?;
            if asked {
                writer.attr(&DontFragment)?;
            }
            writer.attr(&Data(b"hello"))
        });
        let verdict = node.send(&alice, &packet);
        let Verdict::ToPeer {
            dont_fragment,
            payload,
            ..
        } = verdict
        else {
            panic!("{verdict:?}")
        };
        assert_eq!((dont_fragment, &packet[payload]), (asked, &b"hello"[..]));
    }
}

// RFC 8656 §15: "If the TCP traffic arrives over IPv6, the server relies on the presence of the
// DONT-FRAGMENT attribute in the Send indication to set the outgoing UDP packet to not fragment."
#[test]
fn dont_fragment_counts_for_a_stream_client_of_either_family() {
    for client in ["203.0.113.10:40000", "[2620:99::1]:5000"] {
        let mut node = Node::default();
        let mut alice = Caller::new(client, "alice", "alice's").over(Transport::Tls, 3);
        node.allocate(&mut alice);
        assert_eq!(node.permit(&mut alice, "8.8.8.8:0"), 0);
        let packet = alice.indication(Method::SEND, |writer| {
            writer.attr(&XorPeerAddress(addr(PEER)))?;
            writer.attr(&DontFragment)?;
            writer.attr(&Data(b"hello"))
        });
        let verdict = node.send(&alice, &packet);
        assert!(matches!(
            verdict,
            Verdict::ToPeer {
                dont_fragment: true,
                ..
            }
        ));
    }
}
