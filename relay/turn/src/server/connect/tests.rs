#![allow(clippy::unwrap_used)]
use sterna_stun::{
    attr::{
        AdditionalAddressFamily, AddressErrorCode, AddressFamily, AttributeType, Data, EvenPort,
        RequestedTransport, ReservationToken, XorPeerAddress,
    },
    message::Method,
};

use crate::{
    Client, DropReason, Limits, Revoke, Transport,
    testing::{Answer, Caller, Node, edited},
};

const PEER: &str = "192.0.2.200:7000";

fn alice() -> Caller {
    Caller::alice().over(Transport::Tcp, 7)
}

fn node() -> Node {
    node_with(1, |_| {})
}

fn node_with(workers: u8, limits: impl FnOnce(&mut Limits)) -> Node {
    let config = edited(|config| {
        config.tcp_allocations = true;
        limits(&mut config.limits);
    });
    let mut node = Node::new(workers, config);
    // The peers of these tests are documentation addresses.
    node.replace_policy(|policy| policy.allow = vec!["192.0.2.128/25".parse().unwrap()]);
    node
}

#[test]
fn tcp_is_442_unless_it_is_served_and_400_over_udp() {
    let mut off = Node::default();
    let mut caller = alice();
    assert_eq!(off.allocate_tcp(&mut caller), Err(442));
    assert_eq!(
        off.dropped(&caller.clone(), &caller.signed(Method::CONNECT, |_| Ok(()))),
        DropReason::UnknownMethod
    );
    let mut node = node();
    assert_eq!(node.allocate_tcp(&mut Caller::alice()), Err(400));
    assert!(node.allocate_tcp(&mut alice()).is_ok());
    assert!(
        node.allocate_tcp(&mut Caller::bob().over(Transport::Tls, 8))
            .is_ok(),
        "over TLS as well"
    );
    assert_eq!(node.server().counters().allocated_tcp, 2);
}

#[test]
fn what_belongs_to_datagrams_is_400() {
    let mut node = node();
    let mut caller = alice();
    for reserve_next in [false, true] {
        let answer = node.ask(&mut caller, Method::ALLOCATE, |writer| {
            writer.attr(&RequestedTransport::TCP)?;
            writer.attr(&EvenPort { reserve_next })
        });
        assert_eq!(answer.code(), 400);
    }
    let answer = node.ask(&mut caller, Method::ALLOCATE, |writer| {
        writer.attr(&RequestedTransport::TCP)?;
        writer.attr(&ReservationToken([1; 8]))
    });
    assert_eq!(answer.code(), 400);
    node.assert_nothing_is_left();
}

#[test]
fn a_tcp_allocation_listens_and_gives_no_reservation() {
    let mut node = node();
    let mut caller = alice();
    let answer = node.ask(&mut caller, Method::ALLOCATE, |writer| {
        writer.attr(&RequestedTransport::TCP)
    });
    assert!(answer.is_success() && caller.is_answered_by(&answer));
    assert!(!answer.types().contains(&AttributeType::RESERVATION_TOKEN));
    assert_eq!((node.listening.len(), node.open.len()), (1, 0));
    assert_eq!(node.refresh(&mut caller, 0), Ok(0));
    node.assert_nothing_is_left();
}

#[test]
fn of_two_families_a_tcp_allocation_has_one() {
    let mut node = node();
    let answer = node.ask(&mut alice(), Method::ALLOCATE, |writer| {
        writer.attr(&RequestedTransport::TCP)?;
        writer.attr(&AdditionalAddressFamily(AddressFamily::Ipv6))
    });
    assert!(answer.is_success());
    let refused: AddressErrorCode<'_> = answer.find().unwrap();
    assert_eq!((refused.family, refused.code), (AddressFamily::Ipv6, 440));
    assert_eq!(
        (node.listening.len(), node.registry.usage().allocations),
        (1, 1)
    );
}

#[test]
fn a_connect_is_answered_when_the_peer_is_connected() {
    let mut node = node();
    let mut caller = alice();
    let relayed = node.allocate_tcp(&mut caller).unwrap();
    assert_eq!(node.connect(&mut caller, PEER), 0);
    assert_eq!(node.connecting[0].peer, PEER.parse().unwrap());
    assert_eq!(node.connecting[0].port, node.listener_of(relayed));
    let (_, id) = node.connected(true);
    assert!(id.is_ok());
    assert_eq!(node.server().counters().peers_connected, 1);
}

