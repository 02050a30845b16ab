//! Sessions that move to another address, and those who would move them elsewhere.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::time::Duration;

use crate::device::Event;
use crate::testing::{Flight, World, device_key};
use crate::{DropReason, Link, Rung, Verdict};

fn new_address() -> SocketAddr {
    "198.51.100.7:7777".parse().unwrap()
}

fn attacker() -> Link {
    Link::Udp {
        listener: 0,
        addr: "203.0.113.66:6666".parse().unwrap(),
    }
}

/// Takes the frame that was put into the air last.
fn last_up(world: &mut World) -> (usize, Vec<u8>) {
    match world.air.pop_back() {
        Some(Flight::Up { shard, frame, .. }) => (shard, frame),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_session_moves_to_an_address_that_has_answered_the_challenge_and_peers_follow() {
    for other in Rung::ALL {
        let mut world = World::new();
        let (a, b, flow) = world.pair(Rung::Udp, other);
        world.move_device(a, new_address());
        world.devices[a].session.address_changed(world.now);
        world.collect(a);
        world.settle();
        let rebound = Event::Rebound {
            observed: new_address(),
        };
        assert!(world.told(a).contains(&rebound), "{other:?}");
        world.send(a, flow, b"from there").unwrap();
        let back = world.devices[b].session.flow_to(&device_key(1)).unwrap();
        world.send(b, back, b"to there").unwrap();
        world.settle();
        assert_eq!(world.got(b), [(device_key(1), b"from there".to_vec())]);
        assert_eq!(world.got(a), [(device_key(2), b"to there".to_vec())]);
        assert_eq!(world.count(|counters| counters.rebound), 1);
    }
}

#[test]
fn a_device_that_does_not_know_of_its_new_address_is_back_within_a_second_of_sending() {
    let mut world = World::new();
    let (a, b, flow) = world.pair(Rung::Udp, Rung::Udp);
    world.pass(Duration::from_secs(1));
    world.move_device(a, new_address());
    world.send(a, flow, b"into the void").unwrap();
    world.pass(Duration::from_secs(1));
    assert!(
        world.got(b).is_empty(),
        "data from an address that is not proved is dropped"
    );
    world.send(a, flow, b"here again").unwrap();
    world.settle();
    assert_eq!(world.got(b), [(device_key(1), b"here again".to_vec())]);
    assert!(!world.devices[a].session.is_suspect());
}

#[test]
fn until_the_new_address_is_proved_data_goes_to_the_old_one_and_little_to_the_new() {
    let mut world = World::new();
    let (a, b, _) = world.pair(Rung::Udp, Rung::Udp);
    let old = world.devices[a].link;
    world.devices[a].session.address_changed(world.now);
    world.collect(a);
    let (shard, rebind) = last_up(&mut world);
    world.log.clear();
    let new = Link::Udp {
        listener: 0,
        addr: new_address(),
    };
    world.packet(shard, new, &rebind);
    world.air.clear();
    let back = world.devices[b].session.flow_to(&device_key(1)).unwrap();
    for _ in 0..10 {
        world.send(b, back, &[5; 1000]).unwrap();
    }
    let flights: Vec<Flight> = world.air.drain(..).collect();
    for flight in flights {
        world.arrive(flight);
    }
    let to: Vec<Link> = world
        .air
        .iter()
        .filter_map(|flight| match flight {
            Flight::Down { link, .. } => Some(*link),
            _ => None,
        })
        .collect();
    assert_eq!(to, [old; 10]);
}

#[test]
fn the_challenge_is_at_most_three_times_as_long_as_what_asked_for_it() {
    let mut world = World::new();
    let (a, _, _) = world.pair(Rung::Udp, Rung::Udp);
    world.devices[a].session.address_changed(world.now);
    world.collect(a);
    let (shard, rebind) = last_up(&mut world);
    let new = Link::Udp {
        listener: 0,
        addr: new_address(),
    };
    world.packet(shard, new, &rebind);
    let sent: usize = world
        .air
        .drain(..)
        .map(|flight| match flight {
            Flight::Down { link, frame, .. } if link == new => frame.len(),
            other => panic!("{other:?}"),
        })
        .sum();
    assert!(sent > 0 && sent <= 3 * rebind.len());
}

#[test]
fn a_rebind_that_an_attacker_delays_and_sends_from_his_own_address_changes_nothing() {
    let mut world = World::new();
    let (a, b, flow) = world.pair(Rung::Udp, Rung::Udp);
    world.move_device(a, new_address());
    world.devices[a].session.address_changed(world.now);
    world.collect(a);
    // The attacker holds the device's REBIND back, and sends it from where he is.
    let (shard, rebind) = last_up(&mut world);
    assert_eq!(world.packet(shard, attacker(), &rebind), Verdict::Handled);
    let Some(Flight::Down {
        frame: challenge, ..
    }) = world.air.pop_front()
    else {
        panic!("CHALLENGE")
    };
    // He can answer nothing himself: the challenge sent back, and the rebind again, do nothing.
    for frame in [&challenge, &rebind] {
        assert!(matches!(
            world.packet(shard, attacker(), frame),
            Verdict::Drop(_)
        ));
    }
    // Nor does it help him to let the device answer, from its own address.
    let device = &mut world.devices[a];
    device.session.handle_packet(world.now, &challenge);
    world.collect(a);
    let (_, response) = last_up(&mut world);
    let own = world.devices[a].link;
    let verdict = world.packet(shard, own, &response);
    assert_eq!(verdict, Verdict::Drop(DropReason::WrongAddress));
    // The device asks again, and is served.
    world.air.clear();
    world.pass(Duration::from_secs(1));
    world.send(a, flow, b"mine").unwrap();
    world.settle();
    assert_eq!(world.got(b), [(device_key(1), b"mine".to_vec())]);
    assert_eq!(world.count(|counters| counters.rebound), 1);
}

#[test]
fn captured_control_frames_change_nothing_from_the_same_and_from_another_address() {
    let mut world = World::new();
    let (a, _, _) = world.pair(Rung::Udp, Rung::Udp);
    world.pass(Duration::from_secs(40));
    let own = world.devices[a].link;
    let Link::Udp { addr, .. } = own else {
        unreachable!()
    };
    let captured: Vec<Vec<u8>> = world
        .log
        .iter()
        .filter(|(from, up, _)| *up && *from == addr)
        .map(|(_, _, frame)| frame.clone())
        .collect();
    assert!(captured.len() > 5);
    let before = (
        world.sessions(),
        world.flows(),
        world.count(|counters| counters.flows_opened),
    );
    for (index, frame) in captured.iter().enumerate() {
        for link in [own, attacker()] {
            let verdict = world.packet(world.devices[a].shard, link, frame);
            let is_hello = frame[0] == crate::frame::HELLO;
            let expected = if is_hello {
                Verdict::Handled
            } else {
                verdict.clone()
            };
            assert_eq!(verdict, expected, "{index}");
            if !is_hello {
                assert!(matches!(verdict, Verdict::Drop(_)), "{index}: {verdict:?}");
            }
        }
    }
    let after = (
        world.sessions(),
        world.flows(),
        world.count(|counters| counters.flows_opened),
    );
    assert_eq!(before, after);
    world.air.clear();
    assert!(world.devices[a].session.is_active());
}

#[test]
fn a_copy_that_overtakes_its_original_from_elsewhere_does_not_make_it_a_replay() {
    let mut world = World::new();
    let (a, _, _) = world.pair(Rung::Udp, Rung::Udp);
    world.devices[a].session.open(world.now, device_key(9));
    world.collect(a);
    let (shard, open) = last_up(&mut world);
    let verdict = world.packet(shard, attacker(), &open);
    assert_eq!(verdict, Verdict::Drop(DropReason::WrongAddress));
    let own = world.devices[a].link;
    assert_eq!(world.packet(shard, own, &open), Verdict::Handled);
    assert_eq!(
        world.packet(shard, own, &open),
        Verdict::Drop(DropReason::Replay)
    );
}

#[test]
fn changed_and_foreign_sealed_frames_do_not_open() {
    let mut world = World::new();
    let (a, b, _) = world.pair(Rung::Udp, Rung::Udp);
    world.devices[a].session.open(world.now, device_key(9));
    world.collect(a);
    let (shard, open) = last_up(&mut world);
    let own = world.devices[a].link;
    for place in 1..open.len() {
        let mut changed = open.clone();
        changed[place] ^= 1;
        assert!(
            matches!(world.packet(shard, own, &changed), Verdict::Drop(_)),
            "byte {place}"
        );
    }
    // The other device's frames do not become this one's by carrying its session's id.
    world.devices[b].session.open(world.now, device_key(9));
    world.collect(b);
    let (_, mut theirs) = last_up(&mut world);
    theirs[1..9].copy_from_slice(&open[1..9]);
    assert_eq!(
        world.packet(shard, own, &theirs),
        Verdict::Drop(DropReason::Seal)
    );
    assert_eq!(world.packet(shard, own, &open), Verdict::Handled);
}
