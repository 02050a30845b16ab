//! Lives of sessions: doubles, silence, expiry, lost words, drain.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use sterna_control_api::{GroupId, Groups, NodeId, TicketId};

use crate::device::Event;
use crate::message::Restarting;
use crate::testing::{Flight, SHARDS, UNIX_S, World, device_key, signing_key, ticket};
use crate::{CloseReason, Link, PeerState, Refusal, Rung};

fn closed_for(events: &[Event], expected: CloseReason) -> bool {
    events
        .iter()
        .any(|event| matches!(event, Event::Closed { reason, .. } if *reason == expected))
}

#[test]
fn of_two_sessions_with_one_key_the_newest_is_active_and_the_older_takes_over_when_it_dies() {
    for (first, second) in [
        (Rung::Udp, Rung::Wss),
        (Rung::Quic, Rung::Udp),
        (Rung::Udp, Rung::Udp),
    ] {
        let mut world = World::new();
        let (a, older, flow) = world.pair(Rung::Udp, first);
        let newer = world.device(2, second);
        world.pass(Duration::from_secs(2));
        assert!(
            !world.devices[older].session.is_active() && world.devices[newer].session.is_active()
        );
        // The peer's flow goes on under its number, without a word to the peer.
        assert!(world.told(a).iter().all(|e| !matches!(
            e,
            Event::Flow {
                state: PeerState::Gone,
                ..
            }
        )));
        world.send(a, flow, b"to the newer").unwrap();
        world.settle();
        assert_eq!(
            world.got(newer),
            [(device_key(1), b"to the newer".to_vec())]
        );
        assert!(world.got(older).is_empty());
        // No war: both live on.
        world.pass(Duration::from_secs(120));
        assert!(world.devices[older].session.is_up() && world.devices[newer].session.is_up());
        assert_eq!(world.count(|counters| counters.displaced), 1);
        // The newest dies without a word.
        world.devices[newer].link = Link::Stream(crate::StreamId(99));
        let dead = world.devices.remove(newer);
        drop(dead);
        // A second of silence, and three pings: no idle time.
        world.pass(Duration::from_secs(3));
        assert!(
            world.devices[older].session.is_active(),
            "{first:?} {second:?}"
        );
        world.send(a, flow, b"to the older").unwrap();
        world.settle();
        assert_eq!(
            world.got(older),
            [(device_key(1), b"to the older".to_vec())]
        );
    }
}

#[test]
fn a_session_that_was_only_slow_gets_its_place_back() {
    let mut world = World::new();
    let (a, older, flow) = world.pair(Rung::Udp, Rung::Wss);
    let newer = world.device(2, Rung::Udp);
    world.pass(Duration::from_secs(2));
    // For a while, nothing reaches it and nothing of its comes.
    let until = world.now + Duration::from_secs(3);
    while let Some(next) = world.next_timer().filter(|next| *next <= until) {
        world.now = world.now.max(next);
        world.fire();
        let link = world.devices[newer].link;
        while let Some(flight) = world.air.pop_front() {
            let its = match &flight {
                Flight::Up { device, .. } => *device == newer,
                Flight::Down { link: to, .. } => *to == link,
                _ => false,
            };
            if !its {
                world.arrive(flight);
            }
        }
    }
    world.now = until;
    assert!(world.devices[older].session.is_active());
    world.send(a, flow, b"to the older").unwrap();
    world.settle();
    assert_eq!(world.got(older).len(), 1);
    // The node's word is repeated, and its acknowledgement shows that it lives.
    world.pass(Duration::from_secs(5));
    assert!(world.devices[newer].session.is_active() && !world.devices[older].session.is_active());
    world.send(a, flow, b"to the newer").unwrap();
    world.settle();
    assert_eq!(world.got(newer).len(), 1);
}

