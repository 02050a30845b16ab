//! The self-check of the flow relay: real packets between devices, over each rung and each pair of
//! rungs.
//!
//! Two devices for each rung that the node serves do what any other would: the handshake with a
//! ticket, a flow to the other, packets. The second one of each rung sends back what it receives. All
//! is over in a fraction of a second, since everything connects at the same time.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::RngExt as _;
use serde::Serialize;
use sterna_client::relay::{Packet, Rung};
use sterna_control_api::DeviceKey;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

use super::device::{Device, Issuer};
use crate::BenchError;
use crate::ledger::{Arrival, Ledger};
use crate::packet::filling;
use crate::report::{LatencySummary, Micros, Totals};

/// Packets each way over each rung.
pub const PACKETS: u32 = 300;
/// Packets each way over each pair of rungs.
pub const PAIR_PACKETS: u32 = 20;
/// Payload of the former: what the check of the other transports sends.
const PACKET_BYTES: usize = 172;
/// Payload of the latter: a full packet of WireGuard over an inner MTU of 1,280.
const PAIR_PACKET_BYTES: usize = 1312;
/// Packets on their way at any time: few, because the relay drops what waits too long.
const WINDOW: u64 = 16;
/// Packets on their way to whoever counts them.
const ARRIVALS_MAX: usize = 256;

/// How long devices may take to connect, and their flows to stand.
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// How long an exchange may take.
const EXCHANGE_MAX: Duration = Duration::from_secs(1);

/// What the check has shown.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// One for each rung that the node serves, the best first.
    pub rungs: Vec<RungReport>,
    /// All pairs of rungs together.
    pub pairs: PairsReport,
    /// How long it all took.
    pub seconds: f64,
}

/// What one rung has shown.
#[derive(Clone, Debug, Serialize)]
pub struct RungReport {
    /// `udp`, `quic` or `wss`.
    pub rung: &'static str,
    /// The listener.
    pub server: SocketAddr,
    /// What was measured; `None` when it failed.
    pub measured: Option<Measured>,
    /// Why it failed.
    pub failure: Option<String>,
}

/// What the pairs of rungs have shown.
#[derive(Clone, Debug, Serialize)]
pub struct PairsReport {
    /// Every pair of the rungs that the node serves, each with a rung for either end.
    pub pairs: Vec<PairReport>,
    /// What was measured over all that were tried; `None` when there was nothing to try.
    pub measured: Option<Measured>,
}

/// What one pair of rungs has shown.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct PairReport {
    /// The rung of the device that sends first.
    pub from: &'static str,
    /// The rung of the one that sends back.
    pub to: &'static str,
    /// Packets that came back, of [`PAIR_PACKETS`].
    pub returned: u32,
}

/// What was measured over one or more ways.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Measured {
    /// Packets, each to the other device and back.
    pub packets: Totals,
    /// Share of them that did not come back.
    pub loss_percent: f64,
    /// To the other device and back.
    pub round_trip: LatencySummary,
}

impl Report {
    /// Whether packets pass over every rung and every pair, intact. Single lost ones are shown, and
    /// are no failure: a relay of datagrams drops what would come too late.
    #[must_use]
    pub fn is_good(&self) -> bool {
        let pairs = &self.pairs;
        self.rungs.iter().all(|rung| is_good(rung.measured))
            && is_good(pairs.measured)
            && pairs.pairs.iter().all(|pair| pair.returned > 0)
    }
}

fn is_good(measured: Option<Measured>) -> bool {
    measured
        .is_some_and(|measured| measured.packets.received > 0 && measured.packets.corrupted == 0)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for rung in &self.rungs {
            writeln!(f, "{rung}")?;
        }
        write!(f, "{}", self.pairs)
    }
}

impl fmt::Display for RungReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "flow {}  {}  ", self.rung, self.server)?;
        match &self.measured {
            Some(measured) => write!(f, "{measured}"),
            None => {
                let failure = self.failure.as_deref().unwrap_or("nothing came back");
                write!(f, "failed: {failure}")
            }
        }
    }
}

impl fmt::Display for PairsReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let passing = self.pairs.iter().filter(|pair| pair.returned > 0);
        let (passing, all) = (passing.count(), self.pairs.len());
        write!(
            f,
            "flow pairs  {passing} of {all} pairs of rungs pass {PAIR_PACKET_BYTES} bytes  "
        )?;
        match &self.measured {
            Some(measured) => write!(f, "{measured}")?,
            None => write!(f, "nothing was tried")?,
        }
        for pair in self.pairs.iter().filter(|pair| pair.returned == 0) {
            write!(f, "\n  {} to {}: nothing came back", pair.from, pair.to)?;
        }
        Ok(())
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let trip = self.round_trip;
        let (p50, p99) = (Micros(trip.p50_us), Micros(trip.p99_us));
        write!(
            f,
            "{} packets each way  loss {:.2} %  round trip p50 {p50}  p99 {p99}",
            self.packets.sent, self.loss_percent
        )
    }
}

