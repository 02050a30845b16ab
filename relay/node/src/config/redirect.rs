//! The part of `[turn]` that says where clients are sent which this node does not take.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use sterna_turn::{Alternates, RedirectWhen};

use super::turn::Turn;

/// RFC 8489 §14.16: "255 or fewer ASCII characters".
const DOMAIN_BYTES_MAX: usize = 255;

/// The values of `turn.alternate_when`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AlternateWhen {
    /// While the node drains.
    Draining,
    /// While it drains, and when it has no room.
    #[default]
    Full,
    /// Always.
    Always,
}

impl Turn {
    /// Where clients are sent, as the machine is told it.
    pub fn alternates(&self) -> Alternates {
        Alternates {
            servers: self.alternate_server.clone(),
            tls_servers: self.alternate_tls_server.clone(),
            domain: self.alternate_domain.as_str().into(),
            when: match self.alternate_when {
                AlternateWhen::Draining => RedirectWhen::Draining,
                AlternateWhen::Full => RedirectWhen::Full,
                AlternateWhen::Always => RedirectWhen::Always,
            },
        }
    }

    /// What is wrong with these keys.
    pub(super) fn alternate_faults(&self) -> Vec<(&'static str, String)> {
        let mut faults = Vec::new();
        let lists = [
            ("turn.alternate_server", &self.alternate_server),
            ("turn.alternate_tls_server", &self.alternate_tls_server),
        ];
        for (key, servers) in lists {
            let mut seen = BTreeSet::new();
            for server in servers {
                if let Some(sentence) = self.server_fault(*server) {
                    faults.push((key, sentence));
                } else if !seen.insert(*server) {
                    faults.push((key, format!("{server} is listed twice")));
                }
            }
        }
        let domain = &self.alternate_domain;
        if domain.len() > DOMAIN_BYTES_MAX || !domain.chars().all(is_of_a_name) {
            faults.push((
                "turn.alternate_domain",
                format!(
                    "a DNS name is at most {DOMAIN_BYTES_MAX} letters, digits, hyphens and dots, such as \"turn2.example.org\""
                ),
            ));
        }
        if self.alternate_when == AlternateWhen::Always && self.alternate_server.is_empty() {
            faults.push((
                "turn.alternate_when",
                "\"always\" takes no client, and turn.alternate_server names nowhere to send them; list a server there, or \
                 remove the key"
                    .to_owned(),
            ));
        }
        faults
    }

    fn server_fault(&self, server: SocketAddr) -> Option<String> {
        let ip = server.ip();
        if ip.is_unspecified() || ip.is_multicast() || server.port() == 0 {
            return Some(format!(
                "{server} is no server's address and port; write one that clients can reach, such as \"203.0.113.9:3478\""
            ));
        }
        let mut own = self.listen.iter().chain(&self.tls_listen);
        let is_own = |addr: &SocketAddr| {
            let public = SocketAddr::new(self.public(addr.ip()), addr.port());
            *addr == server || public == server
        };
        own.any(is_own).then(|| {
            format!("{server} is this node: its clients would be sent in circles; name another one")
        })
    }
}

fn is_of_a_name(char: char) -> bool {
    char.is_ascii_alphanumeric() || char == '-' || char == '.'
}
