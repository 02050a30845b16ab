//! The servers that are compared: how each is started, and when it is ready.

use std::fmt;
use std::fs::{self, File};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clap::ValueEnum;

use super::lab::{GENERATOR_IP, Lab, SERVER_IP, failed};
use crate::BenchError;

/// Where every server listens.
pub(super) const PORT: u16 = 3478;

/// User and password of every server.
pub(super) const USER: &str = "bench";
/// Their password.
pub(super) const PASSWORD: &str = "bench-password";

/// First port of the clients and of the relay sockets of a bare loop, and the peer's port.
pub(super) const CLIENT_PORT: u16 = 20_000;
pub(super) const RELAY_PORT: u16 = 30_000;
pub(super) const PEER_PORT: u16 = 9_000;

/// Flows of a bare loop.
pub(super) const FLOWS: u16 = 100;

/// What a server says, in its directory.
const LOG: &str = "log";

/// How long a server may take to listen.
const START_PATIENCE: Duration = Duration::from_secs(10);

/// How often a server that ends at once is started, and how long is waited in between.
const START_TRIES_MAX: u32 = 10;
const START_PAUSE: Duration = Duration::from_millis(300);

/// How long a server may take to end by itself.
const STOP_PATIENCE: Duration = Duration::from_secs(3);

/// A server that is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Variant {
    /// Debian's coturn, one relay thread.
    Coturn,
    /// Sterna on io_uring, one worker.
    Uring,
    /// Sterna on recvmmsg and sendmmsg, one worker.
    Mmsg,
    /// The bare forwarding loop on tokio.
    Tokio,
    /// The bare forwarding loop on tokio-uring.
    TokioUring,
}

impl Variant {
    /// Whether it is a bare loop that speaks no TURN.
    pub(super) fn is_bare(self) -> bool {
        matches!(self, Self::Tokio | Self::TokioUring)
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Coturn => "coturn",
            Self::Uring => "Sterna (io_uring)",
            Self::Mmsg => "Sterna (mmsg)",
            Self::Tokio => "loop on tokio",
            Self::TokioUring => "loop on tokio-uring",
        })
    }
}

/// Tells what is missing before anything is measured.
pub(super) fn check_tools(variants: &[Variant]) -> Result<(), BenchError> {
    let has = |tool: &str| {
        let found = Command::new("sh")
            .args(["-c", &format!("command -v {tool}")])
            .stdout(Stdio::null())
            .status();
        found.is_ok_and(|status| status.success())
    };
    let needed = [
        (
            "turnserver",
            variants.contains(&Variant::Coturn),
            "coturn is not installed: apt-get install coturn",
        ),
        (
            "ethtool",
            true,
            "ethtool is not installed: apt-get install ethtool",
        ),
        ("ip", true, "ip is not installed: apt-get install iproute2"),
        (
            "taskset",
            true,
            "taskset is not installed: apt-get install util-linux",
        ),
    ];
    for (tool, is_needed, remedy) in needed {
        if is_needed && !has(tool) {
            return Err(BenchError::Missing(remedy));
        }
    }
    Ok(())
}

/// A running server.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) variant: Variant,
    child: Child,
    /// What it needs in the file system; removed with it.
    directory: tempfile::TempDir,
}

impl Server {
    /// Starts a server and waits until it listens. The kernel may hold the port of the last one for
    /// a moment, so a server that ends at once is given further tries.
    pub(super) fn start(lab: &Lab, variant: Variant) -> Result<Self, BenchError> {
        let mut tries = 1;
        loop {
            match Self::try_start(lab, variant) {
                Err(BenchError::Failed { .. }) if tries < START_TRIES_MAX => {
                    tries += 1;
                    std::thread::sleep(START_PAUSE);
                }
                started => return started,
            }
        }
    }

