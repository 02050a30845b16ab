//! `[peers]`: whom the node relays to, on top of the built-in list.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::cidr;

/// The `[peers]` section. The order is: deny, then allow, then the built-in list.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Peers {
    /// Peers that the built-in list would refuse.
    #[serde(deserialize_with = "cidr::ranges")]
    pub allow: Vec<IpNet>,
    /// Peers that are refused whatever else is said.
    #[serde(deserialize_with = "cidr::ranges")]
    pub deny: Vec<IpNet>,
    /// What differs for single accounts.
    pub users: Vec<PeerUser>,
}

/// What differs for one account: its own lists beside those of everybody, its own limits in their
/// place.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerUser {
    /// The account: a static user, the part behind the colon of a time-limited name, or a kid.
    pub name: String,
    /// Peers that the built-in list would refuse.
    #[serde(default, deserialize_with = "cidr::ranges")]
    pub allow: Vec<IpNet>,
    /// Peers that are refused to this account whatever else is said.
    #[serde(default, deserialize_with = "cidr::ranges")]
    pub deny: Vec<IpNet>,
    /// In place of `limits.allocations_per_user_max`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allocations_max: Option<u32>,
    /// In place of `limits.session_packets_per_s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_packets_per_s: Option<u32>,
    /// In place of `limits.session_bytes_per_s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_bytes_per_s: Option<u64>,
}
