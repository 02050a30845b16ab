//! `[log]`: what is written to standard error, and how.

use serde::{Deserialize, Serialize};

/// The `[log]` section.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// The least important level that is written.
    pub level: LogLevel,
    /// One line a record, for people or for machines.
    pub format: LogFormat,
}

/// The values of `log.level`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Only that the node stops.
    Error,
    /// What is worth a look in the morning.
    Warn,
    /// Steps in the node's life.
    #[default]
    Info,
    /// Decisions; shows client addresses.
    Debug,
    /// Packets.
    Trace,
}

/// The values of `log.format`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}
