//! A service of a case's own, and who calls it.

use std::sync::Arc;
use std::time::Duration;

use sterna_control::{Config, Control};
use sterna_control_api::access::{NewEnrolmentKey, NewJoinToken};
use sterna_control_api::device::{DeviceRegistered, NatReport, RegisterDevice};
use sterna_control_api::key::SigningKey;
use sterna_control_api::limits::HEARTBEAT_WAIT_MS_MAX;
use sterna_control_api::node::{
    Capacity, Heartbeat, HeartbeatAnswer, NodeRegistered, Orders, RegisterNode, ReportedState,
    Services,
};
use sterna_control_api::problem::Code;
use sterna_control_api::{
    DeviceIdentity, DeviceKey, GroupId, KeySet, NodeId, RelayKey, RelayMap, SignedRelayMap,
    TenantId,
};
use sterna_control_client::{CallError, Caller, ControlClient, Options};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::postgres::Postgres;

/// How long anything may take.
pub(crate) const SOON: Duration = Duration::from_secs(20);
/// Between two heartbeats: so long that no case which is slow on a busy machine loses its nodes.
pub(crate) const HEARTBEAT_S: u32 = 60;
/// Between two looks at something that takes a moment: half of what a caller may ask in a second
/// (`limits.requests_per_caller_per_s`).
pub(crate) const POLL: Duration = Duration::from_millis(100);

/// Where a case keeps its service's things.
#[derive(Clone)]
pub(crate) struct Place {
    url: String,
    folder: Arc<TempDir>,
}

impl Place {
    pub(crate) fn sqlite() -> Self {
        Self {
            url: String::new(),
            folder: Arc::new(tempfile::tempdir().unwrap()),
        }
    }

    pub(crate) fn postgres(server: &Postgres, name: &str) -> Self {
        let name: String = name.chars().take(60).collect();
        Self {
            url: server.database(&name).unwrap(),
            folder: Arc::new(tempfile::tempdir().unwrap()),
        }
    }

    pub(crate) fn config(&self) -> Config {
        let mut config = Config::default();
        config.control.listen = "127.0.0.1:0".parse().unwrap();
        config.control.data_dir = self.folder.path().join("data");
        config.database.url = self.url.clone();
        config.database.connections_max = 6;
        config.heartbeat.interval_s = HEARTBEAT_S;
        config
    }

    pub(crate) async fn start(&self) -> Scene {
        self.start_with(self.config()).await
    }

    pub(crate) async fn start_with(&self, config: Config) -> Scene {
        let control = Control::start(config).await.unwrap();
        let url = format!("http://{}", control.local_addr());
        let token = std::fs::read_to_string(control.admin_token_file()).unwrap();
        let admin = Caller::Bearer(token.trim().to_owned());
        let admin = ControlClient::new(&url, admin, &Options::default()).unwrap();
        Scene {
            control,
            url,
            admin,
        }
    }
}

/// A service that runs.
pub(crate) struct Scene {
    pub(crate) control: Control,
    pub(crate) url: String,
    /// The first administrator.
    pub(crate) admin: ControlClient,
}

impl Scene {
    pub(crate) fn client(&self, caller: Caller) -> ControlClient {
        self.admin.with_caller(caller)
    }

    /// A join token of a region that lets so many in.
    pub(crate) async fn join_token(&self, region: &str, uses_max: u32) -> String {
        let wanted = NewJoinToken {
            region: region.to_owned(),
            uses_max,
            ttl_s: 600,
            note: String::new(),
        };
        self.admin.make_join_token(&wanted).await.unwrap().token
    }

    pub(crate) async fn enrolment_key(&self, tenant: u64, groups: &[u32]) -> String {
        let wanted = NewEnrolmentKey {
            tenant: TenantId(tenant),
            groups: groups.iter().copied().map(GroupId).collect(),
            tags: vec!["test".to_owned()],
            uses_max: 0,
            ttl_s: 600,
            note: String::new(),
        };
        self.admin.make_enrolment_key(&wanted).await.unwrap().token
    }

    /// A node that has joined.
    pub(crate) async fn node(&self, number: u8) -> (ControlClient, NodeId, NodeRegistered) {
        let token = self.join_token("default", 1).await;
        let (client, id) = self.stranger(number);
        let body = register_node(id, number, "default");
        let registered = client.register_node(&body, Some(&token)).await.unwrap();
        (client, id, registered)
    }

    /// A heartbeat that the service holds: it is on its way, and in its place.
    pub(crate) async fn held(
        &self,
        node: &ControlClient,
        id: &NodeId,
        follows: u64,
    ) -> JoinHandle<Result<HeartbeatAnswer, CallError>> {
        let before = self.metric("control_heartbeats_held ").await;
        let (node, id) = (node.clone(), *id);
        let beating = tokio::spawn(async move {
            let wait = Duration::from_millis(HEARTBEAT_WAIT_MS_MAX.into());
            node.heartbeat_held(&id, &beat(follows, true), wait).await
        });
        let deadline = tokio::time::Instant::now() + SOON;
        while self.metric("control_heartbeats_held ").await <= before {
            assert!(tokio::time::Instant::now() < deadline, "it is not held");
            tokio::time::sleep(POLL).await;
        }
        beating
    }

