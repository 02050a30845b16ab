//! A run over TCP or TLS: a connection an allocation, all on one thread.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::RngExt as _;
use sterna_turn::client::Timers;
use tokio::net::UdpSocket;
use tokio::runtime::Builder;
use tokio::sync::{Notify, Semaphore};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{sleep, timeout};

use super::connection::Connection;
use super::pace::Pace;
use super::{Method, Mode, Outcome, TurnArgs};
use crate::BenchError;
use crate::engine::bind_udp;
use crate::ledger::{Arrival, GIVE_UP_AFTER, Ledger};
use crate::limits::{BURSTS_PER_TURN_MAX, SETUP_WINDOW};
use crate::packet::filling;
use crate::session::Session;
use crate::target::local_addr_towards;
use crate::wire::Route;

/// Longest wait of the sender, so that lost packets are given up in time.
const TURN_MAX: Duration = Duration::from_millis(20);

/// How long the server may take to answer the last Refreshes.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

/// Largest datagram that the peer receives.
const PEER_BYTES_MAX: usize = 2048;

/// Runs the load over TCP or TLS.
pub(super) fn run(args: &TurnArgs) -> Result<Outcome, BenchError> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, run_load(args))
}

/// What all tasks of a run share.
pub(super) struct Shared {
    pub(super) ledger: RefCell<Ledger>,
    pub(super) mode: Mode,
    pub(super) peer: SocketAddr,
    /// Relayed address of each allocation.
    pub(super) relayed: Vec<SocketAddr>,
    epoch: Instant,
    /// Bursts that have arrived whole since the sender looked.
    returned: RefCell<u32>,
    /// Wakes the sender.
    news: Notify,
    /// The first thing that went wrong.
    failure: RefCell<Option<BenchError>>,
}

impl Shared {
    pub(super) fn elapsed_ns(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Enters an arrival.
    pub(super) fn arrive(&self, packet: &[u8], is_at_home: impl FnOnce(u32) -> bool) {
        let now_ns = self.elapsed_ns();
        let arrival = self.ledger.borrow_mut().arrive(now_ns, packet, is_at_home);
        if matches!(
            arrival,
            Arrival::First {
                is_last_of_burst: true,
                ..
            }
        ) {
            *self.returned.borrow_mut() += 1;
            self.news.notify_one();
        }
    }

    /// Ends the run.
    pub(super) fn fail(&self, error: BenchError) {
        self.failure.borrow_mut().get_or_insert(error);
        self.news.notify_one();
    }
}

async fn run_load(args: &TurnArgs) -> Result<Outcome, BenchError> {
    let mut watch = super::watch(args)?;
    let server = args.target.addr()?;
    let local = match args.peer {
        Some(addr) => addr,
        None => SocketAddr::new(local_addr_towards(server)?, 0),
    };
    let peer = Rc::new(bind_peer(local)?);
    let peer_addr = peer.local_addr()?;

    let setup_started = Instant::now();
    let sessions = allocate(args).await?;
    let relayed: Vec<_> = sessions
        .iter()
        .filter_map(|session| session.client.relayed_addr())
        .collect();
    let sessions = open_ways(args, sessions, &relayed, peer_addr).await?;
    let setup = setup_started.elapsed();

    let shared = Rc::new(Shared {
        ledger: RefCell::new(Ledger::new(rand::rng().random(), sessions.len())),
        mode: args.mode,
        peer: peer_addr,
        relayed,
        epoch: Instant::now(),
        returned: RefCell::default(),
        news: Notify::new(),
        failure: RefCell::default(),
    });
    let start = |(index, session)| Connection::start(index, session, Rc::clone(&shared));
    let connections: Vec<_> = (0..).zip(sessions).map(start).collect();
    let listening = tokio::task::spawn_local(listen(Rc::clone(&peer), Rc::clone(&shared)));

    let mut sender = Sender {
        args,
        shared: Rc::clone(&shared),
        connections: &connections,
        peer: &peer,
        packet: filling(usize::from(args.packet_size)),
        next: 0,
    };
    let mut pace = match args.rate {
        Some(rate) => Pace::open(rate, args.burst.into(), shared.elapsed_ns()),
        None => Pace::closed(args.outstanding, args.burst.into()),
    };
    sender.drive_for(&mut pace, args.warm_up).await?;
    watch.restart();
    let started = shared.elapsed_ns();
    shared.ledger.borrow_mut().start_counting(started);
    sender.drive_for(&mut pace, args.duration).await?;
    let stopped = shared.elapsed_ns();
    shared.ledger.borrow_mut().stop_counting(stopped);
    let usage = watch.usage();
    sender.drain().await?;

    for connection in &connections {
        connection.release();
    }
    let closed = async {
        for connection in connections {
            connection.closed().await;
        }
    };
    // A server that is slow to say good-bye has relayed all the same.
    let _ = timeout(CLOSE_PATIENCE, closed).await;
    listening.abort();
    let ledger = std::mem::replace(&mut *shared.ledger.borrow_mut(), Ledger::new(0, 0));
    let (totals, latency) = ledger.into_results();
    Ok(Outcome {
        engine: "tokio".to_owned(),
        setup,
        measured: Duration::from_nanos(stopped - started),
        totals,
        latency: latency.summary(),
        usage,
    })
}

/// Connects all clients and makes their allocations, in order.
async fn allocate(args: &TurnArgs) -> Result<Vec<Session>, BenchError> {
    let route = Route::of(&args.target)?;
    let credentials = args.target.credentials();
    let window = Arc::new(Semaphore::new(SETUP_WINDOW));
    let mut making = JoinSet::new();
    for index in 0..args.allocations {
        let (route, credentials) = (route.clone(), credentials.clone());
        let window = Arc::clone(&window);
        making.spawn_local(async move {
            let _permit = window.acquire().await;
            let mut session = Session::connect(&route, credentials, Timers::default()).await?;
            session.allocate().await?;
            Ok((index, session))
        });
    }
    in_order(making).await
}

/// Opens every client's way to its peer.
async fn open_ways(
    args: &TurnArgs,
    sessions: Vec<Session>,
    relayed: &[SocketAddr],
    peer: SocketAddr,
) -> Result<Vec<Session>, BenchError> {
    let method = args.method;
    let mut making = JoinSet::new();
    for (index, mut session) in (0..).zip(sessions) {
        let peer = peer_of(args.mode, index, relayed, peer);
        making.spawn_local(async move {
            match method {
                Method::Channel => session.bind_channel(peer).await?,
                Method::Indication => session.permit(peer.ip()).await?,
            }
            Ok((index, session))
        });
    }
    in_order(making).await
}

async fn in_order(
    mut making: JoinSet<Result<(u32, Session), BenchError>>,
) -> Result<Vec<Session>, BenchError> {
    let mut made = Vec::new();
    while let Some(done) = making.join_next().await {
        made.push(done.expect("invariant: a set-up neither panics nor is cancelled")?);
    }
    made.sort_by_key(|(index, _)| *index);
    Ok(made.into_iter().map(|(_, session)| session).collect())
}

/// Whom a flow's client sends to.
fn peer_of(mode: Mode, flow: u32, relayed: &[SocketAddr], peer: SocketAddr) -> SocketAddr {
    match mode {
        Mode::Pair => relayed.get(flow as usize ^ 1).copied().unwrap_or(peer),
        Mode::Send | Mode::Receive => peer,
    }
}

/// The peer's socket, with room for what the server sends while this thread does something else.
fn bind_peer(local: SocketAddr) -> Result<UdpSocket, BenchError> {
    let socket = bind_udp(local)?;
    socket.set_nonblocking(true)?;
    Ok(UdpSocket::from_std(socket)?)
}

/// The peer's receiving side.
async fn listen(socket: Rc<UdpSocket>, shared: Rc<Shared>) {
    let mut buf = [0; PEER_BYTES_MAX];
    loop {
        match socket.recv_from(&mut buf).await {
            Ok((len, from)) => shared.arrive(&buf[..len], |flow| {
                shared.relayed.get(flow as usize) == Some(&from)
            }),
            Err(error) => return shared.fail(BenchError::Socket(error)),
        }
    }
}

/// The sending side of a run.
struct Sender<'a> {
    args: &'a TurnArgs,
    shared: Rc<Shared>,
    connections: &'a [Connection],
    peer: &'a UdpSocket,
    packet: Vec<u8>,
    next: u32,
}

