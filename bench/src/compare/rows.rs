//! What is measured of each server, and by which command.

use std::fmt;
use std::process::Child;
use std::time::Duration;

use clap::ValueEnum;
use serde_json::Value;

use super::lab::{GENERATOR_IP, Lab, SERVER_IP, failed};
use super::memory;
use super::server::{
    CLIENT_PORT, FLOWS, PASSWORD, PEER_PORT, PORT, RELAY_PORT, Server, USER, Variant,
};
use crate::BenchError;

/// Allocations of the memory row.
const MANY_ALLOCATIONS: u64 = 10_000;

/// Rate of the overload row, in packets a second: at least four times what any of the servers but
/// ours carries on one core, and as much as the generator can offer on the other.
const OVERLOAD_RATE: u64 = 4_000_000;

/// Bindings a second that ask, meanwhile, whether the control plane still answers.
const OVERLOAD_BINDINGS: u64 = 100;

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Row {
    /// Single packets of 100 allocations in turn, 300 on their way.
    Single,
    /// Bursts of 8 of one allocation, as many as the server carries.
    Burst,
    /// The same, with groups cut by the processor before they cross.
    BurstCut,
    /// Client to client through two allocations, single packets, 300 on their way.
    Pair,
    /// 401, Allocate, ChannelBind, Refresh 0.
    Alloc,
    /// More than can be carried.
    Overload,
    /// Resident memory of 10,000 allocations that relay.
    Memory,
}

impl Row {
    /// Bare loops have packets to forward and nothing else.
    pub(super) fn applies_to(self, variant: Variant) -> bool {
        !variant.is_bare() || !matches!(self, Self::Pair | Self::Alloc | Self::Memory)
    }

    /// The figures that the row has, each with its unit.
    pub(super) fn figures(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Single | Self::Burst | Self::BurstCut | Self::Pair => &[
                ("processor time a packet", "ns"),
                ("throughput", "packets/s"),
                ("core used", "%"),
                ("loss", "%"),
            ],
            Self::Alloc => &[
                ("processor time an allocation", "µs"),
                ("allocations", "1/s"),
            ],
            Self::Overload => &[
                ("offered", "packets/s"),
                ("goodput", "packets/s"),
                ("Bindings answered meanwhile", "%"),
            ],
            Self::Memory => &[
                ("resident memory an allocation", "B"),
                ("kernel memory an allocation", "B"),
                ("loss", "%"),
            ],
        }
    }

    /// Whether less of the first figure is better.
    pub(super) fn bar(self) -> Option<f64> {
        match self {
            Self::Single => Some(1.2),
            Self::Burst => Some(5.0),
            Self::Pair => Some(2.0),
            Self::Alloc => Some(4.0),
            Self::BurstCut | Self::Overload | Self::Memory => None,
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Single => "single packets, closed loop, 300 outstanding",
            Self::Burst => "bursts of 8 of one allocation, saturated",
            Self::BurstCut => "bursts of 8, groups cut by the processor (tx-udp-segmentation off)",
            Self::Pair => "relay to relay, single packets, 300 outstanding",
            Self::Alloc => "an allocation: 401, Allocate, ChannelBind, Refresh 0",
            Self::Overload => "overload, bursts of 8",
            Self::Memory => "10,000 allocations, all relaying",
        })
    }
}

/// Measures one row; the figures are in the order of [`Row::figures`].
pub(super) fn measure(
    lab: &Lab,
    server: &Server,
    row: Row,
    duration: Duration,
) -> Result<Vec<f64>, BenchError> {
    lab.leave_cutting_to_interface(row != Row::BurstCut)?;
    let run = || generate(lab, server, row, duration);
    match row {
        Row::Single | Row::Burst | Row::BurstCut | Row::Pair => packets(&run()?),
        Row::Alloc => {
            let report = run()?;
            let each_ns = sum_of(&report, "cpu_ns_per_packet");
            Ok(vec![
                each_ns / 1000.0,
                number_at(&report, &["allocations_per_s"])?,
            ])
        }
        Row::Overload => {
            let asking = (!server.variant.is_bare())
                .then(|| ask(lab, duration))
                .transpose()?;
            let report = run()?;
            let answered = asking.map(answered_percent).transpose()?;
            let offered = number_at(&report, &["offered_per_s"])?;
            let delivered = number_at(&report, &["delivered_per_s"])?;
            Ok(vec![offered, delivered, answered.unwrap_or(f64::NAN)])
        }
        Row::Memory => {
            let own_sockets = || idle_sockets(lab);
            memory::measure(server.pid(), MANY_ALLOCATIONS, run, own_sockets)
        }
    }
}

