use std::net::SocketAddr;

use sterna_stun::{
    attr::{AttributeType, Data, DontFragment, XorPeerAddress},
    data_indication::DataIndication,
    message::{Class, Method},
};

use crate::{
    Client, DropReason, Header, PeerAddr, RelayPort, Traffic, Transport, Verdict, WorkerId,
    testing::{Caller, Node, config, edited},
};

const PEER: &str = "8.8.8.8:5000";

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn channel_data(number: u16, len: usize, carried: usize) -> Vec<u8> {
    let len = u16::try_from(len).expect("short");
    [
        &number.to_be_bytes()[..],
        &len.to_be_bytes(),
        &vec![0xAB; carried],
    ]
    .concat()
}

fn send(caller: &mut Caller, peer: &str, data: &[u8]) -> Vec<u8> {
    let peer = XorPeerAddress(addr(peer));
    caller.indication(Method::SEND, |writer| {
        writer.attr(&peer)?;
        writer.attr(&Data(data))
    })
}

/// A caller with an allocation, and a channel 0x4000 to the usual peer.
fn bound(node: &mut Node, mut caller: Caller) -> (Caller, SocketAddr) {
    let relayed = node.allocate(&mut caller);
    assert_eq!(node.bind(&mut caller, 0x4000, PEER), 0);
    (caller, relayed)
}

/// What a client receives: the header's bytes, the payload's, the tail.
fn on_the_wire(header: &Header, payload: &[u8]) -> Vec<u8> {
    [header.bytes(), payload, &vec![0; header.tail()]].concat()
}

#[test]
fn channel_data_goes_to_the_peer_without_its_header() {
    let mut node = Node::default();
    let (alice, relayed) = bound(&mut node, Caller::alice());
    let port = node.port_of(relayed);
    let verdict = node.send(&alice, &channel_data(0x4000, 5, 5));
    assert_eq!(
        verdict,
        Verdict::ToPeer {
            port,
            peer: addr(PEER),
            payload: 4..9,
            dont_fragment: false
        }
    );
    assert_eq!(
        node.server().counters().to_peers,
        Traffic {
            packets: 1,
            bytes: 5
        }
    );
}

#[test]
fn a_peers_data_goes_to_the_client_by_its_channel() {
    let mut node = Node::default();
    let (alice, relayed) = bound(&mut node, Caller::alice());
    let Verdict::ToClient {
        client,
        header,
        payload,
    } = node.peer_sends(0, relayed, PEER, 5)
    else {
        panic!("delivered")
    };
    assert_eq!((client, payload), (alice.client, 0..5));
    assert_eq!(
        (header.bytes(), header.tail()),
        (&[0x40, 0, 0, 5][..], 0),
        "no padding over UDP"
    );
    assert_eq!(
        node.server().counters().to_clients,
        Traffic {
            packets: 1,
            bytes: 5
        }
    );
}

#[test]
fn over_streams_channel_data_is_padded_and_the_padding_not_counted() {
    let mut node = Node::default();
    let (alice, relayed) = bound(&mut node, Caller::alice().over(Transport::Tcp, 4));
    for (len, tail) in [(0, 0), (1, 3), (2, 2), (3, 1), (4, 0), (5, 3)] {
        let verdict = node.peer_sends(0, relayed, PEER, len);
        let Verdict::ToClient { header, .. } = verdict else {
            panic!("delivered")
        };
        assert_eq!(
            (header.bytes()[3], header.tail()),
            (u8::try_from(len).expect("short"), tail)
        );
        // A frame comes in with its padding.
        let verdict = node.send(&alice, &channel_data(0x4000, len, len + tail));
        assert!(matches!(verdict, Verdict::ToPeer { payload, .. } if payload == (4..4 + len)));
    }
}

