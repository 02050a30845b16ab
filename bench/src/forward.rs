//! `sterna bench forward`: our own share of a relayed packet.
//!
//! The node's own worker runs on the simulated back end, without a kernel under it, over millions of
//! packets. What the simulation itself takes (putting packets into buffers, handing them out, taking
//! the buffers back) is measured in the same way without a worker and subtracted. What is left is
//! everything that a packet meets between its receive and its send: classification, the look-up,
//! permission, expiry and counters, the route, the header, and the engine's outgoing queue with its
//! grouping.

use std::fmt;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use rand::RngExt as _;
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use sterna_io::sim::SimEngine;
use sterna_io::{Config, Engine as _, ListenerId, Port, RelaySlot};
use sterna_relay::held_ports::HeldPorts;
use sterna_relay::mailbox::{Mailboxes, mailbox};
use sterna_relay::worker::Worker;
use sterna_stun::attr::{ChannelNumber, RequestedTransport, XorPeerAddress};
use sterna_stun::channel_data;
use sterna_stun::message::{Class, Method, TransactionId};
use sterna_stun::nonce::{NonceKey, NonceKeys};
use sterna_stun::writer::{Full, MessageWriter};
use sterna_turn::{Epoch, Policy, PolicyConfig, Registry, Server, ServerConfig, WorkerId};

use crate::BenchError;
use crate::packet::filling;
use crate::report::ratio;

/// Allocations, each with a client and a peer of its own.
const FLOWS: u16 = 100;

/// Payload of a packet.
const PAYLOAD_BYTES: u16 = 172;

/// Packets of one turn of the loop: what a busy worker finds when it looks.
const BATCH_PACKETS: u64 = 64;

/// Packets of one flow that come as one train in the second half of the rows.
const BURST: usize = 8;

/// The channel of every flow.
const CHANNEL: u16 = 0x4000;

/// Measurements of a row, of which the median counts.
const ROUNDS: usize = 5;

/// Arguments of `sterna bench forward`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Example:
  sterna bench forward --packets 10000000")]
pub struct ForwardArgs {
    /// Packets of each row.
    #[arg(long, value_name = "N", default_value_t = 10_000_000, value_parser = clap::value_parser!(u64).range(10_000..=1_000_000_000))]
    pub packets: u64,

    /// Print the report as JSON.
    #[arg(long)]
    pub json: bool,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct ForwardReport {
    /// Packets of each row.
    pub packets: u64,
    /// One row a direction and size of burst.
    pub rows: Vec<ForwardRow>,
}

/// One row.
#[derive(Clone, Debug, Serialize)]
pub struct ForwardRow {
    /// Which way the packets went.
    pub direction: Direction,
    /// Packets of one flow that came as one train.
    pub burst: usize,
    /// A packet through the worker, simulation included.
    pub total_ns: f64,
    /// A packet through the simulation alone.
    pub simulation_ns: f64,
    /// The difference: our own share.
    pub own_ns: f64,
}

/// Which way packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// ChannelData that becomes a plain datagram.
    ClientToPeer,
    /// A plain datagram that becomes ChannelData.
    PeerToClient,
    /// ChannelData of one client that becomes ChannelData of another, in the process.
    RelayToRelay,
}

impl fmt::Display for ForwardReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} packets a row, ns a packet", self.packets)?;
        write!(
            f,
            "  {:<16}{:>6}{:>10}{:>12}{:>8}",
            "direction", "burst", "total", "simulation", "own"
        )?;
        for row in &self.rows {
            let direction = match row.direction {
                Direction::ClientToPeer => "client to peer",
                Direction::PeerToClient => "peer to client",
                Direction::RelayToRelay => "relay to relay",
            };
            write!(
                f,
                "\n  {direction:<16}{:>6}{:>10.1}{:>12.1}{:>8.1}",
                row.burst, row.total_ns, row.simulation_ns, row.own_ns
            )?;
        }
        Ok(())
    }
}

/// Measures every direction, with single packets and with bursts.
///
/// # Errors
/// When the worker cannot be set up, or does not forward what it should.
pub fn run(args: &ForwardArgs) -> Result<ForwardReport, BenchError> {
    let mut rows = Vec::new();
    for direction in [
        Direction::ClientToPeer,
        Direction::PeerToClient,
        Direction::RelayToRelay,
    ] {
        for burst in [1, BURST] {
            rows.push(measure(direction, burst, args.packets)?);
        }
    }
    Ok(ForwardReport {
        packets: args.packets,
        rows,
    })
}

