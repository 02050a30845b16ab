//! Relay ports: opening, closing, and what must not happen in between.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use sterna_io::sockets::{bind_relay, raise_descriptor_limit};
use sterna_io::{Config, Engine, OpenError, Port};

use super::ground::{Ground, Peer, has_v6, pattern, serve, v4, v6};

pub(crate) fn a_relay_port_receives_and_sends<G: Ground>() {
    for any in [v4(), v6()] {
        if any.is_ipv6() && !has_v6() {
            continue;
        }
        let ground = G::new();
        let mut engine = ground.engine(Config::default());
        let (listener, _) = ground.listen(&mut engine, any);
        let (client, peer) = (ground.peer(any), ground.peer(any));
        let addr = ground.free_addr(any.ip());
        let slot = engine.open_relay(addr).expect("a free port");
        peer.send(addr, &pattern(90, 1));
        serve(&ground, &mut engine, 1, |engine, train, packet| {
            assert_eq!((train.port, train.from), (Port::Relay(slot), peer.addr()));
            engine.send(
                Port::Listener(listener),
                client.addr(),
                &[1, 2, 3, 4],
                packet,
                2,
            );
            engine.send(Port::Relay(slot), train.from, &[], packet.slice(10..90), 0);
        });
        ground.turn(&mut engine);
        assert_eq!(peer.receive(), Some((pattern(90, 1)[10..].to_vec(), addr)));
        let (bytes, _) = client.receive().expect("from the listener");
        assert_eq!(
            bytes,
            [&[1, 2, 3, 4][..], &pattern(90, 1), &[0, 0]].concat()
        );
    }
}

/// Neither closing a descriptor nor clearing its registered file frees a port on which a receive is
/// armed.
pub(crate) fn a_port_is_free_again_a_turn_after_its_close<G: Ground>() {
    let ground = G::new();
    let mut engine = ground.engine(Config::default());
    let addr = ground.free_addr(ground.private_ip());
    let sender = ground.peer(v4());
    for round in 0..1_000 {
        let slot = engine
            .open_relay(addr)
            .unwrap_or_else(|error| panic!("{round}: {error}"));
        if round % 50 == 0 {
            sender.send(addr, &pattern(20, round));
            serve(&ground, &mut engine, 1, |engine, train, packet| {
                assert_eq!(train.port, Port::Relay(slot));
                assert_eq!(engine.bytes(packet), pattern(20, round));
            });
        } else if round % 3 == 0 {
            engine.turn(Some(engine.now())).expect("a turn");
        }
        engine.close_relay(slot);
        engine.turn(Some(engine.now())).expect("a turn");
        if round % 10 == 0 {
            drop(ground.peer(addr)); // It panics when the port is taken.
        }
    }
}

pub(crate) fn many_ports_are_closed_at_once<G: Ground>() {
    let ground = G::new();
    let mut engine = ground.engine(Config::default());
    let mut open = Vec::new();
    // Not all that the process may have: other tests run beside this one.
    let ports = raise_descriptor_limit().expect("a limit").min(6_000) / 4;
    for _ in 0..ports {
        let addr = ground.free_addr(ground.private_ip());
        if let Ok(slot) = engine.open_relay(addr) {
            open.push((slot, addr));
        }
    }
    ground.turn(&mut engine);
    for (slot, _) in &open {
        engine.close_relay(*slot);
    }
    ground.turn(&mut engine);
    for (_, addr) in &open {
        drop(ground.peer(*addr));
    }
    let reopened = engine.open_relay(open[0].1).expect("free");
    assert!((reopened.0 as usize) < open.len(), "slots are used again");
}

pub(crate) fn a_taken_port_is_in_use<G: Ground>() {
    let ground = G::new();
    let mut engine = ground.engine(Config::default());
    let peer = ground.peer(v4());
    assert!(matches!(
        engine.open_relay(peer.addr()),
        Err(OpenError::InUse)
    ));
    let addr = ground.free_addr(ground.private_ip());
    engine.open_relay(addr).expect("free");
    assert!(matches!(engine.open_relay(addr), Err(OpenError::InUse)));
    let (_, listening) = ground.listen(&mut engine, v4());
    assert!(matches!(
        engine.open_relay(listening),
        Err(OpenError::InUse)
    ));
}

pub(crate) fn an_address_of_another_host_is_not_local<G: Ground>() {
    let ground = G::new();
    let mut engine = ground.engine(Config::default());
    let foreign = SocketAddr::from(([192, 0, 2, 1], 50_000));
    assert!(matches!(
        engine.open_relay(foreign),
        Err(OpenError::AddressNotLocal)
    ));
}

