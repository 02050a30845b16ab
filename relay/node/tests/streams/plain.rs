//! The TCP side on real sockets: framing, caps, queues, ends.

use crate::support::{
    Bench, LIMITS, Seen, binding, channel_data, eventually, localhost, soon, test_tls,
};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use sterna_relay::stream::{BindError, CutReason, Protocols, StreamLimits, StreamListener};
use sterna_turn::Transport;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Reads to the end; a connection that is cut with unread bytes may end with a reset.
async fn rest(socket: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = soon(socket.read_to_end(&mut bytes)).await;
    bytes
}

#[tokio::test]
async fn frames_reach_the_worker_whole_however_they_are_cut_on_the_way() {
    let mut bench = Bench::new(LIMITS);
    let mut socket = bench.connect().await;
    let frames = [
        binding(1),
        channel_data(b"hello"),
        channel_data(b""),
        binding(2),
    ];
    for byte in frames.concat() {
        socket.write_all(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let (client, _out) = bench.opened().await;
    assert_eq!(client.transport, Transport::Tcp);
    assert_eq!(client.addr, socket.local_addr().unwrap());
    assert_eq!(client.server, bench.addr);
    for frame in &frames {
        assert_eq!(bench.frame().await, *frame);
    }
    socket.write_all(&frames.concat()).await.unwrap();
    for frame in &frames {
        assert_eq!(bench.frame().await, *frame);
    }
    eventually(|| bench.streams.counters().frames_in == 8).await;
    assert_eq!(bench.streams.counters().accepted_tcp, 1);
}

#[tokio::test]
async fn the_longest_frame_passes() {
    let mut bench = Bench::new(LIMITS);
    let mut socket = bench.connect().await;
    let frame = channel_data(&[7; 65_535]);
    socket.write_all(&binding(1)).await.unwrap();
    socket.write_all(&frame).await.unwrap();
    let (_, _out) = bench.opened().await;
    bench.frame().await;
    assert_eq!(bench.frame().await, frame);
}

#[tokio::test]
async fn http_and_other_strangers_are_cut_at_once() {
    let bench = Bench::new(LIMITS);
    for (count, bytes) in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"SSH-2.0-x\r\n",
        b"\xff",
        b"P",
    ]
    .iter()
    .enumerate()
    {
        let mut socket = bench.connect().await;
        socket.write_all(bytes).await.unwrap();
        assert!(rest(&mut socket).await.is_empty());
        eventually(|| bench.streams.counters().cut(CutReason::Garbage) == count as u64 + 1).await;
    }
    assert_eq!(bench.streams.counters().accepted_tcp, 0);
}

#[tokio::test]
async fn bytes_that_are_no_frame_end_a_connection_also_later() {
    let mut bench = Bench::new(LIMITS);
    let mut socket = bench.connect().await;
    socket.write_all(&binding(1)).await.unwrap();
    let (client, _out) = bench.opened().await;
    bench.frame().await;
    socket.write_all(b"\x00\x01\x00\x00BAD!").await.unwrap();
    assert_eq!(bench.closed().await, client);
    rest(&mut socket).await;
    eventually(|| bench.streams.counters().cut(CutReason::Garbage) == 1).await;
}

#[tokio::test]
async fn a_connection_without_an_allocation_is_closed_when_no_whole_frame_comes() {
    let limits = StreamLimits {
        unauthenticated_idle_s: 1,
        ..LIMITS
    };
    let mut bench = Bench::new(limits);
    let mut silent = bench.connect().await;
    let mut dribbling = bench.connect().await;
    dribbling.write_all(&binding(1)[..7]).await.unwrap();
    let (_, _out) = bench.opened().await;
    assert!(rest(&mut silent).await.is_empty());
    assert!(rest(&mut dribbling).await.is_empty());
    bench.closed().await;
    eventually(|| bench.streams.counters().cut(CutReason::Idle) == 2).await;
    eventually(|| bench.streams.counters().open == 0).await;
}

#[tokio::test]
async fn a_connection_with_an_allocation_may_be_idle_until_that_ends() {
    let limits = StreamLimits {
        unauthenticated_idle_s: 1,
        ..LIMITS
    };
    let mut bench = Bench::new(limits);
    let mut holder = bench.connect().await;
    holder.write_all(&binding(1)).await.unwrap();
    let (_, out) = bench.opened().await;
    bench.frame().await;
    out.set_session(true);
    // Another connection's end tells that the time is over.
    let mut other = bench.connect().await;
    rest(&mut other).await;
    holder.write_all(&binding(2)).await.unwrap();
    assert_eq!(bench.frame().await, binding(2));
    out.set_session(false);
    rest(&mut holder).await;
    bench.closed().await;
}

#[tokio::test]
async fn connections_beyond_the_caps_are_closed_and_counted() {
    let bench = Bench::new(StreamLimits {
        connections_max: 3,
        per_prefix_max: 2,
        ..LIMITS
    });
    let first = bench.connect().await;
    let _second = bench.connect().await;
    let mut third = bench.connect().await;
    assert!(rest(&mut third).await.is_empty());
    assert_eq!(bench.streams.counters().cut(CutReason::PrefixFull), 1);
    drop(first);
    eventually(|| bench.streams.counters().open == 1).await;
    bench.streams.reconfigure(StreamLimits {
        connections_max: 1,
        ..LIMITS
    });
    let mut fourth = bench.connect().await;
    assert!(rest(&mut fourth).await.is_empty());
    assert_eq!(bench.streams.counters().cut(CutReason::NodeFull), 1);
}

#[tokio::test]
async fn what_the_worker_pushes_reaches_the_client_and_closing_comes_last() {
    let mut bench = Bench::new(LIMITS);
    let mut socket = bench.connect().await;
    socket.write_all(&binding(1)).await.unwrap();
    let (client, out) = bench.opened().await;
    bench.frame().await;
    out.push(&[0x40, 0, 0, 2], b"hi", 2);
    let mut first = [0; 8];
    soon(socket.read_exact(&mut first)).await.unwrap();
    assert_eq!(first, *b"\x40\0\0\x02hi\0\0");
    out.push(&[], &binding(2), 0);
    out.close();
    assert_eq!(rest(&mut socket).await, binding(2));
    assert_eq!(bench.closed().await, client);
    eventually(|| {
        bench.streams.counters().frames_out == 2 && bench.streams.counters().bytes_out == 28
    })
    .await;
}

#[tokio::test]
async fn a_client_that_closes_its_half_still_gets_its_answers() {
    let mut bench = Bench::new(LIMITS);
    let mut socket = bench.connect().await;
    socket.write_all(&binding(1)).await.unwrap();
    socket.shutdown().await.unwrap();
    let (_, out) = bench.opened().await;
    bench.frame().await;
    bench.closed().await;
    out.push(&[], b"answer", 0);
    drop(out);
    assert_eq!(rest(&mut socket).await, b"answer");
    eventually(|| bench.streams.counters().open == 0).await;
}

#[tokio::test]
async fn a_client_that_reads_nothing_loses_its_oldest_frames_and_then_its_connection() {
    let limits = StreamLimits {
        write_stall_s: 1,
        queue_bytes_max: 70_000,
        ..LIMITS
    };
    let mut bench = Bench::new(limits);
    let mut socket = bench.connect().await;
    socket.write_all(&binding(1)).await.unwrap();
    let (_, out) = bench.opened().await;
    bench.frame().await;
    // More than kernel buffers hold: the queue must overflow before the connection is given up.
    soon(async {
        while bench.streams.counters().cut(CutReason::Stalled) == 0 {
            out.push(&[0x40, 0, 4, 0], &[1; 1024], 0);
            tokio::task::yield_now().await;
        }
    })
    .await;
    bench.closed().await;
    assert!(bench.streams.counters().frames_dropped > 0);
    // What did arrive is whole frames in order, then the cut.
    let received = rest(&mut socket).await;
    for frame in received.chunks_exact(1028) {
        assert_eq!(frame[..4], [0x40, 0, 4, 0]);
    }
}

#[tokio::test]
async fn new_limits_reach_connections_that_stand() {
    let patient = StreamLimits {
        unauthenticated_idle_s: 3600,
        write_stall_s: 3600,
        ..LIMITS
    };
    let mut bench = Bench::new(patient);
    let mut silent = bench.connect().await;
    let mut stuck = bench.connect().await;
    stuck.write_all(&binding(1)).await.unwrap();
    let (_, out) = bench.opened().await;
    bench.frame().await;
    out.set_session(true);
    eventually(|| {
        out.push(&[], &[1; 1024], 0);
        bench.streams.counters().queue_bytes > 200_000
    })
    .await;
    bench.streams.reconfigure(StreamLimits {
        unauthenticated_idle_s: 1,
        ..patient
    });
    assert!(rest(&mut silent).await.is_empty());
    eventually(|| bench.streams.counters().cut(CutReason::Idle) == 1).await;
    assert_eq!(bench.streams.counters().cut(CutReason::Stalled), 0);
    bench.streams.reconfigure(StreamLimits {
        write_stall_s: 1,
        ..patient
    });
    eventually(|| bench.streams.counters().cut(CutReason::Stalled) == 1).await;
    rest(&mut stuck).await;
    drop(out);
    eventually(|| bench.streams.counters().queue_bytes == 0).await;
}

#[tokio::test]
async fn a_worker_that_is_behind_slows_the_client_down_and_loses_nothing() {
    let mut bench = Bench::with(LIMITS, Protocols::TcpAndTls, 1, test_tls().acceptor());
    let socket = bench.connect().await;
    let (_reader, mut writer) = socket.into_split();
    const FRAMES: u32 = 40_000;
    let sending = tokio::spawn(async move {
        writer.write_all(&binding(1)).await.unwrap();
        for number in 0..FRAMES {
            let mut payload = [0; 996];
            payload[..4].copy_from_slice(&number.to_be_bytes());
            writer.write_all(&channel_data(&payload)).await.unwrap();
        }
        writer
    });
    let (_, _out) = bench.opened().await;
    bench.frame().await;
    // Far fewer than were sent could be read ahead: one waits in the sink, one at it.
    eventually(|| bench.streams.counters().bytes_in < 1_000_000 && !sending.is_finished()).await;
    for number in 0..FRAMES {
        let frame = bench.frame().await;
        assert_eq!(frame[4..8], number.to_be_bytes());
    }
    drop(soon(sending).await.unwrap());
    bench.closed().await;
}

#[tokio::test]
async fn both_wildcards_are_listened_on_side_by_side() {
    let v4 = StreamListener::bind("0.0.0.0:0".parse().unwrap(), Protocols::TcpAndTls).unwrap();
    let port = v4.local_addr().unwrap().port();
    let both = StreamListener::bind(
        format!("[::]:{port}").parse().unwrap(),
        Protocols::TcpAndTls,
    );
    assert!(!matches!(both, Err(BindError::InUse(_))), "{both:?}");
}

#[tokio::test]
async fn a_port_that_is_taken_is_named_with_the_remedy() {
    let first = StreamListener::bind(localhost(), Protocols::TcpAndTls).unwrap();
    let addr = first.local_addr().unwrap();
    let said = StreamListener::bind(addr, Protocols::TcpAndTls)
        .unwrap_err()
        .to_string();
    assert!(
        said.contains(&addr.to_string())
            && said.contains("in use")
            && said.contains("--set turn.listen"),
        "{said}"
    );
}

#[tokio::test]
async fn routes_are_dealt_out_in_sequence() {
    let mut bench = Bench::new(LIMITS);
    for route in 0..3 {
        let mut socket = bench.connect().await;
        socket.write_all(&binding(1)).await.unwrap();
        let (client, _out) = bench.opened().await;
        assert_eq!(client.route, route);
        bench.frame().await;
        drop(socket);
        bench.closed().await;
    }
}

#[tokio::test]
async fn a_shutdown_sends_what_is_queued_and_closes_everything() {
    let mut bench = Bench::new(LIMITS);
    let mut talking = bench.connect().await;
    let mut silent = bench.connect().await;
    talking.write_all(&binding(1)).await.unwrap();
    let (_, out) = bench.opened().await;
    bench.frame().await;
    out.push(&[], b"last words", 0);
    soon(bench.streams.shutdown()).await;
    assert_eq!(rest(&mut talking).await, b"last words");
    assert!(rest(&mut silent).await.is_empty());
    assert!(matches!(bench.next().await, Seen::Closed(_)));
    assert!(TcpStream::connect(bench.addr).await.is_err());
}

#[tokio::test]
async fn two_thousand_idle_connections_are_held_and_let_go() {
    let mut bench = Bench::new(StreamLimits {
        connections_max: 2000,
        per_prefix_max: 2000,
        ..LIMITS
    });
    sterna_io::sockets::raise_descriptor_limit().unwrap();
    let mut held = Vec::new();
    for _ in 0..2000 {
        held.push(bench.connect().await);
    }
    eventually(|| bench.streams.counters().open == 2000).await;
    drop(held);
    eventually(|| bench.streams.counters().open == 0).await;
    let mut socket = bench.connect().await;
    socket.write_all(&binding(1)).await.unwrap();
    bench.opened().await;
}

/// Random bytes, valid frames among them, in pieces of random length.
fn noise(rng: &mut StdRng) -> Vec<Vec<u8>> {
    let mut pieces = Vec::new();
    for _ in 0..rng.random_range(1..6) {
        let mut piece = match rng.random_range(0..4) {
            0 => binding(rng.random()),
            1 => channel_data(&[rng.random(); 9]),
            _ => vec![0; rng.random_range(1..2000)],
        };
        if rng.random_bool(0.5) {
            rng.fill(&mut piece[..]);
        }
        piece.truncate(rng.random_range(1..=piece.len()));
        pieces.push(piece);
    }
    pieces
}

#[tokio::test]
async fn noise_is_cut_or_waited_for_and_never_handed_over_in_part() {
    const SEED: u64 = 8656;
    let mut rng = StdRng::seed_from_u64(SEED);
    let mut bench = Bench::new(LIMITS);
    for round in 0..300 {
        let mut socket = bench.connect().await;
        for piece in noise(&mut rng) {
            // A connection that is cut refuses the rest.
            if socket.write_all(&piece).await.is_err() {
                break;
            }
        }
        drop(socket);
        // A worker drops what it was given when it learns of the end: so does this loop.
        soon(async {
            while bench.streams.counters().open > 0 {
                while let Ok(seen) = bench.seen.try_recv() {
                    if let Seen::Frame(frame) = seen {
                        let whole = sterna_stun::framing::next_frame(&frame);
                        assert_eq!(whole, Ok(Some(frame.len())), "seed {SEED}, round {round}");
                    }
                }
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

#[tokio::test]
async fn a_slow_writer_is_cut_when_no_frame_becomes_whole_however_often_a_byte_comes() {
    let bench = Bench::new(StreamLimits {
        unauthenticated_idle_s: 1,
        ..LIMITS
    });
    let mut socket = bench.connect().await;
    for byte in binding(1).into_iter().take(19) {
        if socket.write_all(&[byte]).await.is_err() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let _ = soon(socket.read_to_end(&mut Vec::new())).await;
    eventually(|| bench.streams.counters().cut(CutReason::Idle) == 1).await;
}
