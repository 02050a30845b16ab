//! `sterna bench derp`: the flow relay beside Tailscale's derper, the same load on each.
//!
//! Servers are measured in turn, each started anew, several rounds over; figures are medians, with
//! the smallest and largest. The load is that of `sterna bench flow`: all devices on one thread, in a
//! closed loop with few packets on their way and with more, for what a server carries and costs, then at
//! a rate that all of them carry, for what a packet waits.

mod client;
mod server;
mod table;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use sterna_client::relay::Rung;
use tokio::runtime::Builder;
use tokio::task::LocalSet;

pub(crate) use self::client::Client;
use self::server::Derper;
use self::table::{Figures, Table};
use crate::flow::{self, FlowArgs, FlowReport, Member, Pair};
use crate::turn::seconds;
use crate::{BenchError, results};

/// How long connecting may take.
const CONNECT_MAX: Duration = Duration::from_secs(20);

/// Arguments of `sterna bench derp`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Example:
  sterna bench derp --rounds 5 --duration 3
  cargo xtask bench derp                       installs derper first, where there is a Go")]
pub struct DerpArgs {
    /// The program; without it, derper in PATH or where `go install` puts it.
    #[arg(long, value_name = "FILE")]
    pub derper: Option<PathBuf>,

    /// Rounds in which each server is measured once.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=99))]
    pub rounds: u16,

    /// Seconds of each measurement.
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds)]
    pub duration: Duration,

    /// Devices; each sends to the next.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(2..=10_000))]
    pub devices: u32,

    /// Bytes of a packet.
    #[arg(long, value_name = "BYTES", default_value_t = 1312, value_parser = clap::value_parser!(u16).range(36..=1400))]
    pub packet_size: u16,

    /// Packets on their way in the closed loops: few, so that there is nothing to batch, and more.
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "200,1000", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub outstanding: Vec<u32>,

    /// Packets a second where latency is measured.
    #[arg(long, value_name = "PPS", default_value_t = 5000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub rate: u64,

    /// Whose section of it is written, beside being printed.
    #[arg(long, value_name = "FILE", default_value = "bench/RESULTS.md")]
    pub out: PathBuf,

    /// Only print the table.
    #[arg(long)]
    pub no_write: bool,
}

/// How a server is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Load {
    /// A closed loop: so many packets on their way at any time.
    Closed(u32),
    /// An open one: so many packets a second.
    Rate(u64),
}

/// A server that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Variant {
    Derper,
    Sterna(Rung),
}

/// Measures all of them and prints the table.
///
/// # Errors
/// When a server does not start or does not take the devices.
pub fn run(args: &DerpArgs) -> Result<(), BenchError> {
    let derper = server::find(args.derper.as_deref());
    if derper.is_none() {
        eprintln!(
            "derper is not here, and is left out: go install tailscale.com/cmd/derper@latest, or --derper FILE"
        );
    }
    let mut variants: Vec<_> = derper.iter().map(|_| Variant::Derper).collect();
    variants.extend(Rung::ALL.iter().rev().map(|rung| Variant::Sterna(*rung)));
    let mut table = Table::default();
    for round in 1..=args.rounds {
        for variant in &variants {
            eprintln!("round {round} of {}: {variant}", args.rounds);
            let measured = match (variant, &derper) {
                (Variant::Derper, Some(program)) => {
                    let derper = Derper::start(program)?;
                    measure(args, *variant, Some(derper.pid()), async || {
                        connect(args.devices, &derper).await
                    })
                }
                (Variant::Sterna(rung), _) => {
                    let devices = base(args, *rung);
                    let node = flow::Server::start(&devices)?;
                    measure(args, *variant, Some(node.pid()), async || {
                        flow::members(&devices, node.issuer(), &pairs(*rung)).await
                    })
                }
                (Variant::Derper, None) => continue,
            };
            for (load, figures) in measured? {
                table.add(load, *variant, figures);
            }
        }
    }
    let version = derper.map(|program| server::version(&program));
    let text = table.to_markdown(args, version.as_deref());
    println!("{text}");
    if args.no_write {
        return Ok(());
    }
    results::replace_section(&args.out, table::HEADING, &text)
}

fn pairs(rung: Rung) -> [Pair; 1] {
    [Pair {
        from: rung,
        to: rung,
    }]
}

/// The devices as `sterna bench flow` takes them.
fn base(args: &DerpArgs, rung: Rung) -> FlowArgs {
    FlowArgs {
        devices: args.devices,
        packet_size: args.packet_size,
        duration: args.duration,
        pairs: pairs(rung).to_vec(),
        ..FlowArgs::default()
    }
}

/// Every load, in the order in which they are measured.
fn loads(args: &DerpArgs) -> Vec<Load> {
    let closed = args.outstanding.iter().map(|number| Load::Closed(*number));
    closed.chain([Load::Rate(args.rate)]).collect()
}

/// Connects, and measures under each load.
fn measure(
    args: &DerpArgs,
    variant: Variant,
    pid: Option<u32>,
    connect: impl AsyncFnOnce() -> Result<Vec<Member>, BenchError>,
) -> Result<Vec<(Load, Figures)>, BenchError> {
    let rung = match variant {
        Variant::Derper => Rung::Wss,
        Variant::Sterna(rung) => rung,
    };
    let runtime = Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let members = connect().await?;
        let loads = loads(args);
        let asked: Vec<_> = loads
            .iter()
            .map(|load| match *load {
                Load::Closed(outstanding) => FlowArgs {
                    outstanding,
                    ..base(args, rung)
                },
                Load::Rate(rate) => FlowArgs {
                    rate: Some(rate),
                    ..base(args, rung)
                },
            })
            .collect();
        let reports = flow::measure_members(&asked, members, pid, &pairs(rung)).await?;
        Ok(loads.into_iter().zip(reports.iter().map(figures)).collect())
    })
}

fn figures(report: &FlowReport) -> Figures {
    let run = &report.runs[0];
    let node = run.node.as_ref();
    Figures {
        bytes_per_cpu_s: node.map_or(f64::NAN, |node| node.bytes_per_cpu_s / 1e6),
        goodput: run.delivered_mbit_per_s,
        loss: run.loss_percent,
        p50_us: run.latency.p50_us,
        p99_us: run.latency.p99_us,
    }
}

async fn connect(devices: u32, derper: &Derper) -> Result<Vec<Member>, BenchError> {
    let deadline = Instant::now() + CONNECT_MAX;
    let mut members = Vec::new();
    for _ in 0..devices {
        let connecting = client::connect(derper.addr, server::HOST);
        let connected = tokio::time::timeout_at(deadline.into(), connecting).await;
        let (client, packets) = connected.map_err(|_| BenchError::TooSlow {
            what: "connecting to derper",
        })??;
        members.push(Member::of_derp(client, packets));
    }
    Ok(members)
}

impl std::fmt::Display for Load {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Closed(outstanding) => write!(f, "{outstanding} on their way"),
            Self::Rate(rate) => write!(f, "{rate} a second"),
        }
    }
}

impl std::fmt::Display for Variant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Derper => f.write_str("derper"),
            Self::Sterna(rung) => write!(f, "Sterna, {}", rung.as_str()),
        }
    }
}
