//! What a node and the control service say to each other, and what an operator sees of nodes.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::id::{DeviceId, Fleet, NodeId, RelayKey, TenantId, TicketId};
use crate::key::VerifyingKey;
use crate::relay_map::NodeState;

/// `POST /nodes/register`: who the node is and how devices reach it.
///
/// Signed by the node's identity key; the first time with a join token in `authorization`. Idempotent:
/// the same identity registers again after a restart, or when something of this has changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RegisterNode {
    /// Its Ed25519 identity, which has signed the request.
    pub identity: NodeId,
    /// The static key of its flow handshakes.
    pub noise_key: RelayKey,
    /// Its name, for people: unique within the fleet.
    pub name: String,
    /// The code of its region, which must exist.
    pub region: String,
    /// The version that it runs.
    pub version: String,
    /// Where it is reached.
    pub services: Services,
    /// What it can carry.
    pub capacity: Capacity,
}

/// Where a node serves what: public addresses, as devices dial them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Services {
    /// STUN and TURN over UDP and TCP.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub stun: Vec<SocketAddr>,
    /// TURN over TLS.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub turns: Vec<SocketAddr>,
    /// Flow frames over UDP.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub udp: Vec<SocketAddr>,
    /// The flow relay over QUIC.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub quic: Vec<SocketAddr>,
    /// The flow relay over WebSocket.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub wss: Vec<SocketAddr>,
    /// The name that its certificate is checked against; empty where only `pins` count.
    #[serde(default)]
    pub host: String,
    /// SHA-256 of the public keys of its certificates, base64url.
    #[serde(default)]
    pub pins: Vec<String>,
}

/// What a node can carry.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Capacity {
    /// Worker threads.
    pub workers: u32,
    /// Relay ports, which bound its allocations.
    pub relay_ports: u32,
}

/// The answer to a registration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NodeRegistered {
    /// The fleet, which is the audience of tickets.
    pub fleet: Fleet,
    /// What it is to do now.
    pub orders: SignedOrders,
    /// The keys that sign orders, relay maps and tickets.
    pub keys: Vec<VerifyingKey>,
    /// Seconds between two heartbeats.
    pub heartbeat_interval_s: u32,
}

/// `POST /nodes/{id}/heartbeat`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Heartbeat {
    /// The version of the orders that it follows.
    pub orders: u64,
    /// What it does, whoever has asked for it.
    pub state: ReportedState,
    /// Whether a probe through its public address has come back; until then it is not in the map.
    pub reachable: bool,
    /// How busy its busiest worker is, in percent.
    pub load: u8,
    /// TURN allocations.
    pub allocations: u64,
    /// Flow sessions.
    pub sessions: u64,
    /// Packets dropped since its start.
    pub dropped: u64,
    /// Bytes relayed since its start.
    pub relayed_bytes: u64,
}

/// What a node says of itself.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ReportedState {
    /// It takes new sessions.
    Ready,
    /// It takes no new sessions, and those that it has go on.
    Cordoned,
    /// It takes no new sessions and ends when the last one has.
    Draining,
}

/// The answer to a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HeartbeatAnswer {
    /// New orders, where the node follows older ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orders: Option<SignedOrders>,
    /// Seconds until the next heartbeat.
    pub heartbeat_interval_s: u32,
}

/// What a node is to do, and what it needs for it: signed, dated, and kept on its disk so that it
/// starts without the control service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Orders {
    /// Grows with each change; a node never goes back.
    pub version: u64,
    /// The node that they are for.
    pub node: NodeId,
    /// The fleet that it belongs to.
    pub fleet: Fleet,
    /// When they were given, in seconds since 1970.
    pub issued: u64,
    /// What it should be.
    pub state: DesiredState,
    /// Secrets of time-limited TURN credentials, newest first, beside those of its own configuration.
    pub turn_secrets: Vec<String>,
    /// The keys that verify tickets, maps and orders: the next, the current and the previous ones.
    pub keys: Vec<VerifyingKey>,
    /// What is no longer admitted, and ends where it runs.
    pub revocations: Revocations,
    /// Caps of the operator; the lower of these and of its own configuration holds.
    pub limits: NodeLimits,
}

/// What an operator wants of a node.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum DesiredState {
    /// Serve.
    Ready,
    /// Take no new sessions, and keep those that are there.
    Cordoned,
    /// Take no new sessions, ask devices to move, and end.
    Draining,
}

/// What is no longer admitted. Each is named until nothing that it could apply to is valid any more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Revocations {
    /// Single tickets.
    #[serde(default)]
    pub tickets: Vec<TicketId>,
    /// Whole devices.
    #[serde(default)]
    pub devices: Vec<DeviceId>,
    /// Whole tenants.
    #[serde(default)]
    pub tenants: Vec<TenantId>,
}

/// Caps that an operator sets for a node; zero is no cap of the operator's.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NodeLimits {
    /// TURN allocations at a time.
    #[serde(default)]
    pub allocations_max: u32,
    /// Flow sessions at a time.
    #[serde(default)]
    pub flow_sessions_max: u32,
}

/// Orders and the signature over them, as they travel and as they lie on the node's disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SignedOrders {
    /// The bytes of the orders' JSON, base64url.
    pub orders: String,
    /// The signing key, as in tickets.
    pub key_id: String,
    /// Ed25519 over the context string and the bytes, base64url.
    pub signature: String,
}

/// A node, as an operator sees it (`GET /nodes`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NodeView {
    /// Its identity.
    pub id: NodeId,
    /// Its name.
    pub name: String,
    /// The code of its region.
    pub region: String,
    /// The version that it runs.
    pub version: String,
    /// What the operator wants of it.
    pub desired: DesiredState,
    /// What it is, as the fleet sees it.
    pub status: NodeStatus,
    /// What it said of itself last.
    pub reported: Option<Heartbeat>,
    /// Where it is reached.
    pub services: Services,
    /// What it can carry.
    pub capacity: Capacity,
    /// Caps of the operator.
    pub limits: NodeLimits,
    /// When it registered first, in seconds since 1970.
    pub registered: u64,
    /// When it was heard last, in seconds since 1970; zero: only its registration.
    pub last_seen: u64,
}

/// What a node is, as the fleet sees it.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum NodeStatus {
    /// In the relay map.
    Ready,
    /// Registered, and its own reachability probe has not come back yet.
    Unproved,
    /// Keeps what it has, takes nothing new.
    Cordoned,
    /// Going away.
    Draining,
    /// Three heartbeats are missing.
    Lost,
}

impl NodeStatus {
    /// How it stands in the relay map, if at all.
    #[must_use]
    pub const fn in_map(self) -> Option<NodeState> {
        match self {
            Self::Ready => Some(NodeState::Ready),
            Self::Unproved | Self::Cordoned | Self::Draining | Self::Lost => None,
        }
    }
}

/// `PATCH /nodes/{id}`: what is named changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PatchNode {
    /// What the node should be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<DesiredState>,
    /// Its caps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<NodeLimits>,
}