#[test]
fn a_session_over_udp_takes_no_place_before_a_packet_of_useful_length_has_crossed() {
    let mut world = World::new();
    let (a, older, flow) = world.pair(Rung::Udp, Rung::Wss);
    // Small frames pass there, and packets do not.
    let newer = world.device(2, Rung::Udp);
    world.devices[newer].path_bytes = 1_199;
    world.pass(Duration::from_secs(5));
    assert!(world.devices[newer].session.is_up() && !world.devices[newer].session.is_active());
    assert!(world.devices[older].session.is_active());
    world.send(a, flow, &[7; 1_312]).unwrap();
    world.settle();
    assert_eq!((world.got(older).len(), world.got(newer).len()), (1, 0));
    // They pass.
    world.devices[newer].path_bytes = 1_472;
    world.pass(Duration::from_secs(2));
    assert!(world.devices[newer].session.is_active() && !world.devices[older].session.is_active());
    world.send(a, flow, &[7; 1_312]).unwrap();
    world.settle();
    assert_eq!((world.got(older).len(), world.got(newer).len()), (0, 1));
    // Where there is no other, peers are better off with what there is.
    let alone = world.device(3, Rung::Udp);
    world.devices[alone].path_bytes = 1_199;
    world.pass(Duration::from_secs(5));
    let to_alone = world.open(a, 3);
    world.settle();
    world.send(a, to_alone, b"small").unwrap();
    world.settle();
    assert_eq!(world.got(alone).len(), 1);
}

#[test]
fn a_device_with_one_session_is_not_pinged() {
    let mut world = World::new();
    let (_, b, _) = world.pair(Rung::Udp, Rung::Udp);
    world.log.clear();
    world.pass(Duration::from_secs(10));
    assert!(world.log.is_empty(), "{:?}", world.log.len());
    // A second one comes and goes.
    let second = world.device(2, Rung::Wss);
    world.pass(Duration::from_secs(2));
    world.devices[second].session.close(world.now);
    world.collect(second);
    world.pass(Duration::from_secs(3));
    assert!(world.devices[b].session.is_active());
    let before = world.log.len();
    world.pass(Duration::from_secs(9));
    assert!(world.log.len() - before <= 4, "its own idle ping at most");
}

#[test]
fn a_passive_session_still_sends() {
    let mut world = World::new();
    let (a, older, _) = world.pair(Rung::Udp, Rung::Udp);
    world.device(2, Rung::Quic);
    world.pass(Duration::from_secs(2));
    let back = world.devices[older]
        .session
        .flow_to(&device_key(1))
        .unwrap();
    world.send(older, back, b"on both").unwrap();
    world.settle();
    assert_eq!(world.got(a), [(device_key(2), b"on both".to_vec())]);
}

#[test]
fn a_device_has_four_sessions_at_most_and_the_oldest_gives_way() {
    let mut world = World::new();
    let first = world.device(1, Rung::Udp);
    for _ in 0..4 {
        world.pass(Duration::from_secs(1));
        world.device(1, Rung::Udp);
    }
    world.pass(Duration::from_secs(1));
    assert_eq!(world.sessions(), 4);
    assert!(closed_for(&world.told(first), CloseReason::Displaced));
}

#[test]
fn a_session_without_a_valid_frame_for_thirty_seconds_is_dead_on_both_sides() {
    let mut world = World::new();
    let (a, b, flow) = world.pair(Rung::Udp, Rung::Udp);
    world.devices[b].link = Link::Udp {
        listener: 0,
        addr: "198.51.100.1:1".parse().unwrap(),
    };
    // Nothing of the device's arrives any more, and nothing reaches it.
    let until = world.now + Duration::from_secs(46);
    while let Some(next) = world.next_timer().filter(|next| *next <= until) {
        world.now = world.now.max(next);
        world.fire();
        world
            .air
            .retain(|flight| !matches!(flight, Flight::Up { device, .. } if *device == b));
        world.settle();
    }
    assert!(closed_for(&world.told(b), CloseReason::Idle));
    assert_eq!(
        world.devices[a].session.flow(flow).unwrap().state,
        PeerState::Gone
    );
    assert_eq!(world.sessions(), 1);
}

