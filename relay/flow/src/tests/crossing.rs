//! Packets crossing every pair of rungs.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use crate::device::{Event, SendError};
use crate::testing::{NO_STEERING, World, device_key, is_number};
use crate::{DropReason, Mark, PeerState, Rung};

#[test]
fn packets_cross_both_ways_between_each_of_the_nine_pairs_of_rungs() {
    for one in Rung::ALL {
        for other in Rung::ALL {
            let mut world = World::new();
            let (a, b, flow) = world.pair(one, other);
            world.send(a, flow, b"there").unwrap();
            world.settle();
            assert_eq!(
                world.got(b),
                [(device_key(1), b"there".to_vec())],
                "{one:?} {other:?}"
            );
            let back = world.devices[b].session.flow_to(&device_key(1)).unwrap();
            world.send(b, back, b"and back").unwrap();
            world.settle();
            assert_eq!(
                world.got(a),
                [(device_key(2), b"and back".to_vec())],
                "{one:?} {other:?}"
            );
            assert_eq!(world.flows(), 2);
            assert!(
                world
                    .relays
                    .iter()
                    .flat_map(crate::Relay::flows)
                    .all(|f| is_number(f.flow))
            );
        }
    }
}

#[test]
fn a_packet_too_long_for_one_frame_crosses_in_two_halves_and_is_whole_again() {
    for one in Rung::ALL {
        for other in Rung::ALL {
            let mut world = World::new();
            let (a, b, flow) = world.pair(one, other);
            let packet: Vec<u8> = (0..1312_u32).map(|i| i.to_be_bytes()[3]).collect();
            let split = world.send(a, flow, &packet).unwrap();
            world.settle();
            assert_eq!(world.got(b), [(device_key(1), packet)], "{one:?} {other:?}");
            // Only QUIC, before its path is known, carries less than a full-size packet.
            assert_eq!(
                split,
                one == Rung::Quic || other == Rung::Quic,
                "{one:?} {other:?}"
            );
        }
    }
}

#[test]
fn the_first_packet_need_not_wait_for_the_flow_to_be_open() {
    for other in Rung::ALL {
        let mut world = World::new();
        let (a, b) = (world.device(1, Rung::Udp), world.device(2, other));
        world.pass(Duration::from_secs(2));
        let flow = world.open(a, 2);
        world.send(a, flow, &[1; 148]).unwrap();
        world.settle();
        assert_eq!(world.got(b), [(device_key(1), vec![1; 148])], "{other:?}");
    }
}

#[test]
fn ecn_and_priority_are_carried_through() {
    let mut world = World::new();
    let (a, _, flow) = world.pair(Rung::Udp, Rung::Udp);
    world
        .send_marked(a, flow, Mark::new(2, true), b"x")
        .unwrap();
    world.settle();
    let (_, _, frame) = world.log.iter().rfind(|(_, up, _)| !up).unwrap();
    assert_eq!(Mark::of_byte(frame[0]), Mark::new(2, true));
}

#[test]
fn without_steering_a_packet_finds_its_worker_all_the_same() {
    let mut world = World::with(|config| config.udp_payload_max = NO_STEERING);
    let (a, b, flow) = world.pair(Rung::Udp, Rung::Udp);
    // The kernel hashes the device to the other worker, say after a change of its address.
    world.devices[a].shard = 1 - world.devices[a].shard;
    world.send(a, flow, b"there").unwrap();
    world.settle();
    assert_eq!(world.got(b), [(device_key(1), b"there".to_vec())]);
    assert_eq!(world.count(|counters| counters.passed_on), 1);
    world.pass(Duration::from_secs(60));
    assert!(
        world.devices[a].session.is_up(),
        "pings find their worker too"
    );
}

