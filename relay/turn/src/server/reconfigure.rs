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
        let old = std::mem::replace(&mut self.config, config);
        self.learn_relays();
        self.follow_secrets(&old);
        self.end_strangers();
        self.rejudge_peers();
    }

    /// Finds each session's secret in the new list, and ends those whose secret is not there.
    fn follow_secrets(&mut self, old: &ServerConfig) {
        let new = &self.config.secrets;
        let place_of = |secret: &str| new.iter().position(|new| **new == *secret);
        let moved: Vec<Option<usize>> = old.secrets.iter().map(|secret| place_of(secret)).collect();
        let open_relay = self.config.open_relay;
        let mut condemned = Vec::new();
        for (index, allocation) in &mut self.allocations {
            let credentials = allocation.credentials.as_mut();
            let Some(CredentialKind::TimeLimited { secret, .. }) =
                credentials.map(|credentials| &mut credentials.kind)
            else {
                continue;
            };
            match moved.get(*secret).copied().flatten() {
                Some(place) => *secret = place,
                // Nobody is asked now; once somebody is, it is a secret that is not there.
                None if open_relay => *secret = usize::MAX,
                None => condemned.push(index),
            }
        }
        for index in condemned {
            self.end(index, EndReason::UserRemoved);
        }
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
                && matches!(credentials.kind, CredentialKind::Static)
            {
                let algorithm = credentials.mac.algorithm();
                if let Some(key) = config.users.key(&credentials.name, algorithm) {
                    credentials.mac = AnswerMac::new(algorithm, key);
                }
            }
        }
    }

    /// Asks the new policy and the new rules of its account about every permission and channel.
    fn rejudge_peers(&mut self) {
        let living: Vec<usize> = self.allocations.iter().map(|(index, _)| index).collect();
        for index in living {
            self.rejudge(index);
        }
        let revoked = self.rejudge_connections();
        self.counters.peers_revoked += revoked as u64;
    }
}

/// Tells whether a session may go on: while its user, its secret (see `follow_secrets`) or the key
/// that sealed its token is configured. A key's own times are about new tokens.
fn may_stay(config: &ServerConfig, credentials: Option<&Credentials>) -> bool {
    match credentials {
        None => config.open_relay,
        Some(Credentials {
            name,
            kind: CredentialKind::Static,
            ..
        }) => config.open_relay || config.users.has(name),
        Some(Credentials {
            kind: CredentialKind::TimeLimited { .. },
            ..
        }) => true,
        Some(Credentials {
            kind: CredentialKind::ThirdParty(session),
            ..
        }) => config.open_relay || config.oauth.has(&session.signer),
    }
}

#[cfg(test)]
mod tests;
