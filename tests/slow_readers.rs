//! A hundred sessions over TLS, half of which stop reading: the other half keep their rate and their
//! delay, and the node its memory.
//!
//! A peer sends each client a numbered packet a round, and twenty to each of those that will stop.
//! Both phases have the same load; in the second, half of the clients take nothing any more.
#![forbid(unsafe_code)]

mod common;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use common::node::{Node, PASSWORD, USER};
use common::{SOON, alone, report};
use sterna_bench::{BenchError, Credentials, Route, Session, Transport, Trust};
use sterna_turn::client::Timers;
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};

const SESSIONS: usize = 100;
const ROUNDS: usize = 150;
const PAYLOAD_BYTES: usize = 1_000;

/// What those get that will stop, so that it backs up behind them.
const STUCK_PACKETS: usize = 20;

/// Memory of what waits: each connection's queue, and what TLS and the kernel's interface hold.
const WAITING_BYTES_MAX: u64 = 50 * (256 + 128) * 1024 + 8 * 1024 * 1024;

/// A packet of this round has come to this client.
type News = (usize, usize);

#[test]
fn fifty_tls_sessions_keep_rate_and_delay_while_fifty_others_stop_reading() {
    let _alone = alone();
    let node = Node::start(&["limits.tcp_write_stall_s=3600"]);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(run(&node));
    node.stop_now();
}

async fn run(node: &Node) {
    let peer = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a socket");
    let (news, mut heard) = mpsc::unbounded_channel();
    let (reading, told) = watch::channel(true);
    let mut relayed = Vec::new();
    let mut clients = Vec::new();
    for index in 0..SESSIONS {
        let session = session(node, peer.local_addr().expect("bound"))
            .await
            .expect("a session");
        relayed.push(session.client.relayed_addr().expect("allocated"));
        // Every second one is told to stop.
        let told = (index % 2 == 1).then(|| told.clone());
        clients.push(tokio::spawn(client(index, session, told, news.clone())));
    }
    let resident = node.resident_bytes();
    let mut all_read = rounds(&peer, &relayed, &mut heard, 0, true).await;
    let dropped = "sterna_stream_frames_dropped_total";
    assert!(node.metric(dropped, &[]) < 1.0, "all read");

    reading.send_replace(false);
    let mut half_read = rounds(&peer, &relayed, &mut heard, ROUNDS, false).await;
    let grown = node.resident_bytes().saturating_sub(resident);
    let waiting = node.metric("sterna_stream_queue_bytes", &[]);
    all_read.sort();
    half_read.sort();
    let (before, after) = (all_read[ROUNDS / 2], half_read[ROUNDS / 2]);
    report(&format!(
        "a packet to each of 50 TLS sessions took {before:?} (p90 {:?}) with all 100 reading, {after:?} (p90 {:?}) with \
         50 others stuck; none was lost; {waiting} bytes wait for those, {} of their packets were dropped, \
         resident memory {:+} KiB",
        all_read[ROUNDS * 9 / 10],
        half_read[ROUNDS * 9 / 10],
        node.metric(dropped, &[]),
        grown / 1024,
    ));
    assert!(node.metric(dropped, &[]) > 0.0, "nobody got stuck");
    // Medians, since everybody else on the machine has a say in the tail.
    assert!(
        after < 2 * before + Duration::from_millis(5),
        "{after:?} after {before:?}"
    );
    assert!(grown < WAITING_BYTES_MAX, "{grown} bytes");
    for client in clients {
        client.abort();
    }
}

async fn session(node: &Node, peer: SocketAddr) -> Result<Session, BenchError> {
    let server = SocketAddr::from((Ipv4Addr::LOCALHOST, node.tls_port));
    let route = Route::new(server, Transport::Tls, &Trust::Anybody, "localhost")?;
    let credentials = Credentials {
        username: USER.to_owned(),
        password: PASSWORD.to_owned(),
    };
    let mut session = Session::connect(&route, Some(credentials), Timers::default()).await?;
    session.allocate().await?;
    session.bind_channel(peer).await?;
    Ok(session)
}

/// Tells of each first packet of a round, and checks its bytes. Whoever is told to stop holds the
/// connection and reads nothing.
async fn client(
    index: usize,
    mut session: Session,
    mut told: Option<watch::Receiver<bool>>,
    news: mpsc::UnboundedSender<News>,
) {
    let mut next_round = 0;
    loop {
        let deadline = Instant::now() + SOON;
        let stop = async {
            match &mut told {
                Some(told) => drop(told.wait_for(|reading| !*reading).await),
                None => std::future::pending().await,
            }
        };
        let data = tokio::select! {
            biased;
            () = stop => return std::future::pending().await,
            data = session.receive_until(deadline) => data.expect("it lives"),
        };
        let Some(data) = data else {
            continue;
        };
        let round = round_of(&data.payload);
        if round >= next_round {
            assert!(
                told.is_some() || round == next_round,
                "a packet of client {index} was lost"
            );
            next_round = round + 1;
            // Who waits for it may be gone already.
            let _ = news.send((index, round));
        }
    }
}

fn payload(round: usize) -> Vec<u8> {
    let number = u32::try_from(round).expect("a few").to_be_bytes();
    number.into_iter().cycle().take(PAYLOAD_BYTES).collect()
}

fn round_of(bytes: &[u8]) -> usize {
    let number = bytes.first_chunk::<4>().expect("a number");
    let round = usize::try_from(u32::from_be_bytes(*number)).expect("a few");
    assert_eq!(bytes, payload(round), "a wrong byte");
    round
}

/// Sends to everybody and waits until those who read have it: how long each round took.
async fn rounds(
    peer: &UdpSocket,
    relayed: &[SocketAddr],
    heard: &mut mpsc::UnboundedReceiver<News>,
    from: usize,
    all_read: bool,
) -> Vec<Duration> {
    let mut took = Vec::new();
    for round in from..from + ROUNDS {
        let began = Instant::now();
        let payload = payload(round);
        for (index, relayed) in relayed.iter().enumerate() {
            let count = if index % 2 == 1 { STUCK_PACKETS } else { 1 };
            for _ in 0..count {
                peer.send_to(&payload, relayed).await.expect("loopback");
            }
        }
        // Those that will stop are waited for too while they read, but not measured.
        let (mut missing, mut others) = (SESSIONS / 2, if all_read { SESSIONS / 2 } else { 0 });
        while missing + others > 0 {
            let news = tokio::time::timeout(SOON, heard.recv()).await;
            let (index, its_round) = news
                .unwrap_or_else(|_| panic!("round {round}: {missing} packets were lost"))
                .expect("the clients live");
            let is_new = usize::from(its_round == round);
            if index % 2 == 1 {
                others = others.saturating_sub(is_new);
                continue;
            }
            missing -= is_new;
            if missing == 0 {
                took.push(began.elapsed());
            }
        }
    }
    took
}
