//! Buffers: running out, sharing, and getting all of them back.

use std::thread;

use sterna_io::{Config, Engine, Port, SharedPacket};

use super::ground::{Ground, Peer, pattern, serve, v4};

fn small() -> Config {
    Config {
        buffers: 8,
        gro: false,
        ..Config::default()
    }
}

/// An empty pool ends a multishot receive with ENOBUFS, and loses nothing.
pub(crate) fn more_packets_than_buffers_are_all_received<G: Ground>() {
    let ground = G::new();
    let mut engine = ground.engine(small());
    let (_, addr) = ground.listen(&mut engine, v4());
    let peer = ground.peer(v4());
    ground.turn(&mut engine);
    for i in 0..200 {
        peer.send(addr, &pattern(50, i));
    }
    let mut seen = Vec::new();
    serve(&ground, &mut engine, 200, |engine, train, packet| {
        seen.push(engine.bytes(packet).to_vec());
        engine.send(train.port, train.from, &[1], packet, 0);
    });
    assert!(
        seen.iter()
            .enumerate()
            .all(|(i, bytes)| *bytes == pattern(50, i))
    );
    ground.turn(&mut engine);
    for bytes in seen {
        let (echo, _) = peer.receive().expect("an echo");
        assert_eq!(echo[1..], bytes);
    }
    assert!(
        engine.counters().buffers_exhausted > 0,
        "{:?}",
        engine.counters()
    );
}

pub(crate) fn no_buffer_is_lost_over_many_batches<G: Ground>() {
    let ground = G::new();
    let mut engine = ground.engine(small());
    let (_, addr) = ground.listen(&mut engine, v4());
    let peer = ground.peer(v4());
    let mut kept: Vec<SharedPacket> = Vec::new();
    for round in 0..500 {
        for i in 0..6 {
            // Empty ones and too long ones take other ways back.
            let len = [0, 30, 10_000, 30, 1, 700][i];
            peer.send(addr, &pattern(len, round));
        }
        serve(&ground, &mut engine, 5, |engine, train, packet| {
            match round % 3 {
                0 => engine.send(train.port, train.from, &[2; 4], packet, 1),
                1 => kept.extend(engine.share(packet)),
                _ => {}
            }
        });
        if round % 4 == 0 {
            let given_back = std::mem::take(&mut kept);
            thread::spawn(move || drop(given_back))
                .join()
                .expect("no panic");
        }
    }
    assert_eq!(engine.counters().packets_in, 2_500);
    drop(kept);
    // Two turns: one takes them back from the last batch, and one from the other thread.
    engine.turn(Some(engine.now())).expect("a turn");
    engine.turn(Some(engine.now())).expect("a turn");
    assert_eq!(engine.buffers_free(), 8);
}

pub(crate) fn a_shared_packet_outlives_its_batch_and_leaves_through_another_engine<G: Ground>() {
    let ground = G::new();
    let mut first = ground.engine(Config::default());
    let mut second = ground.engine(Config::default());
    let (_, addr) = ground.listen(&mut first, v4());
    let (_, other) = ground.listen(&mut second, v4());
    let via = Port::Listener(sterna_io::ListenerId(0));
    let (peer, client) = (ground.peer(v4()), ground.peer(v4()));
    ground.turn(&mut second);
    let bytes = pattern(5 * 300, 3);
    peer.send_train(addr, &bytes, 300);
    let mut letters = Vec::new();
    serve(&ground, &mut first, 5, |engine, _, packet| {
        letters.push(engine.share(packet).expect("below the limits"));
    });
    let letters = thread::spawn(move || letters).join().expect("no panic");
    // Other packets come and go meanwhile.
    for i in 0..50 {
        peer.send(addr, &pattern(1_000, i));
    }
    serve(&ground, &mut first, 50, |_, _, _| {});
    for (letter, segment) in letters.into_iter().zip(bytes.chunks(300)) {
        assert_eq!(&*letter, segment);
        second.send_shared(via, client.addr(), &[5; 36], letter.slice(8..300), 1);
    }
    ground.turn(&mut second);
    for segment in bytes.chunks(300) {
        let expected = [&[5; 36][..], &segment[8..], &[0]].concat();
        assert_eq!(client.receive(), Some((expected, other)));
    }
}

