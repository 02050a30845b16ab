//! `[node]`: the process itself.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The `[node]` section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Node {
    /// What the operator calls this node; empty is the host's name.
    pub name: String,
    /// Where it stands; free text.
    pub region: String,
    /// Where the node keeps what must survive a restart.
    pub data_dir: PathBuf,
    /// Worker threads; 0 is one a core.
    pub workers: u16,
    /// The UDP back end.
    pub engine: EngineName,
    /// How long a drain waits for sessions to end by themselves.
    pub drain_deadline_s: u64,
}

/// The values of `node.engine`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EngineName {
    /// Tries io_uring and falls back to recvmmsg and sendmmsg, saying why.
    #[default]
    Auto,
    /// io_uring, or no start.
    Uring,
    /// recvmmsg and sendmmsg.
    Mmsg,
}

impl Default for Node {
    fn default() -> Self {
        Self {
            name: String::new(),
            region: String::new(),
            data_dir: PathBuf::from("sterna-data"),
            workers: 0,
            engine: EngineName::Auto,
            drain_deadline_s: 600,
        }
    }
}

impl Node {
    /// The configured name, or the host's.
    pub fn display_name(&self) -> String {
        if !self.name.is_empty() {
            return self.name.clone();
        }
        std::fs::read_to_string("/proc/sys/kernel/hostname")
            .map(|name| name.trim().to_owned())
            .ok()
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| "sterna".to_owned())
    }
}
