//! ICMP errors: told to whoever sent, and in nobody else's way.

use std::net::SocketAddr;
use std::time::Instant;

use sterna_io::{Config, Engine, EngineKind, IcmpError, Notice, Port, RelaySlot};

use super::ground::{Ground, PATIENCE, Peer, has_v6, pattern, serve, v4, v6};

/// Turns the engine until it has so many errors to tell.
fn errors<G: Ground>(ground: &G, engine: &mut G::Engine, count: usize) -> Vec<IcmpError> {
    let start = Instant::now();
    let mut errors = Vec::new();
    while errors.len() < count {
        assert!(start.elapsed() < PATIENCE, "{:?}", engine.counters());
        ground.turn(engine);
        while engine.next_train().is_some() {}
        while let Some(notice) = engine.next_notice() {
            match notice {
                Notice::Icmp(error) => errors.push(error),
                Notice::ReceiveFailed { .. } => panic!("{notice:?}"),
            }
        }
    }
    errors
}

fn relay<G: Ground>(
    ground: &G,
    engine: &mut G::Engine,
    any: SocketAddr,
) -> (RelaySlot, SocketAddr) {
    let addr = ground.free_addr(any.ip());
    (engine.open_relay(addr).expect("a free port"), addr)
}

pub(crate) fn a_closed_port_of_a_peer_is_told_with_its_address<G: Ground>() {
    for any in [v4(), v6()] {
        if any.is_ipv6() && !has_v6() {
            continue;
        }
        let ground = G::new();
        let mut engine = ground.engine(Config::default());
        let (slot, _) = relay(&ground, &mut engine, any);
        let closed = ground.free_addr(any.ip());
        engine.send_copy(Port::Relay(slot), closed, &[], &pattern(90, 1), 0);
        let told = errors(&ground, &mut engine, 1);
        assert_eq!(told, [IcmpError::port_unreachable(slot, closed)]);
        assert_eq!(engine.counters().icmp_errors, 1);
        assert_eq!(engine.counters().receive_errors, 0);
    }
}

/// The kernel fails whatever call comes next for an error, be it a send to somebody else or a
/// receive.
pub(crate) fn an_error_costs_no_other_datagram_its_way<G: Ground>() {
    for any in [v4(), v6()] {
        if any.is_ipv6() && !has_v6() {
            continue;
        }
        let ground = G::new();
        let mut engine = ground.engine(Config::default());
        let (slot, addr) = relay(&ground, &mut engine, any);
        let (peer, closed) = (ground.peer(any), ground.free_addr(any.ip()));
        ground.turn(&mut engine);
        for round in 0..50 {
            for i in 0..4 {
                engine.send_copy(Port::Relay(slot), closed, &[], &pattern(20, i), 0);
                // One that leaves alone and two that leave together.
                for len in [300, 100, 100] {
                    let bytes = pattern(len + i, round);
                    engine.send_copy(Port::Relay(slot), peer.addr(), &[], &bytes, 0);
                }
            }
            peer.send(addr, &pattern(50, round));
            serve(&ground, &mut engine, 1, |engine, _, packet| {
                assert_eq!(engine.bytes(packet), pattern(50, round));
            });
            while engine.next_notice().is_some() {}
            for i in 0..12 {
                let (bytes, from) = peer.receive().expect("all of them arrive");
                assert_eq!(bytes, pattern(bytes.len(), round), "the {i}th");
                assert_eq!(from, addr);
            }
        }
        let counters = engine.counters();
        assert!(counters.icmp_errors > 0, "{counters:?}");
        // What fails within a run of `sendmmsg`, the kernel leaves to the next run without a word.
        let singly = engine.describe().engine == EngineKind::Uring;
        assert!(counters.send_retries > 0 || !singly, "{counters:?}");
        assert_eq!(counters.receive_errors, 0, "{counters:?}");
    }
}