#[test]
fn a_ticket_that_expires_ends_the_session_unless_it_is_renewed() {
    let mut world = World::new();
    let (a, b) = (world.device(1, Rung::Udp), world.device(2, Rung::Wss));
    world.pass(Duration::from_secs(3000));
    let mut newer = ticket(1);
    newer.ticket_id = TicketId(1000);
    (newer.not_before, newer.expires) = (UNIX_S + 3000, UNIX_S + 6000);
    world.devices[a]
        .session
        .renew(world.now, newer.issue(&signing_key()).unwrap());
    world.collect(a);
    world.settle();
    assert!(world.told(a).contains(&Event::Renewed));
    world.pass(Duration::from_secs(700));
    assert!(world.devices[a].session.is_up());
    assert!(closed_for(&world.told(b), CloseReason::Expired));
    assert!(world.devices[b].link_closed, "its connection is closed too");
    world.pass(Duration::from_secs(3000));
    assert!(closed_for(&world.told(a), CloseReason::Expired));
}

#[test]
fn a_ticket_of_another_device_renews_nothing() {
    let mut world = World::new();
    let a = world.device(1, Rung::Udp);
    world.settle();
    let other = ticket(2).issue(&signing_key()).unwrap();
    world.devices[a].session.renew(world.now, other);
    world.collect(a);
    world.settle();
    assert!(
        world
            .told(a)
            .contains(&Event::RenewRefused(Refusal::OtherDevice))
    );
}

#[test]
fn while_the_control_service_is_down_known_devices_are_served_for_the_grace() {
    let mut world = World::with(|config| config.grace_s = 1000);
    let a = world.device(1, Rung::Udp);
    world.pass(Duration::from_secs(4000));
    assert!(world.devices[a].session.is_up());
    // It may come again, on another rung; one that was not here may not.
    let (again, stranger) = (world.device(1, Rung::Wss), world.device(2, Rung::Udp));
    world.pass(Duration::from_secs(1));
    assert!(world.devices[again].session.is_up());
    let refused = Some(Refusal::TicketExpired);
    assert!(
        matches!(&world.told(stranger)[..], [Event::Refused { refusal, .. }] if *refusal == refused)
    );
    world.pass(Duration::from_secs(700));
    assert_eq!(world.sessions(), 0);
}

#[test]
fn a_renewed_ticket_with_other_groups_opens_and_closes_flows() {
    let mut world = World::new();
    let (a, b, flow) = world.pair(Rung::Udp, Rung::Wss);
    let renew = |world: &mut World, group: u32| {
        let mut other = ticket(1);
        other.groups = Groups::new(&[GroupId(group)]).unwrap();
        world.devices[a]
            .session
            .renew(world.now, other.issue(&signing_key()).unwrap());
        world.collect(a);
        world.pass(Duration::from_secs(1));
    };
    renew(&mut world, 8);
    let back = world.devices[b].session.flow_to(&device_key(1)).unwrap();
    assert_eq!(
        world.devices[a].session.flow(flow).unwrap().state,
        PeerState::Unknown
    );
    assert_ne!(
        world.devices[b].session.flow(back).unwrap().state,
        PeerState::Online
    );
    renew(&mut world, 7);
    world.send(a, flow, b"again").unwrap();
    world.send(b, back, b"and back").unwrap();
    world.settle();
    assert_eq!((world.got(a).len(), world.got(b).len()), (1, 1));
}

#[test]
fn what_a_device_must_hear_is_repeated_until_it_has_heard() {
    let mut world = World::new();
    let (a, b) = (world.device(1, Rung::Udp), world.device(2, Rung::Udp));
    world.pass(Duration::from_secs(2));
    world.open(a, 2);
    // The other device's announcement is lost twice.
    let lose = |world: &mut World| {
        let to = world.devices[b].link;
        while let Some(flight) = world.air.pop_front() {
            if !matches!(&flight, Flight::Down { link, .. } if *link == to) {
                world.arrive(flight);
            }
        }
    };
    lose(&mut world);
    world.now = world.next_timer().unwrap();
    world.fire();
    lose(&mut world);
    assert!(world.devices[b].session.flow_to(&device_key(1)).is_none());
    world.pass(Duration::from_secs(2));
    assert!(world.devices[b].session.flow_to(&device_key(1)).is_some());
    let repeated = world.count(|counters| counters.notices_repeated);
    world.pass(Duration::from_secs(10));
    assert_eq!(
        world.count(|counters| counters.notices_repeated),
        repeated,
        "and then no more"
    );
}

