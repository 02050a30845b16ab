//! `[admin]`: the listener for health, metrics and administration.

use std::net::{Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

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
