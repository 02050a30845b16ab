//! The simulated network keeps its promises: seeds replay, faults happen as often as asked for.

use std::net::SocketAddr;
use std::time::Duration;

use super::*;
use crate::{Engine, ListenerId, Port};

fn addr(host: u8, port: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, host], port))
}

fn faulty() -> Faults {
    Faults {
        loss: 0.1,
        duplication: 0.05,
        reorder: 0.1,
        reorder_delay: Duration::from_millis(7),
        delay: Duration::from_millis(10),
        jitter: Duration::from_millis(3),
    }
}

/// What a client gets back from an echo over a faulty network, with the time of each.
fn story(seed: u64) -> (Vec<(Duration, Vec<u8>)>, Tally) {
    let network = Network::new(seed);
    network.set_faults(faulty());
    let mut engine = network.engine(Config::default()).expect("memory");
    engine.listen(addr(1, 3_478)).expect("free");
    let client = network.endpoint(addr(2, 0));
    let start = network.now();
    for i in 0..1_000_u16 {
        client.send(addr(1, 3_478), &i.to_be_bytes());
    }
    let mut got = Vec::new();
    while network.step() {
        engine.turn(None).expect("no kernel");
        while let Some(train) = engine.next_train() {
            for packet in train.segments() {
                engine.send(train.port, train.from, &[], packet, 0);
            }
        }
        engine.turn(None).expect("no kernel");
        while let Some(datagram) = client.receive() {
            got.push((network.now() - start, datagram.bytes));
        }
    }
    (got, network.tally())
}

#[test]
fn a_seed_replays_exactly_and_another_does_not() {
    let (first, tally) = story(7);
    assert_eq!((first.clone(), tally), story(7));
    assert_ne!(first, story(8).0);
    assert!(
        !first.is_sorted_by_key(|(_, bytes)| bytes.clone()),
        "some overtake others"
    );
    assert!((120..280).contains(&tally.lost), "{tally:?}");
    assert!((50..150).contains(&tally.duplicated), "{tally:?}");
    assert_eq!(tally.sent - tally.lost + tally.duplicated, tally.delivered);
}

#[test]
fn the_clock_moves_to_arrivals_and_deadlines_and_not_by_itself() {
    let network = Network::new(1);
    network.set_faults(Faults {
        delay: Duration::from_secs(3),
        ..Faults::NONE
    });
    let mut engine = network.engine(Config::default()).expect("memory");
    engine.listen(addr(1, 1)).expect("free");
    let client = network.endpoint(addr(2, 2));
    let start = network.now();
    assert!(!network.step(), "nothing will happen");
    client.send(addr(1, 1), b"x");
    engine
        .turn(Some(start + Duration::from_secs(2)))
        .expect("no kernel");
    assert!(engine.next_train().is_none());
    assert!(network.step());
    assert_eq!(
        network.now() - start,
        Duration::from_secs(2),
        "the deadline comes first"
    );
    engine.turn(None).expect("no kernel");
    assert_eq!(engine.now(), network.now());
    assert!(network.step());
    assert_eq!(network.now() - start, Duration::from_secs(3));
    engine.turn(None).expect("no kernel");
    assert!(engine.next_train().is_some());
    assert!(!network.step());
}

#[test]
fn workers_of_one_address_share_its_flows_and_each_flow_stays() {
    let network = Network::new(3);
    let mut workers: Vec<_> = (0..3)
        .map(|_| network.engine(Config::default()).expect("memory"))
        .collect();
    for worker in &mut workers {
        assert_eq!(
            worker.listen(addr(1, 3_478)).expect("shared"),
            ListenerId(0)
        );
    }
    let clients: Vec<_> = (0..60).map(|_| network.endpoint(addr(2, 0))).collect();
    let mut served: Vec<Vec<SocketAddr>> = Vec::new();
    for _ in 0..2 {
        for client in &clients {
            client.send(addr(1, 3_478), b"hello");
        }
        for worker in &mut workers {
            worker.turn(None).expect("no kernel");
            let mut from: Vec<_> = std::iter::from_fn(|| worker.next_train())
                .map(|train| train.from)
                .collect();
            from.sort();
            served.push(from);
        }
    }
    assert_eq!(served[..3], served[3..], "a flow stays with its worker");
    assert!(
        served.iter().all(|from| from.len() > 5),
        "and each worker has some"
    );
    assert_eq!(served[..3].concat().len(), 60);
}

#[test]
fn a_client_that_moves_keeps_nothing_of_its_old_address() {
    let network = Network::new(3);
    let mut engine = network.engine(Config::default()).expect("memory");
    engine.listen(addr(1, 1)).expect("free");
    let mut client = network.endpoint(addr(2, 2));
    client.rebind(addr(2, 3));
    engine.turn(None).expect("no kernel");
    engine.send_copy(Port::Listener(ListenerId(0)), addr(2, 2), &[], b"old", 0);
    engine.send_copy(Port::Listener(ListenerId(0)), addr(2, 3), &[], b"new", 0);
    engine.turn(None).expect("no kernel");
    assert_eq!(client.receive().expect("arrived").bytes, b"new");
    assert!(client.receive().is_none());
    assert_eq!(network.tally().unreachable, 1);
}

#[test]
fn a_detached_engine_counts_what_it_is_given_and_stops_at_its_buffers() {
    let mut engine = SimEngine::detached(Config {
        buffers: 8,
        ..Config::default()
    })
    .expect("memory");
    let listener = Port::Listener(engine.listen(addr(1, 1)).expect("detached"));
    let relay = Port::Relay(engine.open_relay(addr(1, 2)).expect("detached"));
    let fed = (0..20)
        .filter(|_| engine.feed(listener, addr(2, 2), &[7; 250], 100))
        .count();
    assert_eq!(fed, 8);
    engine.turn(None).expect("no kernel");
    while let Some(train) = engine.next_train() {
        for packet in train.segments() {
            engine.send(relay, addr(3, 3), &[], packet.slice(4..packet.len()), 0);
            engine.send(listener, train.from, &[1; 4], packet, 0);
        }
    }
    engine.turn(None).expect("no kernel");
    assert_eq!(
        engine.discarded(),
        Discarded {
            to_listeners: 24,
            to_relays: 24
        }
    );
    assert!(
        engine.feed(listener, addr(2, 2), &[7; 250], 100),
        "the buffers are back"
    );
    assert!(
        !engine.feed(listener, addr(2, 2), &vec![7; 70_000], 0),
        "too long for a buffer"
    );
}
