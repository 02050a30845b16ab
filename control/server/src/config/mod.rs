//! The control service's configuration: layered, checked, explained.
//!
//! A flag goes over the environment, the environment over the file, the file over the default. An
//! unknown key is an error that names the nearest known one. `keys` says what each key means;
//! `docs/CONTROL_CONFIG.md` is made of it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sterna_control_api::Fleet;
use sterna_daemon::config::{self as layered, KeyTable, Layered, Origins};
use sterna_daemon::log::Log;

mod keys;
mod validate;

pub use sterna_daemon::config::ConfigError;
pub(crate) use validate::authority_of;

use crate::store::StoreConfig;

/// The port of the control service.
pub const DEFAULT_PORT: u16 = 8478;

/// The whole configuration of a control service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The process itself.
    pub control: Service,
    /// Where everything is kept.
    pub database: Database,
    /// How nodes report.
    pub heartbeat: Heartbeat,
    /// What devices get.
    pub credentials: Credentials,
    /// Caps.
    pub limits: Limits,
    /// Logs.
    pub log: Log,
}

/// `[control]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Service {
    /// Where it listens.
    pub listen: SocketAddr,
    /// How nodes and devices reach it.
    pub public_url: String,
    /// The certificate chain, PEM.
    pub tls_certificate: Option<PathBuf>,
    /// The certificate's key, PEM.
    pub tls_key: Option<PathBuf>,
    /// Plain HTTP beyond loopback.
    pub insecure_http: bool,
    /// Whether `x-forwarded-for` of the one in front is believed.
    pub behind_proxy: bool,
    /// The fleet, which is the audience of tickets.
    pub fleet: Fleet,
    /// Where keys and the embedded database are kept.
    pub data_dir: PathBuf,
}

/// `[database]`
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Database {
    /// SQLite or PostgreSQL; empty: SQLite in the data directory.
    #[serde(serialize_with = "hidden")]
    pub url: String,
    /// The key that secrets in the database are encrypted with.
    pub key_file: Option<PathBuf>,
    /// Connections to it.
    pub connections_max: u32,
    /// Days for which entries of the audit log are kept; 0: for ever.
    pub audit_days: u32,
}

/// `[heartbeat]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Heartbeat {
    /// Seconds between two heartbeats of a node.
    pub interval_s: u32,
}

/// `[credentials]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Credentials {
    /// Seconds for which TURN credentials last unless asked otherwise, and at most.
    pub turn_ttl_s: u32,
    /// Seconds for which a node lets a TURN session outlast its credentials, at most.
    pub turn_session_max_s: u32,
    /// Seconds for which a relay ticket lasts unless asked otherwise, and at most.
    pub ticket_ttl_s: u32,
    /// Seconds for which a relay map may be used.
    pub map_ttl_s: u32,
    /// Seconds for which a device's keys before a rotation still count.
    pub key_overlap_s: u32,
    /// Seconds after which a person logs in again.
    pub session_ttl_s: u32,
    /// Nodes that the URIs of TURN credentials name at most.
    pub turn_nodes_max: u32,
}

/// `[limits]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Connections at a time.
    pub connections_max: u32,
    /// WebSockets at a time.
    pub websockets_max: u32,
    /// Seconds that a request may take.
    pub request_s_max: u32,
    /// Requests a second of one address.
    pub requests_per_address_per_s: u32,
    /// Requests a second of one node, device, token or session.
    pub requests_per_caller_per_s: u32,
    /// Attempts to log in, or to register with a token, a minute of one address.
    pub attempts_per_address_per_min: u32,
    /// Attempts to log in a minute with one name.
    pub logins_per_name_per_min: u32,
    /// Messages a second that one WebSocket takes from its device.
    pub signals_per_device_per_s: u32,
    /// Messages that wait for one device.
    pub signals_queued_max: u32,
}

impl Layered for Config {
    const TABLE: &'static KeyTable = &keys::TABLE;
}

impl Default for Service {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], DEFAULT_PORT)),
            public_url: String::new(),
            tls_certificate: None,
            tls_key: None,
            insecure_http: false,
            behind_proxy: false,
            fleet: Fleet::new("sterna").expect("invariant: a fleet's name"),
            data_dir: PathBuf::from("control-data"),
        }
    }
}

impl Default for Database {
    fn default() -> Self {
        Self {
            url: String::new(),
            key_file: None,
            connections_max: 16,
            audit_days: 400,
        }
    }
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database").finish_non_exhaustive()
    }
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self { interval_s: 5 }
    }
}

impl Default for Credentials {
    fn default() -> Self {
        Self {
            turn_ttl_s: 3600,
            turn_session_max_s: 86_400,
            ticket_ttl_s: 3600,
            map_ttl_s: 86_400,
            key_overlap_s: 3600,
            session_ttl_s: 43_200,
            turn_nodes_max: 3,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 20_000,
            websockets_max: 16_000,
            request_s_max: 10,
            requests_per_address_per_s: 500,
            requests_per_caller_per_s: 20,
            attempts_per_address_per_min: 120,
            logins_per_name_per_min: 10,
            signals_per_device_per_s: 20,
            signals_queued_max: 32,
        }
    }
}

impl Config {
    /// Reads all layers and checks the result.
    ///
    /// # Errors
    /// Everything that is wrong, each with where it stands and what to write instead.
    pub fn load(
        file: Option<&Path>,
        env: impl Iterator<Item = (String, String)>,
        sets: &[String],
    ) -> Result<Self, ConfigError> {
        let (config, origins) = layered::read::<Self>(file, env, sets)?;
        origins.blame(validate::faults(&config))?;
        Ok(config)
    }

    /// Checks what one value cannot show alone.
    ///
    /// # Errors
    /// Everything that keeps the service from starting.
    pub fn validate(&self) -> Result<(), ConfigError> {
        Origins::default().blame(validate::faults(self))
    }

    /// What the service starts with all the same and should say so.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        validate::warnings(self)
    }

    /// The URL of the database, with the default filled in.
    #[must_use]
    pub fn database_url(&self) -> String {
        if self.database.url.is_empty() {
            format!(
                "sqlite:{}",
                self.control.data_dir.join("control.db").display()
            )
        } else {
            self.database.url.clone()
        }
    }

    /// Where the store is.
    #[must_use]
    pub fn store(&self) -> StoreConfig {
        let defaults = StoreConfig::new(self.database_url(), &self.control.data_dir);
        StoreConfig {
            key_file: self.database.key_file.clone().unwrap_or(defaults.key_file),
            connections_max: self.database.connections_max,
            url: defaults.url,
        }
    }

    /// Whether requests come over TLS that ends here.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.control.tls_certificate.is_some()
    }
}

fn hidden<S: serde::Serializer>(url: &str, serializer: S) -> Result<S::Ok, S::Error> {
    // A URL holds the password of the database.
    let scheme = url.split(':').next().unwrap_or_default();
    match scheme {
        "" | "sqlite" => serializer.serialize_str(url),
        _ => serializer.collect_str(&format_args!("{scheme}:…")),
    }
}

#[cfg(test)]
mod tests;
