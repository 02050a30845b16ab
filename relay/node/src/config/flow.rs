//! `[flow]`: the relay between devices that know each other by public key.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use sterna_control_api::NodeId;

use super::cidr;

/// The `[flow]` section. Without ticket keys, here or from the control service, nobody can be admitted,
/// and the flow relay is off.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Flow {
    /// Whether flow frames are served on the UDP listeners of `[turn]`.
    pub udp: bool,
    /// UDP listeners of the `quic` rung.
    #[serde(deserialize_with = "cidr::sockets")]
    pub quic_listen: Vec<SocketAddr>,
    /// TCP listeners of the `wss` rung.
    #[serde(deserialize_with = "cidr::sockets")]
    pub wss_listen: Vec<SocketAddr>,
    /// The public keys that tickets are signed with.
    pub ticket_keys: Vec<String>,
    /// The fleet that tickets must be made out to.
    pub fleet: String,
    /// Nodes that devices are sent to when this one drains, by their ids.
    pub alternates: Vec<String>,
    /// How long after its ticket's expiry a known device is served.
    pub ticket_grace_s: u32,
}

impl Flow {
    /// The ids of the alternates; of a configuration that was validated, all of them.
    pub fn alternates(&self) -> Vec<NodeId> {
        let ids = self.alternates.iter().map(|id| id.parse());
        ids.filter_map(Result::ok).collect()
    }

    /// Whether devices may come over QUIC or WebSocket.
    pub fn has_connections(&self) -> bool {
        !self.quic_listen.is_empty() || !self.wss_listen.is_empty()
    }
}

impl Default for Flow {
    fn default() -> Self {
        Self {
            udp: true,
            quic_listen: Vec::new(),
            wss_listen: Vec::new(),
            ticket_keys: Vec::new(),
            fleet: "sterna".to_owned(),
            alternates: Vec::new(),
            ticket_grace_s: 0,
        }
    }
}