#[test]
fn silence_where_an_answer_is_due_makes_the_path_suspect_after_three_pings() {
    let mut world = World::new();
    let (a, _, flow) = world.pair(Rung::Udp, Rung::Udp);
    world.pass(Duration::from_secs(1));
    world.told(a);
    world.send(a, flow, b"anybody?").unwrap();
    let start = world.now;
    let mut suspect = None;
    while world.now < start + Duration::from_secs(3) {
        world.air.clear();
        world.now = world.next_timer().unwrap();
        world.fire();
        if suspect.is_none() && world.devices[a].session.is_suspect() {
            suspect = Some(world.now - start);
        }
    }
    // 400 ms of silence, then pings at 0, 200 and 400; at 800, none of them is answered.
    assert_eq!(suspect, Some(Duration::from_millis(1200)));
    // An answer, and it is as it was.
    world.pass(Duration::from_secs(2));
    let told = world.told(a);
    assert!(told.contains(&Event::Suspect));
    assert!(told.iter().any(|event| matches!(
        event,
        Event::Alive {
            was_suspect: true,
            ..
        }
    )));
    assert!(!world.devices[a].session.is_suspect());
}

#[test]
fn a_drained_node_tells_everybody_takes_nobody_and_forwards_until_the_end() {
    let mut world = World::new();
    let (a, b, flow) = world.pair(Rung::Udp, Rung::Wss);
    let restarting = Restarting {
        reconnect_in_ms: 5000,
        spread_ms: 2000,
        alternates: vec![NodeId([5; 32])],
    };
    for shard in 0..SHARDS {
        world.relays[shard].drain(world.now, Some(restarting.clone()));
        world.obey(shard);
    }
    world.settle();
    for device in [a, b] {
        assert!(
            world
                .told(device)
                .contains(&Event::Restarting(restarting.clone()))
        );
    }
    for (name, rung) in [(3, Rung::Udp), (4, Rung::Quic)] {
        let late = world.device(name, rung);
        world.settle();
        let refused = Some(Refusal::Draining);
        assert!(
            matches!(&world.told(late)[..], [Event::Refused { refusal, .. }] if *refusal == refused)
        );
    }
    world.send(a, flow, b"still here").unwrap();
    world.settle();
    assert_eq!(world.got(b).len(), 1);
    for shard in 0..SHARDS {
        world.relays[shard].close_all(world.now, CloseReason::Restarting);
        world.obey(shard);
    }
    world.settle();
    assert!(closed_for(&world.told(a), CloseReason::Restarting));
    assert_eq!((world.sessions(), world.flows()), (0, 0));
}

#[test]
fn a_cordoned_node_takes_nobody_and_says_nothing_to_those_who_are_there() {
    let mut world = World::new();
    let (a, b, flow) = world.pair(Rung::Udp, Rung::Wss);
    for device in [a, b] {
        world.told(device);
    }
    for relay in &mut world.relays {
        relay.cordon(true);
    }
    let late = world.device(3, Rung::Udp);
    world.settle();
    let refused = Some(Refusal::Draining);
    assert!(
        matches!(&world.told(late)[..], [Event::Refused { refusal, .. }] if *refusal == refused)
    );
    world.send(a, flow, b"still here").unwrap();
    world.settle();
    assert_eq!(world.got(b).len(), 1);
    assert_eq!((world.told(a), world.told(b)), (Vec::new(), Vec::new()));
    for relay in &mut world.relays {
        relay.cordon(false);
    }
    world.device(4, Rung::Quic);
    world.settle();
    assert_eq!(world.sessions(), 3);
}