    fn try_start(lab: &Lab, variant: Variant) -> Result<Self, BenchError> {
        let directory = tempfile::tempdir()?;
        let program = command_line(variant, directory.path())?;
        let log = File::create(directory.path().join(LOG))?;
        let child = lab.start_server(&program, log)?;
        let mut server = Self {
            variant,
            child,
            directory,
        };
        server.wait_until_it_listens()?;
        Ok(server)
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn wait_until_it_listens(&mut self) -> Result<(), BenchError> {
        let end = Instant::now() + START_PATIENCE;
        let wanted = format!(":{PORT:04X} ");
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait()? {
                let said = fs::read_to_string(self.directory.path().join(LOG)).unwrap_or_default();
                let why = format!("ended with {status}: {}", said.trim());
                return Err(failed(&self.variant.to_string(), &why));
            }
            // The sockets of the child's own namespace, once it has entered it.
            let sockets = fs::read_to_string(format!("/proc/{}/net/udp", self.pid()));
            let is_server = fs::read_to_string(format!("/proc/{}/comm", self.pid()));
            let is_server = is_server.is_ok_and(|name| !matches!(name.trim(), "ip" | "taskset"));
            if is_server && sockets.is_ok_and(|sockets| sockets.contains(&wanted)) {
                // One socket is bound; give a second one, and the loop behind it, a moment.
                std::thread::sleep(Duration::from_millis(200));
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err(failed(&self.variant.to_string(), &"does not listen"))
    }

    /// Ends the server: politely, then not.
    pub(super) fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        // SIGINT ends each of them without a drain worth waiting for.
        let _ = Command::new("kill")
            .args(["-INT", &self.pid().to_string()])
            .status();
        let end = Instant::now() + STOP_PATIENCE;
        while Instant::now() < end {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn command_line(variant: Variant, directory: &std::path::Path) -> Result<Vec<String>, BenchError> {
    let own = std::env::current_exe()?.display().to_string();
    let line = match variant {
        Variant::Coturn => coturn(directory),
        Variant::Uring => sterna(&own, "uring", directory)?,
        Variant::Mmsg => sterna(&own, "mmsg", directory)?,
        Variant::Tokio => bare_loop(&own, "tokio"),
        Variant::TokioUring => bare_loop(&own, "tokio-uring"),
    };
    Ok(line.split_whitespace().map(str::to_owned).collect())
}

fn coturn(directory: &std::path::Path) -> String {
    let directory = directory.display();
    format!(
        "turnserver -n -m 1 --no-cli --no-tls --no-dtls --no-tcp --fingerprint --lt-cred-mech \
         --realm bench --user {USER}:{PASSWORD} -L {SERVER_IP} -E {SERVER_IP} -p {PORT} \
         --min-port 49152 --max-port 65535 --no-stdout-log --log-file /dev/null \
         --pidfile {directory}/pid --userdb {directory}/db"
    )
}

fn sterna(own: &str, engine: &str, directory: &std::path::Path) -> Result<String, BenchError> {
    let config = directory.join("sterna.toml");
    fs::write(
        &config,
        format!(
            "[node]\nworkers = 1\nengine = \"{engine}\"\ndata_dir = \"{directory}\"\n\
             [turn]\nlisten = [\"{SERVER_IP}:{PORT}\"]\nrealm = \"bench\"\n\
             [auth]\nusers = [{{ name = \"{USER}\", password = \"{PASSWORD}\" }}]\n\
             [peers]\nallow = [\"{SERVER_IP}/24\"]\n\
             [limits]\nallocations_per_user_max = 0\nallocations_per_prefix_max = 0\n\
             unauthenticated_replies_per_prefix_per_s = 0\n\
             [log]\nlevel = \"warn\"\n",
            directory = directory.display(),
        ),
    )?;
    Ok(format!("{own} relay --config {}", config.display()))
}

fn bare_loop(own: &str, runtime: &str) -> String {
    format!(
        "{own} bench baseline --runtime {runtime} --listen {SERVER_IP}:{PORT} --flows {FLOWS} \
         --client {GENERATOR_IP}:{CLIENT_PORT} --relay-port {RELAY_PORT} \
         --peer {GENERATOR_IP}:{PEER_PORT}"
    )
}
