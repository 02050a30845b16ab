//! The optional tools: programs that we did not write and that the interop tests and the lab use.
//!
//! A missing one makes its tests skip, visibly; it never makes anything fail.

use std::fs::{OpenOptions, remove_file};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::process::{self, Failure, Outcome};

pub(crate) const HELP: &str = "\
Shows which optional tools of the tests are here, and what is missing without them.

Usage: cargo xtask tools [--install]

Options:
  --install   installs the missing ones: as root on a system with apt-get, and where there is
              a Go; elsewhere says what to install. Never fails: a missing tool only makes its tests skip.
              cargo xtask test installs what its tests use by itself, but for the big ones (a
              browser) and, where CI is not \"true\", those that would stay as services (Prometheus).

Example: cargo xtask tools
";

/// One optional tool.
struct Tool {
    program: &'static str,
    source: Source,
    purpose: &'static str,
    /// Whether a test skips without it, so that it is worth installing unasked.
    for_tests: bool,
    /// Who gets it from a run of the tests, without having asked for it.
    unasked: Unasked,
}

/// Who gets a tool without asking.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unasked {
    /// Everybody whose tests would skip.
    Always,
    /// A machine that is there for the tests alone: it would run a server at every start of another one.
    InCi,
    /// Nobody: it is hundreds of megabytes.
    Never,
}

impl Unasked {
    fn is_fine(self) -> bool {
        match self {
            Self::Always => true,
            Self::InCi => std::env::var_os("CI").is_some_and(|ci| ci == "true"),
            Self::Never => false,
        }
    }
}

