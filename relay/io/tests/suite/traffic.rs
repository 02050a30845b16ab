//! Packets in and packets out.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use sterna_io::{Config, Dscp, Engine, Port};

use super::ground::{Ground, Peer, has_v6, pattern, serve, v4, v6};

pub(crate) fn a_datagram_comes_back_as_it_was_sent<G: Ground>() {
    echo::<G>(v4());
}

pub(crate) fn a_datagram_comes_back_over_ipv6<G: Ground>() {
    if has_v6() {
        echo::<G>(v6());
    }
}

fn echo<G: Ground>(any: SocketAddr) {
    let ground = G::new();
    let mut engine = ground.engine(Config::default());
    let (listener, addr) = ground.listen(&mut engine, any);
    let peer = ground.peer(any);
    for len in [1, 2, 172, 1_400, 9_000] {
        peer.send(addr, &pattern(len, len));
        serve(&ground, &mut engine, 1, |engine, train, packet| {
            assert_eq!(train.port, Port::Listener(listener));
            assert_eq!(train.from, peer.addr());
            engine.send(train.port, train.from, &[], packet, 0);
        });
        ground.turn(&mut engine);
        assert_eq!(peer.receive(), Some((pattern(len, len), addr)));
    }
    let counters = engine.counters();
    assert_eq!((counters.packets_in, counters.packets_out), (5, 5));
    assert_eq!((counters.bytes_in, counters.bytes_out), (10_575, 10_575));
    assert_eq!(counters.send_errors(), 0);
}

pub(crate) fn a_train_comes_in_as_its_segments_and_leaves_with_headers_and_tails<G: Ground>() {
    let ground = G::new();
    let mut engine = ground.engine(Config::default());
    let (_, addr) = ground.listen(&mut engine, v4());
    let peer = ground.peer(v4());
    let bytes = pattern(8 * 200 - 50, 1);
    peer.send_train(addr, &bytes, 200);
    let mut seen = Vec::new();
    serve(&ground, &mut engine, 8, |engine, train, packet| {
        seen.extend(engine.bytes(packet).to_vec());
        let header = [0xAA, 0xBB, 0xCC, 0xDD];
        engine.send(
            train.port,
            train.from,
            &header,
            packet.slice(4..packet.len()),
            3,
        );
    });
    assert_eq!(seen, bytes);
    ground.turn(&mut engine);
    for segment in bytes.chunks(200) {
        let mut expected = vec![0xAA, 0xBB, 0xCC, 0xDD];
        expected.extend(&segment[4..]);
        expected.extend([0; 3]);
        assert_eq!(peer.receive(), Some((expected, addr)));
    }
    let counters = engine.counters();
    assert_eq!(counters.packets_in, 8);
    assert_eq!(counters.packets_out, 8);
    assert_eq!(
        (counters.gso_groups, counters.sends_out),
        (1, 1),
        "{counters:?}"
    );
    assert_eq!(counters.trains_in, 1, "{counters:?}");
}

pub(crate) fn without_offloads_a_train_is_single_datagrams_both_ways<G: Ground>() {
    let ground = G::new();
    let config = Config {
        gro: false,
        gso: false,
        ..Config::default()
    };
    let mut engine = ground.engine(config);
    let (_, addr) = ground.listen(&mut engine, v4());
    let peer = ground.peer(v4());
    let bytes = pattern(8 * 200, 1);
    peer.send_train(addr, &bytes, 200);
    serve(&ground, &mut engine, 8, |engine, train, packet| {
        engine.send(train.port, train.from, &[1], packet, 1);
    });
    ground.turn(&mut engine);
    for segment in bytes.chunks(200) {
        let expected = [&[1][..], segment, &[0][..]].concat();
        assert_eq!(peer.receive(), Some((expected, addr)));
    }
    let counters = engine.counters();
    assert_eq!(
        (counters.trains_in, counters.sends_out, counters.gso_groups),
        (8, 8, 0)
    );
}

