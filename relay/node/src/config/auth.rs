//! `[auth]`: who may relay.

use serde::{Deserialize, Serialize};
use sterna_daemon::config::{Key, Kind, Section};

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

/// The section's keys.
pub(super) const SECTION: Section = Section {
    name: "auth",
    about: "Who may relay. Without users, secrets or keys the node does not start, unless `open_relay` is set.",
    keys: &[
        Key {
            path: "auth.users",
            meaning: "Users of long-term credentials: `[{ name = \"…\", password = \"…\" }]`.",
            kind: Kind::Records {
                fields: &["name", "password"],
                form: "users, such as [{ name = \"alice\", password = \"…\" }] (alice:password by flag)",
            },
            advice: "passwords of 16 random characters or more",
            reload: true,
            ..Key::PLAIN
        },
        Key {
            path: "auth.secrets",
            meaning: "Shared secrets of time-limited credentials (TURN REST), newest first; all are accepted, so that one can be rolled over. A reload that removes one ends the allocations that were made with it at once.",
            kind: Kind::SecretList,
            advice: "32 random characters or more; to roll over, put the next one in front and keep the old one as long as its sessions may last",
            reload: true,
            ..Key::PLAIN
        },
        Key {
            path: "auth.oauth_keys",
            meaning: "Keys shared with authorisation servers, whose access tokens clients may bring instead of a password (RFC 7635): `[{ kid = \"…\", key = \"…\" }]`, the key in base64, `algorithm` `A256GCM` (the default) or `A128GCM`, and for rollover `not_before_unix_s` and `not_after_unix_s`, outside of which its tokens are refused. A reload that removes a key, or gives its kid another one, ends the allocations of its tokens at once.",
            kind: Kind::Tables("[{ kid = \"2026-11\", key = \"…\" }]"),
            advice: "one key for each authorisation server; to roll one over, list the next one beside it a token's lifetime ahead (`sterna token oauth-key` makes one)",
            reload: true,
            ..Key::PLAIN
        },
        Key {
            path: "auth.oauth_server_name",
            meaning: "The name of this server that access tokens are sealed for, and that 401 answers tell (THIRD-PARTY-AUTHORIZATION) where `auth.oauth_keys` is set. Empty: the realm.",
            advice: "short: over UDP it is told where it fits into 3.5 times the request's length; over TCP and TLS always",
            reload: true,
            ..Key::PLAIN
        },
        Key {
            path: "auth.session_max_s",
            meaning: "How long an allocation may live in all, refreshes included. Time-limited credentials make no new one once their time is over, but one that lives goes on up to this.",
            unit: "seconds",
            kind: Kind::Number(600, 31_536_000),
            advice: "a day",
            reload: true,
        },
        Key {
            path: "auth.password_algorithms",
            meaning: "Offers clients a choice of password algorithms, SHA-256 before MD5, and, where there are no `auth.secrets`, to hash their user name (RFC 8489). Older clients do not notice and go on with MD5; off is for one that stumbles over the offer.",
            kind: Kind::Flag,
            advice: "true",
            reload: true,
            ..Key::PLAIN
        },
        Key {
            path: "auth.open_relay",
            meaning: "Relays for everybody, without credentials. For closed networks and tests only: anybody can send packets through this host.",
            kind: Kind::Flag,
            advice: "false",
            reload: true,
            ..Key::PLAIN
        },
    ],
};
