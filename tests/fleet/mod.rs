//! A fleet of the test's own: a control service, nodes that register with it, devices that enrol.
#![allow(dead_code, unreachable_pub)]

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::process::Signal;
use sterna_client::control::{Account, DeviceKeys, Following, Options, Terms};
use sterna_client::relay::{Event, Mark, Packet, Relay, Rung};
use sterna_control_api::access::{NewEnrolmentKey, NewJoinToken};
use sterna_control_api::device::NatReport;
use sterna_control_api::node::NodeView;
use sterna_control_api::region::Region;
use sterna_control_api::{DeviceKey, GroupId, NodeId, TenantId};
use sterna_control_client::{Caller, ControlClient, Filter};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

use crate::common::http::{self, Answer};
use crate::common::node::BINARY;
use crate::common::ports::free_port;
use crate::common::process::Process;
use crate::common::{SOON, wait_for};

/// Seconds between two heartbeats: as short as they may be, so that nothing takes long.
pub const INTERVAL: Duration = Duration::from_secs(1);

/// Between two looks at something that nobody tells of.
const LOOK: Duration = Duration::from_millis(10);

fn loopback() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()))
}

/// Our binary, without the settings of whoever runs the tests.
pub fn sterna() -> Command {
    let mut command = Command::new(BINARY);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("STERNA_") {
            command.env_remove(name);
        }
    }
    command
}

/// A control service on SQLite.
pub struct Service {
    pub process: Process,
    pub client: ControlClient,
    pub url: String,
    pub addr: SocketAddr,
    folder: tempfile::TempDir,
}

impl Service {
    pub fn start() -> Self {
        Self::start_with(INTERVAL)
    }

    /// Starts one whose nodes report in this interval.
    pub fn start_with(interval: Duration) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let addr = loopback();
        let data_dir = folder.path().join("control");
        let mut command = sterna();
        command.arg("control").current_dir(folder.path());
        for setting in [
            format!("control.listen={addr}"),
            format!("control.data_dir={}", data_dir.display()),
            format!("heartbeat.interval_s={}", interval.as_secs()),
            "limits.attempts_per_address_per_min=10000".to_owned(),
        ] {
            command.args(["--set", &setting]);
        }
        let mut process = Process::start(&mut command).expect("the control service");
        wait_for("the control service to be ready", SOON, || {
            assert!(process.ended().is_none(), "{}", process.written());
            let answer = http::request(addr, "GET", "/readyz", "")?;
            (answer.status == 200).then_some(())
        });
        let token = fs::read_to_string(data_dir.join("admin.token")).expect("the first token");
        let url = format!("http://{addr}");
        let caller = Caller::Bearer(token.trim().to_owned());
        let client = ControlClient::new(&url, caller, &Options::default()).expect("a client");
        Self {
            process,
            client,
            url,
            addr,
            folder,
        }
    }

    /// What an operator's command says, which must do what it was asked to.
    pub fn sterna(&self, arguments: &[&str]) -> String {
        let mut command = sterna();
        command
            .args(arguments)
            .env("STERNA_CONTROL_URL", &self.url)
            .arg("--token-file")
            .arg(self.folder.path().join("control/admin.token"));
        let mut process = Process::start(&mut command).expect("the command");
        let status = process.wait(SOON);
        let said = process.written();
        assert!(status.success(), "{arguments:?}: {said}");
        said
    }

    pub async fn add_region(&self, code: &str) {
        let region = Region {
            code: code.to_owned(),
            name: code.to_uppercase(),
            location: None,
            weight: 100,
        };
        self.client.add_region(&region).await.expect("a region");
    }

    pub async fn join_token(&self, region: &str) -> String {
        let request = NewJoinToken {
            region: region.to_owned(),
            uses_max: 1,
            ttl_s: 600,
            note: String::new(),
        };
        let made = self.client.make_join_token(&request).await;
        made.expect("a join token").token
    }

    pub async fn enrolment_key(&self) -> String {
        let request = NewEnrolmentKey {
            tenant: TenantId(1),
            groups: vec![GroupId(1)],
            tags: Vec::new(),
            uses_max: 0,
            ttl_s: 600,
            note: String::new(),
        };
        let made = self.client.make_enrolment_key(&request).await;
        made.expect("an enrolment key").token
    }

    /// Enrols a device.
    pub async fn account(&self, key: &str, name: &str) -> Account {
        let terms = Terms {
            url: self.url.clone(),
            enrolment_key: Some(key.to_owned()),
            name: name.to_owned(),
            nat: NatReport::default(),
            options: Options::default(),
        };
        let account = Account::enrol(DeviceKeys::generate(), terms).await;
        account.expect("an account")
    }

    pub async fn nodes(&self) -> Vec<NodeView> {
        let page = self.client.nodes(&Filter::default()).await;
        page.expect("nodes").items
    }
}

/// A way to the control service that can be shut.
pub struct Gate {
    pub addr: SocketAddr,
    open: watch::Sender<bool>,
}