fn packets(report: &Value) -> Result<Vec<f64>, BenchError> {
    Ok(vec![
        sum_of(report, "cpu_ns_per_packet"),
        number_at(report, &["delivered_per_s"])?,
        sum_of(report, "cpu_percent"),
        number_at(report, &["loss_percent"])?,
    ])
}

/// Runs the generator of a row and returns its report.
fn generate(lab: &Lab, server: &Server, row: Row, duration: Duration) -> Result<Value, BenchError> {
    let base = command(server, row, duration);
    let watched = std::iter::once(server.pid()).chain(lab.server_threads.iter().copied());
    let watch: String = watched.map(|pid| format!(" --watch {pid}")).collect();
    json_of(
        lab.start_generator(&words(&format!("{base}{watch} --json")))?,
        &base,
    )
}

/// Opens as many sockets in the generator as the memory row has allocations, and asks the server for
/// nothing.
fn idle_sockets(lab: &Lab) -> Result<(), BenchError> {
    let line = format!(
        "{} bench turn --server {SERVER_IP}:{PORT} --preinstalled {CLIENT_PORT},{RELAY_PORT} \
         --allocations {MANY_ALLOCATIONS} --rate 1 --duration 1 --json",
        std::env::current_exe()?.display()
    );
    json_of(lab.start_generator(&words(&line))?, &line).map(|_| ())
}

/// The generator's command for a row, as it stands in the table's footnotes.
pub(super) fn generator_line(row: Row, duration: Duration) -> String {
    let server = format!("--server {SERVER_IP}:{PORT} --user {USER} --password {PASSWORD}");
    let seconds = duration.as_secs_f64();
    let turn = format!("bench turn {server} --duration {seconds}");
    match row {
        Row::Single => format!("{turn} --allocations {FLOWS} --outstanding 300"),
        Row::Burst | Row::BurstCut => {
            format!("{turn} --allocations {FLOWS} --burst 8 --outstanding 240")
        }
        Row::Pair => format!("{turn} --allocations {FLOWS} --mode pair --outstanding 300"),
        Row::Alloc => format!("bench alloc {server} --duration {seconds}"),
        Row::Overload => format!("{turn} --allocations {FLOWS} --burst 8 --rate {OVERLOAD_RATE}"),
        Row::Memory => format!("{turn} --allocations {MANY_ALLOCATIONS} --rate 40000"),
    }
}

fn command(server: &Server, row: Row, duration: Duration) -> String {
    let own = std::env::current_exe().unwrap_or_default();
    let line = format!("{} {}", own.display(), generator_line(row, duration));
    if server.variant.is_bare() {
        format!(
            "{line} --preinstalled {CLIENT_PORT},{RELAY_PORT} --peer {GENERATOR_IP}:{PEER_PORT}"
        )
    } else {
        line
    }
}

/// Starts to ask for Bindings at a leisurely rate.
fn ask(lab: &Lab, duration: Duration) -> Result<Child, BenchError> {
    let own = std::env::current_exe()?;
    let seconds = duration.as_secs_f64();
    lab.start_generator(&words(&format!(
        "{} bench stun --server {SERVER_IP}:{PORT} --clients 8 --rate {OVERLOAD_BINDINGS} \
         --duration {seconds} --json",
        own.display()
    )))
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

fn json_of(child: Child, what: &str) -> Result<Value, BenchError> {
    let output = child.wait_with_output()?;
    if !output.status.success() {
        return Err(failed(
            what,
            &String::from_utf8_lossy(&output.stderr).trim(),
        ));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| failed(what, &error))
}

fn answered_percent(asking: Child) -> Result<f64, BenchError> {
    let report = json_of(asking, "bench stun")?;
    number_at(&report, &["loss_percent"]).map(|loss| 100.0 - loss)
}

pub(super) fn number_at(report: &Value, path: &[&str]) -> Result<f64, BenchError> {
    let value = path.iter().try_fold(report, |value, key| value.get(key));
    value
        .and_then(Value::as_f64)
        .ok_or_else(|| failed(&path.join("."), &"missing in a report"))
}

/// The sum of a number over the watched processes.
fn sum_of(report: &Value, key: &str) -> f64 {
    let watched = report.get("watched").and_then(Value::as_array);
    let numbers = watched
        .into_iter()
        .flatten()
        .filter_map(|watched| watched.get(key)?.as_f64());
    numbers.sum()
}