/// A single packet gets its header in its own buffer; that must not show in what else is sent of
/// that buffer.
pub(crate) fn one_packet_goes_to_many_with_a_header_each<G: Ground>() {
    let ground = G::new();
    let mut engine = ground.engine(Config::default());
    let (_, addr) = ground.listen(&mut engine, v4());
    let sender = ground.peer(v4());
    let peers: Vec<_> = (0..3).map(|_| ground.peer(v4())).collect();
    sender.send(addr, &pattern(100, 0));
    serve(&ground, &mut engine, 1, |engine, train, packet| {
        for (i, peer) in (1_u8..).zip(&peers) {
            let part = packet.slice(usize::from(i) * 10..100);
            engine.send(train.port, peer.addr(), &[i; 36], part, usize::from(i));
        }
        assert_eq!(
            engine.bytes(packet),
            pattern(100, 0),
            "what was queued changes nothing yet"
        );
    });
    ground.turn(&mut engine);
    for (i, peer) in (1_u8..).zip(&peers) {
        let skipped = usize::from(i) * 10;
        let tail = vec![0; usize::from(i)];
        let expected = [&[i; 36][..], &pattern(100, 0)[skipped..], &tail].concat();
        assert_eq!(peer.receive(), Some((expected, addr)));
    }
}

pub(crate) fn the_longest_header_fits_before_a_whole_packet<G: Ground>() {
    let ground = G::new();
    let mut engine = ground.engine(Config::default());
    let (_, addr) = ground.listen(&mut engine, v4());
    let peer = ground.peer(v4());
    peer.send(addr, &pattern(50, 0));
    serve(&ground, &mut engine, 1, |engine, train, packet| {
        engine.send(train.port, train.from, &[7; 64], packet, 3);
    });
    ground.turn(&mut engine);
    let expected = [&[7; 64][..], &pattern(50, 0), &[0; 3]].concat();
    assert_eq!(peer.receive(), Some((expected, addr)));
}

/// Anyone can send an empty datagram, and it ends a multishot receive.
pub(crate) fn empty_datagrams_come_through_and_end_nothing<G: Ground>() {
    let ground = G::new();
    let mut engine = ground.engine(Config::default());
    let (_, addr) = ground.listen(&mut engine, v4());
    let peer = ground.peer(v4());
    for round in 0..20 {
        peer.send(addr, &[]);
        peer.send(addr, &[]);
        peer.send(addr, &pattern(10, round));
        let mut seen = Vec::new();
        serve(&ground, &mut engine, 3, |engine, train, packet| {
            seen.push(engine.bytes(packet).to_vec());
            engine.send(train.port, train.from, &[], packet, 0);
        });
        assert_eq!(seen, [vec![], vec![], pattern(10, round)]);
        ground.turn(&mut engine);
        for expected in seen {
            assert_eq!(peer.receive(), Some((expected, addr)));
        }
    }
}

/// Sizes go up and down, destinations take turns: each gets its own, whole and in order.
pub(crate) fn flows_that_are_interleaved_stay_in_order<G: Ground>() {
    let ground = G::new();
    let mut engine = ground.engine(Config::default());
    let (listener, addr) = ground.listen(&mut engine, v4());
    let peers: Vec<_> = (0..12).map(|_| ground.peer(v4())).collect();
    ground.turn(&mut engine);
    let mut expected: BTreeMap<usize, Vec<Vec<u8>>> = BTreeMap::new();
    let sizes = [
        300, 300, 300, 100, 300, 300, 1_400, 1_400, 0, 1_452, 1_453, 1_453, 9, 9,
    ];
    for i in 0..1_000 {
        // Runs of one flow, and flows that come back later than anybody looks.
        let flow = if i % 3 == 0 {
            0
        } else {
            (i * 7 + i / 40) % peers.len()
        };
        let payload = pattern(sizes[(i / 5 + i % 2) % sizes.len()], i);
        engine.send_copy(
            Port::Listener(listener),
            peers[flow].addr(),
            &[],
            &payload,
            0,
        );
        expected.entry(flow).or_default().push(payload);
    }
    ground.turn(&mut engine);
    for (flow, payloads) in expected {
        for payload in payloads {
            assert_eq!(peers[flow].receive(), Some((payload, addr)), "flow {flow}");
        }
    }
    let counters = engine.counters();
    assert_eq!(counters.packets_out, 1_000, "{counters:?}");
    assert!(
        counters.gso_groups > 0 && counters.gso_fallbacks == 0,
        "{counters:?}"
    );
}

