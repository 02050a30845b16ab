//! The node that is measured: one of our own on loopback, or one that is described in a file.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sterna_client::relay::Node;
use sterna_control_api::SigningKey;
use sterna_control_api::relay_map::NodeState;
use sterna_relay::flow::Identity;

use super::{FlowArgs, Issuer, Tickets};
use crate::BenchError;

/// How long the node may take to listen.
const START_PATIENCE: Duration = Duration::from_secs(10);
/// How often one is started whose ports somebody else has taken meanwhile.
const START_TRIES_MAX: u32 = 3;
/// How often it is looked whether it listens.
const LOOK: Duration = Duration::from_millis(20);

/// What the node says, in its directory.
const LOG: &str = "log";

/// A node of our own; it ends with this.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    issuer: Issuer,
    /// Its keys, its configuration and its log; removed with it.
    directory: tempfile::TempDir,
}

/// Its listeners: TURN's and the `udp` rung's, `quic`, `wss`.
struct Ports([u16; 3]);

impl Server {
    /// Starts a node on free ports and waits until it listens.
    pub(crate) fn start(args: &FlowArgs) -> Result<Self, BenchError> {
        let mut tries = 1;
        loop {
            match Self::try_start(args) {
                Err(BenchError::Failed { .. }) if tries < START_TRIES_MAX => tries += 1,
                started => return started,
            }
        }
    }

    pub(crate) fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn try_start(args: &FlowArgs) -> Result<Self, BenchError> {
        let directory = tempfile::tempdir()?;
        let ports = Ports::free()?;
        let key = SigningKey::from_seed(&rand::random());
        let config = directory.path().join("sterna.toml");
        fs::write(&config, config_text(args, directory.path(), &ports, &key))?;
        // The keys are there before the node is, so that nobody has to ask it for them.
        let identity = Identity::load(&directory.path().join("data"))
            .map_err(|error| failed(&error.to_string()))?;
        let log = File::create(directory.path().join(LOG))?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("relay").arg("--config").arg(&config);
        // What is set for other nodes is not meant for this one.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("STERNA_") {
                command.env_remove(name);
            }
        }
        command
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let mut server = Self {
            child: command.spawn()?,
            issuer: Issuer {
                node: node(&identity, &ports),
                tickets: Tickets::Signed {
                    fleet: args.fleet,
                    key: Box::new(key),
                },
            },
            directory,
        };
        server.wait_until_it_listens(&ports)?;
        Ok(server)
    }

    fn wait_until_it_listens(&mut self, ports: &Ports) -> Result<(), BenchError> {
        let end = Instant::now() + START_PATIENCE;
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait()? {
                let said = fs::read_to_string(self.directory.path().join(LOG)).unwrap_or_default();
                return Err(failed(&format!("ended with {status}: {}", said.trim())));
            }
            if TcpStream::connect_timeout(&loopback(ports.0[2]), LOOK).is_ok() {
                return Ok(());
            }
            std::thread::sleep(LOOK);
        }
        Err(failed("does not listen"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It holds nothing that outlives the run, so there is nothing to drain.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ports {
    /// Three that are free for UDP and TCP at this moment.
    fn free() -> Result<Self, BenchError> {
        let mut held = Vec::new();
        let mut ports = [0; 3];
        for port in &mut ports {
            let tcp = TcpListener::bind(loopback(0))?;
            *port = tcp.local_addr()?.port();
            // A port whose UDP half is taken makes the node end at once, and the next try is on others.
            held.push((tcp, UdpSocket::bind(loopback(*port))));
        }
        Ok(Self(ports))
    }
}

/// A node that somebody else runs.
pub(super) fn given(args: &FlowArgs) -> Result<Issuer, BenchError> {
    let (Some(node), Some(key)) = (&args.node, &args.ticket_key) else {
        return Err(BenchError::Usage("--node and --ticket-key belong together"));
    };
    let of = |path: &Path, why: String| BenchError::Failed {
        what: path.display().to_string(),
        why,
    };
    let read = |path: &Path| fs::read_to_string(path).map_err(|error| of(path, error.to_string()));
    Ok(Issuer {
        node: serde_json::from_str(&read(node)?).map_err(|error| of(node, error.to_string()))?,
        tickets: Tickets::Signed {
            fleet: args.fleet,
            key: Box::new(
                read(key)?
                    .parse()
                    .map_err(|error: sterna_control_api::KeyError| of(key, error.to_string()))?,
            ),
        },
    })
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn failed(why: &str) -> BenchError {
    BenchError::Failed {
        what: "the node".to_owned(),
        why: why.to_owned(),
    }
}

fn node(identity: &Identity, ports: &Ports) -> Node {
    let [udp, quic, wss] = ports.0.map(|port| vec![loopback(port)]);
    Node {
        name: "bench".to_owned(),
        identity: identity.node_id(),
        noise_key: identity.noise_key(),
        state: NodeState::Ready,
        load: 0,
        stun: udp.clone(),
        udp,
        quic,
        wss,
        host: String::new(),
        pins: Vec::new(),
    }
}

/// All devices are one prefix here, so its caps are off.
fn config_text(args: &FlowArgs, directory: &Path, ports: &Ports, key: &SigningKey) -> String {
    let [udp, quic, wss] = ports.0.map(loopback);
    let engine = match args.engine {
        crate::EngineArg::Auto => "auto",
        crate::EngineArg::Uring => "uring",
        crate::EngineArg::Mmsg => "mmsg",
    };
    format!(
        "[node]\nworkers = {workers}\nengine = \"{engine}\"\ndata_dir = {data:?}\n\
         [turn]\nlisten = [\"{udp}\"]\n\
         [flow]\nfleet = \"{fleet}\"\nticket_keys = [\"{public}\"]\nquic_listen = [\"{quic}\"]\nwss_listen = [\"{wss}\"]\n\
         [auth]\nusers = [{{ name = \"bench\", password = \"{password:016x}\" }}]\n\
         [limits]\nflow_handshakes_per_prefix_per_s = 0\nflow_handshakes_per_s = 0\nflow_connections_per_prefix_max = 0\n\
         unauthenticated_replies_per_prefix_per_s = 0\n\
         [admin]\nlisten = \"127.0.0.1:0\"\n\
         [log]\nlevel = \"warn\"\n",
        workers = args.workers,
        data = directory.join("data"),
        fleet = args.fleet,
        public = key.verifying_key(),
        password = rand::random::<u64>(),
    )
}
