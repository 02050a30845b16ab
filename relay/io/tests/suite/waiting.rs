//! Deadlines, wakes, and the price of waiting.

use std::thread;
use std::time::{Duration, Instant};

use sterna_io::{Config, Engine};

use super::ground::{Ground, PATIENCE, Peer, pattern, v4};
use super::kernel::thread_cpu_time;

pub(crate) fn a_turn_ends_at_its_deadline_and_not_before<G: Ground>() {
    let ground = G::new();
    if ground.is_simulated() {
        return;
    }
    let mut engine = ground.engine(Config::default());
    ground.listen(&mut engine, v4());
    engine.turn(Some(Instant::now())).expect("a turn");
    for wait_ms in [0, 3, 30] {
        let start = Instant::now();
        let deadline = start + Duration::from_millis(wait_ms);
        engine.turn(Some(deadline)).expect("a turn");
        assert!(Instant::now() >= deadline, "too early");
        assert!(
            start.elapsed() < Duration::from_millis(wait_ms) + PATIENCE,
            "too late"
        );
        assert!(engine.now() >= deadline, "the time is read after the wait");
    }
    let past = Instant::now() - Duration::from_secs(1);
    engine
        .turn(Some(past))
        .expect("a deadline in the past is no wait");
}

pub(crate) fn a_wake_from_another_thread_ends_a_wait_without_deadline<G: Ground>() {
    let ground = G::new();
    let mut engine = ground.engine(Config::default());
    ground.listen(&mut engine, v4());
    ground.turn(&mut engine);
    for round in 0..20 {
        let waker = engine.waker();
        let other = thread::spawn(move || {
            if round % 2 == 0 {
                thread::sleep(Duration::from_millis(2));
            }
            waker.wake();
        });
        // Without the wake this waits for ever.
        let deadline = ground.is_simulated().then(|| engine.now());
        engine.turn(deadline).expect("a turn");
        other.join().expect("no panic");
        // One that came while nobody slept is still there.
        if engine.counters().wakes < round + 1 {
            engine.turn(deadline).expect("a turn");
        }
        assert_eq!(engine.counters().wakes, round + 1);
    }
}

pub(crate) fn a_packet_ends_a_wait_without_deadline<G: Ground>() {
    let ground = G::new();
    let mut engine = ground.engine(Config::default());
    let (_, addr) = ground.listen(&mut engine, v4());
    let peer = ground.peer(v4());
    engine.turn(Some(engine.now())).expect("a turn");
    while engine.next_train().is_some() {}
    peer.send(addr, &pattern(10, 1));
    let mut train = None;
    for _ in 0..10 {
        engine.turn(None).expect("a turn");
        train = engine.next_train();
        if train.is_some() {
            break;
        }
    }
    assert_eq!(
        engine.bytes(train.expect("a packet").packet),
        pattern(10, 1)
    );
}

pub(crate) fn an_idle_engine_sleeps_in_the_kernel<G: Ground>() {
    let ground = G::new();
    if ground.is_simulated() {
        return;
    }
    let mut engine = ground.engine(Config::default());
    ground.listen(&mut engine, v4());
    for _ in 0..20 {
        engine
            .open_relay(ground.free_addr(v4().ip()))
            .expect("free");
    }
    ground.turn(&mut engine);
    let (turns, cpu) = (engine.counters().turns, thread_cpu_time());
    let end = Instant::now() + Duration::from_millis(300);
    while Instant::now() < end {
        engine.turn(Some(end)).expect("a turn");
    }
    let spent = thread_cpu_time() - cpu;
    assert!(spent < Duration::from_millis(10), "{spent:?}");
    assert!(engine.counters().turns - turns < 5);
}
