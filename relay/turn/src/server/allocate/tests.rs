use std::net::IpAddr;

use proptest::prelude::*;
use sterna_stun::{
    attr::{
        AdditionalAddressFamily, AddressFamily, AttributeType, DontFragment, EvenPort, Lifetime,
        MobilityTicket, RequestedAddressFamily, RequestedTransport, ReservationToken,
        XorMappedAddress, XorRelayedAddress,
    },
    message::Method,
    writer::{Full, MessageWriter},
};

use crate::{
    DropReason, Limits, Transport, Verdict,
    testing::{Caller, Node, config, edited},
};

fn pair(writer: &mut MessageWriter<'_>) -> Result<(), Full> {
    writer.attr(&EvenPort { reserve_next: true })
}

/// Allocates with EVEN-PORT, R = 1; returns the port and the token.
fn allocate_pair(node: &mut Node, caller: &mut Caller) -> (u16, ReservationToken) {
    let answer = node.ask(caller, Method::ALLOCATE, |writer| {
        writer.attr(&RequestedTransport::UDP)?;
        pair(writer)
    });
    let relayed = answer.find::<XorRelayedAddress>().expect("an allocation");
    (relayed.0.port(), answer.find().expect("a token"))
}

#[test]
fn an_allocation_has_relayed_address_lifetime_and_mapped_address() {
    let mut node = Node::default();
    let mut alice = Caller::alice();
    let answer = node.ask(&mut alice, Method::ALLOCATE, |writer| {
        writer.attr(&RequestedTransport::UDP)
    });
    assert!(answer.is_success());
    let XorRelayedAddress(relayed) = answer.find().expect("relayed");
    assert_eq!(relayed.ip(), "198.51.100.1".parse::<IpAddr>().expect("ok"));
    assert!(relayed.port() >= 49_152);
    assert_eq!(answer.find(), Some(Lifetime(600)));
    assert_eq!(answer.find(), Some(XorMappedAddress(alice.client.addr)));
    assert!(
        alice.mac.verify(&answer.message()).is_ok(),
        "the answer is signed"
    );
    assert_eq!(
        answer.types(),
        [
            AttributeType::XOR_RELAYED_ADDRESS,
            AttributeType::LIFETIME,
            AttributeType::XOR_MAPPED_ADDRESS,
            AttributeType::SOFTWARE,
            AttributeType::MESSAGE_INTEGRITY,
        ]
    );
}

#[test]
fn a_second_allocate_of_the_same_five_tuple_is_a_mismatch() {
    let mut node = Node::default();
    let mut alice = Caller::alice();
    node.allocate(&mut alice);
    assert_eq!(node.allocate_with(&mut alice, |_| Ok(())), Err(437));
    assert_eq!(node.server().allocation_count(), 1);
}

#[test]
fn a_retransmitted_allocate_gets_the_same_success_again() {
    let mut node = Node::default();
    let mut alice = Caller::alice();
    node.challenge(&mut alice);
    let packet = alice.signed(Method::ALLOCATE, |writer| {
        writer.attr(&RequestedTransport::UDP)?;
        writer.attr(&Lifetime(777))?;
        pair(writer)
    });
    let first = node.answer(&alice, &packet);
    node.pass_s(3);
    assert_eq!(node.answer(&alice, &packet), first);
    assert_eq!(node.server().allocation_count(), 1);
    assert_eq!(node.server().counters().allocate_repeated, 1);
    assert_eq!(node.open.len(), 1);
    // Also after the lifetime has been changed by a Refresh.
    node.refresh(&mut alice, 1000).expect("granted");
    assert_eq!(node.answer(&alice, &packet), first);
}

