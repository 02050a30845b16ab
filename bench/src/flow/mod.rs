//! `sterna bench flow`: devices of the flow relay that send to each other over any rungs.
//!
//! Each device is the library that any other device would use, with a ticket that the generator
//! signs itself, and all of them live on one thread, so that both ends of every packet are on one
//! clock. Without `--node` the generator starts a node of its own on loopback and ends it afterwards.

pub mod check;
mod device;
mod idle;
mod load;
mod member;
mod plan;
mod report;
mod server;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use sterna_client::relay::Rung;
use sterna_control_api::Fleet;

use crate::BenchError;
use crate::packet::{BURST_MAX, PACKET_BYTES_MAX, PACKET_BYTES_MIN};

pub use device::{Admission, Issuer, Tickets};
pub use idle::IdleReport;
pub(crate) use load::{measure_members, members};
pub(crate) use member::Member;
pub use plan::Pair;
pub use report::{FlowReport, NodeUsage, PairReport, RunReport};
pub(crate) use server::Server;

/// Most devices of one run: each has a socket or a connection, and a session at the node.
const DEVICES_MAX: i64 = 10_000;
/// Most flows of one run.
const FLOWS_MAX: i64 = 60_000;
/// Longest run: what a ticket is good for, with time to spare for connecting.
const DURATION_MAX: Duration = Duration::from_secs(3000);

/// Arguments of `sterna bench flow`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Example:
  sterna bench flow --devices 100 --packet-size 1312 --duration 5
  sterna bench flow --pairs udp-udp,quic-quic,wss-wss --apart --json
  sterna bench flow --node node.json --ticket-key ticket.secret --fleet example --rungs quic --rate 20000")]
pub struct FlowArgs {
    /// The node to measure, as `sterna token relay-node` describes it; without it, one is started on
    /// loopback.
    #[arg(long, value_name = "FILE", requires = "ticket_key")]
    pub node: Option<PathBuf>,

    /// The file with the key that signs the devices' tickets (`sterna token ticket-key`).
    #[arg(long, value_name = "FILE", requires = "node")]
    pub ticket_key: Option<PathBuf>,

    /// The node's fleet.
    #[arg(long, value_name = "NAME", default_value = "sterna")]
    pub fleet: Fleet,

    /// The process of --node on this host, whose processor time is to be measured.
    #[arg(long, value_name = "PID", requires = "node")]
    pub pid: Option<u32>,

    /// Workers of the node that is started.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=16), conflicts_with = "node")]
    pub workers: u8,

    /// UDP back end of the node that is started.
    #[arg(long, value_enum, default_value_t = crate::EngineArg::Auto, conflicts_with = "node")]
    pub engine: crate::EngineArg,

    /// Rungs that devices use; packets go over every pair of them.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        value_name = "RUNGS",
        default_value = "udp,quic,wss"
    )]
    pub rungs: Vec<RungArg>,

    /// Only these pairs, the sender's rung first: `udp-udp,quic-wss`.
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "PAIRS",
        conflicts_with = "rungs"
    )]
    pub pairs: Vec<Pair>,

    /// Measure each pair in turn, --duration long, instead of all at the same time.
    #[arg(long)]
    pub apart: bool,

    /// Devices, shared evenly by the rungs.
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(2..=DEVICES_MAX))]
    pub devices: u32,

    /// Flows, shared evenly by the pairs; as many as devices without it.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=FLOWS_MAX))]
    pub flows: Option<u32>,

    /// Bytes of a packet; 1312 is a full packet of WireGuard over an inner MTU of 1280.
    #[arg(long, value_name = "BYTES", default_value_t = 1312, value_parser = packet_size)]
    pub packet_size: u16,

    /// Packets of one flow that leave together.
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=i64::from(BURST_MAX)))]
    pub burst: u8,

    /// Packets a second that are offered in all, whatever arrives.
    #[arg(long, value_name = "PPS", conflicts_with = "outstanding", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub rate: Option<u64>,

    /// Packets that are on their way at any time: the next leaves when one has arrived.
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub outstanding: u32,

    /// Seconds that are measured.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = duration)]
    pub duration: Duration,

    /// Seconds of the same traffic before that.
    #[arg(long, value_name = "SECONDS", default_value = "0.5", value_parser = duration)]
    pub warm_up: Duration,

    /// Connect so many devices on each rung, one rung after the other, let them be idle, and say what a
    /// session takes of the node's memory; nothing is sent.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=DEVICES_MAX), conflicts_with_all = ["node", "pairs"])]
    pub idle: Option<u32>,

    /// Print the report as JSON.
    #[arg(long)]
    pub json: bool,
}

impl Default for FlowArgs {
    /// What the command line gives without arguments.
    fn default() -> Self {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            args: FlowArgs,
        }
        let nothing: [&str; 1] = ["flow"];
        <Line as clap::Parser>::parse_from(nothing).args
    }
}

/// A rung, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RungArg {
    /// Frames straight in UDP.
    Udp,
    /// QUIC datagrams.
    Quic,
    /// WebSocket over TLS.
    Wss,
}

impl RungArg {
    fn rung(self) -> Rung {
        match self {
            Self::Udp => Rung::Udp,
            Self::Quic => Rung::Quic,
            Self::Wss => Rung::Wss,
        }
    }
}

fn packet_size(text: &str) -> Result<u16, String> {
    let range = PACKET_BYTES_MIN..=PACKET_BYTES_MAX;
    let size = text.parse().map_err(|_| "not a number".to_owned())?;
    let fits = range.contains(&size).then_some(size);
    fits.ok_or_else(|| format!("a packet has {PACKET_BYTES_MIN} to {PACKET_BYTES_MAX} bytes"))
}

fn duration(text: &str) -> Result<Duration, String> {
    let time = crate::turn::seconds(text)?;
    let fits = (time <= DURATION_MAX).then_some(time);
    fits.ok_or_else(|| format!("at most {} seconds", DURATION_MAX.as_secs()))
}

/// What a run has shown.
#[derive(Clone, Debug, serde::Serialize)]
#[serde(untagged)]
pub enum Outcome {
    /// Under load.
    Load(FlowReport),
    /// With idle devices.
    Idle(IdleReport),
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Load(report) => report.fmt(f),
            Self::Idle(report) => report.fmt(f),
        }
    }
}

/// Runs the load and returns what it has shown.
///
/// # Errors
/// When the node cannot be started or reached, or refuses the devices.
pub fn run(args: &FlowArgs) -> Result<Outcome, BenchError> {
    if let Some(devices) = args.idle {
        return idle::run(args, devices).map(Outcome::Idle);
    }
    let pairs = match args.pairs.as_slice() {
        [] => plan::all_pairs(args.rungs.iter().map(|rung| rung.rung())),
        pairs => pairs.to_vec(),
    };
    let own = match &args.node {
        None => Some(Server::start(args)?),
        Some(_) => None,
    };
    let (issuer, pid) = match &own {
        Some(server) => (server.issuer().clone(), Some(server.pid())),
        None => (server::given(args)?, args.pid),
    };
    load::run(args, &issuer, pid, &pairs).map(Outcome::Load)
}