/// Single packets of many flows, as they come when a worker is busy: each flow's leave as one.
pub(crate) fn flows_that_take_turns_leave_together<G: Ground>() {
    let ground = G::new();
    let mut engine = ground.engine(Config::default());
    let (listener, addr) = ground.listen(&mut engine, v4());
    let peers: Vec<_> = (0..50).map(|_| ground.peer(v4())).collect();
    ground.turn(&mut engine);
    for round in 0..4 {
        for peer in &peers {
            let payload = pattern(100, round);
            engine.send_copy(Port::Listener(listener), peer.addr(), &[], &payload, 0);
        }
    }
    ground.turn(&mut engine);
    for round in 0..4 {
        for peer in &peers {
            assert_eq!(peer.receive(), Some((pattern(100, round), addr)));
        }
    }
    let counters = engine.counters();
    // Some flows may share a place in the table.
    assert!((50..70).contains(&counters.sends_out), "{counters:?}");
}

pub(crate) fn groups_stay_below_the_kernels_limits<G: Ground>() {
    let ground = G::new();
    let mut engine = ground.engine(Config::default());
    let (listener, addr) = ground.listen(&mut engine, v4());
    let peer = ground.peer(v4());
    ground.turn(&mut engine);
    for (count, size) in [(150, 20), (100, 1_452)] {
        let before = engine.counters();
        for i in 0..count {
            let payload = pattern(size, i);
            engine.send_copy(Port::Listener(listener), peer.addr(), &[], &payload, 0);
        }
        ground.turn(&mut engine);
        for i in 0..count {
            assert_eq!(peer.receive(), Some((pattern(size, i), addr)));
        }
        let counters = engine.counters();
        // 60 segments or 64,000 bytes each, whichever is less.
        assert_eq!(counters.gso_groups - before.gso_groups, 3, "{counters:?}");
        assert_eq!(counters.gso_fallbacks, 0, "{counters:?}");
    }
}

pub(crate) fn more_than_the_queue_holds_is_sent_all_the_same<G: Ground>() {
    let ground = G::new();
    let mut engine = ground.engine(Config::default());
    let (listener, _) = ground.listen(&mut engine, v4());
    let peers: Vec<_> = (0..40).map(|_| ground.peer(v4())).collect();
    ground.turn(&mut engine);
    for i in 0..6_000 {
        let to = peers[i % peers.len()].addr();
        engine.send_copy(Port::Listener(listener), to, &[1, 2], &pattern(200, i), 2);
    }
    ground.turn(&mut engine);
    for i in 0..6_000 {
        let (bytes, _) = peers[i % peers.len()].receive().expect("all arrive");
        assert_eq!(bytes, [&[1, 2][..], &pattern(200, i), &[0, 0]].concat());
    }
    let counters = engine.counters();
    assert!(counters.early_flushes > 0, "{counters:?}");
    assert_eq!(counters.packets_out, 6_000, "{counters:?}");
}

/// An early flush happens while the batch is being handled: it must not write into buffers that
/// are still to be looked at.
pub(crate) fn an_early_flush_leaves_the_batch_alone<G: Ground>() {
    let ground = G::new();
    let mut engine = ground.engine(Config::default());
    let (_, addr) = ground.listen(&mut engine, v4());
    let peer = ground.peer(v4());
    let bytes = pattern(4 * 100, 1);
    peer.send_train(addr, &bytes, 100);
    let filler = vec![0xEE; 60_000];
    let mut seen = Vec::new();
    serve(&ground, &mut engine, 4, |engine, train, packet| {
        seen.extend(engine.bytes(packet).to_vec());
        engine.send(
            train.port,
            train.from,
            &[9; 48],
            packet.slice(4..packet.len()),
            3,
        );
        for _ in 0..10 {
            // To a port that nobody listens on.
            engine.send_copy(
                train.port,
                SocketAddr::from(([127, 0, 0, 1], 9)),
                &[],
                &filler,
                0,
            );
        }
    });
    assert_eq!(seen, bytes);
    ground.turn(&mut engine);
    for segment in bytes.chunks(100) {
        let expected = [&[9; 48][..], &segment[4..], &[0; 3]].concat();
        assert_eq!(peer.receive(), Some((expected, addr)));
    }
    assert!(engine.counters().early_flushes > 0);
}