impl Gate {
    pub async fn to(service: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a gate");
        let addr = listener.local_addr().expect("its address");
        let (open, shut) = watch::channel(true);
        tokio::spawn(async move {
            while let Ok((mut inside, _)) = listener.accept().await {
                let mut shut = shut.clone();
                tokio::spawn(async move {
                    if !*shut.borrow() {
                        return Ok(());
                    }
                    let mut outside = TcpStream::connect(service).await?;
                    tokio::select! {
                        _ = copy_bidirectional(&mut inside, &mut outside) => {}
                        _ = shut.wait_for(|open| !open) => {}
                    }
                    Ok::<_, io::Error>(())
                });
            }
        });
        Self { addr, open }
    }

    pub fn set_open(&self, open: bool) {
        self.open.send_replace(open);
    }
}

/// A node of the fleet.
pub struct FleetNode {
    pub process: Process,
    pub name: String,
    pub admin: SocketAddr,
    pub turn: SocketAddr,
    folder: tempfile::TempDir,
}

impl FleetNode {
    pub fn start(control: SocketAddr, region: &str, token: &str, name: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (turn, quic, wss, admin) = (loopback(), loopback(), loopback(), loopback());
        let config = format!(
            "[node]\nname = {name:?}\nregion = {region:?}\ndata_dir = {:?}\nworkers = 2\ndrain_deadline_s = 15\n\
             [turn]\nlisten = [\"{turn}\"]\n\
             [peers]\nallow = [\"127.0.0.0/8\"]\n\
             [flow]\nquic_listen = [\"{quic}\"]\nwss_listen = [\"{wss}\"]\n\
             [admin]\nlisten = \"{admin}\"\n\
             [control]\nurl = \"http://{control}\"\njoin_token = {token:?}\n",
            folder.path().join("data"),
        );
        fs::write(folder.path().join("node.toml"), config).expect("a configuration");
        let process = run(folder.path());
        let mut node = Self {
            process,
            name: name.to_owned(),
            admin,
            turn,
            folder,
        };
        node.wait_until_ready();
        node
    }

    /// Ends the process as a crash would, and starts it again.
    pub fn restart(&mut self) {
        self.process.signal(Signal::KILL);
        self.process.wait(SOON);
        self.process = run(self.folder.path());
        self.wait_until_ready();
    }

    fn wait_until_ready(&mut self) {
        wait_for("the node to be ready", SOON, || {
            assert!(self.process.ended().is_none(), "{}", self.process.written());
            let answer = http::request(self.admin, "GET", "/readyz", "")?;
            (answer.status == 200).then_some(())
        });
    }

    pub fn get(&self, path: &str) -> Answer {
        http::request(self.admin, "GET", path, "").expect("an answer")
    }

    pub fn metric(&self, name: &str) -> f64 {
        http::metric(&self.get("/metrics").body, name, &[]).unwrap_or_default()
    }

    pub fn orders_file(&self) -> PathBuf {
        self.folder.path().join("data/orders.json")
    }

    pub fn id(&self) -> NodeId {
        let flows = self.get("/flows").json();
        let id = flows["node"].as_str().expect("an identity");
        id.parse().expect("an identity")
    }
}

fn run(folder: &Path) -> Process {
    let mut command = sterna();
    command
        .args(["relay", "--config", "node.toml"])
        .current_dir(folder);
    Process::start(&mut command).expect("the node")
}

/// A device that follows the control service.
pub struct Phone {
    pub key: DeviceKey,
    pub relay: Arc<Relay>,
    pub packets: mpsc::Receiver<Packet>,
    pub events: mpsc::Receiver<Event>,
    _following: Following,
}

impl Phone {
    pub fn start(account: &Account) -> Self {
        let config = account.relay_config(Rung::ALL.to_vec()).expect("nodes");
        let (relay, packets, events) = Relay::start(config);
        let relay = Arc::new(relay);
        let (following, _) = Following::start(account.clone(), Arc::clone(&relay));
        Self {
            key: account.device_key(),
            relay,
            packets,
            events,
            _following: following,
        }
    }

    /// Sends until the other one has it.
    pub async fn reach(&mut self, to: &mut Self, text: &str) {
        let payload = Bytes::from(text.to_owned());
        let reached = async {
            loop {
                let _ = self.relay.send(to.key, Mark::default(), &payload);
                while let Ok(Some(packet)) = timeout(5 * LOOK, to.packets.recv()).await {
                    if packet.peer == self.key && packet.payload == payload {
                        return;
                    }
                }
            }
        };
        if timeout(SOON, reached).await.is_err() {
            panic!("{text}: {:?} to {:?}", self.relay.path(), to.relay.path());
        }
    }

    pub async fn exchange(&mut self, with: &mut Self, text: &str) {
        self.reach(with, text).await;
        with.reach(self, text).await;
    }

    /// The node that peers are reached by, once there is one.
    pub async fn home(&self) -> NodeId {
        let path = timeout(SOON, self.relay.connected()).await;
        path.expect("a path").node
    }
}

/// Polls until `condition` holds; how long that took.
pub async fn until<F: Future<Output = bool>>(
    what: &str,
    within: Duration,
    mut condition: impl FnMut() -> F,
) -> Duration {
    let began = Instant::now();
    while !condition().await {
        assert!(began.elapsed() < within, "{what}: not within {within:?}");
        // The service takes so many requests a second of one caller.
        sleep(5 * LOOK).await;
    }
    began.elapsed()
}
