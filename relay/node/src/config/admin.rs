//! `[admin]`: the listener for health, metrics and administration.

use std::net::{Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};
use sterna_daemon::config::{Key, Kind, Section};

use super::cidr;
use super::secret::Secret;

/// The port of the admin listener.
pub const DEFAULT_ADMIN_PORT: u16 = 9478;

/// The `[admin]` section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// Where it listens.
    #[serde(deserialize_with = "cidr::one_socket")]
    pub listen: SocketAddr,
    /// The bearer token that administration asks for; must be set beyond loopback.
    pub token: Option<Secret>,
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_ADMIN_PORT)),
            token: None,
        }
    }
}

/// The section's keys.
pub(super) const SECTION: Section = Section {
    name: "admin",
    about: "Health, metrics and administration, on a listener of their own.",
    keys: &[
        Key {
            path: "admin.listen",
            meaning: "Where health, metrics and administration are served. Beyond loopback, `admin.token` must be set.",
            unit: "ADDRESS:PORT",
            kind: Kind::Socket(DEFAULT_ADMIN_PORT),
            advice: "loopback or a monitoring network",
            ..Key::PLAIN
        },
        Key {
            path: "admin.token",
            meaning: "The bearer token of administration. Health and metrics need none.",
            kind: Kind::Secret,
            advice: "32 random characters or more",
            reload: true,
            ..Key::PLAIN
        },
    ],
};
