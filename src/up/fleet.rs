//! The fleet of a first look: a control service in this process, which lets the node in, and the devices
//! of the self-check, as it would those of anybody.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sterna_bench::Credentials;
use sterna_bench::flow::{Admission, Tickets};
use sterna_client::control::{Account, AccountError, DeviceKeys, Options, Terms};
use sterna_control::config::{self, DEFAULT_PORT};
use sterna_control::{Control, StartError};
use sterna_control_api::access::{NewEnrolmentKey, NewJoinToken};
use sterna_control_api::credentials::TurnRequest;
use sterna_control_api::device::NatReport;
use sterna_control_api::node::NodeStatus;
use sterna_control_api::problem::Code;
use sterna_control_api::{GroupId, NodeId, TenantId};
use sterna_control_client::{Caller, ControlClient};
use sterna_relay::flow::Identity;

use super::first_look::{kept, write_private};
use crate::Failure;

/// The region that a control service has at first.
pub(super) const REGION: &str = "default";

/// In the data directory: the service's own, and what it has given out.
const CONTROL_DIR: &str = "control";
const JOIN_TOKEN_FILE: &str = "first-look.join-token";
const ENROLMENT_FILE: &str = "first-look.enrolment-key";
const DEVICES_DIR: &str = "first-look.devices";

/// How long a node has to use its token.
const JOIN_TTL_S: u32 = 600;
/// How long devices may enrol with the key that the summary shows.
const ENROLMENT_TTL_S: u32 = 30 * 86_400;

/// How long the node may take until it is in the relay map.
const READY_MAX: Duration = Duration::from_secs(3);
/// How often it is looked.
const LOOK: Duration = Duration::from_millis(25);

/// A running control service, and how to call it.
pub(super) struct Fleet {
    control: Control,
    client: ControlClient,
    url: String,
    data_dir: PathBuf,
    /// The token that lets the node in.
    pub(super) join_token_file: PathBuf,
    /// A port that was not to be had, in words.
    pub(super) notes: Vec<String>,
}

impl Fleet {
    /// Starts the service, on its usual port where that is free.
    pub(super) async fn start(data_dir: &Path) -> Result<Self, Failure> {
        let (control, notes) = start(data_dir).await?;
        let url = format!("http://{}", control.local_addr());
        let token_file = control.admin_token_file();
        let token = fs::read_to_string(&token_file).map_err(|error| {
            Failure::Failed(format!(
                "{}: {error}; it is the administrator's token: put it back, or name another directory with --data-dir",
                token_file.display()
            ))
        })?;
        let caller = Caller::Bearer(token.trim().to_owned());
        let client = ControlClient::new(&url, caller, &Options::default());
        let client = client.map_err(|error| Failure::Failed(error.to_string()))?;
        Ok(Self {
            control,
            client,
            url,
            data_dir: data_dir.to_owned(),
            join_token_file: data_dir.join(JOIN_TOKEN_FILE),
            notes,
        })
    }

    /// Where the service is.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Leaves a join token for the node, unless the service knows it from an earlier start.
    pub(super) async fn invite_node(&self) -> Result<(), Failure> {
        let known = match Identity::read(&self.data_dir) {
            Ok(identity) => match self.client.node(&identity.node_id()).await {
                Ok(_) => true,
                Err(error) if error.code() == Some(Code::NotFound) => false,
                Err(error) => return Err(failed("the control service", &error)),
            },
            Err(_) => false,
        };
        if known {
            return Ok(());
        }
        let request = NewJoinToken {
            region: REGION.to_owned(),
            uses_max: 1,
            ttl_s: JOIN_TTL_S,
            note: "the node of `sterna up`".to_owned(),
        };
        let made = self.client.make_join_token(&request).await;
        let made = made.map_err(|error| failed("a join token", &error))?;
        let file = &self.join_token_file;
        let _ = fs::remove_file(file);
        write_private(file, &made.token)
            .map_err(|error| Failure::Failed(format!("{}: {error}", file.display())))
    }

