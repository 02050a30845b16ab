//! Coming in, and not coming in.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use sterna_control_api::{Fleet, SigningKey};

use crate::device::Event;
use crate::testing::{Flight, UNIX_S, World, device_secret, signing_key, ticket};
use crate::{DropReason, Link, Refusal, Revoke, Rung, Verdict};

fn is_up(event: &Event) -> bool {
    matches!(event, Event::Up(_))
}

#[test]
fn a_device_is_up_after_its_handshake_on_every_rung() {
    for rung in Rung::ALL {
        let mut world = World::new();
        let a = world.device(1, rung);
        world.settle();
        let told = world.told(a);
        assert!(told.iter().any(is_up), "{rung:?}: {told:?}");
        let welcome = *world.devices[a].session.welcome().unwrap();
        assert_eq!(welcome.observed.ip(), std::net::Ipv4Addr::new(192, 0, 2, 1));
        assert_eq!(welcome.expires, UNIX_S + 3600);
        assert_eq!(world.directory.sessions(rung), 1);
        world.pass(Duration::from_secs(120));
        assert!(
            world.devices[a].session.is_up(),
            "it stays, while nothing is sent"
        );
        world.devices[a].session.close(world.now);
        world.collect(a);
        world.settle();
        assert_eq!((world.sessions(), world.directory.sessions(rung)), (0, 0));
    }
}

#[test]
fn a_refused_ticket_has_its_own_code_and_leaves_nothing_behind() {
    let key = signing_key();
    let good = ticket(1).issue(&key).unwrap();
    let mut forged = good.clone();
    *forged.last_mut().unwrap() ^= 1;
    let mut version = good.clone();
    version[0] = 2;
    let mut early = ticket(1);
    (early.not_before, early.expires) = (UNIX_S + 1000, UNIX_S + 2000);
    let mut late = ticket(1);
    (late.not_before, late.expires) = (UNIX_S - 1000, UNIX_S);
    let mut elsewhere = ticket(1);
    elsewhere.audience = Fleet::new("other").unwrap();
    let mut stolen = ticket(1);
    stolen.relay_key = device_secret(2).public();
    let cases = [
        (good[..good.len() - 1].to_vec(), Refusal::TicketMalformed),
        (Vec::new(), Refusal::TicketMalformed),
        (version, Refusal::TicketVersion),
        (forged, Refusal::TicketSignature),
        (
            ticket(1).issue(&SigningKey::from_seed(&[1; 32])).unwrap(),
            Refusal::TicketUnknownKey,
        ),
        (elsewhere.issue(&key).unwrap(), Refusal::TicketAudience),
        (early.issue(&key).unwrap(), Refusal::TicketNotYet),
        (late.issue(&key).unwrap(), Refusal::TicketExpired),
        (stolen.issue(&key).unwrap(), Refusal::NotTheHolder),
    ];
    for rung in Rung::ALL {
        for (ticket, expected) in &cases {
            let mut world = World::new();
            let a = world.device_with(1, rung, ticket.clone());
            world.settle();
            let told = world.told(a);
            let [
                Event::Refused {
                    refusal,
                    sealed: true,
                    ..
                },
            ] = &told[..]
            else {
                panic!("{expected}: {told:?}");
            };
            assert_eq!(*refusal, Some(*expected));
            assert_eq!(world.sessions(), 0);
            assert_eq!(world.count(|counters| counters.refused(*expected)), 1);
            assert!(world.next_timer().is_none(), "nothing is left to be done");
        }
    }
}

#[test]
fn a_revoked_ticket_device_or_tenant_is_refused_and_its_session_ended() {
    let held = ticket(1);
    for revoke in [
        Revoke::Ticket(held.ticket_id),
        Revoke::Device(held.device_id),
        Revoke::DeviceKey(held.device_key),
        Revoke::Tenant(held.tenant),
    ] {
        let mut world = World::new();
        let a = world.device(1, Rung::Udp);
        world.settle();
        world.directory.revoke(revoke, UNIX_S + 3600);
        let ended: usize = (0..world.relays.len())
            .map(|shard| {
                let ended = world.relays[shard].revoke(world.now, &revoke);
                world.obey(shard);
                ended
            })
            .sum();
        assert_eq!(ended, 1);
        world.settle();
        assert!(matches!(world.told(a).last(), Some(Event::Closed { .. })));
        let again = world.device(1, Rung::Quic);
        world.settle();
        let told = world.told(again);
        let refused = Some(Refusal::Revoked);
        assert!(matches!(&told[..], [Event::Refused { refusal, .. }] if *refusal == refused));
        assert_eq!(world.directory.expire_revocations(UNIX_S + 3600), 0);
    }
}

#[test]
fn somebody_between_who_ends_tls_is_noticed_before_anything_is_sent() {
    let mut world = World::new();
    let a = world.device(1, Rung::Wss);
    // The node's connection is another one, and so is its exporter.
    let (link, shard) = (world.devices[a].link, world.devices[a].shard);
    let Link::Stream(stream) = link else {
        unreachable!()
    };
    let addr = "203.0.113.1:1".parse().unwrap();
    world.relays[shard].handle_stream_opened(world.now, stream, Rung::Wss, addr, [0; 32], 16_000);
    world.settle();
    let told = world.told(a);
    let refused = Some(Refusal::Handshake);
    assert!(
        matches!(&told[..], [Event::Refused { refusal, sealed: false, .. }] if *refusal == refused),
        "{told:?}"
    );
    assert_eq!(world.sessions(), 0);
}