fn measure(direction: Direction, burst: usize, packets: u64) -> Result<ForwardRow, BenchError> {
    let mut node = Node::new(direction)?;
    let mut bare = Bare::new(node.listener)?;
    let feeds = node.feeds(burst)?;
    let turns = packets / BATCH_PACKETS / ROUNDS as u64;
    // Both are warmed, and each round measures both, so that a slow moment of the host hits both.
    node.drive(&feeds, turns / 10 + 1)?;
    bare.drive(&feeds, turns / 10 + 1)?;
    let (mut totals, mut simulations) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        totals.push(per_packet_ns(node.drive(&feeds, turns)?, turns));
        simulations.push(per_packet_ns(bare.drive(&feeds, turns)?, turns));
    }
    let (total_ns, simulation_ns) = (median(totals), median(simulations));
    Ok(ForwardRow {
        direction,
        burst,
        total_ns,
        simulation_ns,
        own_ns: total_ns - simulation_ns,
    })
}

fn per_packet_ns(time: Duration, turns: u64) -> f64 {
    ratio(
        u64::try_from(time.as_nanos()).unwrap_or(u64::MAX),
        turns * BATCH_PACKETS,
    )
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Processor time that this thread has used: what the host's other work takes does not count.
fn own_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// A packet, or a train of them, as it arrives.
#[derive(Debug)]
struct Feed {
    port: Port,
    from: SocketAddr,
    bytes: Vec<u8>,
    stride: usize,
}

/// Puts a batch of [`BATCH_PACKETS`] packets into the engine, going on where the last one ended.
fn feed_batch(engine: &mut SimEngine, feeds: &[Feed], next: &mut usize) -> Result<(), BenchError> {
    let mut fed = 0;
    while fed < BATCH_PACKETS {
        let feed = &feeds[*next];
        *next = (*next + 1) % feeds.len();
        if !engine.feed(feed.port, feed.from, &feed.bytes, feed.stride) {
            return Err(wrong("the simulation has no buffer left"));
        }
        fed += (feed.bytes.len() / feed.stride) as u64;
    }
    Ok(())
}

fn wrong(why: &str) -> BenchError {
    BenchError::Failed {
        what: "bench forward".to_owned(),
        why: why.to_owned(),
    }
}

/// The simulation alone: packets go in, are handed out, and their buffers are taken back.
struct Bare {
    engine: SimEngine,
    next: usize,
}

impl Bare {
    fn new(listener: SocketAddr) -> Result<Self, BenchError> {
        let mut engine = SimEngine::detached(Config::default())?;
        engine.listen(listener)?;
        for flow in 0..FLOWS {
            engine.open_relay((Ipv4Addr::LOCALHOST, 50_000 + flow).into())?;
        }
        Ok(Self { engine, next: 0 })
    }

    fn drive(&mut self, feeds: &[Feed], turns: u64) -> Result<Duration, BenchError> {
        let started = own_time();
        for _ in 0..turns {
            feed_batch(&mut self.engine, feeds, &mut self.next)?;
            self.engine.turn(None)?;
            while let Some(train) = self.engine.next_train() {
                for packet in train.segments() {
                    black_box(self.engine.bytes(packet).first());
                }
            }
        }
        Ok(own_time().saturating_sub(started))
    }
}

/// A worker with its allocations.
struct Node {
    worker: Worker<SimEngine>,
    direction: Direction,
    listener: SocketAddr,
    relayed: Vec<SocketAddr>,
    next: usize,
    ids: u64,
}

impl Node {
    fn new(direction: Direction) -> Result<Self, BenchError> {
        let now = Instant::now();
        let engine = SimEngine::detached(Config::default())?;
        // The simulated engine takes the address of the socket, and not the socket.
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let listener = socket.local_addr()?;
        let server = Server::new(
            now,
            WorkerId(0),
            Arc::new(config(now, listener)),
            Arc::new(Registry::new()),
            [7; 32],
        );
        let (own, inbox) = mailbox(engine.waker());
        let mailboxes = Mailboxes::new(vec![own]);
        let held = Arc::new(HeldPorts::default());
        let worker = Worker::new(
            WorkerId(0),
            engine,
            server,
            inbox,
            mailboxes,
            held,
            vec![socket],
        )?;
        let mut node = Self {
            worker,
            direction,
            listener,
            relayed: Vec::new(),
            next: 0,
            ids: 0,
        };
        node.set_up()?;
        Ok(node)
    }

    /// Makes the allocations and binds their channels. Answers go nowhere: the node asks nobody for
    /// credentials, its relay ports are known to the engine, and what does not work is seen by what
    /// is not forwarded.
    fn set_up(&mut self) -> Result<(), BenchError> {
        for flow in 0..FLOWS {
            self.request(flow, Method::ALLOCATE, |writer| {
                writer.attr(&RequestedTransport::UDP)
            })?;
        }
        for flow in 0..FLOWS {
            let port = Port::Relay(RelaySlot(u32::from(flow)));
            let relayed = self.worker.engine_mut().addr(port);
            self.relayed
                .push(relayed.ok_or_else(|| wrong("no allocation"))?);
        }
        for flow in 0..FLOWS {
            let peer = self.peer_of(flow);
            self.request(flow, Method::CHANNEL_BIND, |writer| {
                writer.attr(&ChannelNumber(CHANNEL))?;
                writer.attr(&XorPeerAddress(peer))
            })?;
        }
        Ok(())
    }

    fn request(
        &mut self,
        flow: u16,
        method: Method,
        fill: impl FnOnce(&mut MessageWriter<'_>) -> Result<(), Full>,
    ) -> Result<(), BenchError> {
        self.ids += 1;
        let mut id = [0; 12];
        id[..8].copy_from_slice(&self.ids.to_be_bytes());
        let mut out = [0; 128];
        let written = MessageWriter::new(&mut out, Class::Request, method, TransactionId(id))
            .and_then(|mut writer| fill(&mut writer).map(|()| writer.finish()));
        let len = written.map_err(|Full| wrong("a request does not fit"))?;
        let port = Port::Listener(ListenerId(0));
        self.worker
            .engine_mut()
            .feed(port, client_of(flow), &out[..len], len);
        self.worker.step()?;
        Ok(())
    }

    fn peer_of(&self, flow: u16) -> SocketAddr {
        match self.direction {
            Direction::RelayToRelay => self.relayed[usize::from(flow ^ 1)],
            Direction::ClientToPeer | Direction::PeerToClient => {
                (Ipv4Addr::new(198, 18, 0, 1), 20_000 + flow).into()
            }
        }
    }

    /// What arrives: of each flow in turn, one packet or one train.
    fn feeds(&self, burst: usize) -> Result<Vec<Feed>, BenchError> {
        let payload = filling(usize::from(PAYLOAD_BYTES));
        let header = channel_data::header(CHANNEL, PAYLOAD_BYTES);
        let feed = |flow: u16| {
            let (port, from, packet) = match self.direction {
                Direction::PeerToClient => {
                    let port = Port::Relay(RelaySlot(u32::from(flow)));
                    (port, self.peer_of(flow), payload.clone())
                }
                Direction::ClientToPeer | Direction::RelayToRelay => {
                    let port = Port::Listener(ListenerId(0));
                    (port, client_of(flow), [&header[..], &payload].concat())
                }
            };
            Feed {
                port,
                from,
                stride: packet.len(),
                bytes: packet.repeat(burst),
            }
        };
        Ok((0..FLOWS).map(feed).collect())
    }

    /// Forwards so many batches, and makes sure that each packet left.
    fn drive(&mut self, feeds: &[Feed], turns: u64) -> Result<Duration, BenchError> {
        // What the set-up still has to send is none of the packets.
        self.worker.step()?;
        let before = self.forwarded();
        let started = own_time();
        for _ in 0..turns {
            feed_batch(self.worker.engine_mut(), feeds, &mut self.next)?;
            self.worker.step()?;
        }
        // What the last turn queued leaves in the next.
        self.worker.step()?;
        let elapsed = own_time().saturating_sub(started);
        if self.forwarded() - before != turns * BATCH_PACKETS {
            return Err(wrong(&format!(
                "the worker forwarded {} of {} packets",
                self.forwarded() - before,
                turns * BATCH_PACKETS
            )));
        }
        Ok(elapsed)
    }

    fn forwarded(&mut self) -> u64 {
        let discarded = self.worker.engine_mut().discarded();
        match self.direction {
            Direction::ClientToPeer => discarded.to_relays,
            Direction::PeerToClient | Direction::RelayToRelay => discarded.to_listeners,
        }
    }
}

fn client_of(flow: u16) -> SocketAddr {
    (Ipv4Addr::new(198, 18, 1, 1), 10_000 + flow).into()
}

fn config(now: Instant, listener: SocketAddr) -> ServerConfig {
    let relay_addresses = vec![IpAddr::V4(Ipv4Addr::LOCALHOST)];
    let policy = PolicyConfig {
        allow: vec!["198.18.0.0/15".parse().expect("invariant: a prefix")],
        own_pairs: vec![listener],
        relay_addresses: relay_addresses.clone(),
        ..PolicyConfig::default()
    };
    let nonce_keys = NonceKeys::new(NonceKey::new(0, &rand::rng().random()), None);
    let epoch = Epoch {
        instant: now,
        unix_s: 0,
    };
    ServerConfig {
        listeners: vec![listener],
        relay_addresses,
        open_relay: true,
        policy: Arc::new(Policy::new(&policy)),
        ..ServerConfig::new("bench", nonce_keys, epoch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_direction_forwards_every_packet_single_and_in_bursts() {
        let report = run(&ForwardArgs {
            packets: 20_000,
            json: false,
        })
        .expect("it forwards");
        assert_eq!(report.rows.len(), 6);
        assert!(report.rows.iter().all(|row| row.total_ns > 0.0));
    }
}