#[test]
fn a_change_of_the_path_is_told_to_both_ends_and_oversize_is_never_silent() {
    let mut world = World::new();
    let (a, b, flow) = world.pair(Rung::Wss, Rung::Quic);
    let before = world.devices[a].session.flow(flow).unwrap().payload_max;
    assert_eq!(before, crate::limits::PAYLOAD_BYTES_INITIAL);
    // QUIC finds that its path carries more: both its ends say so.
    let Link::Stream(stream) = world.devices[b].link else {
        unreachable!()
    };
    let shard = world.devices[b].shard;
    world.relays[shard].handle_stream_payload_max(world.now, stream, 1410);
    world.obey(shard);
    world.devices[b].session.set_payload_max(world.now, 1410);
    world.collect(b);
    world.settle();
    assert_eq!(
        world.devices[a].session.flow(flow).unwrap().payload_max,
        1410
    );
    assert!(
        !world.send(a, flow, &[1; 1312]).unwrap(),
        "in one frame now"
    );
    world.settle();
    assert_eq!(world.got(b).len(), 1);
    // It carries less again, and a frame is on its way already.
    world.send(a, flow, &[1; 1312]).unwrap();
    world.relays[shard].handle_stream_payload_max(world.now, stream, 1158);
    world.obey(shard);
    world.settle();
    assert_eq!(world.dropped(crate::DropReason::TooLong), 1);
    assert!(world.send(a, flow, &[1; 1312]).unwrap());
    world.settle();
    assert_eq!(world.got(b).len(), 1);
}

#[test]
fn probes_find_what_the_path_carries_and_notice_when_it_carries_less() {
    for (path_bytes, expected) in [
        (1472, 1468),
        (1452, 1448),
        (1400, 1368),
        (1352, 1312),
        (1280, 1196),
    ] {
        let mut world = World::new();
        let a = world.device(1, Rung::Udp);
        world.devices[a].path_bytes = path_bytes;
        world.pass(Duration::from_secs(10));
        assert_eq!(
            world.devices[a].session.payload_max(),
            expected,
            "{path_bytes}"
        );
        assert!(
            world
                .told(a)
                .iter()
                .any(|event| matches!(event, Event::Probed { .. }))
        );
        world.devices[a].path_bytes = 1210;
        world.pass(Duration::from_secs(60));
        assert_eq!(world.devices[a].session.payload_max(), 1196, "{path_bytes}");
    }
    // Where 1,200 bytes do not cross, the rung is not up.
    let mut world = World::new();
    let a = world.device(1, Rung::Udp);
    world.devices[a].path_bytes = 1199;
    world.pass(Duration::from_secs(30));
    assert!(world.devices[a].session.is_up());
    assert!(
        world
            .told(a)
            .iter()
            .all(|event| !matches!(event, Event::Probed { .. }))
    );
}

#[test]
fn a_device_that_only_listens_keeps_its_session_alive() {
    let mut world = World::new();
    let (a, b, flow) = world.pair(Rung::Udp, Rung::Wss);
    for _ in 0..120 {
        world.send(a, flow, b"news").unwrap();
        world.pass(Duration::from_secs(1));
    }
    assert!(world.devices[b].session.is_up());
    assert_eq!(world.got(b).len(), 120);
}

#[test]
fn an_idle_device_whose_address_has_changed_finds_out_in_time() {
    let mut world = World::new();
    let (a, b, _) = world.pair(Rung::Udp, Rung::Udp);
    world.pass(Duration::from_secs(10));
    world.move_device(a, "198.51.100.9:9".parse().unwrap());
    world.pass(Duration::from_secs(60));
    assert!(world.devices[a].session.is_up());
    let back = world.devices[b].session.flow_to(&device_key(1)).unwrap();
    world.send(b, back, b"found").unwrap();
    world.settle();
    assert_eq!(world.got(a).len(), 1);
}
