//! `cargo xtask bench`: builds the command as it is shipped, then becomes `sterna bench …`.

mod control;

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use crate::process::{Failure, Outcome, cargo, failed, metadata, root, run as run_command};
use crate::tools;

pub(crate) const HELP: &str = "\
Builds the command and runs `sterna bench …` with it, from the repository's root.

Usage: cargo xtask bench [--release] BENCHMARK [OPTIONS of sterna bench]

Options:
  --release   measures the release profile instead of the shipped one (dist: one code
              generation unit, link-time optimisation, no overflow checks), which takes minutes
              to build the first time

Examples:
  cargo xtask bench compare            beside Debian's coturn; writes bench/RESULTS.md
  cargo xtask bench control load       k6 on the control service, on SQLite and PostgreSQL: a
                                       profile (smoke, load, spike, soak), then scenarios
                                       (registration, heartbeats, devices, relay_map,
                                       credentials, signalling), or all of them
  cargo xtask bench derp               the flow relay beside Tailscale's derper, which Go builds; its own
                                       section of bench/RESULTS.md
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
    // Beside a service of its own; `sterna bench control sign` is the command's own part of it.
    if let [first, arguments @ ..] = rest
        && first == "control"
        && arguments.first().is_none_or(|second| second != "sign")
    {
        return control::measure(binary.as_std_path(), arguments);
    }
    let mut command = Command::new(&binary);
    command.arg("bench").args(rest);
    // The other server of this comparison comes from Go's registry, and is left out without it.
    if rest.first().is_some_and(|benchmark| benchmark == "derp")
        && !rest.iter().any(|argument| argument.starts_with("--derper"))
        && let Some(derper) = tools::get("derper")
    {
        command.arg("--derper").arg(derper);
    }
    // Only returns when the program could not be started.
    let error = command.current_dir(root()).exec();
    Err(failed(format!("{binary}: {error}")))
}
