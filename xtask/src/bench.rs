//! `cargo xtask bench`: builds the command as it is shipped, then becomes `sterna bench …`.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use crate::process::{Failure, Outcome, cargo, failed, metadata, root, run as run_command};

pub(crate) const HELP: &str = "\
Builds the command and runs `sterna bench …` with it, from the repository's root.

Usage: cargo xtask bench [--release] BENCHMARK [OPTIONS of sterna bench]

Options:
  --release   measures the release profile instead of the shipped one (dist: one code
              generation unit, link-time optimisation, no overflow checks), which takes minutes
              to build the first time

Examples:
  cargo xtask bench compare            beside Debian's coturn; writes bench/RESULTS.md
  cargo xtask bench forward            our own share of a relayed packet
  cargo xtask bench --release turn --help
";

pub(crate) fn run(arguments: &[String]) -> Outcome {
    let (profile, rest) = match arguments.split_first() {
        Some((first, rest)) if first == "--release" => ("release", rest),
        _ => ("dist", arguments),
    };
    if rest.is_empty() {
        return Err(Failure::Usage(
            "which benchmark? see cargo xtask bench --help".to_owned(),
        ));
    }
    run_command(cargo().args([
        "build",
        "--profile",
        profile,
        "--package",
        "sterna",
        "--bin",
        "sterna",
    ]))?;
    let binary = metadata(false)?
        .target_directory
        .join(profile)
        .join("sterna");
    // Only returns when the program could not be started.
    let error = Command::new(&binary)
        .arg("bench")
        .args(rest)
        .current_dir(root())
        .exec();
    Err(failed(format!("{binary}: {error}")))
}
