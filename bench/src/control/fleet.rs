//! Who asks: keys, and their registrations where a scenario wants them to be there already.

use rand::Rng as _;
use sterna_control_api::access::{NewEnrolmentKey, NewJoinToken};
use sterna_control_api::device::{NatReport, RegisterDevice};
use sterna_control_api::node::{Capacity, Heartbeat, RegisterNode, ReportedState, Services};
use sterna_control_api::problem::Code;
use sterna_control_api::region::Region;
use sterna_control_api::{
    DeviceId, DeviceIdentity, DeviceKey, GroupId, NodeId, RelayKey, SigningKey, TenantId,
};
use sterna_control_client::{CallError, Caller, ControlClient};
use tokio::task::JoinSet;

use super::plan::{Plan, Scenario};
use crate::error::BenchError;

/// The region of all nodes.
const REGION: &str = "bench";
/// How long tokens and keys of a run are valid, in seconds.
const TTL_S: u32 = 3600;
/// Registrations at the same time.
const AT_ONCE: usize = 16;
/// Nodes and devices that take turns; more add nothing to the load.
const MEMBERS_MAX: u32 = 2000;
/// Devices of one tenant: each is told of all others when it enrols.
const DEVICES_PER_TENANT: u32 = 50;
/// Nodes of the relay map that devices fetch.
const READY_NODES: u32 = 20;

/// Everybody who asks, and what lets the rest in.
pub(super) struct Fleet {
    /// Let nodes join, or devices enrol: a tenant each.
    pub(super) tokens: Vec<String>,
    /// Those who are registered, in order.
    pub(super) members: Vec<Member>,
}

/// A node or a device.
pub(super) struct Member {
    pub(super) key: SigningKey,
    /// Its registration, of a device.
    pub(super) device: Option<DeviceId>,
}

impl Fleet {
    /// Registers who must be there for the scenario.
    pub(super) async fn make(
        operator: &ControlClient,
        scenario: Scenario,
        plan: &Plan,
    ) -> Result<Self, BenchError> {
        let planned = u32::try_from(plan.times_ms().len()).unwrap_or(u32::MAX);
        let nodes = matches!(scenario, Scenario::Registration | Scenario::Heartbeats);
        let mut tokens = Vec::new();
        if nodes {
            tokens.push(join_token(operator, planned.saturating_add(MEMBERS_MAX)).await?);
        } else {
            let tenants = match scenario {
                Scenario::Devices => planned.div_ceil(DEVICES_PER_TENANT).max(1),
                _ => 1,
            };
            for _ in 0..tenants {
                tokens.push(enrolment_key(operator).await?);
            }
        }
        if matches!(scenario, Scenario::RelayMap | Scenario::Credentials) {
            ready_nodes(operator).await?;
        }
        let members = match scenario {
            Scenario::Registration | Scenario::Devices => 0,
            Scenario::Heartbeats => plan.per_s_max().min(MEMBERS_MAX),
            Scenario::RelayMap | Scenario::Credentials => plan.per_s_max().min(100),
            Scenario::Signalling => plan.sockets,
        };
        let mut fleet = Self {
            tokens,
            members: Vec::new(),
        };
        fleet.register(operator, nodes, members).await?;
        Ok(fleet)
    }

    async fn register(
        &mut self,
        operator: &ControlClient,
        nodes: bool,
        count: u32,
    ) -> Result<(), BenchError> {
        let mut running = JoinSet::new();
        for _ in 0..count {
            if running.len() == AT_ONCE {
                self.take(running.join_next().await)?;
            }
            let key = new_key();
            let (client, token) = (
                operator.with_caller(caller(nodes, &key)),
                self.token(0).to_owned(),
            );
            running.spawn(async move {
                let device = if nodes {
                    client.register_node(&node(&key), Some(&token)).await?;
                    None
                } else {
                    let registered = client.register_device(&device(&key), Some(&token)).await?;
                    Some(registered.id)
                };
                Ok(Member { key, device })
            });
        }
        while let Some(done) = running.join_next().await {
            self.take(Some(done))?;
        }
        Ok(())
    }

    fn take(
        &mut self,
        done: Option<Result<Result<Member, CallError>, tokio::task::JoinError>>,
    ) -> Result<(), BenchError> {
        let Some(done) = done else {
            return Ok(());
        };
        let member = done.map_err(std::io::Error::other)?;
        self.members
            .push(member.map_err(|error| refused("a registration", &error))?);
        Ok(())
    }

