//! Control services of a test's own: the real program, on a port of its own.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use sterna_control_api::device::RegisterDevice;
use sterna_control_api::node::{Capacity, RegisterNode, Services};
use sterna_control_api::{DeviceIdentity, DeviceKey, NodeId, RelayKey, SigningKey};
use sterna_control_client::{Caller, ControlClient, Options};

use super::ports::free_port;
use super::process::Process;
use super::{SOON, http, wait_for};

/// A `sterna control` that runs, or was killed and can be started again.
pub(crate) struct Control {
    process: Process,
    addr: SocketAddr,
    folder: tempfile::TempDir,
}

impl Control {
    /// Starts a service over a database (empty: SQLite in its folder) and waits until it is ready.
    pub(crate) fn start(database: &str, key_file: Option<&Path>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let key_file = key_file.map_or(String::new(), |path| {
            format!("key_file = \"{}\"\n", path.display())
        });
        let configuration = format!(
            "[control]\nlisten = \"{addr}\"\ndata_dir = \"{}\"\nfleet = \"test\"\n\
             [database]\nurl = \"{database}\"\n{key_file}\
             [limits]\nrequests_per_address_per_s = 100000\nrequests_per_caller_per_s = 100000\n",
            folder.path().join("data").display(),
        );
        fs::write(folder.path().join("control.toml"), configuration).expect("a configuration");
        let process = run(folder.path());
        let mut control = Self {
            process,
            addr,
            folder,
        };
        control.wait_until_ready();
        control
    }

    /// Starts it again, over the same database and on the same port.
    pub(crate) fn start_again(&mut self) {
        self.process = run(self.folder.path());
        self.wait_until_ready();
    }

    fn wait_until_ready(&mut self) {
        wait_for("the control service to be ready", SOON, || {
            if let Some(status) = self.process.ended() {
                panic!("it ended: {status}\n{}", self.process.written());
            }
            let answer = http::request(self.addr, "GET", "/readyz", "")?;
            (answer.status == 200).then_some(())
        });
    }

    /// Ends it with SIGKILL, in the middle of whatever it does.
    pub(crate) fn kill(&mut self) {
        self.process.signal(Signal::KILL);
        self.process.wait(SOON);
    }

    /// The key that secrets in the database are encrypted with.
    pub(crate) fn key_file(&self) -> PathBuf {
        self.folder.path().join("data/control.key")
    }

    /// A client of this service.
    pub(crate) fn client(&self, caller: Caller) -> ControlClient {
        let url = format!("http://{}", self.addr);
        ControlClient::new(&url, caller, &Options::default()).expect("a client")
    }

    /// The first administrator, whose token lies in the folder of the first service on a database.
    pub(crate) fn administrator(&self) -> Caller {
        let token = fs::read_to_string(self.folder.path().join("data/admin.token"));
        Caller::Bearer(token.expect("the first token").trim().to_owned())
    }
}

fn run(folder: &Path) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sterna"));
    command
        .arg("control")
        .arg("--config")
        .arg(folder.join("control.toml"))
        .current_dir(folder);
    // Settings of whoever runs the tests must not reach the service.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("STERNA_") {
            command.env_remove(name);
        }
    }
    Process::start(&mut command).expect("the control service")
}

/// A new identity.
pub(crate) fn fresh_key() -> SigningKey {
    SigningKey::from_seed(&rand::random())
}

/// What a node says of itself.
pub(crate) fn node_of(key: &SigningKey) -> RegisterNode {
    let identity = NodeId(key.verifying_key().to_bytes());
    let address = vec!["192.0.2.1:3478".parse().expect("an address")];
    RegisterNode {
        identity,
        noise_key: RelayKey(rand::random()),
        name: format!("node-{}", key.id()),
        region: "default".to_owned(),
        version: "0.1.0".to_owned(),
        services: Services {
            stun: address.clone(),
            udp: address,
            ..Services::default()
        },
        capacity: Capacity {
            workers: 1,
            relay_ports: 1000,
        },
    }
}

/// What a device says of itself.
pub(crate) fn device_of(key: &SigningKey) -> RegisterDevice {
    RegisterDevice {
        identity: DeviceIdentity(key.verifying_key().to_bytes()),
        device_key: DeviceKey(rand::random()),
        relay_key: RelayKey(rand::random()),
        name: format!("device-{}", key.id()),
        platform: "linux".to_owned(),
        version: "0.1.0".to_owned(),
        nat: Default::default(),
    }
}