#[test]
fn channel_data_over_udp_may_be_longer_than_it_says_and_not_shorter() {
    let mut node = Node::default();
    let (alice, _) = bound(&mut node, Caller::alice());
    // Firezone drops padded packets.
    for carried in [5, 6, 8, 100] {
        let verdict = node.send(&alice, &channel_data(0x4000, 5, carried));
        assert!(matches!(verdict, Verdict::ToPeer { payload, .. } if payload == (4..9)));
    }
    let short = channel_data(0x4000, 5, 4);
    assert_eq!(
        node.dropped(&alice, &short),
        DropReason::TruncatedChannelData
    );
    assert_eq!(
        node.dropped(&alice, &[0x40, 0, 0]),
        DropReason::TruncatedChannelData
    );
    let whole = channel_data(0x4000, 65_535, 65_503);
    assert_eq!(
        node.dropped(&alice, &whole),
        DropReason::TruncatedChannelData
    );
}

#[test]
fn a_length_of_zero_sends_an_empty_datagram() {
    let mut node = Node::default();
    let (mut alice, relayed) = bound(&mut node, Caller::alice());
    let verdict = node.send(&alice, &channel_data(0x4000, 0, 0));
    assert!(matches!(verdict, Verdict::ToPeer { payload, .. } if payload.is_empty()));
    let packet = send(&mut alice, PEER, b"");
    let verdict = node.send(&alice, &packet);
    assert!(matches!(verdict, Verdict::ToPeer { payload, .. } if payload.is_empty()));
    assert!(matches!(
        node.peer_sends(0, relayed, PEER, 0),
        Verdict::ToClient { .. }
    ));
}

#[test]
fn data_needs_an_allocation_and_a_bound_channel() {
    let mut node = Node::default();
    let packet = channel_data(0x4000, 5, 5);
    assert_eq!(
        node.dropped(&Caller::alice(), &packet),
        DropReason::NoAllocation
    );
    let (mut alice, _) = bound(&mut node, Caller::alice());
    assert_eq!(
        node.dropped(&alice, &channel_data(0x4001, 5, 5)),
        DropReason::NoChannel
    );
    assert_eq!(
        node.dropped(&alice, &channel_data(0x5000, 5, 5)),
        DropReason::NoChannel
    );
    let mut bob = Caller::bob();
    let packet = send(&mut bob, PEER, b"hello");
    assert_eq!(node.dropped(&bob, &packet), DropReason::NoAllocation);
    node.refresh(&mut alice, 0).expect("released");
    assert_eq!(
        node.dropped(&alice, &channel_data(0x4000, 5, 5)),
        DropReason::NoAllocation
    );
}

#[test]
fn a_send_indication_needs_a_permission_only() {
    let mut node = Node::default();
    let mut alice = Caller::alice();
    let relayed = node.allocate(&mut alice);
    assert_eq!(node.permit(&mut alice, "8.8.8.8:0"), 0);
    let packet = send(&mut alice, PEER, b"hello");
    let Verdict::ToPeer {
        port,
        peer,
        payload,
        ..
    } = node.send(&alice, &packet)
    else {
        panic!("sent")
    };
    assert_eq!(
        (port, peer, &packet[payload]),
        (node.port_of(relayed), addr(PEER), &b"hello"[..])
    );
    let packet = send(&mut alice, "8.8.4.4:5000", b"hello");
    assert_eq!(node.dropped(&alice, &packet), DropReason::NoPermission);
}

#[test]
fn without_a_channel_data_comes_in_a_data_indication() {
    let mut node = Node::default();
    let mut alice = Caller::alice();
    let relayed = node.allocate(&mut alice);
    assert_eq!(node.permit(&mut alice, "8.8.8.8:0"), 0);
    let mut ids = Vec::new();
    for payload in [&b""[..], b"h", b"hello", b"hello you"] {
        let verdict = node.peer_sends(0, relayed, "8.8.8.8:4242", payload.len());
        let Verdict::ToClient { header, .. } = verdict else {
            panic!("delivered")
        };
        let packet = on_the_wire(&header, payload);
        let indication = DataIndication::parse(&packet).expect("well formed");
        assert_eq!(indication.peer, addr("8.8.8.8:4242"));
        assert_eq!(&packet[indication.payload.expect("data")], payload);
        ids.push(packet[8..20].to_vec());
    }
    ids.dedup();
    assert_eq!(ids.len(), 4, "each has a transaction id of its own");
}

