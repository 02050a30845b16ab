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
}
