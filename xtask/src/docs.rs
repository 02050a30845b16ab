//! `cargo xtask docs`: the documents that are generated from the code.
//!
//! The crate that owns a document compares it with its own tables in a test, and writes it instead
//! when the environment says so. This task runs those tests and says what changed.

use std::fs;
use std::process::Command;

use crate::process::{Failure, Outcome, cargo, failed, root};

pub(crate) const HELP: &str = "\
Regenerates the documents that come from the code: configuration, metrics and API of the node
and of the control service.

Usage: cargo xtask docs [--check]

Options:
  --check   writes nothing; fails when a document differs from what the code says

Example: cargo xtask docs
";

const DOCUMENTS: [&str; 6] = [
    "docs/CONFIG.md",
    "docs/METRICS.md",
    "docs/openapi-node.json",
    "docs/CONTROL_CONFIG.md",
    "docs/CONTROL_METRICS.md",
    "docs/openapi-control.json",
];

/// The environment variable at which the tests write what they would compare.
const UPDATE: &str = "UPDATE_DOCS";

pub(crate) fn run(arguments: &[String]) -> Outcome {
    match arguments {
        [] => write(),
        [flag] if flag == "--check" => match stale()? {
            None => Ok(()),
            Some(reason) => Err(failed(reason)),
        },
        _ => Err(Failure::Usage("see cargo xtask docs --help".to_owned())),
    }
}

/// What is wrong with the generated documents, if anything.
pub(crate) fn stale() -> Result<Option<String>, Failure> {
    let (succeeded, text) = document_tests(cargo().env_remove(UPDATE))?;
    if succeeded {
        return Ok(None);
    }
    // The failed assertions name the documents; a build that failed has only errors to show.
    let reasons: Vec<_> = text.lines().filter(|line| line.contains("docs/")).collect();
    let reason = if reasons.is_empty() {
        text.as_str()
    } else {
        &reasons.join("; ")
    };
    Ok(Some(format!("not current; run cargo xtask docs: {reason}")))
}

fn write() -> Outcome {
    let read = || DOCUMENTS.map(|path| fs::read_to_string(root().join(path)).unwrap_or_default());
    let before = read();
    let (succeeded, text) = document_tests(cargo().env(UPDATE, "1"))?;
    if !succeeded {
        return Err(failed(format!(
            "the documents could not be generated:\n{text}"
        )));
    }
    for ((path, before), after) in DOCUMENTS.iter().zip(before).zip(read()) {
        let state = if before == after {
            "was current"
        } else {
            "rewritten"
        };
        println!("{path}: {state}");
    }
    Ok(())
}

/// Runs the tests that own documents; whether they passed, and what they printed.
fn document_tests(cargo: &mut Command) -> Result<(bool, String), Failure> {
    let output = cargo
        .args([
            "test",
            "--release",
            "--quiet",
            "--package",
            "sterna-relay",
            "--package",
            "sterna-control",
            "--lib",
            "documents",
        ])
        .output()
        .map_err(|error| failed(format!("cargo test: {error}")))?;
    let text = [output.stdout, output.stderr].concat();
    Ok((
        output.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    ))
}
