//! A node of the test's own, on ports of its own, with users, an echo policy and a data folder.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use rustix::process::Signal;

use super::http::{self, Answer};
use super::ports::{free_port, has_ipv6};
use super::process::Process;
use super::{SOON, wait_for};

/// The binary under test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_sterna");

pub(crate) const USER: &str = "alice";
pub(crate) const PASSWORD: &str = "correct-horse";
pub(crate) const OTHER_USER: &str = "bob";
pub(crate) const OTHER_PASSWORD: &str = "battery-staple";

/// How often a node is started whose ports others take at the last moment.
const START_TRIES: u32 = 3;

/// A node that runs until it is stopped or dropped.
pub(crate) struct Node {
    pub(crate) process: Process,
    pub(crate) port: u16,
    pub(crate) tls_port: u16,
    pub(crate) admin: SocketAddr,
    folder: tempfile::TempDir,
}

impl Node {
    /// Starts a node with `overrides` as `--set` and waits until it is ready.
    pub(crate) fn start(overrides: &[&str]) -> Self {
        Self::start_by(Command::new(BINARY), overrides)
    }

    /// The same through another program, which becomes the node.
    pub(crate) fn start_by(mut command: Command, overrides: &[&str]) -> Self {
        let mut folder = tempfile::tempdir().expect("a folder");
        command
            .arg("relay")
            .arg("--config")
            .arg(folder.path().join("node.toml"));
        for setting in overrides {
            command.args(["--set", setting]);
        }
        // Settings of whoever runs the tests must not reach the node.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("STERNA_") {
                command.env_remove(name);
            }
        }
        command.current_dir(folder.path());
        for _ in 0..START_TRIES {
            let mut node = Self::start_on_free_ports(&mut command, folder);
            match node.wait_until_ready() {
                Ok(()) => return node,
                // Between our look and the node's bind, somebody else's process was faster.
                Err(text) if text.contains("is in use by another process") => folder = node.folder,
                Err(text) => panic!("the node ended at once: {text}"),
            }
        }
        panic!("the node's ports were taken {START_TRIES} times");
    }

    fn start_on_free_ports(command: &mut Command, folder: tempfile::TempDir) -> Self {
        let (port, tls_port, admin_port) = (free_port(), free_port(), free_port());
        let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, admin_port));
        let configuration = configuration(folder.path(), port, tls_port, admin);
        fs::write(folder.path().join("node.toml"), configuration).expect("a configuration");
        Self {
            process: Process::start(command).expect("the node"),
            port,
            tls_port,
            admin,
            folder,
        }
    }

    /// Waits for that, or returns how the node has ended.
    fn wait_until_ready(&mut self) -> Result<(), String> {
        wait_for("the node to be ready", SOON, || {
            if let Some(status) = self.process.ended() {
                return Some(Err(format!("{status}\n{}", self.process.written())));
            }
            let answer = http::request(self.admin, "GET", "/readyz", "")?;
            (answer.status == 200).then_some(Ok(()))
        })
    }

    pub(crate) fn user(&self) -> &'static str {
        USER
    }

    pub(crate) fn password(&self) -> &'static str {
        PASSWORD
    }

    pub(crate) fn v4(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    pub(crate) fn v6(&self) -> SocketAddr {
        SocketAddr::from((Ipv6Addr::LOCALHOST, self.port))
    }

    pub(crate) fn config_file(&self) -> PathBuf {
        self.folder.path().join("node.toml")
    }

    /// The folder of its data, its configuration and whatever the test lays beside them.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Changes the configuration file, for a reload.
    pub(crate) fn edit_config(&self, change: impl FnOnce(String) -> String) {
        let before = fs::read_to_string(self.config_file()).expect("the configuration");
        let after = change(before.clone());
        assert_ne!(before, after, "the edit changes nothing");
        fs::write(self.config_file(), after).expect("the configuration");
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        http::request(self.admin, "GET", path, "")
            .unwrap_or_else(|| panic!("GET {path}: no answer"))
    }

    pub(crate) fn post(&self, path: &str, body: &str) -> Answer {
        http::request(self.admin, "POST", path, body)
            .unwrap_or_else(|| panic!("POST {path}: no answer"))
    }

    /// A sample of /metrics, summed over its labels; 0 where it is not there yet.
    pub(crate) fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        http::metric(&self.get("/metrics").body, name, labels).unwrap_or(0.0)
    }

    /// Waits until a sample is at least this high: the page may show a moment ago.
    pub(crate) fn wait_for_metric(&self, name: &str, labels: &[&str], at_least: f64) {
        wait_for(&format!("{name} {labels:?} of {at_least}"), SOON, || {
            (self.metric(name, labels) >= at_least).then_some(())
        });
    }

    /// Resident memory in bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        resident_bytes(self.process.id())
    }

    /// Ends an idle node as an operator does, and checks that it ends well.
    pub(crate) fn stop(mut self) {
        self.process.signal(Signal::INT);
        // SIGINT drains for at most five seconds.
        let status = self.process.wait(SOON + Duration::from_secs(5));
        assert!(
            status.success(),
            "the node ended with {status}\n{}",
            self.process.written()
        );
    }

    /// Ends a node that still has allocations, and checks that it was alive until now.
    pub(crate) fn stop_now(mut self) {
        assert!(
            self.process.ended().is_none(),
            "the node had ended:\n{}",
            self.process.written()
        );
        // Signals that come together may count as one, so it is told until it goes.
        wait_for("the end of the node", SOON, || {
            self.process.signal(Signal::TERM);
            self.process.ended()
        });
    }

    /// Waits for its end after a signal of the test's own.
    pub(crate) fn wait(&mut self, within: Duration) -> ExitStatus {
        self.process.wait(within)
    }
}

/// Resident memory of a process, from the kernel's own account.
pub(crate) fn resident_bytes(id: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).expect("a living process");
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
    kib.and_then(|kib| kib.trim().parse::<u64>().ok())
        .expect("VmRSS")
        * 1024
}

/// Loopback in both families; loopback peers allowed, since tests have no others.
fn configuration(folder: &Path, port: u16, tls_port: u16, admin: SocketAddr) -> String {
    let listen = |port: u16| {
        let mut addrs = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, port)).to_string()];
        if has_ipv6() {
            addrs.push(SocketAddr::from((IpAddr::from(Ipv6Addr::LOCALHOST), port)).to_string());
        }
        format!("{addrs:?}")
    };
    format!(
        "[node]\n\
         data_dir = {:?}\n\
         [turn]\n\
         listen = {}\n\
         tls_listen = {}\n\
         realm = \"sterna\"\n\
         [auth]\n\
         users = [\n\
         {{ name = {USER:?}, password = {PASSWORD:?} }},\n\
         {{ name = {OTHER_USER:?}, password = {OTHER_PASSWORD:?} }},\n\
         ]\n\
         [peers]\n\
         allow = [\"127.0.0.0/8\", \"::1/128\"]\n\
         deny = []\n\
         [admin]\n\
         listen = \"{admin}\"\n",
        folder.join("data"),
        listen(port),
        listen(tls_port),
    )
}