// What is said again is signed for the maker, and may have a ticket in it.
#[test]
fn another_users_allocate_under_a_known_transaction_is_no_retransmission() {
    let mut node = Node::default();
    let mut alice = Caller::alice();
    let answer = node.ask(&mut alice, Method::ALLOCATE, |writer| {
        writer.attr(&RequestedTransport::UDP)?;
        writer.attr(&MobilityTicket(b""))
    });
    assert!(answer.find::<MobilityTicket<'_>>().is_some());
    let mut bob = Caller::bob();
    bob.client = alice.client;
    bob.nonce = alice.nonce.clone();
    bob.next_transaction = alice.next_transaction - 1;
    let packet = bob.signed(Method::ALLOCATE, |writer| {
        writer.attr(&RequestedTransport::UDP)
    });
    let told = node.answer(&bob, &packet);
    assert_eq!(told.code(), 437);
    assert!(bob.is_answered_by(&told));
    assert_eq!(told.find::<MobilityTicket<'_>>(), None);
    assert_eq!(node.server().counters().allocate_repeated, 0);
}

#[test]
fn the_other_transport_or_listener_is_another_five_tuple() {
    let mut node = Node::default();
    let mut udp = Caller::alice();
    let mut tcp = Caller::alice().over(Transport::Tcp, 0);
    let mut tls = Caller::alice().over(Transport::Tls, 0);
    let mut elsewhere = Caller::alice().over(Transport::Udp, 9);
    for caller in [&mut udp, &mut tcp, &mut tls, &mut elsewhere] {
        node.allocate(caller);
    }
    assert_eq!(node.server().allocation_count(), 4);
}

#[test]
fn requested_transport_is_needed_and_must_be_udp() {
    let mut node = Node::default();
    let mut alice = Caller::alice();
    assert_eq!(
        node.ask(&mut alice, Method::ALLOCATE, |_| Ok(())).code(),
        400
    );
    let tcp = node.ask(&mut alice, Method::ALLOCATE, |writer| {
        writer.attr(&RequestedTransport::TCP)
    });
    assert_eq!(tcp.code(), 442);
    let malformed = node.ask(&mut alice, Method::ALLOCATE, |writer| {
        writer.raw(AttributeType::REQUESTED_TRANSPORT, &[17])
    });
    assert_eq!(malformed.code(), 400);
}

#[test]
fn an_unauthenticated_allocate_without_requested_transport_is_dropped() {
    let mut node = Node::default();
    let mut alice = Caller::alice();
    let packet = alice.unsigned(Method::ALLOCATE, |_| Ok(()));
    assert_eq!(
        node.dropped(&alice, &packet),
        DropReason::NoRequestedTransport
    );
}

#[test]
fn lifetimes_are_raised_to_the_default_and_cut_to_the_maximum() {
    for (asked, granted) in [
        (0, 600),
        (1, 600),
        (600, 600),
        (601, 601),
        (3600, 3600),
        (u32::MAX, 3600),
    ] {
        let mut node = Node::default();
        let answer = node.ask(&mut Caller::alice(), Method::ALLOCATE, |writer| {
            writer.attr(&RequestedTransport::UDP)?;
            writer.attr(&Lifetime(asked))
        });
        assert_eq!(answer.find(), Some(Lifetime(granted)), "asked for {asked}");
    }
}

// RFC 8656 §7.2 step 4: only a server that cannot set DF refuses it.
#[test]
fn dont_fragment_is_understood() {
    let mut node = Node::default();
    let allocated = node.allocate_with(&mut Caller::alice(), |writer| writer.attr(&DontFragment));
    assert!(allocated.is_ok());
}

#[test]
fn a_token_goes_with_neither_even_port_nor_a_family() {
    let mut node = Node::default();
    let mut alice = Caller::alice();
    let token = ReservationToken([1; 8]);
    let with_even = node.allocate_with(&mut alice, |writer| {
        writer.attr(&token)?;
        writer.attr(&EvenPort {
            reserve_next: false,
        })
    });
    let with_family = node.allocate_with(&mut alice, |writer| {
        writer.attr(&token)?;
        writer.attr(&RequestedAddressFamily(AddressFamily::Ipv4))
    });
    let with_additional = node.allocate_with(&mut alice, |writer| {
        writer.attr(&token)?;
        writer.attr(&AdditionalAddressFamily(AddressFamily::Ipv6))
    });
    assert_eq!([with_even, with_family, with_additional], [Err(400); 3]);
    assert_eq!(
        node.allocate_with(&mut alice, |writer| writer.attr(&token)),
        Err(508)
    );
}

#[test]
fn families_are_checked_with_each_other_and_with_what_is_served() {
    let mut node = Node::default();
    let mut alice = Caller::alice();
    let both = node.allocate_with(&mut alice, |writer| {
        writer.attr(&RequestedAddressFamily(AddressFamily::Ipv4))?;
        writer.attr(&AdditionalAddressFamily(AddressFamily::Ipv6))
    });
    let unheard_of = node.allocate_with(&mut alice, |writer| {
        writer.raw(AttributeType::REQUESTED_ADDRESS_FAMILY, &[9, 0, 0, 0])
    });
    let pair_and_additional = node.allocate_with(&mut alice, |writer| {
        pair(writer)?;
        writer.attr(&AdditionalAddressFamily(AddressFamily::Ipv6))
    });
    let additional_ipv4 = node.allocate_with(&mut alice, |writer| {
        writer.attr(&AdditionalAddressFamily(AddressFamily::Ipv4))
    });
    assert_eq!(
        [both, unheard_of, pair_and_additional, additional_ipv4],
        [Err(400), Err(440), Err(400), Err(400)]
    );
    let v6 = node.allocate_with(&mut alice, |writer| {
        writer.attr(&RequestedAddressFamily(AddressFamily::Ipv6))
    });
    assert!(v6.expect("served").is_ipv6());
}

#[test]
fn a_family_without_a_relay_address_is_refused_with_440() {
    let only_v4 =
        edited(|config| config.relay_addresses = vec!["198.51.100.1".parse().expect("ok")]);
    let mut node = Node::new(1, only_v4);
    let mut alice = Caller::alice();
    let v6 = node.allocate_with(&mut alice, |writer| {
        writer.attr(&RequestedAddressFamily(AddressFamily::Ipv6))
    });
    assert_eq!(v6, Err(440));
}

#[test]
fn an_ipv6_client_gets_an_ipv4_relay_unless_it_asks_otherwise() {
    let mut node = Node::default();
    let mut carol = Caller::new("[2620:99::1]:5000", "alice", "alice's");
    assert!(node.allocate(&mut carol).is_ipv4());
}

#[test]
fn even_port_without_r_gives_an_even_port_and_reserves_nothing() {
    let mut node = Node::default();
    for port in 1..=20 {
        let mut caller = Caller::new(&format!("203.0.113.10:{port}"), "alice", "alice's");
        let answer = node.ask(&mut caller, Method::ALLOCATE, |writer| {
            writer.attr(&RequestedTransport::UDP)?;
            writer.attr(&EvenPort {
                reserve_next: false,
            })
        });
        assert_eq!(
            answer.find::<XorRelayedAddress>().expect("ok").0.port() % 2,
            0
        );
        assert_eq!(answer.find::<ReservationToken>(), None);
    }
    assert!(node.held.is_empty());
    assert_eq!(node.registry.usage().ports, 20);
}

#[test]
fn a_reserved_port_goes_to_whoever_of_the_same_account_shows_the_token() {
    let mut node = Node::new(3, config());
    let mut alice = Caller::alice();
    let (port, token) = allocate_pair(&mut node, &mut alice);
    assert_eq!(port % 2, 0);
    assert_eq!(node.held.len(), 1);

    let mut bob = Caller::bob();
    assert_eq!(
        node.allocate_with(&mut bob, |writer| writer.attr(&token)),
        Err(508)
    );

    // On another worker than the one that had it held.
    let mut again = Caller::new("203.0.113.10:40001", "alice", "alice's").on_worker(2);
    let relayed = node
        .allocate_with(&mut again, |writer| writer.attr(&token))
        .expect("held");
    assert_eq!(relayed.port(), port + 1);
    assert!(node.held.is_empty());

    let mut third = Caller::new("203.0.113.10:40002", "alice", "alice's");
    assert_eq!(
        node.allocate_with(&mut third, |writer| writer.attr(&token)),
        Err(508),
        "used"
    );

    // The reservation's end does not touch the allocation that came of it.
    node.pass_s(61);
    assert_eq!(node.open.len(), 2);
    node.pass_s(600);
    node.assert_nothing_is_left();
}

// coturn leaked the second port of a pair.
#[test]
fn a_reservation_that_nobody_comes_for_is_given_back() {
    let mut node = Node::default();
    let mut alice = Caller::alice();
    let (_, token) = allocate_pair(&mut node, &mut alice);
    assert_eq!(node.registry.usage().allocations, 2, "a reservation counts");
    node.pass_s(59);
    assert_eq!(
        (node.held.len(), node.registry.usage().reservations),
        (1, 1)
    );
    node.pass_s(1);
    assert_eq!(
        (node.held.len(), node.registry.usage().reservations),
        (0, 0)
    );
    assert_eq!(node.registry.usage().allocations, 1);
    assert_eq!(node.server().counters().reservations_expired, 1);
    let mut late = Caller::new("203.0.113.10:40001", "alice", "alice's");
    assert_eq!(
        node.allocate_with(&mut late, |writer| writer.attr(&token)),
        Err(508)
    );
    node.refresh(&mut alice, 0).expect("released");
    node.assert_nothing_is_left();
}

#[test]
fn a_reservation_refused_for_a_quota_can_still_be_used_later() {
    let mut node = Node::default();
    let mut alice = Caller::alice();
    let (port, token) = allocate_pair(&mut node, &mut alice);
    node.servers[0].drain(true);
    let mut again = Caller::new("203.0.113.10:40001", "alice", "alice's");
    assert_eq!(
        node.allocate_with(&mut again, |writer| writer.attr(&token)),
        Err(508)
    );
    assert_eq!(node.registry.usage().allocations, 2);
    node.servers[0].drain(false);
    let relayed = node
        .allocate_with(&mut again, |writer| writer.attr(&token))
        .expect("held");
    assert_eq!(relayed.port(), port + 1);
}

#[test]
fn quotas_are_486_for_user_and_prefix_and_508_in_total() {
    let limited = |edit: fn(&mut Limits)| Node::new(1, edited(|config| edit(&mut config.limits)));
    let another = |port: u16| Caller::new(&format!("203.0.113.10:{port}"), "alice", "alice's");

    let mut node = limited(|limits| limits.allocations_per_user_max = 1);
    node.allocate(&mut another(1));
    assert_eq!(node.allocate_with(&mut another(2), |_| Ok(())), Err(486));
    assert!(node.allocate_with(&mut Caller::bob(), |_| Ok(())).is_ok());
    assert_eq!(node.server().counters().allocations_refused_user, 1);

    let mut node = limited(|limits| limits.allocations_per_prefix_max = 1);
    node.allocate(&mut another(1));
    assert_eq!(node.allocate_with(&mut Caller::bob(), |_| Ok(())), Err(486));
    assert_eq!(node.server().counters().allocations_refused_prefix, 1);

    let mut node = limited(|limits| limits.allocations_max = 1);
    node.allocate(&mut another(1));
    assert_eq!(node.allocate_with(&mut Caller::bob(), |_| Ok(())), Err(508));
    assert_eq!(node.server().counters().allocations_refused_total, 1);
}

#[test]
fn a_pair_counts_twice_or_not_at_all() {
    let mut node = Node::new(
        1,
        edited(|config| config.limits.allocations_per_user_max = 1),
    );
    assert_eq!(node.allocate_with(&mut Caller::alice(), pair), Err(486));
    node.assert_nothing_is_left();
}

#[test]
fn time_limited_names_share_the_quota_of_their_account() {
    let mut node = Node::new(
        1,
        edited(|config| config.limits.allocations_per_user_max = 1),
    );
    let name = |expiry: u64| format!("{}:carol", crate::testing::START_UNIX_S + expiry);
    let caller = |port: u16, name: String| {
        let password = sterna_stun::credentials::rest_password(b"north", &name);
        Caller::new(&format!("203.0.113.30:{port}"), &name, &password)
    };
    node.allocate(&mut caller(1, name(100)));
    assert_eq!(
        node.allocate_with(&mut caller(2, name(200)), |_| Ok(())),
        Err(486)
    );
}

#[test]
fn a_draining_node_makes_no_allocation_and_keeps_what_it_has() {
    let mut node = Node::default();
    let mut alice = Caller::alice();
    node.allocate(&mut alice);
    node.servers[0].drain(true);
    assert_eq!(node.allocate_with(&mut Caller::bob(), |_| Ok(())), Err(508));
    assert_eq!(node.server().counters().refused_draining, 1);
    assert_eq!(node.refresh(&mut alice, 600), Ok(600));
    node.servers[0].drain(false);
    assert!(node.allocate_with(&mut Caller::bob(), |_| Ok(())).is_ok());
}

#[test]
fn the_external_address_is_told_and_the_internal_one_opened() {
    let mut node = Node::new(
        1,
        edited(|config| {
            config.external_addresses = vec![(
                "198.51.100.1".parse().expect("ok"),
                "5.5.5.5".parse().expect("ok"),
            )];
        }),
    );
    let relayed = node.allocate(&mut Caller::alice());
    assert_eq!(relayed.ip(), "5.5.5.5".parse::<IpAddr>().expect("ok"));
    assert_eq!(
        node.asked[0].ip(),
        "198.51.100.1".parse::<IpAddr>().expect("ok")
    );
    assert_eq!(node.asked[0].port(), relayed.port());
}

#[test]
fn an_open_relay_asks_nobody_and_signs_nothing() {
    let mut node = Node::new(1, edited(|config| config.open_relay = true));
    let mut nobody = Caller::alice();
    let packet = nobody.unsigned(Method::ALLOCATE, |writer| {
        writer.attr(&RequestedTransport::UDP)
    });
    let answer = node.answer(&nobody, &packet);
    assert!(answer.is_success());
    assert!(!answer.types().contains(&AttributeType::MESSAGE_INTEGRITY));
    let packet = nobody.unsigned(Method::REFRESH, |writer| writer.attr(&Lifetime(0)));
    assert!(node.answer(&nobody, &packet).is_success());
    node.assert_nothing_is_left();
}

// CVE-2018-4058 and its kin: what looks like another address family is not looked into twice.
#[test]
fn an_ipv4_mapped_client_is_an_ipv4_client_everywhere() {
    let mut node = Node::default();
    let mut alice = Caller::alice();
    node.allocate(&mut alice);
    let mut mapped = alice.clone();
    mapped.client.addr = "[::ffff:203.0.113.10]:40000".parse().expect("ok");
    mapped.client.server = "[::ffff:198.51.100.1]:3478".parse().expect("ok");
    let packet = mapped.signed(Method::ALLOCATE, |writer| {
        writer.attr(&RequestedTransport::UDP)
    });
    assert_eq!(node.send(&mapped, &packet), Verdict::Handled);
    let answer = node.answers.pop_back().expect("an answer");
    assert_eq!((answer.code(), answer.client), (437, alice.client));
}

proptest! {
    #[test]
    fn a_range_of_any_shape_is_used_up_and_never_left(first in 1024_u16..=u16::MAX, span in 0_u16..12) {
        let last = first.saturating_add(span);
        let mut node = Node::new(1, edited(|config| config.relay_ports = first..=last));
        let count = u32::from(last - first) + 1;
        let mut ports = Vec::new();
        for n in 0..count {
            let mut caller = Caller::new(&format!("203.0.113.10:{}", 1 + n), "alice", "alice's");
            ports.push(node.allocate(&mut caller).port());
        }
        ports.sort_unstable();
        prop_assert_eq!(ports, (first..=last).collect::<Vec<_>>());
        prop_assert_eq!(node.allocate_with(&mut Caller::bob(), |_| Ok(())), Err(508));
        node.pass_s(600);
        node.assert_nothing_is_left();
    }
}
