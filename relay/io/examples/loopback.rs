//! `io_uring` beside `recvmmsg` on the loopback, in turns.
//!
//!     cargo run --profile dist -p sterna-io --example loopback [seconds a round] [rounds]
//!
//! One thread is the worker: it takes packets at a listener and sends them on from a hundred relay
//! ports, without their first four bytes. The other is clients and peer. On the loopback the whole
//! way of a packet, the receiver's side included, is billed to the thread that sends it, so the
//! worker's processor time holds one transmit and one receive of the kernel a packet.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use socket2::{MsgHdr, SockAddr, SockRef};
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
    for burst in [1, 2, 8] {
        let mut lines = [String::new(), String::new()];
        for _ in 0..rounds {
            for (line, kind) in lines.iter_mut().zip([EngineKind::Uring, EngineKind::Mmsg]) {
                let (ns, kpps) = forward(kind, burst, round);
                line.push_str(&format!(" {ns:>7.0} ({kpps:>4.0})"));
            }
        }
        println!("bursts of {burst}: uring{}", lines[0]);
        println!("bursts of {burst}: mmsg {}", lines[1]);
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
fn forward(kind: EngineKind, burst: usize, duration: Duration) -> (f64, f64) {
    let listener = bind_listener(any(), false, 4 << 20).expect("a free port");
    let to = listener.local_addr().expect("bound");
    let sink = bind_relay(any(), 4 << 20).expect("a free port");
    let peer = sink.local_addr().expect("bound");
    sink.set_nonblocking(true).expect("an option");
    let stop = Arc::new(AtomicBool::new(false));
    let (report, reported) = mpsc::channel();
    let clients: Vec<_> = (0..FLOWS)
        .map(|_| bind_relay(any(), 1 << 20).expect("a port"))
        .collect();
    let addrs: Vec<_> = clients
        .iter()
        .map(|client| client.local_addr().expect("bound"))
        .collect();
    let worker = thread::spawn({
        let stop = Arc::clone(&stop);
        move || {
            let mut engine = make(kind);
            engine.add_listener(listener).expect("room");
            let ports: std::collections::HashMap<_, _> = addrs
                .iter()
                .map(|addr| (*addr, engine.open_relay(any()).expect("a free port")))
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
                        let payload = packet.slice(4..packet.len());
                        engine.send(Port::Relay(*port), peer, &[], payload, 0);
                    }
                }
            }
            let _ = report.send((cpu_time() - start, engine.counters()));
        }
    });
    let start = Instant::now();
    drive(&clients, &sink, to, burst, duration);
    let elapsed = start.elapsed();
    stop.store(true, Ordering::Relaxed);
    let (cpu, counters) = reported.recv().expect("a report");
    worker.join().expect("no panic");
    assert_eq!(counters.send_errors(), 0, "{counters:?}");
    let packets = counters.packets_out as f64;
    (
        cpu.as_nanos() as f64 / packets,
        packets / elapsed.as_secs_f64() / 1e3,
    )
}

/// Keeps so many packets under way.
fn drive(clients: &[UdpSocket], sink: &UdpSocket, to: SocketAddr, burst: usize, time: Duration) {
    let bytes = vec![0x40; burst * PAYLOAD_BYTES];
    let to = SockAddr::from(to);
    let mut control = Vec::new();
    control.extend(18_usize.to_ne_bytes());
    control.extend(libc::SOL_UDP.to_ne_bytes());
    control.extend(libc::UDP_SEGMENT.to_ne_bytes());
    control.extend(u16::try_from(PAYLOAD_BYTES).expect("short").to_ne_bytes());
    control.resize(24, 0);
    let control = if burst > 1 { control } else { Vec::new() };
    let buffers = [std::io::IoSlice::new(&bytes)];
    let (mut outstanding, mut flow) = (0, 0);
    let mut buf = [0; 2_048];
    let (start, mut last) = (Instant::now(), Instant::now());
    while start.elapsed() < time {
        while outstanding + burst <= OUTSTANDING_MAX {
            flow = (flow + 1) % clients.len();
            let mut message = MsgHdr::new().with_addr(&to).with_buffers(&buffers);
            if !control.is_empty() {
                message = message.with_control(&control);
            }
            let sent = SockRef::from(&clients[flow]).sendmsg(&message, 0);
            outstanding += if sent.is_ok() { burst } else { 0 };
        }
        match sink.recv(&mut buf) {
            Ok(len) => {
                assert_eq!(len, PAYLOAD_BYTES - 4);
                outstanding -= 1;
                last = Instant::now();
            }
            // What was lost is not waited for.
            Err(_) if last.elapsed() > Duration::from_millis(200) => outstanding = 0,
            Err(_) => thread::yield_now(),
        }
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