#[test]
fn a_peer_that_cannot_be_connected_is_447_and_may_be_tried_again() {
    let mut node = node();
    let mut caller = alice();
    node.allocate_tcp(&mut caller).unwrap();
    for _ in 0..2 {
        assert_eq!(node.connect(&mut caller, PEER), 0);
        assert_eq!(node.connected(false).1, Err(447));
    }
    assert_eq!(node.registry.usage().peer_connections, 0);
}

#[test]
fn the_same_peer_twice_is_446_while_connecting_pending_or_active() {
    let mut node = node();
    let mut caller = alice();
    node.allocate_tcp(&mut caller).unwrap();
    assert_eq!(node.connect(&mut caller, PEER), 0);
    assert_eq!(node.connect(&mut caller, PEER), 446, "connecting");
    let (handle, id) = node.connected(true);
    assert_eq!(node.connect(&mut caller, PEER), 446, "pending");
    assert_eq!(
        node.bind_connection(&mut caller.again(9, 0), id.unwrap()),
        0
    );
    assert_eq!(node.connect(&mut caller, PEER), 446, "active");
    assert_eq!(
        node.connect(&mut caller, "192.0.2.200:7001"),
        0,
        "another port"
    );
    assert!(node.connected(true).1.is_ok());
    node.connection_closes(0, handle);
    assert_eq!(node.connect(&mut caller, PEER), 0, "ended");
}

#[test]
fn a_connect_needs_an_allocation_of_its_kind_and_of_its_user() {
    let mut node = node();
    let mut caller = alice();
    assert_eq!(node.connect(&mut caller, PEER), 437);
    node.allocate(&mut caller);
    assert_eq!(
        node.connect(&mut caller, PEER),
        437,
        "that one relays datagrams"
    );
    assert_eq!(node.refresh(&mut caller, 0), Ok(0));
    node.allocate_tcp(&mut caller).unwrap();
    let mut bob = Caller::bob();
    bob.client = caller.client;
    assert_eq!(node.connect(&mut bob, PEER), 441);
}

#[test]
fn a_connect_without_a_peer_is_400_and_to_the_other_family_443() {
    let mut node = node();
    let mut caller = alice();
    node.allocate_tcp(&mut caller).unwrap();
    assert_eq!(
        node.ask(&mut caller, Method::CONNECT, |_| Ok(())).code(),
        400
    );
    assert_eq!(node.connect(&mut caller, "[2606:4700::1]:7000"), 443);
}

/// pion/turn #570: the policy was asked for CreatePermission and ChannelBind, and not for Connect.
#[test]
fn connect_asks_the_peer_policy_as_send_and_channel_bind_do() {
    let mut node = node();
    let mut caller = alice();
    node.allocate_tcp(&mut caller).unwrap();
    for peer in [
        "127.0.0.1:7000",
        "0.0.0.0:7000",
        "10.0.0.1:7000",
        "169.254.169.254:8080",
        "192.168.1.1:7000",
        "100.64.0.1:7000",
        "224.0.0.1:7000",
        "255.255.255.255:7000",
        // The port rule.
        "8.8.8.8:0",
        "8.8.8.8:25",
        "8.8.8.8:1023",
        // The node's own listener, and an own port where nobody accepts.
        "198.51.100.1:3478",
        "198.51.100.1:50001",
    ] {
        assert_eq!(node.connect(&mut caller, peer), 403, "{peer}");
    }
    assert!(node.connecting.is_empty());
    assert_eq!(node.connect(&mut caller, "8.8.8.8:1024"), 0);

    let mut v6 = Caller::new("[2620:99::9]:40000", "bob", "bob's").over(Transport::Tcp, 8);
    let answer = node.ask(&mut v6, Method::ALLOCATE, |writer| {
        writer.attr(&RequestedTransport::TCP)?;
        writer.attr(&sterna_stun::attr::RequestedAddressFamily(
            AddressFamily::Ipv6,
        ))
    });
    assert!(answer.is_success());
    for peer in [
        "[::1]:7000",
        "[::]:7000",
        "[::ffff:127.0.0.1]:7000",
        "[::127.0.0.1]:7000",
        "[64:ff9b::7f00:1]:7000",
        "[2002:7f00:1::1]:7000",
        "[2001:0:7f00:1::1]:7000",
        "[fe80::1]:7000",
        "[fc00::1]:7000",
        "[2620:5::1]:3478",
    ] {
        assert_eq!(node.connect(&mut v6, peer), 403, "{peer}");
    }
}