impl Sender<'_> {
    async fn drive_for(&mut self, pace: &mut Pace, time: Duration) -> Result<(), BenchError> {
        let end = Instant::now() + time;
        loop {
            pace.returned(self.take_returned()?);
            if Instant::now() >= end {
                return Ok(());
            }
            for _ in 0..BURSTS_PER_TURN_MAX {
                if !pace.take(self.shared.elapsed_ns()) {
                    break;
                }
                if !self.send_burst().await? {
                    pace.returned(1);
                    break;
                }
            }
            let now_ns = self.shared.elapsed_ns();
            let wait = pace
                .next_ns()
                .map(|next| Duration::from_nanos(next.saturating_sub(now_ns)));
            let wait = wait.unwrap_or(TURN_MAX).min(TURN_MAX);
            tokio::select! {
                () = self.shared.news.notified() => {}
                () = sleep(wait) => {}
            }
        }
    }

    /// Sends one burst; false when the connection whose turn it is takes no more at present.
    async fn send_burst(&mut self) -> Result<bool, BenchError> {
        let flow = self.next;
        let burst = self.args.burst;
        self.next = (flow + 1) % self.args.allocations;
        let connection = &self.connections[flow as usize];
        if self.args.mode != Mode::Receive && !connection.has_room(burst.into()) {
            return Ok(false);
        }
        let now_ns = self.shared.elapsed_ns();
        let opened = self
            .shared
            .ledger
            .borrow_mut()
            .open(now_ns, flow, burst.into());
        let to = self.shared.relayed[flow as usize];
        let peer = peer_of(self.args.mode, flow, &self.shared.relayed, self.shared.peer);
        for place in 0..burst {
            opened.stamp(place).write(&mut self.packet);
            match self.args.mode {
                Mode::Receive => {
                    self.peer.send_to(&self.packet, to).await?;
                }
                Mode::Send | Mode::Pair => connection.send(peer, &self.packet)?,
            }
        }
        Ok(true)
    }

    fn take_returned(&mut self) -> Result<u32, BenchError> {
        if let Some(error) = self.shared.failure.borrow_mut().take() {
            return Err(error);
        }
        let given_up = self
            .shared
            .ledger
            .borrow_mut()
            .sweep(self.shared.elapsed_ns());
        Ok(self.shared.returned.take() + given_up)
    }

    /// Waits for what is still on its way.
    async fn drain(&mut self) -> Result<(), BenchError> {
        let end = Instant::now() + GIVE_UP_AFTER + TURN_MAX;
        while self.shared.ledger.borrow().in_flight() > 0 && Instant::now() < end {
            sleep(Duration::from_millis(5)).await;
            self.take_returned()?;
        }
        Ok(())
    }
}