#[test]
fn devices_without_a_common_group_are_unknown_to_each_other_as_if_they_were_not_there() {
    use sterna_control_api::{GroupId, Groups, TenantId};
    let mut world = World::new();
    let mut other_group = crate::testing::ticket(2);
    other_group.groups = Groups::new(&[GroupId(8)]).unwrap();
    let mut other_tenant = crate::testing::ticket(3);
    other_tenant.tenant = TenantId(2);
    let key = crate::testing::signing_key();
    let a = world.device(1, Rung::Udp);
    let b = world.device_with(2, Rung::Udp, other_group.issue(&key).unwrap());
    let c = world.device_with(3, Rung::Udp, other_tenant.issue(&key).unwrap());
    world.pass(Duration::from_secs(2));
    world.told(a);
    for peer in [2, 3, 4] {
        let flow = world.open(a, peer);
        world.settle();
        let answer = Event::Flow {
            flow,
            peer: device_key(peer),
            state: PeerState::Unknown,
            payload_max: 0,
            asked: true,
        };
        assert_eq!(world.told(a), [answer], "4 is not there at all");
        assert_eq!(world.send(a, flow, b"x"), Err(SendError::PeerAbsent));
    }
    world.pass(Duration::from_secs(20));
    assert!(world.got(b).is_empty() && world.got(c).is_empty());
}

#[test]
fn a_flow_to_a_device_that_comes_later_opens_by_itself_and_is_gone_with_it() {
    let mut world = World::new();
    let a = world.device(1, Rung::Wss);
    world.pass(Duration::from_secs(1));
    let flow = world.open(a, 2);
    world.settle();
    let b = world.device(2, Rung::Udp);
    world.pass(Duration::from_secs(1));
    assert_eq!(
        world.devices[a].session.flow(flow).unwrap().state,
        PeerState::Online
    );
    world.send(a, flow, b"hello").unwrap();
    world.settle();
    assert_eq!(world.got(b), [(device_key(1), b"hello".to_vec())]);
    world.devices[b].session.close(world.now);
    world.collect(b);
    world.settle();
    assert_eq!(
        world.devices[a].session.flow(flow).unwrap().state,
        PeerState::Gone
    );
    // And again.
    let b = world.device(2, Rung::Quic);
    world.pass(Duration::from_secs(1));
    world.send(a, flow, b"again").unwrap();
    world.settle();
    assert_eq!(world.got(b), [(device_key(1), b"again".to_vec())]);
}

#[test]
fn a_closed_flow_frees_both_numbers_and_its_frames_are_dropped() {
    let mut world = World::new();
    let (a, b, flow) = world.pair(Rung::Udp, Rung::Udp);
    let frame = world.data_frame(a, flow, b"late");
    world.devices[a].session.close_flow(world.now, flow);
    world.collect(a);
    world.settle();
    assert_eq!(world.flows(), 1, "the peer's end waits for another one");
    let (link, shard) = (world.devices[a].link, world.devices[a].shard);
    world.packet(shard, link, &frame);
    world.settle();
    assert!(world.got(b).is_empty());
    assert_eq!(world.dropped(DropReason::NoFlow), 1);
}

#[test]
fn data_from_another_address_than_the_proved_one_is_dropped() {
    let mut world = World::new();
    let (a, b, flow) = world.pair(Rung::Udp, Rung::Udp);
    let frame = world.data_frame(a, flow, b"mine?");
    let shard = world.devices[a].shard;
    let elsewhere = crate::Link::Udp {
        listener: 0,
        addr: "203.0.113.1:1".parse().unwrap(),
    };
    let other_listener = match world.devices[a].link {
        crate::Link::Udp { addr, .. } => crate::Link::Udp { listener: 1, addr },
        link => link,
    };
    for link in [elsewhere, other_listener, world.devices[b].link] {
        world.packet(shard, link, &frame);
    }
    world.settle();
    assert!(world.got(b).is_empty());
    assert_eq!(world.dropped(DropReason::WrongAddress), 3);
}

#[test]
fn a_device_cannot_have_more_flows_than_its_ticket_says() {
    let mut world = World::new();
    let mut ticket = crate::testing::ticket(1);
    ticket.rate.flows = 2;
    let ticket = ticket.issue(&crate::testing::signing_key()).unwrap();
    let a = world.device_with(1, Rung::Udp, ticket);
    world.pass(Duration::from_secs(1));
    world.told(a);
    for peer in [2, 3, 4] {
        world.open(a, peer);
    }
    world.settle();
    let refused = world.told(a).into_iter().filter(|event| {
        matches!(
            event,
            Event::OpenRefused {
                refusal: crate::Refusal::TooManyFlows,
                ..
            }
        )
    });
    assert_eq!(refused.count(), 1);
    assert_eq!(world.flows(), 2);
}
