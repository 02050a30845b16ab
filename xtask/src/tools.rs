//! The optional tools: programs that we did not write and that the interop tests and the lab use.
//!
//! A missing one makes its tests skip, visibly; it never makes anything fail.

use std::fs::{OpenOptions, remove_file};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::process::{self, Failure, Outcome};

pub(crate) const HELP: &str = "\
Shows which optional tools of the tests are here, and what is missing without them.

Usage: cargo xtask tools [--install]

Options:
  --install   as root on a system with apt-get, installs the missing ones; elsewhere says
              what to install. Never fails: a missing tool only makes its tests skip.
              cargo xtask test installs what its tests use by itself, but for the big ones (a
              browser).

Example: cargo xtask tools
";

/// One optional tool.
struct Tool {
    program: &'static str,
    /// The package that brings it on Debian and Ubuntu.
    package: &'static str,
    purpose: &'static str,
    /// Whether a test skips without it, so that it is worth installing unasked.
    for_tests: bool,
    /// Hundreds of megabytes, which nobody gets without asking for them.
    big: bool,
}

const TOOLS: [Tool; 8] = [
    Tool {
        program: "turnutils_uclient",
        package: "coturn",
        purpose: "interop with coturn's client",
        for_tests: true,
        big: false,
    },
    Tool {
        program: "python3",
        package: "python3",
        purpose: "a node without io_uring, and what the lab's NATs do",
        for_tests: true,
        big: false,
    },
    Tool {
        program: "ip",
        package: "iproute2",
        purpose: "cargo xtask lab and bench compare",
        for_tests: true,
        big: false,
    },
    Tool {
        program: "nft",
        package: "nftables",
        purpose: "the NATs of cargo xtask lab",
        for_tests: true,
        big: false,
    },
    Tool {
        program: "chromium",
        package: "chromium",
        purpose: "interop with a browser",
        for_tests: true,
        big: true,
    },
    Tool {
        program: "certutil",
        package: "libnss3-tools",
        purpose: "a browser that trusts the tests' certificates",
        for_tests: true,
        // Small by itself, and of no use without the browser.
        big: true,
    },
    Tool {
        program: "turnserver",
        package: "coturn",
        purpose: "cargo xtask bench compare",
        for_tests: false,
        big: false,
    },
    Tool {
        program: "ethtool",
        package: "ethtool",
        purpose: "cargo xtask bench compare",
        for_tests: false,
        big: false,
    },
];

pub(crate) fn run(arguments: &[String]) -> Outcome {
    match arguments {
        [] => report(),
        [flag] if flag == "--install" => {
            install(&missing_packages(|_| true));
            report();
        }
        _ => return Err(Failure::Usage("see cargo xtask tools --help".to_owned())),
    }
    Ok(())
}

/// Prints one line a tool.
pub(crate) fn report() {
    for tool in &TOOLS {
        let state = if process::which(tool.program).is_some() {
            "here   "
        } else {
            "missing"
        };
        println!("tool {state} {:<18} {}", tool.program, tool.purpose);
    }
    let packages = missing_packages(|tool| tool.for_tests);
    if !packages.is_empty() {
        println!(
            "note: tests that need a missing tool will be skipped; to run them: apt-get install {}",
            packages.join(" ")
        );
    }
}

/// Installs what would let more tests run, as far as it is worth that unasked.
pub(crate) fn install_missing() {
    install(&missing_packages(|tool| tool.for_tests && !tool.big));
}

/// Installs packages, where we may and know how to.
fn install(packages: &[&str]) {
    if packages.is_empty() || !process::is_root() || process::which("apt-get").is_none() {
        return;
    }
    println!(
        "installing {} (this machine's package manager, as root)",
        packages.join(" ")
    );
    // coturn's package would start a TURN server of its own on the default port.
    let _no_services = NoServices::declare();
    let update = apt_get(&["update"]);
    let mut install = vec!["install", "--yes", "--no-install-recommends"];
    install.extend(packages);
    // A stale package list may still know what we need, so a failed update is only said.
    if let Err(reason) = update.and_then(|()| apt_get(&install)) {
        println!("note: {reason}; going on without {}", packages.join(" "));
    }
}

/// The packages of those wanted tools that are not here.
fn missing_packages(wanted: fn(&Tool) -> bool) -> Vec<&'static str> {
    let mut packages: Vec<_> = TOOLS
        .iter()
        .filter(|tool| wanted(tool) && process::which(tool.program).is_none())
        .map(|tool| tool.package)
        .collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

fn apt_get(arguments: &[&str]) -> Result<(), String> {
    let status = Command::new("apt-get")
        .arg("-qq")
        .args([
            "-o",
            "Acquire::Retries=2",
            "-o",
            "Acquire::http::Timeout=20",
        ])
        .args(["-o", "DPkg::Lock::Timeout=60"])
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .map_err(|error| format!("apt-get: {error}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("apt-get {}: {status}", arguments[0]))
    }
}

/// While this lives, installing a package starts no service (Debian policy-rc.d).
struct NoServices {
    ours: bool,
}

impl NoServices {
    const PATH: &'static str = "/usr/sbin/policy-rc.d";

    fn declare() -> Self {
        // `create_new`: a file that somebody else put there stays as it is.
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o755)
            .open(Self::PATH);
        let ours = file
            .and_then(|mut file| file.write_all(b"#!/bin/sh\nexit 101\n"))
            .is_ok();
        Self { ours }
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.ours && Path::new(Self::PATH).exists() && remove_file(Self::PATH).is_err() {
            println!("note: could not remove {}", Self::PATH);
        }
    }
}
