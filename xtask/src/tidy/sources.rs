//! Rules on the text of the repository: unsafe code, things left undone, machine paths.

use std::fs;

use cargo_metadata::Metadata;

use super::{Findings, tracked_files};
use crate::process::{Failure, root};

/// The one crate that may hold unsafe code.
const UNSAFE_CRATE: &str = "sterna-io";

const FORBID: &str = "#![forbid(unsafe_code)]";

/// Above this, `tidy` asks for the seam.
const LONG_FILE_LINES: usize = 600;

/// What must not stand in Rust code, and why. Split, so that this file does not name them.
const NOT_IN_RUST: [(&str, &str); 4] = [
    (
        concat!("#[ign", "ore"),
        "a test either runs or skips visibly with its reason",
    ),
    (concat!("tod", "o!("), "finish it or leave it out"),
    (concat!("unimpl", "emented!("), "finish it or leave it out"),
    (concat!("db", "g!("), "left over from a search"),
];

/// Folders that exist on one person's machine.
const MACHINE_PATHS: [&str; 4] = [
    concat!("/ho", "me/"),
    concat!("/ro", "ot/"),
    concat!("/Us", "ers/"),
    concat!("/wo", "rk/"),
];

/// Every text file of the repository.
pub(super) struct Tree {
    files: Vec<(String, String)>,
}

impl Tree {
    pub(super) fn read() -> Result<Self, Failure> {
        let root = root();
        let files = tracked_files()?
            .into_iter()
            // Binary files (a fuzzing corpus) and deleted ones have no text.
            .filter_map(|path| {
                fs::read_to_string(root.join(&path))
                    .ok()
                    .map(|text| (path, text))
            })
            .collect();
        Ok(Self { files })
    }

    /// Files whose name ends so, with their text.
    pub(super) fn ending(&self, suffix: &str) -> impl Iterator<Item = (&str, &str)> {
        self.files
            .iter()
            .filter(move |(path, _)| path.ends_with(suffix))
            .map(|(path, text)| (path.as_str(), text.as_str()))
    }

    pub(super) fn file(&self, wanted: &str) -> Option<&str> {
        self.files
            .iter()
            .find(|(path, _)| path == wanted)
            .map(|(_, text)| text.as_str())
    }

    /// Rust files that have outgrown one story.
    pub(super) fn long_files(&self) -> Vec<(&str, usize)> {
        self.ending(".rs")
            .map(|(path, text)| (path, text.lines().count()))
            .filter(|(_, lines)| *lines > LONG_FILE_LINES)
            .collect()
    }
}

/// Targets outside the unsafe crate that do not forbid unsafe code.
pub(super) fn unsafe_code(workspace: &Metadata) -> Findings {
    let root = root();
    workspace
        .workspace_packages()
        .iter()
        .filter(|package| package.name.as_str() != UNSAFE_CRATE)
        .flat_map(|package| &package.targets)
        .filter(|target| {
            !fs::read_to_string(&target.src_path).is_ok_and(|text| text.contains(FORBID))
        })
        .map(|target| {
            let path = target
                .src_path
                .strip_prefix(&root)
                .unwrap_or(&target.src_path);
            format!("{path}: say {FORBID}")
        })
        .collect()
}

/// Things left undone in the code, and machine paths anywhere.
pub(super) fn check(tree: &Tree) -> Findings {
    let undone = tree.ending(".rs").flat_map(|(path, text)| {
        lines_with(path, text, &NOT_IN_RUST.map(|(pattern, _)| pattern))
            .into_iter()
            .map(|(place, pattern)| {
                let reason = NOT_IN_RUST.iter().find(|(known, _)| *known == pattern);
                format!("{place}: {pattern}: {}", reason.map_or("", |(_, why)| why))
            })
    });
    let machine = tree.ending("").flat_map(|(path, text)| {
        lines_with(path, text, &MACHINE_PATHS)
            .into_iter()
            .map(|(place, pattern)| format!("{place}: {pattern} is a path of somebody's machine"))
    });
    undone.chain(machine).collect()
}

/// Where any of the patterns stands, as `path:line`, with the pattern.
fn lines_with<'p>(path: &str, text: &str, patterns: &[&'p str]) -> Vec<(String, &'p str)> {
    let mut hits = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for pattern in patterns {
            if line.contains(pattern) {
                hits.push((format!("{path}:{}", number + 1), *pattern));
            }
        }
    }
    hits
}