    /// Waits until devices are told of the node.
    pub(super) async fn node_is_ready(&self, node: NodeId) -> Result<(), Failure> {
        let give_up = Instant::now() + READY_MAX;
        loop {
            let seen = match self.client.node(&node).await {
                Ok(view) if view.status == NodeStatus::Ready => return Ok(()),
                Ok(view) => format!("it is {:?}", view.status).to_lowercase(),
                Err(error) => error.to_string(),
            };
            if Instant::now() >= give_up {
                return Err(Failure::Failed(format!(
                    "the node is not in the relay map: {seen}; the node's log says more (--set log.level=info)"
                )));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The key that devices enrol with: the one of the last start, or a new one.
    pub(super) async fn enrolment_key(&self) -> Result<String, Failure> {
        let file = self.data_dir.join(ENROLMENT_FILE);
        if let Ok(text) = fs::read_to_string(&file) {
            return Ok(text.trim().to_owned());
        }
        let request = NewEnrolmentKey {
            tenant: TenantId(1),
            groups: vec![GroupId(1)],
            tags: Vec::new(),
            uses_max: 0,
            ttl_s: ENROLMENT_TTL_S,
            note: "devices of `sterna up`".to_owned(),
        };
        let made = self.client.make_enrolment_key(&request).await;
        let made = made.map_err(|error| failed("an enrolment key", &error))?;
        kept(&file, || made.token.clone())
            .map_err(|error| Failure::Failed(format!("{}: {error}", file.display())))
    }

    /// Enrols a device of the self-check, which stays the same from start to start.
    pub(super) async fn device(&self, number: usize) -> Result<Account, Failure> {
        let dir = self.data_dir.join(DEVICES_DIR);
        fs::create_dir_all(&dir)
            .map_err(|error| Failure::Failed(format!("{}: {error}", dir.display())))?;
        let keys = DeviceKeys::load_or_make(&dir.join(format!("{number}.json")));
        let keys = keys.map_err(|error| Failure::Failed(error.to_string()))?;
        let key = self.enrolment_key().await?;
        match self.enrol(keys.clone(), number, key).await {
            // The key has run out, or is another database's.
            Err(AccountError::Call(error)) if error.code() == Some(Code::Unauthorized) => {
                let _ = fs::remove_file(self.data_dir.join(ENROLMENT_FILE));
                let key = self.enrolment_key().await?;
                self.enrol(keys, number, key).await
            }
            other => other,
        }
        .map_err(|error| Failure::Failed(format!("the self-check's device: {error}")))
    }

    async fn enrol(
        &self,
        keys: DeviceKeys,
        number: usize,
        enrolment_key: String,
    ) -> Result<Account, AccountError> {
        let terms = Terms {
            url: self.url.clone(),
            enrolment_key: Some(enrolment_key),
            name: format!("self-check-{number}"),
            nat: NatReport::default(),
            options: Options::default(),
        };
        Account::enrol(keys, terms).await
    }

    /// TURN credentials, as a device gets them.
    pub(super) async fn turn_credentials(&self) -> Result<Credentials, Failure> {
        let device = self.device(0).await?;
        let given = device.turn_credentials(&TurnRequest::default()).await;
        let given = given.map_err(|error| Failure::Failed(format!("TURN credentials: {error}")))?;
        let server = given.ice_servers.into_iter().find_map(|server| {
            Some(Credentials {
                username: server.username?,
                password: server.credential?,
            })
        });
        server.ok_or_else(|| {
            Failure::Failed("the control service gives no TURN credentials; see its log".to_owned())
        })
    }

    /// Tickets for so many devices, as they get them.
    pub(super) async fn tickets(&self, devices: usize) -> Result<Tickets, Failure> {
        let mut admissions = Vec::with_capacity(devices);
        for number in 1..=devices {
            let device = self.device(number).await?;
            admissions.push(Admission {
                key: device.device_key(),
                secret: device.relay_secret(),
                ticket: device.ticket().to_vec(),
            });
        }
        Ok(Tickets::Given(Arc::new(Mutex::new(admissions))))
    }

    /// The summary's part.
    pub(super) fn lines(&self) -> Vec<String> {
        vec![
            format!("control   {}", self.url),
            format!("token     {}", self.control.admin_token_file().display()),
        ]
    }

    /// The same for programs.
    pub(super) fn to_json(&self) -> Value {
        json!({
            "url": self.url,
            "admin_token": self.control.admin_token_file(),
            "enrolment_key": self.data_dir.join(ENROLMENT_FILE),
        })
    }

    /// What to try by hand.
    pub(super) fn next_steps(&self) -> Vec<String> {
        let shown = |path: &Path| path.display().to_string();
        let (url, key) = (&self.url, shown(&self.data_dir.join(ENROLMENT_FILE)));
        let token = shown(&self.control.admin_token_file());
        let ping = format!("    sterna client flow ping --control {url} --enrol {key}");
        vec![
            "  the fleet, as its operator sees it:".to_owned(),
            format!("    sterna nodes list --url {url} --token-file {token}"),
            "  two devices that enrol with the control service, and meet at the node:".to_owned(),
            format!("{ping} --device b.json --answer &"),
            format!("{ping} --device a.json --peer b"),
        ]
    }

    /// Ends the service, behind the node.
    pub(super) async fn stop(self) {
        self.control.stop().await;
    }
}

async fn start(data_dir: &Path) -> Result<(Control, Vec<String>), Failure> {
    let usual = configured(data_dir, DEFAULT_PORT);
    match Control::start(usual).await {
        Ok(control) => Ok((control, Vec::new())),
        Err(StartError::InUse(_)) => {
            let note = format!(
                "TCP port {DEFAULT_PORT} is taken, so the control service is on another one, this time"
            );
            let control = Control::start(configured(data_dir, 0)).await;
            Ok((control.map_err(|error| not_started(&error))?, vec![note]))
        }
        Err(error) => Err(not_started(&error)),
    }
}

fn not_started(error: &StartError) -> Failure {
    Failure::Failed(format!("the control service does not start: {error}"))
}

fn configured(data_dir: &Path, port: u16) -> config::Config {
    let mut config = config::Config::default();
    config.control.listen = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    config.control.data_dir = data_dir.join(CONTROL_DIR);
    config
}

fn failed(what: &str, error: &dyn std::error::Error) -> Failure {
    Failure::Failed(format!("{what}: {error}"))
}