/// Checks each rung of the issuer's node and each pair of them; what fails is told in the report.
///
/// # Errors
/// When the node serves no rung, or this process has no clock.
pub async fn run(issuer: &Issuer) -> Result<Report, BenchError> {
    let started = Instant::now();
    let served = issuer.rungs();
    if served.is_empty() {
        return Err(BenchError::Usage(
            "the node serves no rung of the flow relay",
        ));
    }
    // All at the same time: the slowest handshake is what counts.
    let mut connecting = JoinSet::new();
    for (place, rung) in served.iter().enumerate() {
        let (issuer, rung) = (issuer.clone(), *rung);
        connecting.spawn(async move { (place, Lane::connect(&issuer, rung).await) });
    }
    let mut lanes: Vec<_> = served.iter().map(|_| None).collect();
    while let Some(done) = connecting.join_next().await {
        let (place, lane) = done.expect("invariant: a set-up neither panics nor is cancelled");
        lanes[place] = Some(lane);
    }
    let lanes = lanes.into_iter().flatten();
    let (failures, desk) = Desk::open(lanes.collect()).await;
    let mut report = measure(issuer, &served, &failures, desk).await;
    report.seconds = started.elapsed().as_secs_f64();
    Ok(report)
}

/// The two devices of one rung.
struct Lane {
    sender: Device,
    echo: Device,
}

impl Lane {
    async fn connect(issuer: &Issuer, rung: Rung) -> Result<Self, BenchError> {
        let deadline = Instant::now() + CONNECT_MAX;
        let (mut sender, mut echo) = (issuer.start(rung)?, issuer.start(rung)?);
        sender.connected(deadline).await?;
        echo.connected(deadline).await?;
        Ok(Self { sender, echo })
    }
}

/// Everything that has connected, with the senders' arrivals in one place.
struct Desk {
    /// By the place of their rung; none where it failed.
    senders: Vec<Option<Sender>>,
    echoes: Vec<Option<DeviceKey>>,
    arrivals: mpsc::Receiver<(usize, Packet)>,
    _tasks: Tasks,
}

/// A sending device, whose packets go to the desk.
struct Sender {
    relay: sterna_client::relay::Relay,
}

/// Tasks that end with their owner.
struct Tasks(Vec<AbortHandle>);

impl Drop for Tasks {
    fn drop(&mut self) {
        self.0.iter().for_each(AbortHandle::abort);
    }
}

/// From one sender to one echo.
#[derive(Clone, Copy)]
struct Way {
    sender: usize,
    echo: usize,
    peer: DeviceKey,
}

impl Desk {
    /// Opens every flow, and lets the echoes send back; the failures by the place of their rung.
    async fn open(lanes: Vec<Result<Lane, BenchError>>) -> (Vec<Option<String>>, Self) {
        let (arrivals_in, arrivals) = mpsc::channel(ARRIVALS_MAX);
        let peers: Vec<_> = lanes
            .iter()
            .map(|lane| lane.as_ref().ok().map(|lane| lane.echo.key))
            .collect();
        let all: Vec<_> = peers.iter().copied().flatten().collect();
        let deadline = Instant::now() + CONNECT_MAX;
        let (mut failures, mut senders, mut tasks) = (Vec::new(), Vec::new(), Vec::new());
        for (place, lane) in lanes.into_iter().enumerate() {
            let opened = match lane {
                Ok(mut lane) => lane.sender.open(&all, deadline).await.map(|()| lane),
                Err(error) => Err(error),
            };
            let (failure, sender) = match opened {
                Ok(lane) => {
                    tasks.push(tokio::spawn(send_back(lane.echo)).abort_handle());
                    let Device { relay, packets, .. } = lane.sender;
                    let hand_in = hand_in(place, packets, arrivals_in.clone());
                    tasks.push(tokio::spawn(hand_in).abort_handle());
                    (None, Some(Sender { relay }))
                }
                Err(error) => (Some(error.to_string()), None),
            };
            failures.push(failure);
            senders.push(sender);
        }
        let desk = Self {
            senders,
            echoes: peers,
            arrivals,
            _tasks: Tasks(tasks),
        };
        (failures, desk)
    }

