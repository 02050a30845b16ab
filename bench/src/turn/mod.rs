//! `sterna bench turn`: a load generator that speaks TURN to any server.
//!
//! Each allocation is a client of its own, with its own socket or connection. Packets go from the
//! clients through the server to a peer that the generator opens itself (`send`), from that peer to
//! the clients (`receive`), or from client to client over both their allocations (`pair`). Every
//! byte is checked where it arrives, and every packet is accounted for.

mod connection;
mod field;
mod flow;
pub(crate) mod pace;
mod stream;
mod udp;

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::BenchError;
use crate::engine::EngineArg;
use crate::packet::{BURST_MAX, PACKET_BYTES_MAX, PACKET_BYTES_MIN};
use crate::report::{LatencySummary, Micros, Totals, per_second, ratio};
use crate::target::{Target, Transport};
use crate::watch::{Usage, Watch};

/// Most allocations of one run.
const ALLOCATIONS_MAX: i64 = 60_000;

/// Arguments of `sterna bench turn`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Example:
  sterna bench turn --server turn.example.org:3478 --user alice --password secret \\
      --allocations 100 --rate 50000 --duration 10")]
pub struct TurnArgs {
    /// The server that is measured.
    #[command(flatten)]
    pub target: Target,

    /// Allocations, each with a client socket or connection of its own.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=ALLOCATIONS_MAX))]
    pub allocations: u32,

    /// Bytes of a packet's payload, as peers see it.
    #[arg(long, value_name = "BYTES", default_value_t = 172, value_parser = packet_size)]
    pub packet_size: u16,

    /// Packets of one allocation that leave together.
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=i64::from(BURST_MAX)))]
    pub burst: u8,

    /// Packets a second that are offered in all, whatever arrives.
    #[arg(long, value_name = "PPS", conflicts_with = "outstanding", value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub rate: Option<u64>,

    /// Packets that are on their way at any time: the next leaves when one has arrived.
    #[arg(long, value_name = "N", default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..))]
    pub outstanding: u32,

    /// Which way the packets go.
    #[arg(long, value_enum, default_value_t = Mode::Send)]
    pub mode: Mode,

    /// How data travels between client and server.
    #[arg(long, value_enum, default_value_t = Method::Channel)]
    pub method: Method,

    /// Local address of the peer that the generator opens; without it, the address that this host
    /// has towards the server, and any port.
    #[arg(long, value_name = "IP[:PORT]", value_parser = peer_addr)]
    pub peer: Option<SocketAddr>,

    /// Seconds that are measured.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub duration: Duration,

    /// Seconds of the same traffic before that.
    #[arg(long, value_name = "SECONDS", default_value = "0.5", value_parser = seconds)]
    pub warm_up: Duration,

    /// Processes on this host whose processor time and memory are to be measured meanwhile, such
    /// as the server's; repeatable.
    #[arg(long, value_name = "PID")]
    pub watch: Vec<u32>,

    /// How the generator's own UDP sockets are driven.
    #[arg(long, value_enum, default_value_t = EngineArg::Auto)]
    pub engine: EngineArg,

    /// Print the report as JSON.
    #[arg(long)]
    pub json: bool,

    /// The server is a bare forwarding loop with the flows installed beforehand (bench/README.md):
    /// client sockets get ports counting up from the first number, relay ports from the second.
    #[arg(long, hide = true, value_name = "PORT,PORT", value_parser = port_pair)]
    pub preinstalled: Option<Preinstalled>,
}

/// Where the flows of a bare forwarding loop are.
#[derive(Clone, Copy, Debug)]
pub struct Preinstalled {
    /// Port of the first client socket.
    pub client_port: u16,
    /// Port of the first relayed address.
    pub relay_port: u16,
}

/// Which way the packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Clients to the peer.
    Send,
    /// The peer to clients.
    Receive,
    /// Client to client, through two allocations of the same server.
    Pair,
}

/// How data travels between client and server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// ChannelData.
    Channel,
    /// Send and Data indications.
    Indication,
}

fn packet_size(text: &str) -> Result<u16, String> {
    let range = PACKET_BYTES_MIN..=PACKET_BYTES_MAX;
    let size = text.parse().map_err(|_| "not a number".to_owned())?;
    let fits = range.contains(&size).then_some(size);
    fits.ok_or_else(|| format!("a packet has {PACKET_BYTES_MIN} to {PACKET_BYTES_MAX} bytes"))
}

pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    let time = Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())?;
    let is_sane = time <= Duration::from_secs(24 * 3600);
    is_sane
        .then_some(time)
        .ok_or_else(|| "at most a day".to_owned())
}

fn peer_addr(text: &str) -> Result<SocketAddr, String> {
    let with_port = text.parse::<SocketAddr>();
    let addr = with_port.or_else(|_| text.parse().map(|ip| SocketAddr::new(ip, 0)));
    addr.map_err(|_| "neither an address nor an address and a port".to_owned())
}

fn port_pair(text: &str) -> Result<Preinstalled, String> {
    let wanted = || "two ports with a comma between them".to_owned();
    let (client, relay) = text.split_once(',').ok_or_else(wanted)?;
    let client_port = client.parse().map_err(|_| wanted())?;
    let relay_port = relay.parse().map_err(|_| wanted())?;
    Ok(Preinstalled {
        client_port,
        relay_port,
    })
}

impl Preinstalled {
    /// Client port and relay port of a flow.
    fn of(&self, flow: u32) -> Result<(u16, u16), BenchError> {
        let at = |first: u16| u16::try_from(u32::from(first) + flow).ok();
        let ports = at(self.client_port).zip(at(self.relay_port));
        ports.ok_or(BenchError::Usage("--preinstalled ports go beyond 65535"))
    }
}

/// What a run has shown.
#[derive(Clone, Debug, Serialize)]
pub struct TurnReport {
    /// The server, as it was named.
    pub server: String,
    /// What carried the packets.
    pub transport: Transport,
    /// Which way they went.
    pub mode: Mode,
    /// How they were wrapped.
    pub method: Method,
    /// Allocations.
    pub allocations: u32,
    /// Bytes of payload.
    pub packet_size: u16,
    /// Packets that left together.
    pub burst: u8,
    /// Packets a second that were to be offered; `None` in a closed loop.
    pub rate: Option<u64>,
    /// Packets on their way at any time; `None` at a given rate.
    pub outstanding: Option<u32>,
    /// The generator's own way to the network.
    pub engine: String,
    /// Seconds until all allocations stood.
    pub setup_s: f64,
    /// Seconds that were measured.
    pub duration_s: f64,
    /// Packets.
    pub packets: Totals,
    /// Share of the sent packets that did not arrive.
    pub loss_percent: f64,
    /// Sent a second.
    pub offered_per_s: f64,
    /// Arrived a second.
    pub delivered_per_s: f64,
    /// Payload that arrived, in millions of bits a second.
    pub delivered_mbit_per_s: f64,
    /// From the send to the arrival of a packet, within this one process.
    pub latency: LatencySummary,
    /// What the watched processes used over the measured time.
    pub watched: Vec<WatchedReport>,
}

/// What one watched process used.
#[derive(Clone, Debug, Serialize)]
pub struct WatchedReport {
    /// Its id.
    pub pid: u32,
    /// Its name, as the kernel has it.
    pub name: String,
    /// Processor time over the measured time, in nanoseconds.
    pub cpu_ns: u64,
    /// The same, of one delivered packet.
    pub cpu_ns_per_packet: f64,
    /// Share of one processor.
    pub cpu_percent: f64,
    /// Resident memory at the end.
    pub resident_bytes: u64,
}

impl WatchedReport {
    /// What was used over `measured`, in which so many packets (or answers, or allocations) passed.
    pub(crate) fn of(usage: &[Usage], packets: u64, measured: Duration) -> Vec<Self> {
        let measured_ns = u64::try_from(measured.as_nanos()).unwrap_or(u64::MAX);
        let report = |usage: &Usage| Self {
            pid: usage.pid,
            name: usage.name.clone(),
            cpu_ns: usage.cpu_ns,
            cpu_ns_per_packet: ratio(usage.cpu_ns, packets),
            cpu_percent: 100.0 * ratio(usage.cpu_ns, measured_ns),
            resident_bytes: usage.resident_bytes,
        };
        usage.iter().map(report).collect()
    }
}

