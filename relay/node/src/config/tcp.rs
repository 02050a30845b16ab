//! `[tcp]`: who comes through a load balancer.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use sterna_daemon::config::{Key, Kind, Section};

use super::cidr;

/// The `[tcp]` section.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tcp {
    /// Load balancers: their TCP and TLS connections begin with a PROXY header, which is believed.
    #[serde(deserialize_with = "cidr::ranges")]
    pub proxy_protocol_from: Vec<IpNet>,
}

/// The section's keys.
pub(super) const SECTION: Section = Section {
    name: "tcp",
    about: "TCP and TLS clients that come through a load balancer.",
    keys: &[Key {
        path: "tcp.proxy_protocol_from",
        meaning: "Load balancers. A TCP, TLS or WebSocket connection from one of these ranges must begin with a PROXY header (version 1 or 2), and the client's address is taken from it, for caps, quotas and XOR-MAPPED-ADDRESS alike; without a valid one it is cut. From anywhere else a PROXY header is garbage.",
        unit: "CIDR",
        kind: Kind::List,
        advice: "the load balancer's own addresses and nothing more: whoever connects from there can claim to be anybody",
        reload: true,
    }],
};