pub(crate) fn a_datagram_longer_than_a_buffer_is_dropped_and_counted<G: Ground>() {
    let ground = G::new();
    let mut engine = ground.engine(Config {
        gro: false,
        ..Config::default()
    });
    let (_, addr) = ground.listen(&mut engine, v4());
    let peer = ground.peer(v4());
    peer.send(addr, &pattern(20_000, 0));
    peer.send(addr, &pattern(9_216, 1));
    serve(&ground, &mut engine, 1, |engine, _, packet| {
        assert_eq!(engine.bytes(packet), pattern(9_216, 1));
    });
    assert_eq!(engine.counters().truncated, 1);
}

pub(crate) fn what_cannot_be_sent_is_counted_by_its_reason<G: Ground>() {
    let ground = G::new();
    if ground.is_simulated() {
        return;
    }
    let mut engine = ground.engine(Config::default());
    let (listener, _) = ground.listen(&mut engine, v4());
    let via = Port::Listener(listener);
    ground.turn(&mut engine);
    let peer = ground.peer(v4());
    engine.send_copy(via, peer.addr(), &[], &vec![0; 65_508], 0);
    ground.turn(&mut engine);
    assert_eq!(engine.counters().send_too_big, 1, "{:?}", engine.counters());
    // The wrong family; two of a size, so that they are a group first.
    engine.send_copy(
        via,
        SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 9)),
        &[],
        &[0; 10],
        0,
    );
    engine.send_copy(
        via,
        SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 9)),
        &[],
        &[0; 10],
        0,
    );
    ground.turn(&mut engine);
    let counters = engine.counters();
    assert_eq!(counters.send_other, 2, "{counters:?}");
    assert_eq!(
        (counters.packets_out, counters.bytes_out),
        (0, 0),
        "{counters:?}"
    );
    engine.send_copy(
        Port::Relay(sterna_io::RelaySlot(7)),
        peer.addr(),
        &[],
        &[0; 10],
        0,
    );
    assert_eq!(engine.counters().send_stale, 1);
}

pub(crate) fn ecn_and_dscp_are_kept_and_copies_have_none<G: Ground>() {
    // Expedited forwarding beside ECT(0) and CE; best effort.
    let classes = [0b1011_1010, 0b1011_1010, 0b1011_1011, 0b10];
    classes_leave::<G>(Config::default(), classes, classes, 0);
}

pub(crate) fn a_fixed_dscp_is_on_everything_beside_the_ecn_bits<G: Ground>() {
    let config = Config {
        dscp: Dscp::Fixed(0b10_0010),
        ..Config::default()
    };
    let came = [0b1011_1010, 0b10, 0, 0b11];
    let left = [0b1000_1010, 0b1000_1010, 0b1000_1000, 0b1000_1011];
    classes_leave::<G>(config, came, left, 0b1000_1000);
}

/// Sends datagrams of these traffic classes through an engine, and a copy beside each.
fn classes_leave<G: Ground>(config: Config, came: [u8; 4], left: [u8; 4], copies: u8) {
    for any in [v4(), v6()] {
        if any.is_ipv6() && !has_v6() {
            continue;
        }
        let ground = G::new();
        let mut engine = ground.engine(config);
        let (_, addr) = ground.listen(&mut engine, any);
        let (_, through) = ground.listen(&mut engine, any);
        let peer = ground.peer(any);
        for (i, class) in came.into_iter().enumerate() {
            peer.send_marked(addr, &pattern(10, i), class);
        }
        let mut seen = Vec::new();
        serve(&ground, &mut engine, 4, |engine, train, packet| {
            seen.push(train.class);
            engine.send(train.port, through, &[], packet, 0);
            engine.send_copy(train.port, through, &[], &[1; 9], 0);
        });
        assert_eq!(seen, came);
        let mut sent = Vec::new();
        serve(&ground, &mut engine, 8, |engine, train, packet| {
            sent.push((engine.bytes(packet).len(), train.class));
        });
        let mut expected: Vec<_> = left.map(|class| (10, class)).into();
        expected.extend([(9, copies); 4]);
        sent.sort_unstable();
        expected.sort_unstable();
        assert_eq!(sent, expected);
    }
}