    /// A node that has not joined.
    pub(crate) fn stranger(&self, number: u8) -> (ControlClient, NodeId) {
        let key = SigningKey::from_seed(&[number; 32]);
        let id = NodeId(key.verifying_key().to_bytes());
        (self.client(Caller::Node(key)), id)
    }

    /// A node that is on the map.
    pub(crate) async fn ready_node(&self, number: u8) -> (ControlClient, NodeId, NodeRegistered) {
        let (client, id, registered) = self.node(number).await;
        client.heartbeat(&id, &beat(u64::MAX, true)).await.unwrap();
        (client, id, registered)
    }

    /// A device that has enrolled.
    pub(crate) async fn device(
        &self,
        number: u8,
        enrolment: &str,
    ) -> (ControlClient, DeviceRegistered) {
        let (client, body) = self.device_stranger(number);
        let registered = client
            .register_device(&body, Some(enrolment))
            .await
            .unwrap();
        (client, registered)
    }

    /// A device that has not.
    pub(crate) fn device_stranger(&self, number: u8) -> (ControlClient, RegisterDevice) {
        let key = SigningKey::from_seed(&[100 + number; 32]);
        let identity = DeviceIdentity(key.verifying_key().to_bytes());
        let body = RegisterDevice {
            identity,
            device_key: DeviceKey([number; 32]),
            relay_key: RelayKey([number; 32]),
            name: format!("device-{number}"),
            platform: "linux".to_owned(),
            version: "1".to_owned(),
            nat: NatReport::default(),
        };
        (self.client(Caller::Device(key)), body)
    }

    /// The relay map, as soon as it has so many nodes.
    pub(crate) async fn map_with(&self, nodes: usize) -> RelayMap {
        let keys = KeySet::new(self.keys().await).unwrap();
        let deadline = tokio::time::Instant::now() + SOON;
        loop {
            let signed = self.admin.relay_map(None).await.unwrap().unwrap();
            let map = read_map(&signed, &keys);
            if map.nodes().count() == nodes {
                return map;
            }
            assert!(tokio::time::Instant::now() < deadline, "{map:?}");
            tokio::time::sleep(POLL).await;
        }
    }

    /// The keys that sign, as a node hears of them when it registers again.
    async fn keys(&self) -> Vec<sterna_control_api::VerifyingKey> {
        let token = self.enrolment_key(0xFFFF, &[1]).await;
        let (client, mut body) = self.device_stranger(99);
        body.name = "who asks for keys".to_owned();
        let registered = client.register_device(&body, Some(&token)).await.unwrap();
        registered.keys
    }

    /// The metrics page.
    pub(crate) async fn metrics(&self) -> String {
        crate::raw::get(&self.url, "/metrics").await.body
    }

    /// The value of a metric's line; 0 where it is not there.
    pub(crate) async fn metric(&self, line: &str) -> u64 {
        let page = self.metrics().await;
        let found = page.lines().find_map(|each| each.strip_prefix(line));
        found.map_or(0, |value| value.trim().parse().unwrap())
    }
}

pub(crate) fn read_map(signed: &SignedRelayMap, keys: &KeySet) -> RelayMap {
    let now = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .unwrap()
        .as_secs();
    let fleet = "sterna".parse().unwrap();
    signed.verify(keys, &fleet, now, 0).unwrap()
}

/// The orders of a registration.
pub(crate) fn orders_of(registered: &NodeRegistered, id: &NodeId) -> Orders {
    let keys = KeySet::new(registered.keys.clone()).unwrap();
    registered.orders.verify(&keys, id, 0).unwrap()
}

pub(crate) fn register_node(identity: NodeId, number: u8, region: &str) -> RegisterNode {
    RegisterNode {
        identity,
        noise_key: RelayKey([number; 32]),
        name: format!("node-{number}"),
        region: region.to_owned(),
        version: "1".to_owned(),
        services: Services {
            stun: vec![format!("192.0.2.{number}:3478").parse().unwrap()],
            turns: vec![format!("192.0.2.{number}:5349").parse().unwrap()],
            ..Services::default()
        },
        capacity: Capacity::default(),
    }
}

pub(crate) fn beat(orders: u64, reachable: bool) -> Heartbeat {
    Heartbeat {
        orders,
        state: ReportedState::Ready,
        reachable,
        load: 10,
        allocations: 1,
        sessions: 2,
        dropped: 3,
        relayed_bytes: 4,
    }
}

/// The code of a refusal.
pub(crate) fn code<T: std::fmt::Debug>(answer: Result<T, CallError>) -> Code {
    let error = answer.expect_err("a refusal");
    error.code().unwrap_or_else(|| panic!("{error:?}"))
}
