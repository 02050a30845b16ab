//! `cargo xtask docs`: the documents that are generated from the code.
//!
//! The command prints them; this task only puts them in their place, and `tidy` compares.

use std::fs;

use crate::process::{Failure, Outcome, cargo, failed, output, root};

pub(crate) const HELP: &str = "\
Regenerates the documents that come from the code: docs/CONFIG.md and docs/METRICS.md.

Usage: cargo xtask docs [--check]

Options:
  --check   writes nothing; fails when a document differs from what the code says

Example: cargo xtask docs
";

/// A document and the arguments with which the command prints it.
struct Generated {
    path: &'static str,
    arguments: &'static [&'static str],
}

const GENERATED: [Generated; 0] = [];

pub(crate) fn run(arguments: &[String]) -> Outcome {
    match arguments {
        [] => write(),
        [flag] if flag == "--check" => match stale()?.as_slice() {
            [] => Ok(()),
            stale => Err(failed(format!(
                "{}: not current; run cargo xtask docs",
                stale.join(", ")
            ))),
        },
        _ => Err(Failure::Usage("see cargo xtask docs --help".to_owned())),
    }
}

/// The generated documents that differ from what the code says.
pub(crate) fn stale() -> Result<Vec<&'static str>, Failure> {
    let mut stale = Vec::new();
    for document in &GENERATED {
        let current = fs::read_to_string(root().join(document.path)).unwrap_or_default();
        if current != generate(document)? {
            stale.push(document.path);
        }
    }
    Ok(stale)
}

fn write() -> Outcome {
    for document in &GENERATED {
        let text = generate(document)?;
        fs::write(root().join(document.path), text)
            .map_err(|error| failed(format!("{}: {error}", document.path)))?;
        println!("wrote {}", document.path);
    }
    Ok(())
}

fn generate(document: &Generated) -> Result<String, Failure> {
    output(
        cargo()
            .args([
                "run",
                "--release",
                "--quiet",
                "--package",
                "sterna",
                "--bin",
                "sterna",
                "--",
            ])
            .args(document.arguments),
    )
}
