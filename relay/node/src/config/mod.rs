//! The node's configuration: one struct a section, layered, checked, explained.
//!
//! A flag goes over the environment, the environment over the file, the file over the default. An
//! unknown key is an error that names the nearest known one. Beside the struct of each section stands
//! what there is to say about its keys; `docs/CONFIG.md` is made of it.

use std::path::Path;

use serde::{Deserialize, Serialize};
use sterna_daemon::config::{self as layered, KeyTable, Layered, Origins};

mod acme;
mod admin;
mod auth;
mod cidr;
mod control;
mod dscp;
mod flow;
mod limits;
mod log;
mod node;
mod oauth;
mod peers;
mod port_range;
mod redirect;
mod secret;
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
pub use flow::Flow;
pub use limits::Limits;
pub use node::{EngineName, Node};
pub use oauth::{OAuthAlgorithm, OAuthKey};
pub use peers::{PeerUser, Peers};
pub use port_range::{PortRange, PortRangeError};
pub use redirect::AlternateWhen;
pub use secret::{REDACTED, Secret};
pub use tcp::Tcp;
pub use tls::Tls;
pub use turn::{DEFAULT_PORT, Turn};

pub use sterna_daemon::config::ConfigError;
use sterna_daemon::log::Log;

/// The node's keys, whose table is also what `sterna config` explains and `docs/CONFIG.md` lists.
const TABLE: KeyTable = KeyTable {
    sections: &[
        node::SECTION,
        turn::SECTION,
        flow::SECTION,
        tcp::SECTION,
        auth::SECTION,
        peers::SECTION,
        limits::SECTION,
        tls::SECTION,
        admin::SECTION,
        control::SECTION,
        log::SECTION,
    ],
    prefix: "STERNA_",
    implied: "",
    foreign: &[
        "STERNA_CONFIG",
        "STERNA_BENCH_SECRET",
        "STERNA_CONTROL_TOKEN",
        "STERNA_TICKET_SECRET",
    ],
    file_introduction: "# A Sterna node, every key at its default. Keep only what you change.\n\
         # A flag (--set section.key=value) goes over the environment (STERNA_SECTION_KEY), which goes over this file.\n",
    document_introduction: "# Node configuration\n\n\
         <!-- Generated from relay/node/src/config by `cargo xtask docs`. -->\n\n\
         A node reads one TOML file (`sterna relay --config FILE`). Every key has a default, so an empty file is a file; only \
         credentials must be given. `--set section.key=value` goes over the environment variable `STERNA_SECTION_KEY`, \
         which goes over the file, which goes over the default. Lists are written `a,b` by flag and environment, users \
         `name:password`, pairs of addresses `internal=public`; TOML is understood there too.\n\n\
         An unknown key is an error that names the nearest known one. `sterna config check` reads the configuration as the \
         node would and reports everything that is wrong at once; `sterna config explain KEY` prints what is below; \
         `sterna config defaults` prints a file to start from. SIGHUP and `POST /reload` apply the keys that are marked \
         \"reload\" without touching a session.\n",
};

impl Layered for Config {
    const TABLE: &'static KeyTable = &TABLE;
}

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
        let (config, origins) = layered::read::<Self>(file, env, sets)?;
        origins.blame(validate::faults(&config))?;
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
        layered::read(file, env, sets).map(|(config, _)| config)
    }

    /// Checks what one value cannot show alone.
    ///
    /// # Errors
    /// Everything that keeps a node from starting.
    pub fn validate(&self) -> Result<(), ConfigError> {
        Origins::default().blame(validate::faults(self))
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
            |key: &&layered::Key| old[key.section()][key.name()] != new[key.section()][key.name()];
        let waiting = Self::TABLE.keys().filter(|key| !key.reload);
        waiting.filter(differs).map(|key| key.path).collect()
    }
}