#[test]
fn a_bound_channel_is_for_one_port_and_others_come_in_indications() {
    let mut node = Node::default();
    let (_, relayed) = bound(&mut node, Caller::alice());
    let verdict = node.peer_sends(0, relayed, "8.8.8.8:5001", 5);
    assert!(matches!(verdict, Verdict::ToClient { header, .. } if header.bytes().len() == 36));
}

// RFC 8656 §11.2, RFC 8489 §6.3.2: silently.
#[test]
fn an_indication_that_is_not_in_order_is_dropped() {
    let mut node = Node::default();
    let mut alice = Caller::alice();
    node.allocate(&mut alice);
    assert_eq!(node.permit(&mut alice, "8.8.8.8:0"), 0);
    let peer = XorPeerAddress(addr(PEER));
    let without_data = alice.indication(Method::SEND, |writer| writer.attr(&peer));
    let without_peer = alice.indication(Method::SEND, |writer| writer.attr(&Data(b"x")));
    let unknown = alice.indication(Method::SEND, |writer| {
        writer.attr(&peer)?;
        writer.raw(AttributeType(0x7eee), &[])?;
        writer.attr(&Data(b"x"))
    });
    let other_family = send(&mut alice, "[2606:4700::1]:5000", b"x");
    for (packet, reason) in [
        (without_data, DropReason::BadIndication),
        (without_peer, DropReason::BadIndication),
        (unknown, DropReason::UnknownAttribute),
        (other_family, DropReason::PeerFamilyMismatch),
    ] {
        assert_eq!(node.dropped(&alice, &packet), reason);
    }
    for port in ["0", "53", "1023"] {
        let packet = send(&mut alice, &format!("8.8.8.8:{port}"), b"x");
        assert_eq!(node.dropped(&alice, &packet), DropReason::PeerPortDenied);
    }
    let mut data = send(&mut alice, PEER, b"x");
    data[..2].copy_from_slice(&Class::Indication.message_type(Method::DATA).to_be_bytes());
    assert_eq!(node.dropped(&alice, &data), DropReason::UnexpectedClass);
}

// RFC 8656 §13.1 to §13.3: "the DONT-FRAGMENT attribute MUST be ignored by the server".
#[test]
fn dont_fragment_is_ignored_where_ipv6_is_on_either_side() {
    let send = |node: &mut Node, caller: &mut Caller, peer: &str| {
        let peer = XorPeerAddress(addr(peer));
        let packet = caller.indication(Method::SEND, |writer| {
            writer.attr(&peer)?;
            writer.attr(&DontFragment)?;
            writer.attr(&Data(b"x"))
        });
        node.send(caller, &packet)
    };
    let mut node = Node::default();
    let mut v6_client = Caller::new("[2620:99::1]:5000", "alice", "alice's");
    node.allocate(&mut v6_client);
    assert_eq!(node.permit(&mut v6_client, PEER), 0);
    assert!(matches!(
        send(&mut node, &mut v6_client, PEER),
        Verdict::ToPeer {
            dont_fragment: false,
            ..
        }
    ));

    let mut v6_relay = Caller::bob();
    let family = sterna_stun::attr::RequestedAddressFamily(sterna_stun::attr::AddressFamily::Ipv6);
    node.allocate_with(&mut v6_relay, |writer| writer.attr(&family))
        .expect("served");
    assert_eq!(node.permit(&mut v6_relay, "[2606:4700::1]:0"), 0);
    let verdict = send(&mut node, &mut v6_relay, "[2606:4700::1]:5000");
    assert!(matches!(
        verdict,
        Verdict::ToPeer {
            dont_fragment: false,
            ..
        }
    ));
}

