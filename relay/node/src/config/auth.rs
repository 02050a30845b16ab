//! `[auth]`: who may relay.

use serde::{Deserialize, Serialize};

use super::oauth::OAuthKey;
use super::secret::Secret;

/// The `[auth]` section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// Users with a password each.
    pub users: Vec<User>,
    /// Shared secrets of time-limited credentials, newest first.
    pub secrets: Vec<Secret>,
    /// Keys shared with authorisation servers (RFC 7635).
    pub oauth_keys: Vec<OAuthKey>,
    /// The name that tokens are sealed for; empty: the realm.
    pub oauth_server_name: String,
    /// How long an allocation of time-limited credentials may live in all.
    pub session_max_s: u32,
    /// Offers SHA-256 for passwords, and names that are hashed.
    pub password_algorithms: bool,
    /// Relays for everybody. For closed networks and tests.
    pub open_relay: bool,
}

/// A user of long-term credentials (RFC 8489 §9.2).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// The name that the client sends.
    pub name: String,
    /// The password that it proves.
    pub password: Secret,
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            users: Vec::new(),
            secrets: Vec::new(),
            oauth_keys: Vec::new(),
            oauth_server_name: String::new(),
            session_max_s: 86_400,
            password_algorithms: true,
            open_relay: false,
        }
    }
}

impl Auth {
    /// The name that access tokens are sealed for.
    pub fn server_name<'a>(&'a self, realm: &'a str) -> &'a str {
        if self.oauth_server_name.is_empty() {
            realm
        } else {
            &self.oauth_server_name
        }
    }

    /// Whether anybody at all can prove himself.
    pub fn has_credentials(&self) -> bool {
        !self.users.is_empty() || !self.secrets.is_empty() || !self.oauth_keys.is_empty()
    }
}