pub(crate) fn sharing_stops_at_half_of_the_buffers_and_goes_on_when_they_return<G: Ground>() {
    let ground = G::new();
    let mut engine = ground.engine(small());
    let (_, addr) = ground.listen(&mut engine, v4());
    let peer = ground.peer(v4());
    let mut kept = Vec::new();
    for round in 0..3 {
        for i in 0..12 {
            peer.send(addr, &pattern(40, i));
        }
        let mut refused = 0;
        serve(&ground, &mut engine, 12, |engine, _, packet| {
            match engine.share(packet) {
                Some(shared) => kept.push(shared),
                None => refused += 1,
            }
        });
        assert_eq!(kept.len(), 4, "half of eight");
        assert_eq!(refused, 8);
        assert_eq!(engine.counters().share_limit, 8 * (round + 1));
        kept.clear();
    }
}

pub(crate) fn a_shared_packet_outlives_its_engine<G: Ground>() {
    let ground = G::new();
    let mut engine = ground.engine(Config::default());
    let (_, addr) = ground.listen(&mut engine, v4());
    ground.peer(v4()).send(addr, &pattern(40, 4));
    let mut kept = None;
    serve(&ground, &mut engine, 1, |engine, _, packet| {
        kept = engine.share(packet);
    });
    drop(engine);
    assert_eq!(&*kept.expect("shared"), pattern(40, 4));
}

pub(crate) fn a_flood_beyond_all_buffers_leaves_a_working_engine<G: Ground>() {
    let ground = G::new();
    let config = Config {
        socket_buffer_bytes: 64 * 1_024,
        buffers: 16,
        ..small()
    };
    let mut engine = ground.engine(config);
    let addr = ground.free_addr(v4().ip());
    engine.open_relay(addr).expect("free");
    let peer = ground.peer(v4());
    ground.turn(&mut engine);
    for i in 0..70_000 {
        peer.send(addr, &pattern(100, i % 10));
    }
    let mut received = 0;
    loop {
        ground.turn(&mut engine);
        let before = received;
        while engine.next_train().is_some() {
            received += 1;
        }
        if received == before {
            break;
        }
    }
    assert!(received > 10 && received < 70_000, "{received}");
    peer.send(addr, &pattern(100, 11));
    serve(&ground, &mut engine, 1, |engine, _, packet| {
        assert_eq!(engine.bytes(packet), pattern(100, 11));
    });
    let counters = engine.counters();
    if !ground.is_simulated() {
        assert_eq!(
            counters.receive_overflow + received + 1,
            70_001,
            "{counters:?}"
        );
    }
}

/// Every port wants a buffer, and there are few: all get their turn, and listeners too.
pub(crate) fn many_flooded_ports_share_few_buffers<G: Ground>() {
    let ground = G::new();
    let mut engine = ground.engine(small());
    let (listener, listening) = ground.listen(&mut engine, v4());
    let ip = ground.private_ip();
    let ports: Vec<_> = (0..300)
        .map(|_| {
            let addr = ground.free_addr(ip);
            (engine.open_relay(addr).expect("free"), addr)
        })
        .collect();
    let peer = ground.peer(v4());
    for i in 0..5 {
        for (_, addr) in &ports {
            peer.send(*addr, &pattern(30, i));
        }
    }
    peer.send(listening, &pattern(30, 99));
    let mut counts = vec![0; ports.len()];
    let mut at_listener = 0;
    serve(
        &ground,
        &mut engine,
        1_501,
        |engine, train, packet| match train.port {
            Port::Relay(slot) => {
                let index = ports
                    .iter()
                    .position(|(open, _)| *open == slot)
                    .expect("open");
                assert_eq!(engine.bytes(packet), pattern(30, counts[index]), "in order");
                counts[index] += 1;
            }
            Port::Listener(id) => {
                assert_eq!(id, listener);
                at_listener += 1;
            }
        },
    );
    assert!(counts.iter().all(|count| *count == 5));
    assert_eq!(at_listener, 1);
}
