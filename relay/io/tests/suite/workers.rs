//! Two workers, two threads, and buffers that travel between them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use sterna_io::{Config, Engine, ListenerId, Port};

use super::ground::{Ground, PATIENCE, Peer, pattern, v4};

const PACKETS: u64 = 20_000;

/// Packets come in at one worker and leave through another, which is slower at times; what it
/// cannot take is dropped and counted, and no buffer is lost.
pub(crate) fn buffers_travel_between_threads_and_come_back<G: Ground>() {
    let ground = G::new();
    if ground.is_simulated() {
        return; // Its engines do not wait for each other.
    }
    let config = Config {
        buffers: 64,
        ..Config::default()
    };
    let mut engine = ground.engine(config);
    let (_, addr) = ground.listen(&mut engine, v4());
    let (peer, client) = (ground.peer(v4()), ground.peer(v4()));
    let to = client.addr();
    let (letters, inbox) = mpsc::sync_channel::<sterna_io::SharedPacket>(256);
    let (give_waker, waker) = mpsc::channel();
    let (done, sent) = (&AtomicBool::new(false), &AtomicU64::new(0));
    let mut full = 0;
    thread::scope(|scope| {
        scope.spawn(move || {
            let ground = G::new();
            let mut engine = ground.engine(config);
            ground.listen(&mut engine, v4());
            give_waker.send(engine.waker()).expect("a listener");
            let via = Port::Listener(ListenerId(0));
            loop {
                let last = done.load(Ordering::SeqCst);
                for letter in inbox.try_iter() {
                    assert_eq!(letter.len() % 100, 0);
                    engine.send_shared(via, to, &[3; 36], letter, 2);
                    sent.fetch_add(1, Ordering::Relaxed);
                }
                engine
                    .turn(Some(Instant::now() + Duration::from_millis(5)))
                    .expect("a turn");
                if last {
                    return;
                }
            }
        });
        let waker = waker.recv().expect("the other worker");
        scope.spawn(|| {
            let bytes = pattern(10 * 100, 1);
            for _ in 0..PACKETS / 20 {
                peer.send_train(addr, &bytes, 100);
                for i in 0..10 {
                    peer.send(addr, &bytes[i * 100..][..100]);
                }
            }
            peer.send(addr, &[]);
        });
        let start = Instant::now();
        let mut ended = false;
        while !ended && start.elapsed() < PATIENCE {
            engine
                .turn(Some(Instant::now() + Duration::from_millis(20)))
                .expect("a turn");
            while let Some(train) = engine.next_train() {
                for packet in train.segments() {
                    ended |= packet.is_empty();
                    let Some(shared) = engine.share(packet) else {
                        continue;
                    };
                    full += u64::from(letters.try_send(shared).is_err());
                }
            }
            waker.wake();
        }
        done.store(true, Ordering::SeqCst);
        waker.wake();
    });
    let counters = engine.counters();
    let sent = sent.load(Ordering::Relaxed);
    assert_eq!(
        counters.packets_in,
        sent + full + counters.share_limit,
        "{counters:?}"
    );
    assert!(sent > 0);
    drop(letters);
    engine.turn(Some(engine.now())).expect("a turn");
    engine.turn(Some(engine.now())).expect("a turn");
    assert_eq!(engine.buffers_free(), 64);
}
