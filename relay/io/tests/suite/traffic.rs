//! Packets in and packets out.

use super::ground::{Ground, Peer, pattern, serve, v4};
use sterna_io::{Config, Engine};

pub(crate) fn a_datagram_comes_back_as_it_was_sent<G: Ground>() {
    let ground = G::new();
    let mut engine = ground.engine(Config::default());
    let (_, addr) = ground.listen(&mut engine, v4());
    let peer = ground.peer(v4());
    for len in [1, 2, 172, 1_400, 9_000] {
        peer.send(addr, &pattern(len, len));
        serve(&ground, &mut engine, 1, |engine, train, packet| {
            engine.send(train.port, train.from, &[], packet, 0);
        });
        ground.turn(&mut engine);
        assert_eq!(peer.receive(), Some((pattern(len, len), addr)));
    }
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
    assert!(counters.gso_groups >= 1, "{counters:?}");
    assert!(counters.trains_in < 8, "{counters:?}");
}