/// What the two kinds of generator hand back.
#[derive(Debug)]
struct Outcome {
    engine: String,
    setup: Duration,
    measured: Duration,
    totals: Totals,
    latency: LatencySummary,
    usage: Vec<Usage>,
}

/// Runs the load and returns what it has shown.
///
/// # Errors
/// When the server cannot be reached, refuses an allocation or does not answer.
pub fn run(args: &TurnArgs) -> Result<TurnReport, BenchError> {
    if args.mode == Mode::Pair && !args.allocations.is_multiple_of(2) {
        return Err(BenchError::Usage(
            "--mode pair needs an even number of --allocations",
        ));
    }
    let outcome = match args.target.transport {
        Transport::Udp => udp::run(args)?,
        Transport::Tcp | Transport::Tls => stream::run(args)?,
    };
    Ok(report(args, &outcome))
}

fn report(args: &TurnArgs, outcome: &Outcome) -> TurnReport {
    let totals = outcome.totals;
    let delivered_per_s = per_second(totals.arrived_in_time, outcome.measured);
    let bits = ratio(u64::from(args.packet_size) * 8, 1_000_000);
    TurnReport {
        server: args.target.server.clone(),
        transport: args.target.transport,
        mode: args.mode,
        method: args.method,
        allocations: args.allocations,
        packet_size: args.packet_size,
        burst: args.burst,
        rate: args.rate,
        outstanding: args.rate.is_none().then_some(args.outstanding),
        engine: outcome.engine.clone(),
        setup_s: outcome.setup.as_secs_f64(),
        duration_s: outcome.measured.as_secs_f64(),
        packets: totals,
        loss_percent: totals.loss_percent(),
        offered_per_s: per_second(totals.sent, outcome.measured),
        delivered_per_s,
        delivered_mbit_per_s: delivered_per_s * bits,
        latency: outcome.latency,
        watched: WatchedReport::of(&outcome.usage, totals.arrived_in_time, outcome.measured),
    }
}

impl fmt::Display for TurnReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |value: &dyn fmt::Debug| format!("{value:?}").to_lowercase();
        let (mode, method) = (name(&self.mode), name(&self.method));
        writeln!(
            f,
            "{} over {}, {mode}, by {method}",
            self.server, self.transport
        )?;
        write!(
            f,
            "  offered     {} allocations, {} bytes, ",
            self.allocations, self.packet_size
        )?;
        write!(f, "bursts of {}, ", self.burst)?;
        match (self.rate, self.outstanding) {
            (Some(rate), _) => writeln!(f, "{rate} packets a second")?,
            (None, outstanding) => writeln!(f, "{} outstanding", outstanding.unwrap_or(0))?,
        }
        let setup = Micros(self.setup_s * 1e6);
        let per_s = f64::from(self.allocations) / self.setup_s.max(1e-9);
        writeln!(f, "  set up in   {setup} ({per_s:.0} allocations a second)")?;
        let packets = &self.packets;
        write!(
            f,
            "  packets     {} sent, {} received, ",
            packets.sent, packets.received
        )?;
        writeln!(f, "{} lost, loss {:.2} %", packets.lost, self.loss_percent)?;
        let odd = [
            packets.duplicated,
            packets.late,
            packets.reordered,
            packets.corrupted,
        ];
        let [duplicated, late, reordered, corrupted] = odd;
        writeln!(
            f,
            "              {duplicated} duplicated, {late} late, {reordered} reordered, {corrupted} corrupted"
        )?;
        write!(
            f,
            "  delivered   {:.0} packets a second",
            self.delivered_per_s
        )?;
        writeln!(f, ", {:.1} Mbit/s", self.delivered_mbit_per_s)?;
        write!(f, "  latency     {}", self.latency)?;
        for watched in &self.watched {
            write!(f, "\n  {} ({})", watched.name, watched.pid)?;
            write!(
                f,
                "  {:.0} ns of processor a packet",
                watched.cpu_ns_per_packet
            )?;
            write!(f, ", {:.0} % of one", watched.cpu_percent)?;
            write!(
                f,
                ", {:.1} MiB resident",
                ratio(watched.resident_bytes, 1 << 20)
            )?;
        }
        Ok(())
    }
}

/// The watched processes of a run.
fn watch(args: &TurnArgs) -> Result<Watch, BenchError> {
    Watch::new(&args.watch)
}
