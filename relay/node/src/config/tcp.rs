//! `[tcp]`: who comes through a load balancer.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::cidr;

/// The `[tcp]` section.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tcp {
    /// Load balancers: their TCP and TLS connections begin with a PROXY header, which is believed.
    #[serde(deserialize_with = "cidr::ranges")]
    pub proxy_protocol_from: Vec<IpNet>,
}
