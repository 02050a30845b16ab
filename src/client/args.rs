//! The arguments of `sterna client …`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use sterna_client::relay::Rung;
use sterna_control_api::RelayKey;

/// `sterna client …`
#[derive(Debug, Subcommand)]
pub(crate) enum ClientCommand {
    /// Reaches other devices through the flow relay, by their public keys.
    #[command(
        subcommand,
        after_help = "Example:\n  sterna client flow ping --node node.json --ticket a.json --peer b.json"
    )]
    Flow(FlowCommand),
}

/// `sterna client flow …`
#[derive(Debug, Subcommand)]
pub(crate) enum FlowCommand {
    /// Measures the round trip to another device, by rung; or answers those who do.
    #[command(
        after_help = "The other device answers while its own ping runs, or one with --answer.\n\nExample:\n  \
                      sterna client flow ping --node node.json --ticket b.json --answer\n  \
                      sterna client flow ping --node node.json --ticket a.json --peer b.json\n  \
                      sterna client flow ping --node node.json --ticket a.json --peer \"$KEY\" --rung quic --count 100 --json\n  \
                      sterna client flow ping --control https://control.example.org --enrol enrolment.key --device a.json --peer b"
    )]
    Ping(PingArgs),
    /// Joins standard input and output of two devices, like netcat.
    #[command(
        after_help = "What is written at one end comes out at the other, whole and in order, until both ends have \
                      ended: at the end of input, or, where input is a terminal, with the other end.\n\nExample:\n  \
                      sterna client flow pipe --node node.json --ticket a.json --peer b.json\n  \
                      tar c folder | sterna client flow pipe --node node.json --ticket a.json --peer b.json\n  \
                      sterna client flow pipe --node node.json --ticket b.json --peer a.json </dev/null | tar x"
    )]
    Pipe(PipeArgs),
}

/// Which node, and as whom.
#[derive(Args, Clone, Debug)]
pub(crate) struct DeviceArgs {
    /// The node, as `sterna token relay-node` describes it (JSON); twice for a spare one.
    #[arg(long = "node", value_name = "FILE")]
    pub(crate) nodes: Vec<PathBuf>,
    /// The node's X25519 key (`noise_key` of GET /flows), instead of --node.
    #[arg(
        long,
        value_name = "KEY",
        conflicts_with = "nodes",
        allow_hyphen_values = true
    )]
    pub(crate) node_key: Option<RelayKey>,
    /// Where that node takes flow frames over UDP.
    #[arg(long, value_name = "ADDRESS:PORT", requires = "node_key")]
    pub(crate) udp: Vec<SocketAddr>,
    /// Where it serves QUIC.
    #[arg(long, value_name = "ADDRESS:PORT", requires = "node_key")]
    pub(crate) quic: Vec<SocketAddr>,
    /// Where it serves WebSocket.
    #[arg(long, value_name = "ADDRESS:PORT", requires = "node_key")]
    pub(crate) wss: Vec<SocketAddr>,
    /// The device's ticket: a file of `sterna token ticket --json`, or one with the ticket alone.
    #[arg(
        long,
        value_name = "FILE",
        env = "STERNA_CLIENT_TICKET_FILE",
        required_unless_present = "control"
    )]
    pub(crate) ticket: Option<PathBuf>,
    /// The control service, which knows the nodes and gives the ticket; instead of --node and --ticket.
    #[arg(long, value_name = "URL", conflicts_with_all = ["nodes", "node_key", "ticket", "secret"])]
    pub(crate) control: Option<String>,
    /// The enrolment key that lets the device in, the first time; or a file that holds it.
    #[arg(long, value_name = "KEY|FILE", requires = "control")]
    pub(crate) enrol: Option<String>,
    /// The device's own keys, made where there are none.
    #[arg(
        long,
        value_name = "FILE",
        default_value = "sterna-device.json",
        requires = "control"
    )]
    pub(crate) device: PathBuf,
    /// The device's name, for people; the name of the file of its keys where it is left out.
    #[arg(long, value_name = "NAME", requires = "control")]
    pub(crate) name: Option<String>,
    /// Certificate authorities of the control service, instead of the system's (PEM).
    #[arg(long, value_name = "FILE", requires = "control")]
    pub(crate) ca_file: Option<PathBuf>,
    /// Talk to a control service on another host without TLS, because a tunnel protects it.
    #[arg(long, requires = "control")]
    pub(crate) insecure_http: bool,
    /// The private half of the relay key, where the ticket's file does not hold it.
    #[arg(long, value_name = "FILE")]
    pub(crate) secret: Option<PathBuf>,
    /// The same from the environment, where other users do not see it.
    #[arg(
        long = "secret-text",
        env = "STERNA_CLIENT_SECRET",
        hide = true,
        hide_env_values = true
    )]
    pub(crate) secret_text: Option<String>,
    /// Only these rungs, with commas between them.
    #[arg(long = "rung", value_enum, value_name = "RUNGS", value_delimiter = ',')]
    pub(crate) rungs: Vec<RungArg>,
    /// Seconds after which an unreachable node, or an absent peer, is given up.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub(crate) patience: Duration,
}

/// `sterna client flow ping`
#[derive(Args, Clone, Debug)]
pub(crate) struct PingArgs {
    /// Node and ticket.
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    /// The other device: its public key, the file of its ticket (`sterna token ticket --json`), or, with
    /// --control, its name.
    #[arg(
        long,
        value_name = "KEY|FILE|NAME",
        required_unless_present = "answer",
        allow_hyphen_values = true
    )]
    pub(crate) peer: Option<String>,
    /// Answer others' pings until Ctrl-C, and send none.
    #[arg(long, conflicts_with = "peer")]
    pub(crate) answer: bool,
    /// Let the rungs race as devices do, instead of measuring each in turn.
    #[arg(long)]
    pub(crate) race: bool,
    /// Pings on each rung, or in all with --race.
    #[arg(long, short, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) count: u32,
    /// Seconds between two pings.
    #[arg(long, short, value_name = "SECONDS", default_value = "0.2", value_parser = seconds)]
    pub(crate) interval: Duration,
    /// Bytes of a ping; 1312 is a full packet of WireGuard.
    #[arg(long, short, value_name = "BYTES", default_value_t = 64, value_parser = clap::value_parser!(u16).range(32..=2300))]
    pub(crate) size: u16,
    /// Print the result as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `sterna client flow pipe`
#[derive(Args, Clone, Debug)]
pub(crate) struct PipeArgs {
    /// Node and ticket.
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    /// The other device: its public key, the file of its ticket (`sterna token ticket --json`), or, with
    /// --control, its name.
    #[arg(long, value_name = "KEY|FILE|NAME", allow_hyphen_values = true)]
    pub(crate) peer: String,
}

/// A rung, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RungArg {
    /// Frames straight in UDP.
    Udp,
    /// QUIC datagrams.
    Quic,
    /// WebSocket over TLS.
    Wss,
}

impl RungArg {
    pub(crate) fn rung(self) -> Rung {
        match self {
            Self::Udp => Rung::Udp,
            Self::Quic => Rung::Quic,
            Self::Wss => Rung::Wss,
        }
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    let time = Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())?;
    let is_sane = (Duration::from_millis(1)..=Duration::from_secs(3600)).contains(&time);
    is_sane
        .then_some(time)
        .ok_or_else(|| "0.001 to 3600 seconds".to_owned())
}