#[test]
fn what_is_answered_before_an_address_is_proved_is_never_longer_than_what_asked() {
    let mut world = World::new();
    world.device(1, Rung::Udp);
    let Some(Flight::Up {
        link, shard, frame, ..
    }) = world.air.pop_front()
    else {
        panic!("HELLO")
    };
    for len in 0..200 {
        let mut hello = frame.clone();
        hello.resize(len, 0);
        world.packet(shard, link, &hello);
        let answered: usize = world
            .air
            .drain(..)
            .map(|flight| match flight {
                Flight::Down { frame, .. } => frame.len(),
                other => panic!("{other:?}"),
            })
            .sum();
        assert!(answered <= len, "{len} bytes brought {answered}");
        assert_eq!(answered > 0, len >= 64);
    }
    assert_eq!(world.sessions(), 0);
    // Drained, the node says so within the same bounds.
    world.relays[shard].drain(world.now, Some(crate::message::Restarting::default()));
    world.packet(shard, link, &frame);
    let Some(Flight::Down { frame: refused, .. }) = world.air.pop_front() else {
        panic!("REFUSED")
    };
    assert!(refused.len() <= frame.len());
}

#[test]
fn an_init_without_a_cookie_of_its_own_address_costs_no_diffie_hellman() {
    let mut world = World::new();
    world.device(1, Rung::Udp);
    // HELLO, COOKIE; then INIT is taken out of the air.
    for _ in 0..2 {
        let flight = world.air.pop_front().unwrap();
        world.arrive(flight);
    }
    let Some(Flight::Up {
        link, shard, frame, ..
    }) = world.air.pop_front()
    else {
        panic!("INIT")
    };
    let elsewhere = Link::Udp {
        listener: 0,
        addr: "203.0.113.9:9".parse().unwrap(),
    };
    assert_eq!(
        world.packet(shard, elsewhere, &frame),
        Verdict::Drop(DropReason::Cookie)
    );
    let mut changed = frame.clone();
    changed[25] ^= 1;
    assert_eq!(
        world.packet(shard, link, &changed),
        Verdict::Drop(DropReason::Cookie)
    );
    world.now += Duration::from_secs(12);
    assert_eq!(
        world.packet(shard, link, &frame),
        Verdict::Drop(DropReason::Cookie)
    );
    assert!(world.air.is_empty() && world.sessions() == 0);
}

#[test]
fn a_repeated_init_gets_the_welcome_that_it_got_and_creates_nothing() {
    let mut world = World::new();
    let a = world.device(1, Rung::Udp);
    for _ in 0..2 {
        let flight = world.air.pop_front().unwrap();
        world.arrive(flight);
    }
    let Some(Flight::Up {
        link, shard, frame, ..
    }) = world.air.pop_front()
    else {
        panic!("INIT")
    };
    world.packet(shard, link, &frame);
    let Some(Flight::Down { frame: first, .. }) = world.air.front().cloned() else {
        panic!("WELCOME")
    };
    assert!(first.len() <= frame.len(), "WELCOME is no longer than INIT");
    // Before and after the session has spoken.
    world.packet(shard, link, &frame);
    world.settle();
    assert!(world.told(a).iter().filter(|event| is_up(event)).count() == 1);
    world.packet(shard, link, &frame);
    let Some(Flight::Down { frame: again, .. }) = world.air.front().cloned() else {
        panic!("WELCOME")
    };
    assert_eq!(first, again);
    assert_eq!(world.sessions(), 1);
    assert_eq!(world.count(|counters| counters.welcomes), 1);
    assert_eq!(world.count(|counters| counters.welcomes_repeated), 2);
    assert_eq!(world.count(|counters| counters.displaced), 0);
}

#[test]
fn a_session_that_never_speaks_under_its_keys_displaces_nobody_and_is_forgotten() {
    let mut world = World::new();
    let a = world.device(1, Rung::Udp);
    world.pass(Duration::from_secs(1));
    // Another handshake of the same device that stops at WELCOME.
    world.device(1, Rung::Udp);
    for _ in 0..4 {
        let flight = world.air.pop_front().unwrap();
        world.arrive(flight);
    }
    world.air.clear();
    assert_eq!(world.sessions(), 2);
    assert!(world.devices[a].session.is_active());
    world.devices.truncate(1);
    world.pass(Duration::from_secs(15));
    assert_eq!(world.sessions(), 1);
    assert_eq!(
        world
            .told(a)
            .iter()
            .filter(|e| matches!(e, Event::Standing { .. }))
            .count(),
        0
    );
}

#[test]
fn a_lost_frame_of_the_handshake_is_repeated() {
    // Of HELLO, COOKIE, INIT and WELCOME, the n-th is lost.
    for lost in 0..4 {
        let mut world = World::new();
        let a = world.device(1, Rung::Udp);
        for _ in 0..lost {
            let flight = world.air.pop_front().unwrap();
            world.arrive(flight);
        }
        world.air.pop_front().unwrap();
        world.pass(Duration::from_secs(1));
        assert!(world.devices[a].session.is_up(), "{lost}");
        assert_eq!(world.sessions(), 1);
    }
}

#[test]
fn a_node_that_does_not_answer_is_given_up_after_five_seconds() {
    let mut world = World::new();
    let a = world.device(1, Rung::Udp);
    let start = world.now;
    world.air.clear();
    while world.told(a).is_empty() {
        world.now = world.next_timer().unwrap();
        world.fire();
        world.air.clear();
    }
    assert_eq!(world.now - start, Duration::from_secs(5));
    assert!(world.next_timer().is_none());
}