/// Where a tool comes from.
enum Source {
    /// A package of Debian and Ubuntu.
    Debian(&'static str),
    /// A program of Go's, with its version, as `go install` takes it.
    Go(&'static str),
}

const TOOLS: [Tool; 13] = [
    Tool {
        program: "turnutils_uclient",
        source: Source::Debian("coturn"),
        purpose: "interop with coturn's client",
        for_tests: true,
        unasked: Unasked::Always,
    },
    Tool {
        program: "python3",
        source: Source::Debian("python3"),
        purpose: "a node without io_uring, and what the lab's NATs do",
        for_tests: true,
        unasked: Unasked::Always,
    },
    Tool {
        program: "ip",
        source: Source::Debian("iproute2"),
        purpose: "cargo xtask lab and bench compare",
        for_tests: true,
        unasked: Unasked::Always,
    },
    Tool {
        program: "nft",
        source: Source::Debian("nftables"),
        purpose: "the NATs of cargo xtask lab",
        for_tests: true,
        unasked: Unasked::Always,
    },
    Tool {
        program: "chromium",
        source: Source::Debian("chromium"),
        purpose: "interop with a browser",
        for_tests: true,
        unasked: Unasked::Never,
    },
    Tool {
        program: "certutil",
        source: Source::Debian("libnss3-tools"),
        purpose: "a browser that trusts the tests' certificates",
        for_tests: true,
        // Small by itself, and of no use without the browser.
        unasked: Unasked::Never,
    },
    Tool {
        // What Debian puts into the path; the server itself lies beside its version's programs.
        program: "pg_ctlcluster",
        source: Source::Debian("postgresql"),
        purpose: "the control service's store over PostgreSQL",
        for_tests: true,
        unasked: Unasked::Always,
    },
    Tool {
        program: "promtool",
        source: Source::Debian("prometheus"),
        purpose: "whether the metrics are as Prometheus wants them",
        for_tests: true,
        unasked: Unasked::InCi,
    },
    Tool {
        program: "prometheus",
        source: Source::Debian("prometheus"),
        purpose: "a real Prometheus that scrapes service and node",
        for_tests: true,
        unasked: Unasked::InCi,
    },
    Tool {
        program: "pebble",
        source: Source::Go("github.com/letsencrypt/pebble/v2/cmd/pebble@v2.10.1"),
        purpose: "interop with an ACME authority",
        for_tests: true,
        unasked: Unasked::Always,
    },
    Tool {
        program: "turnserver",
        source: Source::Debian("coturn"),
        purpose: "cargo xtask bench compare",
        for_tests: false,
        unasked: Unasked::Always,
    },
    Tool {
        program: "derper",
        // The newest that the Go of the year before builds.
        source: Source::Go("tailscale.com/cmd/derper@v1.102.5"),
        purpose: "cargo xtask bench derp",
        for_tests: false,
        unasked: Unasked::Always,
    },
    Tool {
        program: "ethtool",
        source: Source::Debian("ethtool"),
        purpose: "cargo xtask bench compare",
        for_tests: false,
        unasked: Unasked::Always,
    },
];

pub(crate) fn run(arguments: &[String]) -> Outcome {
    match arguments {
        [] => report(),
        [flag] if flag == "--install" => {
            install_wanted(|_| true);
            if !schemathesis().exists() {
                install_schemathesis();
            }
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
    let state = if schemathesis().exists() {
        "here   "
    } else {
        "missing"
    };
    println!(
        "tool {state} {:<18} the control service against its document",
        "schemathesis"
    );
    let packages = missing_packages(|tool| tool.for_tests);
    if !packages.is_empty() {
        println!(
            "note: tests that need a missing tool will be skipped; to run them: apt-get install {}",
            packages.join(" ")
        );
    }
    for program in missing_programs(|tool| tool.for_tests) {
        println!("note: tests that need it will be skipped; to run them: go install {program}");
    }
}

/// Installs what would let more tests run, as far as it is worth that unasked.
pub(crate) fn install_missing() {
    install_wanted(|tool| tool.for_tests && tool.unasked.is_fine());
}

/// Where a tool is; it is installed first if that is possible.
pub(crate) fn get(program: &'static str) -> Option<PathBuf> {
    if process::which(program).is_none() {
        for tool in TOOLS.iter().filter(|tool| tool.program == program) {
            match tool.source {
                Source::Debian(package) => install(&[package]),
                Source::Go(source) => go_install(source),
            }
        }
    }
    process::which(program)
}

fn install_wanted(wanted: fn(&Tool) -> bool) {
    install(&missing_packages(wanted));
    for program in missing_programs(wanted) {
        go_install(program);
    }
}

/// What asks the control service everything that its document allows, and much that it does not.
const SCHEMATHESIS: &str = "schemathesis==4.32.5";

/// Its program, in an environment of Python's own.
fn schemathesis() -> PathBuf {
    process::root().join("target/schemathesis/bin/schemathesis")
}

/// Puts it there, where there is a Python and the package index can be reached.
fn install_schemathesis() {
    let Some(python) = process::which("python3") else {
        return;
    };
    println!("installing {SCHEMATHESIS} (pip, into target/schemathesis)");
    let folder = process::root().join("target/schemathesis");
    let made = Command::new(python)
        .args(["-m", "venv"])
        .arg(&folder)
        .stdin(Stdio::null())
        .status();
    let installed = made.and_then(|_| {
        Command::new(folder.join("bin/pip"))
            .args(["install", "--quiet", SCHEMATHESIS])
            .stdin(Stdio::null())
            .status()
    });
    if !installed.is_ok_and(|status| status.success()) {
        println!("note: {SCHEMATHESIS} could not be installed; going on without it");
    }
}

/// Builds a program of Go's into the folder that Go keeps them in, where there is a Go.
fn go_install(program: &str) {
    let Some(go) = process::which("go") else {
        return;
    };
    println!("installing {program} (go install)");
    let status = Command::new(go)
        .args(["install", program])
        .stdin(Stdio::null())
        .status();
    if !status.is_ok_and(|status| status.success()) {
        println!("note: go install {program} failed; going on without it");
    }
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
    let mut packages: Vec<_> = missing(wanted)
        .filter_map(|tool| match tool.source {
            Source::Debian(package) => Some(package),
            Source::Go(_) => None,
        })
        .collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

/// The programs of Go's among them.
fn missing_programs(wanted: fn(&Tool) -> bool) -> Vec<&'static str> {
    let go = missing(wanted).filter_map(|tool| match tool.source {
        Source::Go(program) => Some(program),
        Source::Debian(_) => None,
    });
    go.collect()
}

fn missing(wanted: fn(&Tool) -> bool) -> impl Iterator<Item = &'static Tool> {
    TOOLS
        .iter()
        .filter(move |tool| wanted(tool) && process::which(tool.program).is_none())
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
