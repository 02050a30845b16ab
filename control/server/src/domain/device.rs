//! Devices, as they are kept.

use std::net::IpAddr;

use serde_json::{Value, json};
use sterna_control_api::device::{NatReport, PathMetrics, RegisterDevice};
use sterna_control_api::{DeviceId, DeviceIdentity, DeviceKey, GroupId, RelayKey, TenantId};

use super::overlay;

/// A device, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceRecord {
    /// Its registration.
    pub id: DeviceId,
    /// Its tenant.
    pub tenant: TenantId,
    /// Its Ed25519 identity; unique among devices that are not revoked.
    pub identity: DeviceIdentity,
    /// Its WireGuard public key; unique within its tenant among devices that are not revoked.
    pub device_key: DeviceKey,
    /// Its key for handshakes with relays.
    pub relay_key: RelayKey,
    /// The keys before the last rotation, and until when they count, in seconds since 1970.
    pub previous: Option<PreviousKeys>,
    /// Its name, for people.
    pub name: String,
    /// What it runs on.
    pub platform: String,
    /// The version of its client.
    pub version: String,
    /// Its groups, ascending.
    pub groups: Vec<GroupId>,
    /// The tags of the key that it enrolled with.
    pub tags: Vec<String>,
    /// Its place in the tenant's overlay network, which makes its addresses.
    pub overlay_place: u32,
    /// Whether it was revoked.
    pub revoked: bool,
    /// When it registered first, in seconds since 1970.
    pub registered: u64,
    /// When it was heard last, as far as the store has been told, in seconds since 1970.
    pub last_seen: u64,
    /// The counter that its last report was signed with.
    pub counter: u64,
    /// The node that it is at home on, by name; empty when it has none.
    pub home: String,
    /// What it found out about its network.
    pub nat: NatReport,
    /// Its paths, as it reported them last.
    pub paths: Vec<PathMetrics>,
}

/// The keys before a rotation.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct PreviousKeys {
    /// The WireGuard public key.
    pub device_key: DeviceKey,
    /// The relay key.
    pub relay_key: RelayKey,
    /// Until when they count beside the new ones, in seconds since 1970.
    pub until: u64,
}

/// What a device says of itself as it registers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceRegistration {
    /// What it sent.
    pub device: RegisterDevice,
    /// The id of the enrolment key that it showed, whose secret has been checked. Needed the first
    /// time only; not used up otherwise.
    pub token: Option<String>,
    /// 16 random bytes: its id, should it be new.
    pub fresh_id: DeviceId,
}

/// A device's heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceReport {
    /// Whose.
    pub device: DeviceId,
    /// When it came, in seconds since 1970.
    pub at: u64,
    /// The counter that its request was signed with.
    pub counter: u64,
    /// The node that it is at home on, by name.
    pub home: String,
    /// What it found out about its network, where that has changed.
    pub nat: Option<NatReport>,
    /// Its paths.
    pub paths: Vec<PathMetrics>,
}

impl DeviceRecord {
    /// Its addresses in the tenant's overlay network, one of each family.
    #[must_use]
    pub fn overlay(&self) -> Vec<IpAddr> {
        overlay::addresses(self.tenant, self.overlay_place).to_vec()
    }

    /// The key before the last rotation, while it counts.
    #[must_use]
    pub fn previous_key(&self, now: u64) -> Option<DeviceKey> {
        let previous = self.previous.filter(|previous| now < previous.until)?;
        Some(previous.device_key)
    }

    /// What the audit log says of it.
    #[must_use]
    pub fn described(&self) -> Value {
        json!({
            "tenant": self.tenant,
            "name": self.name,
            "platform": self.platform,
            "version": self.version,
            "identity": self.identity,
            "device_key": self.device_key,
            "relay_key": self.relay_key,
            "groups": self.groups,
            "tags": self.tags,
            "overlay": self.overlay(),
            "revoked": self.revoked,
        })
    }
}
