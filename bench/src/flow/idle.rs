//! `sterna bench flow --idle N`: what a session takes of the node's memory when it does nothing.

use std::fmt;
use std::time::{Duration, Instant};

use serde::Serialize;
use sterna_client::relay::Rung;
use tokio::runtime::Builder;
use tokio::task::LocalSet;
use tokio::time::sleep;

use super::{FlowArgs, RungArg, Server, load};
use crate::BenchError;
use crate::report::ratio;
use crate::watch::{Watch, resident_bytes};

/// How long the devices are idle before the node's memory is looked at: handshakes have left nothing
/// behind, paths have been probed.
const SETTLE: Duration = Duration::from_secs(5);

/// What idle sessions take, by rung.
#[derive(Clone, Debug, Serialize)]
pub struct IdleReport {
    /// Devices on each rung.
    pub devices: u32,
    /// One a rung.
    pub rungs: Vec<IdleRung>,
}

/// What those of one rung take.
#[derive(Clone, Debug, Serialize)]
pub struct IdleRung {
    /// The rung.
    pub rung: &'static str,
    /// Resident memory of the node before them.
    pub resident_before_bytes: u64,
    /// And with them.
    pub resident_bytes: u64,
    /// The growth, for each.
    pub bytes_per_session: f64,
    /// Seconds until all of them stood.
    pub setup_s: f64,
    /// Processor time of the node that each took meanwhile, in microseconds.
    pub setup_cpu_us: f64,
    /// Share of one processor that the node used while they were idle.
    pub idle_cpu_percent: f64,
}

/// Measures each rung on a node of its own.
pub(super) fn run(args: &FlowArgs, devices: u32) -> Result<IdleReport, BenchError> {
    let mut rungs = Vec::new();
    for rung in &args.rungs {
        rungs.push(measure(args, *rung, devices)?);
    }
    Ok(IdleReport { devices, rungs })
}

fn measure(args: &FlowArgs, rung: RungArg, devices: u32) -> Result<IdleRung, BenchError> {
    let server = Server::start(args)?;
    let before = resident_bytes(server.pid());
    let rung: Rung = rung.rung();
    let runtime = Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let mut watch = Watch::new(&[server.pid()])?;
        watch.restart();
        let begun = Instant::now();
        let rungs = vec![rung; devices as usize];
        let held = load::connect(server.issuer(), &rungs).await?;
        let setup_s = begun.elapsed().as_secs_f64();
        let setup_ns = watch.usage().first().map_or(0, |usage| usage.cpu_ns);
        sleep(SETTLE).await;
        watch.restart();
        let idle = Instant::now();
        sleep(SETTLE).await;
        let usage = watch.usage();
        let idle_ns = u64::try_from(idle.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let cpu_ns = usage.first().map_or(0, |usage| usage.cpu_ns);
        let resident = resident_bytes(server.pid());
        drop(held);
        Ok(IdleRung {
            rung: rung.as_str(),
            resident_before_bytes: before,
            resident_bytes: resident,
            bytes_per_session: ratio(resident.saturating_sub(before), devices.into()),
            setup_s,
            setup_cpu_us: ratio(setup_ns, devices.into()) / 1e3,
            idle_cpu_percent: 100.0 * ratio(cpu_ns, idle_ns),
        })
    })
}

impl fmt::Display for IdleReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} idle devices on each rung", self.devices)?;
        for rung in &self.rungs {
            write!(
                f,
                "\n  {:<5} {:.1} KiB resident a session ({:.1} to {:.1} MiB); set up in {:.1} s, {:.0} µs of the \
                 node's processor each; idle, the node uses {:.1} % of one",
                rung.rung,
                rung.bytes_per_session / 1024.0,
                ratio(rung.resident_before_bytes, 1 << 20),
                ratio(rung.resident_bytes, 1 << 20),
                rung.setup_s,
                rung.setup_cpu_us,
                rung.idle_cpu_percent,
            )?;
        }
        Ok(())
    }
}
