//! A hundred TLS clients of which half stop reading: the others notice nothing, and memory stays
//! bounded.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::{Bench, ClientHello, LIMITS, binding, eventually, soon, tls_over};
use rustls::version::TLS13;
use sterna_relay::stream::{StreamLimits, StreamOut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio_rustls::client::TlsStream;

const SESSIONS: usize = 100;
const PAYLOAD_BYTES: usize = 1000;
const ROUNDS: usize = 200;

/// Those that do not read are sent this many times as much, so that it backs up.
const STUCK_FRAMES: usize = 20;

/// Far less than the queues of fifty stuck clients want.
const QUEUES_BYTES_MAX: u64 = 8 << 20;

/// A client that counts what it reads until it is told to stop reading.
struct Session {
    out: StreamOut,
    frames: Arc<AtomicUsize>,
    reads: watch::Sender<bool>,
    _task: tokio::task::JoinHandle<()>,
}

impl Session {
    async fn connect(bench: &mut Bench) -> Self {
        // A small window, so that little of what is not read hides in the kernel.
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(16 * 1024).unwrap();
        let socket = soon(socket.connect(bench.addr)).await.unwrap();
        let hello = ClientHello {
            alpn: &[b"stun.turn"],
            version: &TLS13,
        };
        let mut stream = tls_over(socket, &hello).await.unwrap();
        stream.write_all(&binding(1)).await.unwrap();
        let (_, out) = bench.opened().await;
        bench.frame().await;
        out.set_session(true);
        let (reads, told) = watch::channel(true);
        let frames = Arc::default();
        let task = tokio::spawn(client(stream, Arc::clone(&frames), told));
        Self {
            out,
            frames,
            reads,
            _task: task,
        }
    }

    fn push(&self, number: usize) {
        let number = u32::try_from(number).unwrap().to_be_bytes();
        let len = u16::try_from(PAYLOAD_BYTES).unwrap().to_be_bytes();
        let header = [
            0x40, 0, len[0], len[1], number[0], number[1], number[2], number[3],
        ];
        self.out.push(&header, &[7; PAYLOAD_BYTES - 4], 0);
    }
}

async fn client(
    mut stream: TlsStream<TcpStream>,
    frames: Arc<AtomicUsize>,
    mut reads: watch::Receiver<bool>,
) {
    let mut frame = [0; PAYLOAD_BYTES + 4];
    loop {
        let read = tokio::select! {
            read = stream.read_exact(&mut frame) => read,
            _ = reads.wait_for(|reads| !*reads) => break,
        };
        if read.is_err() {
            return;
        }
        // Every frame, whole and in order.
        let number = u32::try_from(frames.load(Ordering::Relaxed)).unwrap();
        assert_eq!(frame[..2], [0x40, 0]);
        assert_eq!(frame[4..8], number.to_be_bytes());
        frames.fetch_add(1, Ordering::Relaxed);
    }
    // Holds the connection and reads nothing.
    let _ = reads.wait_for(|reads| *reads).await;
}

/// Sends each reading session a frame and waits for all of them, round by round; how long each
/// round took.
async fn rounds(sessions: &[Session], stuck: &[Session], from: usize) -> Vec<Duration> {
    let mut took = Vec::new();
    for round in from..from + ROUNDS {
        let began = Instant::now();
        for session in stuck {
            (0..STUCK_FRAMES).for_each(|_| session.push(round));
        }
        for session in sessions {
            session.push(round);
        }
        eventually(|| {
            let arrived = |session: &Session| session.frames.load(Ordering::Relaxed) == round + 1;
            sessions.iter().all(arrived)
        })
        .await;
        took.push(began.elapsed());
    }
    took.sort();
    took
}

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

#[tokio::test]
async fn half_of_a_hundred_tls_clients_stop_reading_and_the_others_keep_their_rate() {
    let mut bench = Bench::new(StreamLimits {
        connections_max: 100,
        per_prefix_max: 0,
        write_stall_s: 3600,
        queues_bytes_max: QUEUES_BYTES_MAX,
        ..LIMITS
    });
    let mut sessions = Vec::new();
    for _ in 0..SESSIONS {
        sessions.push(Session::connect(&mut bench).await);
    }
    let all_read = rounds(&sessions, &[], 0).await;
    let resident = resident_bytes();
    assert_eq!(bench.streams.counters().frames_dropped, 0);

    let stuck = sessions.split_off(SESSIONS / 2);
    for session in &stuck {
        session.reads.send_replace(false);
    }
    let half_read = rounds(&sessions, &stuck, ROUNDS).await;
    let counters = bench.streams.counters();
    let grown = resident_bytes().saturating_sub(resident);
    println!(
        "a frame to every reader took {:?} (p99 {:?}) with all reading, {:?} (p99 {:?}) with half of them stuck; \
         {} bytes wait, the process grew by {grown}",
        all_read[ROUNDS / 2],
        all_read[ROUNDS * 99 / 100],
        half_read[ROUNDS / 2],
        half_read[ROUNDS * 99 / 100],
        counters.queue_bytes,
    );
    // No reader lost a frame: each has checked the order, and all have arrived.
    assert!(counters.frames_dropped > 0 && counters.frames_over_budget > 0);
    assert!(half_read[ROUNDS / 2] < 3 * all_read[ROUNDS / 2] + Duration::from_millis(10));
    // The bound, and what each connection may have beyond it: its free shares, and what TLS holds.
    let beyond = (SESSIONS * (2 * 24 + 128) * 1024) as u64;
    assert!(counters.queue_bytes >= QUEUES_BYTES_MAX / 2, "{counters:?}");
    assert!(
        counters.queue_bytes <= QUEUES_BYTES_MAX + beyond,
        "{counters:?}"
    );
    assert!(grown < 48 << 20, "{grown} bytes");

    drop(stuck);
    eventually(|| bench.streams.counters().open == SESSIONS as u64 / 2).await;
    assert!(bench.streams.counters().queue_bytes <= (SESSIONS * 24 * 1024) as u64);
}