    /// What lets the one of such a number in.
    pub(super) fn token(&self, number: usize) -> &str {
        let place = number.checked_rem(self.tokens.len()).unwrap_or(0);
        self.tokens.get(place).map_or("", String::as_str)
    }

    pub(super) fn registered(&self) -> usize {
        self.members.len()
    }
}

async fn join_token(operator: &ControlClient, uses_max: u32) -> Result<String, BenchError> {
    add_region(operator).await?;
    let wanted = NewJoinToken {
        region: REGION.to_owned(),
        uses_max,
        ttl_s: TTL_S,
        note: "bench".to_owned(),
    };
    let made = operator.make_join_token(&wanted).await;
    Ok(made.map_err(|error| refused("a join token", &error))?.token)
}

async fn enrolment_key(operator: &ControlClient) -> Result<String, BenchError> {
    let wanted = NewEnrolmentKey {
        // A tenant of its own, so that the devices of runs before are nobody's peers.
        tenant: TenantId(rand::rng().next_u64() | 1),
        groups: vec![GroupId(1)],
        tags: Vec::new(),
        uses_max: 0,
        ttl_s: TTL_S,
        note: "bench".to_owned(),
    };
    let made = operator.make_enrolment_key(&wanted).await;
    Ok(made
        .map_err(|error| refused("an enrolment key", &error))?
        .token)
}

/// Nodes that a relay map shows and credentials name, until they miss their heartbeats.
async fn ready_nodes(operator: &ControlClient) -> Result<(), BenchError> {
    let token = join_token(operator, READY_NODES).await?;
    for _ in 0..READY_NODES {
        let key = new_key();
        let client = operator.with_caller(Caller::Node(key.clone()));
        let node = node(&key);
        let registered = client.register_node(&node, Some(&token)).await;
        registered.map_err(|error| refused("a node", &error))?;
        let heard = client.heartbeat(&node.identity, &heartbeat(0)).await;
        heard.map_err(|error| refused("a heartbeat", &error))?;
    }
    Ok(())
}

/// How a node is that has little to do.
pub(super) fn heartbeat(number: usize) -> Heartbeat {
    Heartbeat {
        orders: 1,
        state: ReportedState::Ready,
        reachable: true,
        load: 20,
        allocations: number as u64 % 100,
        sessions: number as u64 % 100,
        dropped: 0,
        relayed_bytes: number as u64 * 1000,
    }
}

fn caller(node: bool, key: &SigningKey) -> Caller {
    if node {
        Caller::Node(key.clone())
    } else {
        Caller::Device(key.clone())
    }
}

async fn add_region(operator: &ControlClient) -> Result<(), BenchError> {
    let region = Region {
        code: REGION.to_owned(),
        name: "Load tests".to_owned(),
        location: None,
        weight: 1,
    };
    match operator.add_region(&region).await {
        Err(error) if error.code() != Some(Code::Conflict) => Err(refused("a region", &error)),
        _ => Ok(()),
    }
}

fn refused(what: &'static str, error: &CallError) -> BenchError {
    BenchError::Control {
        what: what.to_owned(),
        why: error.to_string(),
    }
}

/// A key that nobody has had.
pub(super) fn new_key() -> SigningKey {
    let mut seed = [0; 32];
    rand::rng().fill_bytes(&mut seed);
    SigningKey::from_seed(&seed)
}

/// A node of this key, with addresses of a documentation prefix.
pub(super) fn node(key: &SigningKey) -> RegisterNode {
    let identity = key.verifying_key().to_bytes();
    let mut name = NodeId(identity).to_string().to_lowercase();
    name.insert_str(0, "bench-");
    RegisterNode {
        identity: NodeId(identity),
        noise_key: RelayKey(identity),
        name,
        region: REGION.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        services: Services {
            stun: vec![([192, 0, 2, identity[0]], 3478).into()],
            udp: vec![([192, 0, 2, identity[0]], 3478).into()],
            ..Services::default()
        },
        capacity: Capacity {
            workers: 2,
            relay_ports: 16_384,
        },
    }
}

/// A device of this key.
pub(super) fn device(key: &SigningKey) -> RegisterDevice {
    let identity = key.verifying_key().to_bytes();
    RegisterDevice {
        identity: DeviceIdentity(identity),
        device_key: DeviceKey(identity),
        relay_key: RelayKey(identity),
        name: "bench".to_owned(),
        platform: "linux".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        nat: NatReport::default(),
    }
}