pub(crate) fn errors_of_a_port_that_is_closed_are_nobodys<G: Ground>() {
    let ground = G::new();
    let mut engine = ground.engine(Config::default());
    let (slot, addr) = relay(&ground, &mut engine, v4());
    let closed = ground.free_addr(v4().ip());
    engine.send_copy(Port::Relay(slot), closed, &[], &pattern(20, 0), 0);
    ground.turn(&mut engine);
    engine.close_relay(slot);
    ground.turn(&mut engine);
    let reused = engine.open_relay(addr).expect("free again");
    assert_eq!(reused, slot);
    ground.turn(&mut engine);
    assert_eq!(engine.next_notice(), None);
}

pub(crate) fn a_flood_of_errors_leaves_a_working_port<G: Ground>() {
    let ground = G::new();
    let mut engine = ground.engine(Config::default());
    let (slot, addr) = relay(&ground, &mut engine, v4());
    let peer = ground.peer(v4());
    let closed = ground.free_addr(v4().ip());
    for round in 0..200 {
        for i in 0..30 {
            engine.send_copy(Port::Relay(slot), closed, &[], &pattern(20, i), 0);
        }
        peer.send(addr, &pattern(50, round));
        serve(&ground, &mut engine, 1, |engine, _, packet| {
            assert_eq!(engine.bytes(packet), pattern(50, round));
        });
    }
    // Nobody has taken a notice: they are bounded.
    let notices = std::iter::from_fn(|| engine.next_notice()).count();
    assert!(notices <= sterna_io::limits::NOTICES_MAX);
}

pub(crate) fn a_datagram_that_must_stay_whole_leaves_among_others<G: Ground>() {
    for any in [v4(), v6()] {
        if any.is_ipv6() && !has_v6() {
            continue;
        }
        let ground = G::new();
        let mut engine = ground.engine(Config::default());
        let (slot, addr) = relay(&ground, &mut engine, any);
        let peer = ground.peer(any);
        let mut expected = Vec::new();
        for round in 0..6 {
            peer.send(addr, &pattern(200, round));
            serve(&ground, &mut engine, 1, |engine, train, packet| {
                // A group before it, itself, one after it, in the order of the flow.
                for part in [0..100, 0..100] {
                    engine.send(train.port, train.from, &[], packet.slice(part), 0);
                }
                engine.send_whole(train.port, train.from, packet.slice(0..50));
                engine.send(train.port, train.from, &[], packet, 0);
                engine.send_whole_copy(train.port, train.from, &[7; 60]);
            });
            let whole = pattern(200, round);
            expected.extend([&whole[..100], &whole[..100], &whole[..50], &whole].map(Vec::from));
            expected.push(vec![7; 60]);
        }
        ground.turn(&mut engine);
        for bytes in expected {
            assert_eq!(peer.receive(), Some((bytes, addr)));
        }
        assert_eq!(engine.counters().send_errors(), 0);
        engine.close_relay(slot);
        ground.turn(&mut engine);
    }
}

/// It is found when the queue is sent, just before the wait that nothing else would end.
pub(crate) fn what_the_host_itself_refuses_is_told_at_once<G: Ground>() {
    let ground = G::new();
    if ground.is_simulated() {
        return; // There is no host.
    }
    let mut engine = ground.engine(Config::default());
    let (slot, _) = relay(&ground, &mut engine, v4());
    let (peer, closed) = (ground.peer(v4()), ground.free_addr(v4().ip()));
    for _ in 0..20 {
        // The error of another datagram ends a receive, which is to be armed again meanwhile.
        engine.send_copy(Port::Relay(slot), closed, &[], &[1; 10], 0);
        errors(&ground, &mut engine, 1);
        // Longer than an IP packet can be.
        engine.send_whole_copy(Port::Relay(slot), peer.addr(), &[1; 65_520]);
        let start = Instant::now();
        engine.turn(Some(start + PATIENCE)).expect("a turn");
        assert!(start.elapsed() < PATIENCE / 2, "told at once");
        let Some(Notice::Icmp(error)) = engine.next_notice() else {
            panic!("{:?}", engine.counters());
        };
        let expected = IcmpError::too_big(slot, peer.addr(), error.mtu);
        assert_eq!(error, expected);
    }
}