#[test]
fn a_peer_without_a_permission_or_with_port_zero_is_dropped() {
    let mut node = Node::default();
    let mut alice = Caller::alice();
    let relayed = node.allocate(&mut alice);
    let dropped = |node: &mut Node, from| match node.peer_sends(0, relayed, from, 5) {
        Verdict::Drop(reason) => reason,
        verdict => panic!("{verdict:?}"),
    };
    assert_eq!(dropped(&mut node, PEER), DropReason::NoPermission);
    assert_eq!(dropped(&mut node, "8.8.8.8:0"), DropReason::SourcePortZero);
    let verdict = node.servers[0].handle_peer(node.now, RelayPort(77), addr(PEER), 5);
    assert_eq!(verdict, Verdict::Drop(DropReason::UnknownRelayPort));
}

#[test]
fn an_expired_allocation_relays_nothing_even_if_the_timer_is_late() {
    let mut node = Node::default();
    let (alice, relayed) = bound(&mut node, Caller::alice());
    node.now += std::time::Duration::from_secs(600); // and no handle_timeout
    assert_eq!(
        node.dropped(&alice, &channel_data(0x4000, 5, 5)),
        DropReason::NoAllocation
    );
    let verdict = node.peer_sends(0, relayed, PEER, 5);
    assert_eq!(verdict, Verdict::Drop(DropReason::UnknownRelayPort));
}

// 16-bit length arithmetic on 64 KiB messages.
#[test]
fn what_does_not_fit_with_its_header_is_dropped_and_never_wrapped() {
    let mut node = Node::default();
    let (_, udp) = bound(&mut node, Caller::alice());
    let (_, tcp) = bound(&mut node, Caller::bob().over(Transport::Tcp, 1));
    let too_long = Verdict::Drop(DropReason::PayloadTooLong);
    assert!(matches!(
        node.peer_sends(0, udp, PEER, 65_503),
        Verdict::ToClient { .. }
    ));
    assert_eq!(
        node.peer_sends(0, udp, PEER, 65_504),
        too_long,
        "no datagram is that long"
    );
    assert!(matches!(
        node.peer_sends(0, tcp, PEER, 65_507),
        Verdict::ToClient { .. }
    ));
    assert!(matches!(
        node.peer_sends(0, tcp, PEER, 65_535),
        Verdict::ToClient { .. }
    ));
    assert_eq!(node.peer_sends(0, tcp, PEER, 65_536), too_long);
    assert_eq!(node.peer_sends(0, tcp, "8.8.8.8:5001", 65_520), too_long);
}

#[test]
fn a_session_may_be_limited_in_packets_and_bytes() {
    let mut node = Node::new(1, edited(|config| config.limits.session_packets_per_s = 2));
    let (alice, relayed) = bound(&mut node, Caller::alice());
    assert!(matches!(
        node.send(&alice, &channel_data(0x4000, 5, 5)),
        Verdict::ToPeer { .. }
    ));
    assert!(matches!(
        node.peer_sends(0, relayed, PEER, 5),
        Verdict::ToClient { .. }
    ));
    let dropped = node.peer_sends(0, relayed, PEER, 5);
    assert_eq!(dropped, Verdict::Drop(DropReason::SessionPacketRate));
    assert_eq!(
        node.dropped(&alice, &channel_data(0x4000, 5, 5)),
        DropReason::SessionPacketRate
    );

    let mut node = Node::new(1, edited(|config| config.limits.session_bytes_per_s = 1000));
    let (alice, _) = bound(&mut node, Caller::alice());
    assert!(matches!(
        node.send(&alice, &channel_data(0x4000, 1000, 1000)),
        Verdict::ToPeer { .. }
    ));
    assert_eq!(
        node.dropped(&alice, &channel_data(0x4000, 5, 5)),
        DropReason::SessionByteRate
    );
    node.pass_s(1);
    assert!(matches!(
        node.send(&alice, &channel_data(0x4000, 5, 5)),
        Verdict::ToPeer { .. }
    ));
}

