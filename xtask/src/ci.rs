//! `cargo xtask ci`: what CI runs, on this machine.

use std::process::{Command, Stdio};

use crate::process::{Failure, Outcome, root, run as run_command};

pub(crate) const HELP: &str = "\
Runs .ci/run as CI does: formatting, lints, cargo xtask test, with the time of each step.

Usage: cargo xtask ci

Example: cargo xtask ci
";

pub(crate) fn run(arguments: &[String]) -> Outcome {
    if !arguments.is_empty() {
        return Err(Failure::Usage("see cargo xtask ci --help".to_owned()));
    }
    let root = root();
    run_command(
        Command::new("bash")
            .arg(root.join(".ci/run"))
            .current_dir(&root)
            .env("CI", "true")
            .stdin(Stdio::null()),
    )
}