#[test]
fn another_client_s_relayed_address_is_a_peer_by_its_inner_and_outer_name() {
    let mut node = node_with(2, |_| {});
    node.reconfigure(|config| {
        let [inside, outside] = ["198.51.100.1", "9.9.9.9"].map(|ip| ip.parse().unwrap());
        config.external_addresses = vec![(inside, outside)];
    });
    node.replace_policy(|policy| policy.relay_addresses.push("9.9.9.9".parse().unwrap()));
    let (mut alice, mut bob) = (alice(), Caller::bob().over(Transport::Tcp, 8).on_worker(1));
    let (to, from) = (
        node.allocate_tcp(&mut alice).unwrap(),
        node.allocate_tcp(&mut bob).unwrap(),
    );
    assert_eq!(to.ip().to_string(), "9.9.9.9");
    assert_eq!(node.connect(&mut bob, &to.to_string()), 0);
    let mut inner = to;
    inner.set_ip("198.51.100.1".parse().unwrap());
    assert_eq!(node.connecting[0].peer, inner);
    // The other side sees where it came from, by the name that its permission has.
    assert_eq!(node.permit(&mut alice, &from.to_string()), 0);
    let mut source = from;
    source.set_ip("198.51.100.1".parse().unwrap());
    let (_, indication) = node.attempt(0, inner, &source.to_string());
    let peer = indication.unwrap().find::<XorPeerAddress>();
    assert_eq!(peer, Some(XorPeerAddress(from)));
}

#[test]
fn one_allocation_and_the_node_have_their_caps() {
    let mut node = node_with(1, |limits| {
        limits.tcp_peer_connections_per_allocation_max = 2;
        limits.tcp_peer_connections_max = 3;
    });
    let (mut alice, mut bob) = (alice(), Caller::bob().over(Transport::Tcp, 8));
    node.allocate_tcp(&mut alice).unwrap();
    node.allocate_tcp(&mut bob).unwrap();
    let (first, _) = node.connect_now(&mut alice, "8.8.8.8:5000");
    node.connect_now(&mut alice, "8.8.8.8:5001");
    assert_eq!(
        node.connect(&mut alice, "8.8.8.8:5002"),
        508,
        "of the allocation"
    );
    node.connect_now(&mut bob, "8.8.8.8:5000");
    assert_eq!(node.connect(&mut bob, "8.8.8.8:5001"), 508, "of the node");
    assert_eq!(node.server().counters().peer_connections_refused, 2);
    node.connection_closes(0, first);
    node.connect_now(&mut bob, "8.8.8.8:5001");
}

#[test]
fn new_peers_are_counted_by_the_second() {
    let mut node = node_with(1, |limits| limits.new_peers_per_allocation_per_s = 2);
    let mut caller = alice();
    node.allocate_tcp(&mut caller).unwrap();
    node.connect_now(&mut caller, "8.8.8.8:5000");
    node.connect_now(&mut caller, "8.8.8.8:5001");
    assert_eq!(node.connect(&mut caller, "8.8.8.8:5002"), 508);
    node.pass_s(1);
    node.connect_now(&mut caller, "8.8.8.8:5002");
}

#[test]
fn datagrams_and_channels_are_refused() {
    let mut node = node();
    let mut caller = alice();
    node.allocate_tcp(&mut caller).unwrap();
    assert_eq!(node.permit(&mut caller, PEER), 0);
    assert_eq!(node.bind(&mut caller, 0x4000, PEER), 403);
    let send = caller.indication(Method::SEND, |writer| {
        writer.attr(&XorPeerAddress(PEER.parse().unwrap()))?;
        writer.attr(&Data(b"x"))
    });
    assert_eq!(node.dropped(&caller, &send), DropReason::TcpAllocation);
    let mut channel_data = vec![0x40, 0, 0, 4];
    channel_data.extend(b"data");
    assert_eq!(node.dropped(&caller, &channel_data), DropReason::NoChannel);
}

#[test]
fn datagrams_of_another_client_do_not_reach_a_tcp_relay() {
    let mut node = node();
    let mut caller = alice();
    let relayed = node.allocate_tcp(&mut caller).unwrap();
    let mut bob = Caller::bob();
    node.allocate(&mut bob);
    assert_eq!(node.permit(&mut bob, &relayed.to_string()), 0);
    let send = bob.indication(Method::SEND, |writer| {
        writer.attr(&XorPeerAddress(relayed))?;
        writer.attr(&Data(b"x"))
    });
    assert_eq!(node.dropped(&bob, &send), DropReason::OwnAddress);
}

