//! `cargo xtask tidy`: the rules of the house that no compiler checks.
//!
//! Each check returns what it found wrong; an empty list is a pass.

mod arrows;
mod documents;
mod licences;
mod sources;

use std::process::Command;

use crate::docs;
use crate::process::{Failure, Outcome, failed, metadata, output, root};

pub(crate) const HELP: &str = "\
Checks the rules of the house that no compiler checks:
  arrows       crates depend on lower floors only, pure crates on no clock, socket or runtime
  unsafe       every crate but relay/io opens with #![forbid(unsafe_code)]
  sources      nothing ignored or left to do, no paths of somebody's machine
  licences     no dependency obliges our users to more than attribution
  links        what a document links to in the repository exists
  compliance   every test that docs/COMPLIANCE.md names exists
  generated    docs/CONFIG.md, METRICS.md and openapi-node.json say what the code says

Usage: cargo xtask tidy

It also lists files of more than 600 lines, which is a hint and no failure.

Example: cargo xtask tidy
";

/// What one check found wrong, one sentence each.
type Findings = Vec<String>;

/// How many checks passed and failed.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
}

pub(crate) fn run(arguments: &[String]) -> Outcome {
    if !arguments.is_empty() {
        return Err(Failure::Usage("see cargo xtask tidy --help".to_owned()));
    }
    let mut tally = check()?;
    tally.add("generated", &docs::stale()?.into_iter().collect::<Vec<_>>());
    println!("tidy: {} passed, {} failed", tally.passed, tally.failed);
    if tally.failed == 0 {
        Ok(())
    } else {
        Err(failed("tidy found something; see above"))
    }
}

impl Tally {
    /// Counts a check and prints its line, with the findings below it.
    fn add(&mut self, name: &str, findings: &[String]) {
        let state = if findings.is_empty() { "ok" } else { "FAILED" };
        println!("tidy {name:<11} {state}");
        for finding in findings {
            println!("  {finding}");
        }
        if findings.is_empty() {
            self.passed += 1;
        } else {
            self.failed += 1;
        }
    }
}

/// Runs the checks that need no build; whether generated documents are current is a test of the
/// crate that generates them, so `cargo xtask test` has it anyway.
pub(crate) fn check() -> Result<Tally, Failure> {
    let workspace = metadata(false)?;
    let tree = sources::Tree::read()?;
    let mut tally = Tally::default();
    tally.add("arrows", &arrows::check(&workspace));
    tally.add("unsafe", &sources::unsafe_code(&workspace));
    tally.add("sources", &sources::check(&tree));
    tally.add("licences", &licences::check(&metadata(true)?));
    tally.add("links", &documents::broken_links(&tree));
    tally.add("compliance", &documents::missing_tests(&tree));
    for (path, lines) in tree.long_files() {
        println!("note: {path} has {lines} lines; look for the seam");
    }
    Ok(tally)
}

/// The paths that git tracks or would track, relative to the root.
fn tracked_files() -> Result<Vec<String>, Failure> {
    let listing = output(
        Command::new("git")
            .args([
                "ls-files",
                "--cached",
                "--others",
                "--exclude-standard",
                "-z",
            ])
            .current_dir(root()),
    )?;
    Ok(listing
        .split('\0')
        .filter(|path| !path.is_empty())
        .map(str::to_owned)
        .collect())
}
