//! Third-party authorisation (RFC 7635): who brings a token need not be known here.
//!
//! An Allocate or Refresh brings ACCESS-TOKEN, with the name of the key that it was sealed by as
//! USERNAME. What it seals is a session key: the request, every later one of the allocation and
//! their answers are signed with that. No packet makes state before its token was opened, its time
//! found right and its MAC verified.
//!
//! A token names nobody. What counts for quotas is the token itself (by its session key), since
//! allocations of one user share one; a later Refresh with another token changes the key and the
//! end, but not what the allocation counts for. Rules of `peers.users` are looked up by the name
//! of the key.

use std::{fmt::Write as _, sync::Arc};

use sterna_stun::{
    access_token::SessionToken,
    attr::AccessToken,
    integrity::{self, Key},
    message::Message,
};

use super::{
    Server,
    authenticate::{CredentialKind, Credentials},
};
use crate::{
    OAuthKey,
    algorithm::{Algorithm, AnswerMac},
    oauth::TokenRefusal,
    tick::Tick,
};

/// What a token brought.
#[derive(Debug)]
pub(crate) struct Session {
    /// What the client signs with.
    pub(crate) key: Key,
    /// From when on no request under this token is granted.
    pub(crate) ends_unix_s: u64,
    /// What sealed the token.
    pub(crate) signer: Arc<OAuthKey>,
}

impl Server {
    /// Checks a request that brings a token (RFC 7635 §7).
    pub(super) fn verify_token(
        &mut self,
        now: Tick,
        message: &Message<'_>,
        kid: &str,
        token: AccessToken<'_>,
        algorithm: Algorithm,
    ) -> Option<Credentials> {
        let unix_s = self.unix_s(now);
        let opened = self.config.oauth.open(kid, token.0, unix_s);
        let verified = opened.and_then(|(signer, token, left_s)| {
            // RFC 7635 §7: the MAC is that of the session key, used as it is.
            integrity::verify(message, token.key()).map_err(|_| TokenRefusal::WrongMac)?;
            let ends_unix_s = unix_s.saturating_add(left_s.into());
            Ok(Credentials {
                name: kid.into(),
                account: account(kid, &token).into(),
                mac: AnswerMac::new(algorithm, token.key()),
                kind: CredentialKind::ThirdParty(Arc::new(Session {
                    key: token.key().clone(),
                    ends_unix_s,
                    signer,
                })),
            })
        });
        match verified {
            Ok(credentials) => {
                self.counters.tokens_accepted += 1;
                Some(credentials)
            }
            Err(refusal) => {
                self.counters.count_token(refusal);
                None
            }
        }
    }

    /// RFC 7635 §9: what is granted is no longer than what is left of the token.
    pub(super) fn within_token(
        &self,
        now: Tick,
        credentials: Option<&Credentials>,
        lifetime_s: u32,
    ) -> u32 {
        let Some(session) = credentials.and_then(Credentials::session) else {
            return lifetime_s;
        };
        let left_s = session.ends_unix_s.saturating_sub(self.unix_s(now));
        lifetime_s.min(u32::try_from(left_s).unwrap_or(u32::MAX))
    }

    /// RFC 7635 §9: a new token takes over an allocation when it refreshes it. One that ends
    /// earlier, such as one in a repeated packet, does not.
    pub(super) fn adopt_token(&mut self, index: usize, credentials: Option<&Credentials>) {
        let kept = &mut self.allocations[index].credentials;
        let ends = |credentials: Option<&Credentials>| {
            credentials
                .and_then(Credentials::session)
                .map(|session| session.ends_unix_s)
        };
        let (newer, older) = (ends(credentials), ends(kept.as_ref()));
        if newer.is_some() && older.is_some() && newer >= older {
            *kept = credentials.cloned();
            // Another key may have other rules.
            self.rejudge(index);
        }
    }
}

impl Credentials {
    /// The same, to be shared.
    pub(super) fn session_of(&self) -> Option<&Arc<Session>> {
        match &self.kind {
            CredentialKind::ThirdParty(session) => Some(session),
            _ => None,
        }
    }

    /// What tells their user from others: the name, but of a token, whose name is that of a key and
    /// so everybody's, the account.
    pub(super) fn identity(&self) -> &Arc<str> {
        match &self.kind {
            CredentialKind::ThirdParty(_) => &self.account,
            _ => &self.name,
        }
    }

    /// The session of a token, if that is what they are.
    pub(crate) fn session(&self) -> Option<&Session> {
        match &self.kind {
            CredentialKind::ThirdParty(session) => Some(session),
            _ => None,
        }
    }
}

/// What quotas are counted by: the key's name and a hash of the session key.
fn account(kid: &str, token: &SessionToken) -> String {
    let mut account = String::with_capacity(kid.len() + 17);
    account.push_str(kid);
    account.push('#');
    for byte in token.id() {
        let _ = write!(account, "{byte:02x}");
    }
    account
}

#[cfg(test)]
mod tests;