/// Two callers of one node, each with a channel to the other's relayed address.
fn face_to_face(node: &mut Node, alice: &mut Caller, bob: &mut Caller) -> [SocketAddr; 2] {
    let (a, b) = (node.allocate(alice), node.allocate(bob));
    assert_eq!(node.bind(alice, 0x4000, &b.to_string()), 0);
    assert_eq!(node.bind(bob, 0x4abc, &a.to_string()), 0);
    [a, b]
}

fn delivered(verdict: Verdict) -> (Client, Vec<u8>) {
    match verdict {
        Verdict::ToClient { client, header, .. } => (client, header.bytes().to_vec()),
        verdict => panic!("{verdict:?}"),
    }
}

#[test]
fn a_client_reaches_another_client_of_the_worker_without_leaving_the_process() {
    let mut node = Node::default();
    let (mut alice, mut bob) = (Caller::alice(), Caller::bob());
    face_to_face(&mut node, &mut alice, &mut bob);
    let verdict = node.send(&alice, &channel_data(0x4000, 5, 5));
    assert!(matches!(&verdict, Verdict::ToClient { payload, .. } if *payload == (4..9)));
    assert_eq!(delivered(verdict), (bob.client, vec![0x4a, 0xbc, 0, 5]));
    let counters = node.server().counters();
    assert_eq!(
        counters.in_process,
        Traffic {
            packets: 1,
            bytes: 5
        }
    );
    assert_eq!(counters.to_peers, counters.to_clients);
}

#[test]
fn across_workers_the_payload_is_handed_over_and_delivered_there() {
    let mut node = Node::new(3, config());
    let (mut alice, mut bob) = (Caller::alice(), Caller::bob().on_worker(2));
    let [a, b] = face_to_face(&mut node, &mut alice, &mut bob);
    let verdict = node.send(&alice, &channel_data(0x4000, 5, 5));
    let (to, from) = (PeerAddr(b), PeerAddr(a));
    assert_eq!(
        verdict,
        Verdict::ToWorker {
            worker: WorkerId(2),
            to,
            from,
            payload: 4..9
        }
    );
    let verdict = node.servers[2].handle_relayed(node.now, to, from, 5);
    assert!(matches!(&verdict, Verdict::ToClient { payload, .. } if *payload == (0..5)));
    assert_eq!(delivered(verdict), (bob.client, vec![0x4a, 0xbc, 0, 5]));
    let verdict = node.servers[1].handle_relayed(node.now, to, from, 5);
    assert_eq!(verdict, Verdict::Drop(DropReason::UnknownRelayedAddress));
    assert_eq!(node.servers[0].counters().to_workers, 1);
}

#[test]
fn in_process_both_sides_need_a_permission() {
    let mut node = Node::default();
    let (mut alice, mut bob) = (Caller::alice(), Caller::bob());
    let a = node.allocate(&mut alice);
    let b = node.allocate(&mut bob).to_string();
    let packet = send(&mut alice, &b, b"hello");
    assert_eq!(
        node.dropped(&alice, &packet),
        DropReason::NoPermission,
        "alice's is missing"
    );
    assert_eq!(node.permit(&mut alice, &b), 0);
    assert_eq!(
        node.dropped(&alice, &packet),
        DropReason::NoPermission,
        "bob's is missing"
    );
    assert_eq!(node.permit(&mut bob, &a.to_string()), 0);
    let verdict = node.send(&alice, &packet);
    let Verdict::ToClient {
        client,
        header,
        payload,
    } = verdict
    else {
        panic!("delivered")
    };
    let wire = on_the_wire(&header, &packet[payload]);
    let indication = DataIndication::parse(&wire).expect("well formed");
    assert_eq!(
        (client, indication.peer),
        (bob.client, a),
        "bob sees alice's relayed address"
    );
}

