//! `[flow]`: the relay between devices that know each other by public key.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use sterna_control_api::NodeId;
use sterna_daemon::config::{Key, Kind, Section};

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

/// The section's keys.
pub(super) const SECTION: Section = Section {
    name: "flow",
    about: "The relay between devices that know each other by public key: over UDP, QUIC and WebSocket. Off without `ticket_keys`, here or from the control service.",
    keys: &[
        Key {
            path: "flow.udp",
            meaning: "Whether devices may send flow frames to the UDP listeners of [turn].",
            kind: Kind::Flag,
            advice: "true, also where the other rungs are served: it costs least",
            ..Key::PLAIN
        },
        Key {
            path: "flow.quic_listen",
            meaning: "UDP listeners of the QUIC rung, for networks that let UDP pass to port 443 only.",
            kind: Kind::List,
            advice: "[\"0.0.0.0:443\", \"[::]:443\"]",
            ..Key::PLAIN
        },
        Key {
            path: "flow.wss_listen",
            meaning: "TCP listeners of the WebSocket rung, for networks that let no UDP pass.",
            kind: Kind::List,
            advice: "[\"0.0.0.0:443\", \"[::]:443\"]",
            ..Key::PLAIN
        },
        Key {
            path: "flow.ticket_keys",
            meaning: "The public keys whose tickets admit devices, old and new ones side by side, and beside those of the control service. None at all: the flow relay is off. `sterna token ticket-key` makes one.",
            kind: Kind::List,
            advice: "a new key here before it signs; the old one out when its last ticket has expired",
            reload: true,
            ..Key::PLAIN
        },
        Key {
            path: "flow.fleet",
            meaning: "The fleet that tickets must be made out to. The control service, where there is one, says which instead.",
            advice: "1 to 32 of a-z, 0-9, '-', '.' and '_'",
            reload: true,
            ..Key::PLAIN
        },
        Key {
            path: "flow.ticket_grace_s",
            meaning: "How long after its ticket's expiry a known device is served, for when the control service is down.",
            unit: "seconds",
            kind: Kind::Number(0, 604_800),
            advice: "0, or the longest outage to be bridged",
            reload: true,
        },
        Key {
            path: "flow.alternates",
            meaning: "Nodes that devices are sent to when this one drains, by their ids (`sterna token relay-node`). A device that has a link to a spare node goes there; the others go to one of these that they know from their map.",
            kind: Kind::List,
            advice: "none where every device has a spare; at most 8",
            reload: true,
            ..Key::PLAIN
        },
    ],
};
