//! `io_uring` beside `recvmmsg` on the loopback, in turns.
//!
//!     cargo run --profile dist -p sterna-io --example loopback [seconds a round] [rounds]
//!
//! One thread is the worker: it takes packets at a listener and sends them on from a hundred relay
//! ports without their first four bytes (up), or the other way with four bytes more (down). The
//! other thread is clients and peer. On the loopback the whole
//! way of a packet, the receiver's side included, is billed to the thread that sends it, so the
//! worker's processor time holds one transmit and one receive of the kernel a packet.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use sterna_io::mmsg::MmsgEngine;
use sterna_io::sockets::{bind_listener, bind_relay, raise_descriptor_limit};
use sterna_io::uring::UringEngine;
use sterna_io::{Config, Engine, EngineKind, Port};

const FLOWS: usize = 100;
const PAYLOAD_BYTES: usize = 172;
const OUTSTANDING_MAX: usize = 300;

fn main() {
    let mut args = std::env::args()
        .skip(1)
        .map(|arg| arg.parse::<u64>().expect("a number"));
    let round = Duration::from_secs(args.next().unwrap_or(2));
    let rounds = args.next().unwrap_or(3);
    raise_descriptor_limit().expect("a limit");
    println!("{FLOWS} flows, {PAYLOAD_BYTES} bytes; the worker's ns a packet (kpps), each round");
    for (up, burst) in [(true, 1), (true, 2), (true, 8), (false, 1), (false, 8)] {
        let mut lines = [String::new(), String::new()];
        for _ in 0..rounds {
            for (line, kind) in lines.iter_mut().zip([EngineKind::Uring, EngineKind::Mmsg]) {
                let (ns, kpps) = forward(kind, up, burst, round);
                line.push_str(&format!(" {ns:>7.0} ({kpps:>4.0})"));
            }
        }
        let way = if up { "up" } else { "down" };
        println!("{way}, bursts of {burst}: uring{}", lines[0]);
        println!("{way}, bursts of {burst}: mmsg {}", lines[1]);
    }
    for _ in 0..rounds {
        let [uring, mmsg] = [EngineKind::Uring, EngineKind::Mmsg].map(open_and_close);
        println!(
            "opening, receiving on and closing a port: uring {uring:.1} us, mmsg {mmsg:.1} us"
        );
    }
}

fn any() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

fn make(kind: EngineKind) -> Box<dyn Engine> {
    match kind {
        EngineKind::Uring => Box::new(UringEngine::new(Config::default()).expect("io_uring")),
        _ => Box::new(MmsgEngine::new(Config::default()).expect("sockets")),
    }
}

/// Processor time of the worker a packet in ns, and thousands of packets a second.
fn forward(kind: EngineKind, up: bool, burst: usize, duration: Duration) -> (f64, f64) {
    let listener = bind_listener(any(), false, 4 << 20).expect("a free port");
    let to = listener.local_addr().expect("bound");
    let sink = bind_relay(any(), 4 << 20).expect("a free port");
    let peer = sink.local_addr().expect("bound");
    let clients: Vec<_> = (0..FLOWS)
        .map(|_| bind_relay(any(), 1 << 20).expect("a port"))
        .collect();
    let addrs: Vec<_> = clients
        .iter()
        .map(|client| client.local_addr().expect("bound"))
        .collect();
    let relays: Vec<_> = (0..FLOWS)
        .map(|_| bind_relay(any(), 1 << 20).expect("a port"))
        .collect();
    let targets: Vec<_> = relays
        .iter()
        .map(|relay| {
            if up {
                to
            } else {
                relay.local_addr().expect("bound")
            }
        })
        .collect();
    let stop = Arc::new(AtomicBool::new(false));
    let worker = thread::spawn({
        let stop = Arc::clone(&stop);
        move || {
            let mut engine = make(kind);
            let listener = Port::Listener(engine.add_listener(listener).expect("room"));
            let ports: HashMap<_, _> = addrs
                .iter()
                .zip(relays)
                .map(|(addr, relay)| (*addr, engine.adopt_relay(relay).expect("room")))
                .collect();
            let start = cpu_time();
            while !stop.load(Ordering::Relaxed) {
                engine
                    .turn(Some(Instant::now() + Duration::from_millis(20)))
                    .expect("a turn");
                while let Some(train) = engine.next_train() {
                    let Some(port) = ports.get(&train.from) else {
                        continue;
                    };
                    for packet in train.segments() {
                        if up {
                            let payload = packet.slice(4..packet.len());
                            engine.send(Port::Relay(*port), peer, &[], payload, 0);
                        } else {
                            engine.send(listener, peer, &[0x40; 4], packet, 0);
                        }
                    }
                }
            }
            (cpu_time() - start, engine.counters())
        }
    });
    let start = Instant::now();
    drive(clients, sink, &targets, burst, duration);
    let elapsed = start.elapsed();
    stop.store(true, Ordering::Relaxed);
    let (cpu, counters) = worker.join().expect("no panic");
    assert_eq!(counters.send_errors(), 0, "{counters:?}");
    let packets = counters.packets_out as f64;
    (
        cpu.as_nanos() as f64 / packets,
        packets / elapsed.as_secs_f64() / 1e3,
    )
}

/// Clients and peer on an engine of their own. Keeps so many packets under way, the flows taking
/// turns after each burst.
fn drive(
    clients: Vec<UdpSocket>,
    sink: UdpSocket,
    targets: &[SocketAddr],
    burst: usize,
    time: Duration,
) {
    let mut engine = MmsgEngine::new(Config::default()).expect("sockets");
    engine.add_listener(sink).expect("room");
    let clients: Vec<_> = clients
        .into_iter()
        .map(|client| engine.adopt_relay(client).expect("room"))
        .collect();
    let bytes = [0x40; PAYLOAD_BYTES];
    let (mut outstanding, mut flow) = (0, 0);
    let start = Instant::now();
    while start.elapsed() < time {
        while outstanding + burst <= OUTSTANDING_MAX {
            flow = (flow + 1) % clients.len();
            for _ in 0..burst {
                engine.send_copy(Port::Relay(clients[flow]), targets[flow], &[], &bytes, 0);
            }
            outstanding += burst;
        }
        engine
            .turn(Some(Instant::now() + Duration::from_millis(200)))
            .expect("a turn");
        let mut arrived = 0;
        while let Some(train) = engine.next_train() {
            assert_eq!(train.stride.abs_diff(PAYLOAD_BYTES), 4);
            arrived += train.segments().count();
        }
        // What was lost is not waited for.
        outstanding = if arrived == 0 {
            0
        } else {
            outstanding.saturating_sub(arrived)
        };
    }
}

fn open_and_close(kind: EngineKind) -> f64 {
    let mut engine = make(kind);
    let (batches, ports) = (20, 100);
    let start = cpu_time();
    for _ in 0..batches {
        let slots: Vec<_> = (0..ports)
            .map(|_| engine.open_relay(any()).expect("a free port"))
            .collect();
        engine.turn(Some(engine.now())).expect("a turn");
        for slot in slots {
            engine.close_relay(slot);
        }
        engine.turn(Some(engine.now())).expect("a turn");
    }
    (cpu_time() - start).as_secs_f64() * 1e6 / f64::from(batches * ports)
}

fn cpu_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: a structure to fill that outlives the call.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    let nanos = u32::try_from(time.tv_nsec).unwrap_or(0);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), nanos)
}
