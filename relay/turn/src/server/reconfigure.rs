//! A change of configuration under living sessions: what is no longer permitted ends, the rest does
//! not notice.

use std::sync::Arc;

use super::{
    Server,
    authenticate::{CredentialKind, Credentials},
};
use crate::{EndReason, ServerConfig, algorithm::AnswerMac};

impl Server {
    pub(super) fn apply(&mut self, config: Arc<ServerConfig>) {
        self.config = config;
        self.learn_relays();
        self.end_strangers();
        self.rejudge_peers();
    }

    /// Ends the sessions of users that are no longer configured. The others' next request has to
    /// be signed with the present password.
    fn end_strangers(&mut self) {
        let config = Arc::clone(&self.config);
        self.end_all(EndReason::UserRemoved, |allocation| {
            !may_stay(&config, allocation.credentials.as_ref())
        });
        for (_, allocation) in &mut self.allocations {
            if let Some(credentials) = &mut allocation.credentials
                && credentials.kind == CredentialKind::Static
            {
                let algorithm = credentials.mac.algorithm();
                if let Some(key) = config.users.key(&credentials.name, algorithm) {
                    credentials.mac = AnswerMac::new(algorithm, key);
                }
            }
        }
    }

    /// Asks the new policy about every permission and channel.
    fn rejudge_peers(&mut self) {
        let policy = Arc::clone(&self.config.policy);
        let mut revoked = 0;
        for (_, allocation) in &mut self.allocations {
            revoked += allocation.permissions.rejudge(|ip| policy.address(ip).ok());
            revoked += allocation.channels.rejudge(|peer| policy.peer(peer).ok());
        }
        self.counters.peers_revoked += revoked as u64;
    }
}

/// Tells whether a session may go on. A time-limited one outlives its secret: secrets are rolled
/// over all the time, and `session_max_s` ends it. Without any secret the method is switched off.
fn may_stay(config: &ServerConfig, credentials: Option<&Credentials>) -> bool {
    match credentials {
        None => config.open_relay,
        Some(Credentials {
            name,
            kind: CredentialKind::Static,
            ..
        }) => config.open_relay || config.users.has(name),
        Some(_) => config.open_relay || !config.secrets.is_empty(),
    }
}

#[cfg(test)]
mod tests;
