//! `[peers]`: whom the node relays to, on top of the built-in list.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use sterna_daemon::config::{Key, Kind, Section};

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

/// The section's keys.
pub(super) const SECTION: Section = Section {
    name: "peers",
    about: "Whom the node relays to: `deny`, then `allow`, then the built-in list of private and special addresses.",
    keys: &[
        Key {
            path: "peers.allow",
            meaning: "Peers that the built-in list would refuse. An address that is named here may also be reached on ports below 1024.",
            unit: "CIDR",
            kind: Kind::List,
            advice: "as narrow as possible: what is allowed here can be reached by every user",
            reload: true,
        },
        Key {
            path: "peers.deny",
            meaning: "Peers that are refused, whatever `allow` says. A reload cuts off sessions with them at once.",
            unit: "CIDR",
            kind: Kind::List,
            advice: "the networks behind this host",
            reload: true,
        },
        Key {
            path: "peers.users",
            meaning: "What differs for single accounts: `[{ name = \"…\", allow = […], deny = […] }]`, with limits of their own where given: `allocations_max`, `session_packets_per_s`, `session_bytes_per_s`. The name is a user's, of time-limited names the part behind the colon, of access tokens their kid. The order is: `deny` of the node and of the account, then `allow` of both, then the built-in list. The node's own listeners, 6to4 and Teredo are refused to everybody, and its relayed addresses lead to living relays only.",
            kind: Kind::Tables("[{ name = \"alice\", allow = [\"10.1.0.0/16\"] }]"),
            advice: "as narrow as possible",
            reload: true,
            ..Key::PLAIN
        },
    ],
};
