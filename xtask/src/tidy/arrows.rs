//! Arrows between crates point only to a lower floor; crates on one floor never see each other.

use cargo_metadata::{DependencyKind, Metadata, Package};

use super::Findings;

/// The floors of docs/ARCHITECTURE.md. A crate that is not here fails the check, so that a new
/// one gets its floor on the day it is made.
const FLOORS: [(&str, u8); 13] = [
    ("sterna-stun", 0),
    ("sterna-control-api", 0),
    ("sterna-turn", 1),
    ("sterna-flow", 1),
    ("sterna-preface", 1),
    ("sterna-io", 1),
    ("sterna-control-client", 1),
    ("sterna-daemon", 1),
    ("sterna-relay", 2),
    ("sterna-control", 2),
    ("sterna-client", 2),
    ("sterna-bench", 3),
    ("sterna", 4),
];

/// Crates that are given time, randomness and packets, and fetch none of them.
const PURE: [&str; 5] = [
    "sterna-stun",
    "sterna-control-api",
    "sterna-turn",
    "sterna-flow",
    "sterna-preface",
];

/// What a pure crate must not be able to reach.
const IMPURE: [&str; 9] = [
    "tokio",
    "libc",
    "socket2",
    "io-uring",
    "rustix",
    "nix",
    "mio",
    "getrandom",
    "tracing",
];

pub(super) fn check(workspace: &Metadata) -> Findings {
    let mut findings = Findings::new();
    for package in workspace.workspace_packages() {
        // The tasks stand beside the house: nothing depends on them, and they on nothing of it.
        let own_floor = (package.name.as_str() != "xtask").then(|| floor(&package.name));
        if own_floor == Some(None) {
            findings.push(format!(
                "{}: give it a floor in xtask/src/tidy/arrows.rs",
                package.name
            ));
        }
        check_package(package, own_floor.flatten(), &mut findings);
    }
    findings
}

fn check_package(package: &Package, own_floor: Option<u8>, findings: &mut Findings) {
    let name = package.name.as_str();
    for dependency in &package.dependencies {
        let target = dependency.name.as_str();
        let inside = dependency.path.is_some();
        let points_down = floor(target)
            .zip(own_floor)
            .is_some_and(|(below, own)| below < own);
        if inside && !points_down {
            findings.push(format!(
                "{name} -> {target}: an arrow that does not point down"
            ));
        }
        let shipped = dependency.kind != DependencyKind::Development;
        if shipped && PURE.contains(&name) && IMPURE.contains(&target) {
            findings.push(format!(
                "{name} -> {target}: a pure crate is given what it needs"
            ));
        }
    }
}

fn floor(name: &str) -> Option<u8> {
    FLOORS
        .iter()
        .find(|(crate_name, _)| *crate_name == name)
        .map(|(_, floor)| *floor)
}