    fn way(&self, sender: usize, echo: usize) -> Option<Way> {
        self.senders[sender].as_ref()?;
        let peer = self.senders[echo].as_ref().and(self.echoes[echo])?;
        Some(Way { sender, echo, peer })
    }

    /// Sends so many packets over each way, [`WINDOW`] at a time, and takes in what comes back; how
    /// many did, by way.
    async fn exchange(&mut self, ways: &[Way], each: u32, bytes: usize) -> (Measured, Vec<u32>) {
        let started = Instant::now();
        let elapsed_ns = || u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let mut ledger = Ledger::new(rand::rng().random(), ways.len());
        ledger.start_counting(0);
        let mut returned = vec![0; ways.len()];
        let mut packet = filling(bytes);
        let mut flows = (0..each).flat_map(|_| (0_u32..).zip(ways)).peekable();
        while (flows.peek().is_some() || ledger.in_flight() > 0) && started.elapsed() < EXCHANGE_MAX
        {
            while ledger.in_flight() < WINDOW {
                let Some((flow, way)) = flows.next() else {
                    break;
                };
                ledger
                    .open(elapsed_ns(), flow, 1)
                    .stamp(0)
                    .write(&mut packet);
                self.send(*way, &packet);
            }
            let patience = Duration::from_millis(20);
            if let Ok(Some((sender, came))) = timeout(patience, self.arrivals.recv()).await {
                let at_home = |flow: u32| {
                    let way = ways.get(flow as usize);
                    way.is_some_and(|way| way.sender == sender && way.peer == came.peer)
                };
                let arrival = ledger.arrive(elapsed_ns(), &came.payload, at_home);
                if let Arrival::First { flow, .. } = arrival {
                    returned[flow as usize] += 1;
                }
            }
            ledger.sweep(elapsed_ns());
        }
        let (packets, latency) = ledger.into_results();
        // What never left in time is as lost as what never came.
        let packets = Totals {
            lost: packets.sent - packets.received,
            ..packets
        };
        let measured = Measured {
            packets,
            loss_percent: packets.loss_percent(),
            round_trip: latency.summary(),
        };
        (measured, returned)
    }

    fn send(&self, way: Way, packet: &[u8]) {
        if let Some(sender) = &self.senders[way.sender] {
            let payload = bytes::Bytes::copy_from_slice(packet);
            // What the path does not take is missed, and counted, like what is lost.
            let _ = sender.relay.send(way.peer, Default::default(), &payload);
        }
    }
}

/// Sends everything back, until the end.
async fn send_back(mut echo: Device) {
    while let Some(packet) = echo.packets.recv().await {
        // As above.
        let _ = echo.relay.send(packet.peer, packet.mark, &packet.payload);
    }
}

async fn hand_in(
    place: usize,
    mut packets: mpsc::Receiver<Packet>,
    arrivals: mpsc::Sender<(usize, Packet)>,
) {
    while let Some(packet) = packets.recv().await {
        if arrivals.send((place, packet)).await.is_err() {
            return;
        }
    }
}

async fn measure(
    issuer: &Issuer,
    served: &[Rung],
    failures: &[Option<String>],
    mut desk: Desk,
) -> Report {
    let mut rungs = Vec::new();
    for (place, rung) in served.iter().enumerate() {
        let measured = match desk.way(place, place) {
            Some(way) => Some(desk.exchange(&[way], PACKETS, PACKET_BYTES).await.0),
            None => None,
        };
        rungs.push(RungReport {
            rung: rung.as_str(),
            server: issuer.addrs(*rung)[0],
            measured: measured.filter(|measured| measured.packets.received > 0),
            failure: failures[place].clone(),
        });
    }
    let places = 0..served.len();
    let both = places
        .clone()
        .flat_map(|from| places.clone().map(move |to| (from, to)));
    let ways: Vec<_> = both
        .clone()
        .filter_map(|(from, to)| desk.way(from, to))
        .collect();
    let (measured, returned) = match ways.is_empty() {
        true => (None, Vec::new()),
        false => {
            let (measured, returned) = desk.exchange(&ways, PAIR_PACKETS, PAIR_PACKET_BYTES).await;
            (Some(measured), returned)
        }
    };
    let pairs = both.map(|(from, to)| {
        let way = ways
            .iter()
            .position(|way| (way.sender, way.echo) == (from, to));
        PairReport {
            from: served[from].as_str(),
            to: served[to].as_str(),
            returned: way.map_or(0, |way| returned[way]),
        }
    });
    Report {
        rungs,
        pairs: PairsReport {
            pairs: pairs.collect(),
            measured,
        },
        seconds: 0.0,
    }
}
