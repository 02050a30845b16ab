//! What a device and the control service say to each other, and what an operator sees of devices.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::id::{DeviceId, DeviceIdentity, DeviceKey, GroupId, RelayKey, TenantId};
use crate::key::VerifyingKey;
use crate::relay_map::SignedRelayMap;

/// `POST /device/register`: who the device is.
///
/// Signed by the device's identity key; the first time with an enrolment key in `authorization`.
/// Idempotent by identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RegisterDevice {
    /// Its Ed25519 identity, which has signed the request.
    pub identity: DeviceIdentity,
    /// Its WireGuard public key, by which others name it.
    pub device_key: DeviceKey,
    /// Its X25519 key for handshakes with relays.
    pub relay_key: RelayKey,
    /// Its name, for people.
    pub name: String,
    /// What it runs on: "linux", "android", …
    pub platform: String,
    /// The version of its client.
    pub version: String,
    /// What it found out about its network.
    #[serde(default)]
    pub nat: NatReport,
}

/// What a device found out about the NAT in front of it (RFC 4787, RFC 5780).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NatReport {
    /// How it maps.
    #[serde(default)]
    pub mapping: Behaviour,
    /// What it lets in.
    #[serde(default)]
    pub filtering: Behaviour,
    /// Whether UDP passes at all.
    #[serde(default)]
    pub udp: Option<bool>,
    /// Whether it maps a port to the same number.
    #[serde(default)]
    pub port_preserving: Option<bool>,
    /// Whether two devices behind it reach each other by their public addresses.
    #[serde(default)]
    pub hairpin: Option<bool>,
    /// What others see it as.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub public: Vec<SocketAddr>,
}

/// RFC 4787 §4.1 and §5: what a NAT's choice depends on.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Behaviour {
    /// Not found out.
    #[default]
    Unknown,
    /// No NAT or filter at all.
    None,
    /// On nothing of the other side.
    EndpointIndependent,
    /// On the other side's address.
    AddressDependent,
    /// On the other side's address and port.
    AddressAndPortDependent,
}

/// The answer to a registration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeviceRegistered {
    /// Its registration.
    pub id: DeviceId,
    /// Its tenant.
    pub tenant: TenantId,
    /// Whom it may talk to.
    pub groups: Vec<GroupId>,
    /// Its addresses in the tenant's overlay network, one of each family.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub overlay: Vec<IpAddr>,
    /// The keys that sign relay maps and tickets.
    pub keys: Vec<VerifyingKey>,
    /// Whom it may talk to.
    pub netmap: Netmap,
    /// The nodes.
    pub relay_map: SignedRelayMap,
}

/// `GET /device/{id}/netmap`: whom a device may talk to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Netmap {
    /// Grows with each change.
    pub version: u64,
    /// The devices that share a group with it.
    pub peers: Vec<Peer>,
}

/// Another device that this one may talk to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Peer {
    /// Its registration.
    pub id: DeviceId,
    /// Its name.
    pub name: String,
    /// Its WireGuard public key.
    pub device_key: DeviceKey,
    /// The key before the last rotation, while it still counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_key: Option<DeviceKey>,
    /// Its overlay addresses.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub overlay: Vec<IpAddr>,
    /// The node that it is at home on, by name; empty when it has none.
    #[serde(default)]
    pub home: String,
    /// Whether it is connected to the control service.
    pub online: bool,
}

/// `POST /device/metrics`: a device's heartbeat.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct DeviceMetrics {
    /// The node that it is at home on, by name.
    #[serde(default)]
    pub home: String,
    /// What it found out about its network, where that has changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nat: Option<NatReport>,
    /// Its paths.
    #[serde(default)]
    pub paths: Vec<PathMetrics>,
}

/// One path to a peer, since the last heartbeat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PathMetrics {
    /// The peer.
    pub peer: DeviceId,
    /// How packets go: "direct", "udp", "quic", "wss".
    pub path: PathKind,
    /// Round-trip time, in microseconds.
    pub rtt_us: u32,
    /// Packets lost of a million.
    pub loss_ppm: u32,
    /// Attempts at a direct path that failed.
    pub punch_failures: u32,
}

/// How packets reach a peer.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum PathKind {
    /// Through no relay.
    Direct,
    /// Through a relay, frames over UDP.
    Udp,
    /// Through a relay over QUIC.
    Quic,
    /// Through a relay over WebSocket.
    Wss,
}

/// `POST /device/rotate-key`: new keys; the old ones count for a while beside them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RotateDeviceKey {
    /// The new WireGuard public key.
    pub device_key: DeviceKey,
    /// The new relay key.
    pub relay_key: RelayKey,
    /// Go back to the keys before the last rotation, while they still count; the others are ignored.
    #[serde(default)]
    pub rollback: bool,
}

/// The answer to a rotation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeviceKeyRotated {
    /// The WireGuard key that counts from now on.
    pub device_key: DeviceKey,
    /// The one that counts beside it.
    pub previous_key: Option<DeviceKey>,
    /// Until when, in seconds since 1970.
    pub previous_until: u64,
}

/// A device, as an operator sees it (`GET /devices`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeviceView {
    /// Its registration.
    pub id: DeviceId,
    /// Its tenant.
    pub tenant: TenantId,
    /// Its name.
    pub name: String,
    /// What it runs on.
    pub platform: String,
    /// The version of its client.
    pub version: String,
    /// Its Ed25519 identity.
    pub identity: DeviceIdentity,
    /// Its WireGuard public key.
    pub device_key: DeviceKey,
    /// Its relay key.
    pub relay_key: RelayKey,
    /// Its groups.
    pub groups: Vec<GroupId>,
    /// The tags of the key that it enrolled with.
    pub tags: Vec<String>,
    /// Its overlay addresses.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub overlay: Vec<IpAddr>,
    /// What it found out about its network.
    pub nat: NatReport,
    /// The node that it is at home on.
    pub home: String,
    /// Whether it is connected to the control service now.
    pub online: bool,
    /// Whether an operator has revoked it.
    pub revoked: bool,
    /// When it registered first, in seconds since 1970.
    pub registered: u64,
    /// When it was heard last, in seconds since 1970.
    pub last_seen: u64,
}

/// A path between two devices, as one of them reported it last (`GET /sessions`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SessionView {
    /// The device that reported it.
    pub device: DeviceId,
    /// Its tenant.
    pub tenant: TenantId,
    /// The node that it is at home on, by name.
    pub home: String,
    /// The path.
    pub path: PathMetrics,
    /// When it was reported, in seconds since 1970.
    pub at: u64,
}
