//! Rate classes, and shares within them.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use crate::testing::{World, device_key, signing_key, ticket};
use crate::{DropReason, Mark, Rung};

/// A device of 100,000 bytes a second with flows to two others.
fn world() -> (World, usize, [usize; 2]) {
    let mut world = World::new();
    let mut limited = ticket(1);
    limited.rate.bytes_per_s = 100_000;
    let a = world.device_with(1, Rung::Udp, limited.issue(&signing_key()).unwrap());
    let peers = [world.device(2, Rung::Udp), world.device(3, Rung::Udp)];
    world.pass(Duration::from_secs(2));
    for peer in [2, 3] {
        world.open(a, peer);
    }
    world.settle();
    (world, a, peers)
}

#[test]
fn a_device_gets_its_rate_and_no_more_and_the_drops_are_counted_and_told() {
    let (mut world, a, [b, _]) = world();
    let flow = world.devices[a].session.flow_to(&device_key(2)).unwrap();
    // 150 % of the class, for four seconds.
    for _ in 0..600 {
        world.send(a, flow, &[0; 1000]).unwrap();
        world.settle();
        world.pass(Duration::from_micros(6_667));
    }
    let got = world.got(b).len();
    assert!(
        (400..=430).contains(&got),
        "{got} of 400, and the bucket's quarter of a second"
    );
    assert_eq!(world.dropped(DropReason::ByteRate), 600 - got as u64);
    world.pass(Duration::from_secs(20));
    let stats = world
        .told(a)
        .into_iter()
        .rev()
        .find_map(|event| match event {
            crate::device::Event::Stats(stats) => Some(stats),
            _ => None,
        });
    let stats = stats.unwrap();
    assert_eq!(stats.limited_by, Some(crate::LimitedBy::Rate));
    assert_eq!(stats.dropped, [(DropReason::ByteRate, 600 - got as u64)]);
}

#[test]
fn a_flow_within_its_share_loses_nothing_to_a_greedy_one_of_the_same_device() {
    let (mut world, a, [greedy, modest]) = world();
    let to = |world: &World, peer| world.devices[a].session.flow_to(&device_key(peer)).unwrap();
    let (one, other) = (to(&world, 2), to(&world, 3));
    for round in 0..1000 {
        world.send(a, one, &[0; 1000]).unwrap();
        // A third of the rate, where half is its share.
        if round % 15 == 0 {
            world.send(a, other, &[0; 1000]).unwrap();
        }
        world.settle();
        world.pass(Duration::from_millis(2));
    }
    assert_eq!(world.got(modest).len(), 67);
    assert!(world.got(greedy).len() < 200);
    assert!(world.dropped(DropReason::FlowShare) > 0);
}

#[test]
fn handshakes_pass_when_the_rate_is_used_up_within_their_tenth() {
    let (mut world, a, [b, _]) = world();
    let flow = world.devices[a].session.flow_to(&device_key(2)).unwrap();
    for _ in 0..100 {
        world.send(a, flow, &[0; 1000]).unwrap();
    }
    world.settle();
    assert!(world.dropped(DropReason::ByteRate) > 0);
    world.got(b);
    world
        .send_marked(a, flow, Mark::new(0, true), &[1; 148])
        .unwrap();
    world.settle();
    assert_eq!(world.got(b).len(), 1);
    // Who marks everything gets a tenth.
    for _ in 0..100 {
        world
            .send_marked(a, flow, Mark::new(0, true), &[1; 148])
            .unwrap();
    }
    world.settle();
    assert!(world.got(b).len() < 20);
    assert!(world.dropped(DropReason::PriorityRate) > 0);
}

#[test]
fn the_data_path_of_two_udp_devices_is_one_verdict_with_the_same_payload() {
    let (mut world, a, _) = world();
    let flow = world.devices[a].session.flow_to(&device_key(2)).unwrap();
    let frame = world.data_frame(a, flow, &[7; 100]);
    let (link, shard) = (world.devices[a].link, world.devices[a].shard);
    let verdict = world.relays[shard].handle_packet(world.now, link, &frame);
    let crate::Verdict::ToUdp { head, payload, .. } = verdict else {
        panic!("{verdict:?}")
    };
    assert_eq!((head.bytes().len(), payload), (4, 4..104));
}