#[test]
fn the_external_form_is_what_the_other_side_sees_and_both_forms_are_found() {
    let external = |config: &mut crate::ServerConfig| {
        let (inside, outside) = (
            "198.51.100.1".parse().expect("ok"),
            "5.5.5.5".parse().expect("ok"),
        );
        config.external_addresses = vec![(inside, outside)];
    };
    let mut node = Node::new(1, edited(external));
    node.replace_policy(|policy| policy.relay_addresses.push("5.5.5.5".parse().expect("ok")));
    let (mut alice, mut bob) = (Caller::alice(), Caller::bob());
    let [a, b] = face_to_face(&mut node, &mut alice, &mut bob);
    assert_eq!(a.ip(), addr("5.5.5.5:1").ip());
    assert_eq!(
        delivered(node.send(&alice, &channel_data(0x4000, 5, 5))),
        (bob.client, vec![0x4a, 0xbc, 0, 5])
    );
    let internal = SocketAddr::new("198.51.100.1".parse().expect("ok"), b.port());
    assert_eq!(node.permit(&mut alice, &internal.to_string()), 0);
    let packet = send(&mut alice, &internal.to_string(), b"hello");
    assert_eq!(
        delivered(node.send(&alice, &packet)),
        (bob.client, vec![0x4a, 0xbc, 0, 5])
    );
}

#[test]
fn an_own_address_that_is_no_living_relay_is_dropped_unless_allowed() {
    let mut node = Node::default();
    let mut alice = Caller::alice();
    let relayed = node.allocate(&mut alice);
    assert_eq!(node.permit(&mut alice, "198.51.100.1:1"), 0);
    let unused = if relayed.port() == 50_000 {
        50_001
    } else {
        50_000
    };
    let to_unused = send(&mut alice, &format!("198.51.100.1:{unused}"), b"x");
    assert_eq!(node.dropped(&alice, &to_unused), DropReason::OwnAddress);
    let to_listener = send(&mut alice, "198.51.100.1:3478", b"x");
    assert_eq!(
        node.dropped(&alice, &to_listener),
        DropReason::PeerPortDenied
    );

    node.replace_policy(|policy| policy.allow = vec!["198.51.100.1/32".parse().expect("ok")]);
    assert!(matches!(
        node.send(&alice, &to_unused),
        Verdict::ToPeer { .. }
    ));
    assert_eq!(
        node.dropped(&alice, &to_listener),
        DropReason::PeerPortDenied,
        "never"
    );
}

#[test]
fn a_client_may_speak_to_itself() {
    let mut node = Node::default();
    let mut alice = Caller::alice();
    let relayed = node.allocate(&mut alice);
    assert_eq!(node.bind(&mut alice, 0x4000, &relayed.to_string()), 0);
    let verdict = node.send(&alice, &channel_data(0x4000, 5, 5));
    assert_eq!(delivered(verdict), (alice.client, vec![0x40, 0, 0, 5]));
}

#[test]
fn a_relay_that_has_ended_is_no_longer_reached() {
    let mut node = Node::new(2, config());
    let (mut alice, mut bob) = (Caller::alice(), Caller::bob().on_worker(1));
    face_to_face(&mut node, &mut alice, &mut bob);
    let verdict = node.send(&alice, &channel_data(0x4000, 5, 5));
    let Verdict::ToWorker { to, from, .. } = verdict else {
        panic!("{verdict:?}")
    };
    node.refresh(&mut bob, 0).expect("released");
    let late = node.servers[1].handle_relayed(node.now, to, from, 5);
    assert_eq!(late, Verdict::Drop(DropReason::UnknownRelayedAddress));
    assert_eq!(
        node.dropped(&alice, &channel_data(0x4000, 5, 5)),
        DropReason::OwnAddress
    );
}