pub(crate) fn a_full_table_is_said_to_be_full<G: Ground>() {
    let ground = G::new();
    let mut engine = ground.engine(Config {
        relay_sockets_max: 4,
        ..Config::default()
    });
    let addrs: Vec<_> = (0..5)
        .map(|_| ground.free_addr(ground.private_ip()))
        .collect();
    let slots: Vec<_> = addrs[..4]
        .iter()
        .map(|addr| engine.open_relay(*addr).expect("free"))
        .collect();
    assert!(matches!(
        engine.open_relay(addrs[4]),
        Err(OpenError::TableFull)
    ));
    engine.close_relay(slots[2]);
    ground.turn(&mut engine);
    assert_eq!(engine.open_relay(addrs[4]).expect("free"), slots[2]);
}

pub(crate) fn a_held_socket_is_adopted<G: Ground>() {
    let ground = G::new();
    let mut engine = ground.engine(Config::default());
    let held = bind_relay(v4(), 1 << 20).expect("a free port");
    let addr = held.local_addr().expect("bound");
    let slot = engine.adopt_relay(held).expect("room");
    let peer = ground.peer(v4());
    peer.send(addr, &pattern(5, 5));
    serve(&ground, &mut engine, 1, |_, train, _| {
        assert_eq!(train.port, Port::Relay(slot));
    });
    engine.close_relay(slot);
    ground.turn(&mut engine);
    drop(ground.peer(addr));
}

/// What was received for a port before its close is not taken for the next owner's.
pub(crate) fn a_closed_port_hands_out_nothing_more<G: Ground>() {
    let ground = G::new();
    let mut engine = ground.engine(Config {
        gro: false,
        ..Config::default()
    });
    let addr = ground.free_addr(ground.private_ip());
    let slot = engine.open_relay(addr).expect("free");
    let peer = ground.peer(v4());
    ground.turn(&mut engine);
    for i in 0..10 {
        peer.send(addr, &pattern(10, i));
    }
    let mut handled = 0;
    let mut next = slot;
    let other = ground.free_addr(ground.private_ip());
    serve(&ground, &mut engine, 1, |engine, train, _| {
        assert_eq!(train.port, Port::Relay(slot));
        handled += 1;
        engine.close_relay(slot);
        next = engine.open_relay(other).expect("free");
    });
    assert_eq!(handled, 1, "the batch has more of them");
    assert_ne!(
        next, slot,
        "a slot is not given out while its packets are about"
    );
    for _ in 0..3 {
        ground.turn(&mut engine);
        assert!(engine.next_train().is_none());
    }
}

pub(crate) fn what_is_queued_on_a_port_leaves_before_it_closes<G: Ground>() {
    let ground = G::new();
    let mut engine = ground.engine(Config::default());
    let addr = ground.free_addr(ground.private_ip());
    let slot = engine.open_relay(addr).expect("free");
    let peer = ground.peer(v4());
    ground.turn(&mut engine);
    engine.send_copy(Port::Relay(slot), peer.addr(), &[], &pattern(10, 0), 0);
    engine.send_copy(Port::Relay(slot), peer.addr(), &[], &pattern(10, 1), 0);
    engine.close_relay(slot);
    engine.send_copy(Port::Relay(slot), peer.addr(), &[], &pattern(10, 2), 0);
    ground.turn(&mut engine);
    assert_eq!(peer.receive(), Some((pattern(10, 0), addr)));
    assert_eq!(peer.receive(), Some((pattern(10, 1), addr)));
    assert!(peer.is_idle());
    assert_eq!(engine.counters().send_stale, 1);
}

pub(crate) fn a_port_closes_while_it_is_flooded<G: Ground>() {
    let ground = G::new();
    let mut engine = ground.engine(Config {
        buffers: 64,
        ..Config::default()
    });
    let addr = ground.free_addr(ground.private_ip());
    let flood = ground.peer(v4());
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let bytes = pattern(8 * 100, 1);
            while !stop.load(Ordering::Relaxed) {
                flood.send(addr, &[]);
                flood.send_train(addr, &bytes, 100);
                flood.send(addr, &bytes);
            }
        });
        let _stop = Stop(&stop);
        for round in 0..100 {
            let slot = engine
                .open_relay(addr)
                .unwrap_or_else(|error| panic!("{round}: {error}"));
            match round % 4 {
                0 => serve(&ground, &mut engine, 20, |engine, train, packet| {
                    assert_eq!(train.port, Port::Relay(slot));
                    engine.send(train.port, flood.addr(), &[1; 4], packet, 0);
                }),
                turns => {
                    for _ in 1..turns {
                        engine.turn(Some(engine.now())).expect("a turn");
                    }
                }
            }
            engine.close_relay(slot);
            engine.turn(Some(engine.now())).expect("a turn");
            assert!(engine.next_train().is_none(), "nothing of a closed port");
            drop(ground.peer(addr)); // It panics when the port is taken.
        }
    });
}

/// Ends the flood, also when the test fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
