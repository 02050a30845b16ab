//! A run over UDP: one thread, one engine, a socket an allocation.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::RngExt as _;

use super::field::{Field, Wish};
use super::pace::Pace;
use super::{Outcome, TurnArgs};
use crate::BenchError;
use crate::engine;
use crate::ledger::GIVE_UP_AFTER;
use crate::target::local_addr_towards;

/// How long the allocations may take to be made, beyond one second for each 200 of them (servers
/// answer strangers at a limited rate).
const SETUP_PATIENCE: Duration = Duration::from_secs(45);

/// How long the server may take to answer the last Refreshes.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

/// Longest wait of one turn, so that lost packets are given up in time.
const TURN_MAX: Duration = Duration::from_millis(20);

/// Runs the load over UDP.
pub(super) fn run(args: &TurnArgs) -> Result<Outcome, BenchError> {
    let server = args.target.addr()?;
    let peer = match args.peer {
        Some(addr) => addr,
        None => SocketAddr::new(local_addr_towards(server)?, 0),
    };
    let engine = engine::build(args.engine, args.allocations)?;
    let wish = Wish {
        server,
        peer,
        allocations: args.allocations,
        mode: args.mode,
        method: args.method,
        packet_size: args.packet_size,
        burst: args.burst,
        credentials: args.target.credentials(),
        preinstalled: args.preinstalled,
    };
    let field = Field::new(engine, wish, rand::rng().random())?;
    Run { field, args }.run()
}

struct Run<'a> {
    field: Field,
    args: &'a TurnArgs,
}

impl Run<'_> {
    fn run(mut self) -> Result<Outcome, BenchError> {
        let mut watch = super::watch(self.args)?;
        let setup = self.set_up()?;

        let mut pace = self.pace();
        self.drive_for(&mut pace, self.args.warm_up)?;
        watch.restart();
        let started = self.field.elapsed_ns();
        self.field.ledger.start_counting(started);
        self.drive_for(&mut pace, self.args.duration)?;
        let stopped = self.field.elapsed_ns();
        self.field.ledger.stop_counting(stopped);
        let usage = watch.usage();

        self.drain()?;
        self.close()?;
        let (totals, latency) = self.field.ledger.into_results();
        Ok(Outcome {
            engine: self.field.engine.describe().to_string(),
            setup,
            measured: Duration::from_nanos(stopped - started),
            totals,
            latency: latency.summary(),
            usage,
        })
    }

    fn pace(&self) -> Pace {
        match self.args.rate {
            Some(rate) => Pace::open(rate, self.args.burst.into(), self.field.elapsed_ns()),
            None => Pace::closed(self.args.outstanding, self.args.burst.into()),
        }
    }

    fn set_up(&mut self) -> Result<Duration, BenchError> {
        let started = Instant::now();
        let patience = SETUP_PATIENCE + Duration::from_millis(5) * self.args.allocations;
        while !self.field.is_ready() {
            if started.elapsed() > patience {
                return Err(BenchError::TooSlow {
                    what: "allocations",
                });
            }
            self.field.start_allocations()?;
            self.field.turn(Instant::now() + TURN_MAX)?;
        }
        Ok(started.elapsed())
    }

    fn drive_for(&mut self, pace: &mut Pace, time: Duration) -> Result<(), BenchError> {
        let end_ns = self.field.elapsed_ns() + u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        loop {
            let now_ns = self.field.elapsed_ns();
            if now_ns >= end_ns {
                return Ok(());
            }
            self.field.send_bursts(pace)?;
            let wait_ns = pace
                .next_ns()
                .unwrap_or(u64::MAX)
                .min(end_ns)
                .saturating_sub(now_ns);
            let wait = Duration::from_nanos(wait_ns).min(TURN_MAX);
            pace.returned(self.field.turn(Instant::now() + wait)?);
        }
    }

    /// Waits for what is still on its way.
    fn drain(&mut self) -> Result<(), BenchError> {
        let end = Instant::now() + GIVE_UP_AFTER + TURN_MAX;
        while self.field.ledger.in_flight() > 0 && Instant::now() < end {
            self.field.turn(Instant::now() + TURN_MAX)?;
        }
        Ok(())
    }

    /// Gives the allocations back.
    fn close(&mut self) -> Result<(), BenchError> {
        let end = Instant::now() + CLOSE_PATIENCE;
        while !self.field.is_closed() && Instant::now() < end {
            self.field.close_allocations()?;
            self.field.turn(Instant::now() + TURN_MAX)?;
        }
        Ok(())
    }
}