#[test]
fn the_end_of_an_allocation_is_the_end_of_its_connections() {
    type End = fn(&mut Node, &mut Caller);
    let ends: [End; 4] = [
        |node, caller| {
            assert_eq!(node.refresh(caller, 0), Ok(0));
        },
        |node, _| node.pass_s(601),
        |node, caller| {
            node.servers[0].handle_stream_closed(node.now, caller.client);
            node.settle(0);
        },
        |node, _| {
            let ended = node.servers[0].revoke(node.now, &Revoke::User("alice".into()));
            assert_eq!(ended, 1);
            node.settle(0);
        },
    ];
    for end in ends {
        let mut node = node();
        let mut caller = alice();
        let relayed = node.allocate_tcp(&mut caller).unwrap();
        let (bound, id) = node.connect_now(&mut caller, "8.8.8.8:5000");
        assert_eq!(node.bind_connection(&mut caller.again(9, 0), id), 0);
        node.connect_now(&mut caller, "8.8.8.8:5001");
        assert_eq!(node.permit(&mut caller, PEER), 0);
        node.attempt(0, relayed, PEER);
        assert_eq!(node.registry.usage().peer_connections, 3);
        end(&mut node, &mut caller);
        node.assert_nothing_is_left();
        // What the driver says afterwards is no news.
        node.connection_closes(0, bound);
        node.assert_nothing_is_left();
    }
}

#[test]
fn a_connect_under_way_ends_with_its_allocation_and_is_answered() {
    let mut node = node();
    let mut caller = alice();
    node.allocate_tcp(&mut caller).unwrap();
    assert_eq!(node.connect(&mut caller, PEER), 0);
    let late = node.connecting[0];
    node.answers.clear();
    let packet = caller.signed(Method::REFRESH, |writer| {
        writer.attr(&sterna_stun::attr::Lifetime(0))
    });
    node.send(&caller, &packet);
    let codes: Vec<u16> = node.answers.iter().map(Answer::code).collect();
    assert_eq!(codes, [437, 0]);
    node.assert_nothing_is_left();
    // Had it succeeded at this very moment, it is closed.
    let handle = crate::PeerConnection(77);
    node.peers.insert(handle, late.port);
    node.servers[0].handle_connected(node.now, late.token, Ok(handle));
    node.settle(0);
    node.assert_nothing_is_left();
}

#[test]
fn a_peer_that_the_policy_denies_now_is_closed_and_a_connect_under_way_is_403() {
    let mut node = node();
    let mut caller = alice();
    node.allocate_tcp(&mut caller).unwrap();
    let (condemned, id) = node.connect_now(&mut caller, "8.8.8.8:5000");
    assert_eq!(node.bind_connection(&mut caller.again(9, 0), id), 0);
    let (spared, _) = node.connect_now(&mut caller, "9.9.9.9:5000");
    assert_eq!(node.connect(&mut caller, "8.8.4.4:5000"), 0);
    node.answers.clear();
    node.replace_policy(|policy| policy.deny = vec!["8.0.0.0/8".parse().unwrap()]);
    assert_eq!(node.answers.pop_front().unwrap().code(), 403);
    assert!(!node.peers.contains_key(&condemned) && node.peers.contains_key(&spared));
    assert_eq!(node.server().counters().peers_revoked, 2);
    assert_eq!(node.registry.usage().peer_connections, 1);
    assert_eq!(node.connect(&mut caller, "8.8.8.8:5000"), 403);
}

#[test]
fn a_port_that_somebody_else_listens_on_is_passed_over() {
    let mut node = node_with(1, |_| {});
    node.reconfigure(|config| config.relay_ports = 50_000..=50_001);
    node.foreign.insert("198.51.100.1:50000".parse().unwrap());
    let mut caller = alice();
    assert_eq!(node.allocate_tcp(&mut caller).unwrap().port(), 50_001);
    let mut bob = Caller::bob();
    assert_eq!(
        node.allocate_with(&mut bob, |_| Ok(())),
        Err(508),
        "one budget of ports for both"
    );
}

#[test]
fn a_client_that_goes_while_its_listener_is_opened_leaves_nothing() {
    let mut node = node();
    let mut caller = alice();
    node.challenge(&mut caller);
    let packet = caller.signed(Method::ALLOCATE, |writer| {
        writer.attr(&RequestedTransport::TCP)
    });
    let client: Client = caller.client;
    let server = &mut node.servers[0];
    server.handle_client(node.now, client, &packet);
    server.handle_stream_closed(node.now, client);
    node.settle(0);
    node.assert_nothing_is_left();
}
