//! `cargo xtask test`: everything that the README promises, with one line at the end that counts.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::process::Stdio;
use std::thread;
use std::time::Instant;

use crate::process::{Outcome, cargo, failed};
use crate::{tidy, tools};

pub(crate) const HELP: &str = "\
Runs everything that the README promises: tidy, then every test of the workspace (units,
properties, simulations, end to end, interop with coturn and with the turn crate).

Usage: cargo xtask test [--no-install] [ARGUMENTS of cargo test]

Options:
  --no-install   leaves this machine's packages alone; without it, missing optional tools are
                 installed where we are root and the system has apt-get

A test whose tool is missing is skipped, says so, and is counted as skipped.

Examples:
  cargo xtask test
  cargo xtask test --no-install --package sterna --test interop_coturn
";

/// A test that cannot run here writes a line that begins so; tests/common does it.
const SKIPPED: &str = "skipped: ";

/// What has been counted so far.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Counts {
    passed: usize,
    failed: usize,
    skipped: usize,
}

pub(crate) fn run(arguments: &[String]) -> Outcome {
    let (install, rest) = match arguments.split_first() {
        Some((first, rest)) if first == "--no-install" => (false, rest),
        _ => (true, arguments),
    };
    if install {
        tools::install_missing();
    }
    tools::report();

    let tidy = tidy::check()?;
    let began = Instant::now();
    let (counts, cargo_succeeded) = cargo_test(rest)?;
    println!("cargo test took {} s", began.elapsed().as_secs());

    let passed = tidy.passed + counts.passed.saturating_sub(counts.skipped);
    // A build that fails runs no test; it is still a failure.
    let broken = usize::from(!cargo_succeeded && counts.failed == 0);
    let not_passed = tidy.failed + counts.failed + broken;
    println!(
        "{passed} passed, {not_passed} failed, {} skipped",
        counts.skipped
    );
    if not_passed == 0 {
        Ok(())
    } else {
        Err(failed("not everything passed; see above"))
    }
}

/// Runs `cargo test`, shows all that it writes as it comes, and counts along.
fn cargo_test(arguments: &[String]) -> Result<(Counts, bool), crate::process::Failure> {
    let mut command = cargo();
    command.args(["test", "--release", "--no-fail-fast"]);
    if !arguments
        .iter()
        .any(|argument| argument == "--package" || argument == "-p")
    {
        command.arg("--workspace");
    }
    let mut child = command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(format!("cargo test: {error}")))?;
    let streams = child.stdout.take().zip(child.stderr.take());
    let (stdout, stderr) = streams.ok_or_else(|| failed("cargo test: no streams"))?;
    // Both are drained at the same time, since a full pipe would stop the tests.
    let errors = thread::spawn(move || follow(stderr, std::io::stderr()));
    let from_stdout = follow(stdout, std::io::stdout());
    let from_stderr = errors
        .join()
        .map_err(|_| failed("cargo test: its output was lost"))?;
    let status = child
        .wait()
        .map_err(|error| failed(format!("cargo test: {error}")))?;
    Ok((sum(from_stdout, from_stderr), status.success()))
}

fn follow(from: impl Read, mut to: impl Write) -> Counts {
    let mut counts = Counts::default();
    let mut reader = BufReader::new(from);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).is_ok_and(|len| len > 0) {
        // Whoever reads us may be gone; the tests still have to end.
        let _ = to.write_all(&line);
        counts = sum(counts, count(&String::from_utf8_lossy(&line)));
        line.clear();
    }
    counts
}

/// What one line of `cargo test` adds.
fn count(line: &str) -> Counts {
    // The line may follow `test name ... `, which libtest prints without an end when tests run
    // one after the other.
    if line.contains(SKIPPED) {
        return Counts {
            skipped: 1,
            ..Counts::default()
        };
    }
    let Some(result) = line.trim().strip_prefix("test result: ") else {
        return Counts::default();
    };
    let number = |label: &str| {
        let before = result
            .split(label)
            .next()
            .filter(|before| before.len() < result.len());
        before
            .and_then(|text| text.split(' ').next_back()?.parse().ok())
            .unwrap_or(0)
    };
    Counts {
        passed: number(" passed"),
        failed: number(" failed"),
        skipped: 0,
    }
}

fn sum(a: Counts, b: Counts) -> Counts {
    Counts {
        passed: a.passed + b.passed,
        failed: a.failed + b.failed,
        skipped: a.skipped + b.skipped,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_and_skips_are_counted_from_what_cargo_prints() {
        let output = "running 12 tests\n\
            test a ... ok\n\
            skipped: tests/interop.rs: no coturn here\n\
            test result: ok. 11 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s\n\
            test result: FAILED. 2 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out\n";
        let counts = follow(output.as_bytes(), Vec::new());
        assert_eq!(
            counts,
            Counts {
                passed: 13,
                failed: 3,
                skipped: 1
            }
        );
    }
}
