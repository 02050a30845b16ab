//! What the detached engine itself costs a packet, so that it can be subtracted from what is
//! measured on it.
//!
//!     cargo run --profile dist -p sterna-io --example simulated [packets]

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::Duration;

use sterna_io::sim::SimEngine;
use sterna_io::{Config, Engine, Port};

const FLOWS: usize = 100;
const PAYLOAD_BYTES: usize = 172;

fn main() {
    let packets = std::env::args()
        .nth(1)
        .and_then(|arg| arg.parse().ok())
        .unwrap_or(10_000_000);
    println!("{packets} packets of {PAYLOAD_BYTES} bytes, {FLOWS} flows, ns a packet");
    println!(
        "{:>6} {:>12} {:>12} {:>12}",
        "burst", "feed", "+ look", "+ send"
    );
    for burst in [1, 8] {
        let costs: Vec<_> = [Work::Feed, Work::Look, Work::Send]
            .map(|work| run(packets, burst, work))
            .into();
        println!(
            "{burst:>6} {:>12.1} {:>12.1} {:>12.1}",
            costs[0], costs[1], costs[2]
        );
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Work {
    /// Only fed, batched and released.
    Feed,
    /// And their bytes looked at.
    Look,
    /// And sent on with a header, one flow to one destination.
    Send,
}

fn run(packets: usize, burst: usize, work: Work) -> f64 {
    let mut engine = SimEngine::detached(Config::default()).expect("memory");
    let listener = engine
        .listen(SocketAddr::from(([10, 0, 0, 1], 3_478)))
        .expect("detached");
    let ports: Vec<_> = (0..FLOWS)
        .map(|_| {
            engine
                .open_relay(SocketAddr::from(([10, 0, 0, 1], 50_000)))
                .expect("room")
        })
        .collect();
    let clients: Vec<_> = (0..FLOWS)
        .map(|i| SocketAddr::from(([10, 1, 0, 1], u16::try_from(10_000 + i).expect("a port"))))
        .collect();
    let bytes = vec![0x40_u8; burst * PAYLOAD_BYTES];
    let start = cpu_time();
    let (mut fed, mut flow) = (0, 0);
    while fed < packets {
        for _ in 0..64 {
            flow = (flow + 1) % FLOWS;
            assert!(engine.feed(
                Port::Listener(listener),
                clients[flow],
                &bytes,
                PAYLOAD_BYTES
            ));
            fed += burst;
        }
        engine.turn(None).expect("no kernel");
        while let Some(train) = engine.next_train() {
            if work == Work::Feed {
                continue;
            }
            let flow = usize::from(train.from.port() - 10_000);
            for packet in train.segments() {
                black_box(engine.bytes(packet)[0]);
                if work == Work::Send {
                    let payload = packet.slice(4..packet.len());
                    engine.send(Port::Relay(ports[flow]), clients[flow], &[], payload, 0);
                }
            }
        }
    }
    engine.turn(None).expect("no kernel");
    if work == Work::Send {
        assert_eq!(engine.discarded().to_relays, fed as u64);
    }
    (cpu_time() - start).as_nanos() as f64 / fed as f64
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
