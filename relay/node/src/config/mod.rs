//! The node's configuration: one struct a section, layered, checked, explained.
//!
//! A flag goes over the environment, the environment over the file, the file over the default. An
//! unknown key is an error that names the nearest known one. [`keys::KEYS`] says what each key
//! means; `docs/CONFIG.md` is made of it.

use std::path::Path;

use serde::{Deserialize, Serialize};

mod acme;
mod admin;
mod auth;
mod cidr;
mod control;
mod document;
mod dscp;
mod error;
mod flow;
pub mod keys;
mod layers;
mod limits;
mod log;
mod node;
mod oauth;
mod peers;
mod port_range;
mod redirect;
mod secret;
mod spelling;
mod tcp;
#[cfg(test)]
mod tests;
mod tls;
mod turn;
mod validate;

pub use acme::{Acme, AcmeChallenge, DEFAULT_DIRECTORY, ExternalAccount};
pub use admin::{Admin, DEFAULT_ADMIN_PORT};
pub use auth::{Auth, User};
pub use control::Control;
pub use document::{defaults_toml, explain, markdown, overview};
pub use error::{ConfigError, Problem, Source};
pub use flow::Flow;
pub use limits::Limits;
pub use log::{Log, LogFormat, LogLevel};
pub use node::{EngineName, Node};
pub use oauth::{OAuthAlgorithm, OAuthKey};
pub use peers::{PeerUser, Peers};
pub use port_range::{PortRange, PortRangeError};
pub use redirect::AlternateWhen;
pub use secret::{REDACTED, Secret};
pub use tcp::Tcp;
pub use tls::Tls;
pub use turn::{DEFAULT_PORT, Turn};

use layers::{Layers, Origins};

/// The whole configuration of a node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The process itself.
    pub node: Node,
    /// Listeners and relayed addresses.
    pub turn: Turn,
    /// Devices that meet by public key.
    pub flow: Flow,
    /// Load balancers.
    pub tcp: Tcp,
    /// Who may relay.
    pub auth: Auth,
    /// Whom to relay to.
    pub peers: Peers,
    /// Caps.
    pub limits: Limits,
    /// The certificate.
    pub tls: Tls,
    /// The admin listener.
    pub admin: Admin,
    /// The control service.
    pub control: Control,
    /// Logs.
    pub log: Log,
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
        let (config, origins) = Self::layered(file, env, sets)?;
        config.check(&origins)?;
        Ok(config)
    }

    /// Reads all layers without checking the result, for callers that add to it and then
    /// [`validate`](Self::validate).
    ///
    /// # Errors
    /// Unknown keys and values that are not of their form.
    pub fn read(
        file: Option<&Path>,
        env: impl Iterator<Item = (String, String)>,
        sets: &[String],
    ) -> Result<Self, ConfigError> {
        Self::layered(file, env, sets).map(|(config, _)| config)
    }

    /// Checks what one value cannot show alone.
    ///
    /// # Errors
    /// Everything that keeps a node from starting.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.check(&Origins::new())
    }

    /// What the node starts with all the same and should say so; alarming where it must be.
    pub fn warnings(&self) -> Vec<String> {
        validate::warnings(self)
    }

    /// Whether the flow relay runs: somebody can be admitted, by keys of the operator or of the control
    /// service, and there is a way in.
    pub fn flow_is_on(&self) -> bool {
        let keys = !self.flow.ticket_keys.is_empty() || self.control.is_on();
        keys && (self.flow.udp || self.flow.has_connections())
    }

    /// The configuration as JSON with every secret replaced.
    pub fn redacted(&self) -> serde_json::Value {
        serde_json::to_value(self).expect("invariant: the configuration is plain data")
    }

    /// The keys that differ from `newer` and take effect on restart only.
    pub fn restart_needed(&self, newer: &Self) -> Vec<&'static str> {
        let (old, new) = (self.redacted(), newer.redacted());
        let differs =
            |key: &&keys::Key| old[key.section()][key.name()] != new[key.section()][key.name()];
        keys::KEYS
            .iter()
            .filter(|key| !key.reload)
            .filter(differs)
            .map(|key| key.path)
            .collect()
    }

    fn layered(
        file: Option<&Path>,
        env: impl Iterator<Item = (String, String)>,
        sets: &[String],
    ) -> Result<(Self, Origins), ConfigError> {
        let mut layers = Layers::default();
        if let Some(path) = file {
            layers.file(path);
        }
        layers.environment(env);
        layers.flags(sets);
        layers.finish()
    }

    fn check(&self, origins: &Origins) -> Result<(), ConfigError> {
        let problems: Vec<_> = validate::faults(self)
            .into_iter()
            .map(|(key, sentence)| Problem {
                source: origins.get(key).cloned().unwrap_or(Source::Default),
                key: key.to_owned(),
                sentence,
            })
            .collect();
        if problems.is_empty() {
            Ok(())
        } else {
            Err(ConfigError { problems })
        }
    }

    fn deserialize_table(table: toml::Table) -> Result<Self, toml::de::Error> {
        Self::deserialize(toml::Value::Table(table))
    }
}

/// The process's environment without what is not text, which `std::env::vars` would panic on.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}
