//! `[node]`: the process itself.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sterna_daemon::config::{Key, Kind, Section};

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

/// The section's keys.
pub(super) const SECTION: Section = Section {
    name: "node",
    about: "The process itself.",
    keys: &[
        Key {
            path: "node.name",
            meaning: "What the operator calls this node, in logs and metrics. Empty: the host's name.",
            ..Key::PLAIN
        },
        Key {
            path: "node.region",
            meaning: "Where the node stands, in logs and metrics; of a node with `control.url` the code of its region in the fleet.",
            ..Key::PLAIN
        },
        Key {
            path: "node.data_dir",
            meaning: "Where the node keeps what must survive a restart, such as the self-signed certificate.",
            kind: Kind::Path,
            advice: "a directory that only the node's user can read",
            ..Key::PLAIN
        },
        Key {
            path: "node.workers",
            meaning: "Worker threads, each with its own sockets, buffers and allocations. 0: one a core.",
            unit: "threads",
            kind: Kind::Number(0, 64),
            advice: "0, or fewer than cores where the host does other work",
            ..Key::PLAIN
        },
        Key {
            path: "node.engine",
            meaning: "The UDP back end. `auto` takes io_uring where the kernel lets it and says which one runs and why.",
            kind: Kind::Choice(&["auto", "uring", "mmsg"]),
            advice: "auto",
            ..Key::PLAIN
        },
        Key {
            path: "node.drain_deadline_s",
            meaning: "How long a drain waits for sessions to end by themselves; what is left then is ended.",
            unit: "seconds",
            kind: Kind::Number(0, 86_400),
            advice: "600 to 3600",
            reload: true,
        },
    ],
};
