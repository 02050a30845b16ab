//! `sterna bench …`: the measurements, and how their results are printed.

use std::process::ExitCode;

use clap::Subcommand;
use serde::Serialize;

use crate::alloc::{self, AllocArgs};
use crate::baseline::{self, BaselineArgs};
use crate::compare::{self, CompareArgs};
use crate::control::{self, ControlCommand};
use crate::derp::{self, DerpArgs};
use crate::flow::{self, FlowArgs};
use crate::forward::{self, ForwardArgs};
use crate::stun::{self, StunArgs};
use crate::turn::{self, TurnArgs};

/// The measurements.
#[derive(Subcommand, Clone, Debug)]
pub enum BenchCommand {
    /// Load a TURN server with packets, and account for each of them.
    Turn(TurnArgs),
    /// Load a flow relay with packets between devices, over any rungs, and account for each of them.
    Flow(FlowArgs),
    /// Ask a STUN server for our address, as often as it answers.
    Stun(StunArgs),
    /// Make allocations and give them back, as fast as a TURN server can.
    Alloc(AllocArgs),
    /// Measure what a relayed packet costs without the kernel's part.
    Forward(ForwardArgs),
    /// Measure Sterna beside coturn on this host, and write the table.
    Compare(CompareArgs),
    /// Prepare load on the control service, which k6 brings.
    #[command(subcommand)]
    Control(ControlCommand),
    /// Measure the flow relay beside Tailscale's derper on this host, and write the table.
    Derp(DerpArgs),
    /// Forward for installed flows on another runtime, as a yardstick.
    Baseline(BaselineArgs),
}

impl BenchCommand {
    /// Runs the measurement, prints what it has shown, and says how the process is to end: 0 done,
    /// 1 failed, 2 wrong usage.
    #[must_use]
    pub fn run(&self) -> ExitCode {
        let done = match self {
            Self::Turn(args) => turn::run(args).map(|report| print(&report, args.json)),
            Self::Flow(args) => flow::run(args).map(|report| print(&report, args.json)),
            Self::Stun(args) => stun::run(args).map(|report| print(&report, args.json)),
            Self::Alloc(args) => alloc::run(args).map(|report| print(&report, args.json)),
            Self::Forward(args) => forward::run(args).map(|report| print(&report, args.json)),
            Self::Compare(args) => compare::run(args),
            Self::Control(ControlCommand::Sign(args)) => {
                control::sign(args).map(|report| print(&report, args.json))
            }
            Self::Derp(args) => derp::run(args),
            Self::Baseline(args) => baseline::run(args),
        };
        match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("sterna bench: {error}");
                ExitCode::from(if error.is_usage() { 2 } else { 1 })
            }
        }
    }
}

fn print(report: &(impl Serialize + std::fmt::Display), json: bool) {
    if json {
        let text = serde_json::to_string_pretty(report);
        println!("{}", text.expect("invariant: reports are plain data"));
    } else {
        println!("{report}");
    }
}
