//! Who may ask: long-term credentials, static and time-limited (RFC 8489 §9.2).
//!
//! The order of checks is RFC 8489 §9.2.4's: no integrity → 401; USERNAME or USERHASH, REALM or
//! NONCE missing → 400; password algorithms other than those that were offered → 400; user unknown
//! or MAC wrong → 401; nonce stale → 438, last. 401 and 438 carry realm, nonce and the password
//! algorithms, 400 carries none of them.
//!
//! What a client was offered stands in its nonce, which nobody can change: whoever takes the offer
//! or a bit of it away on the path makes the nonce stale, and whoever shortens the list makes it
//! differ (bid-down protection, RFC 8489 §9.2.1).
//!
//! A request that brings a token is checked in the same order; `third_party` opens the token where
//! elsewhere a password's key is looked up.

use std::sync::Arc;

use sterna_stun::{
    attr::{
        AccessToken, AttributeType, ErrorCode, Nonce, Realm, RequestedTransport, UserHash, Username,
    },
    credentials::{parse_rest_username, rest_password},
    integrity::{self, Key},
    message::{Message, Method as StunMethod},
    nonce::{Check, Features},
};

use super::{
    Server,
    mobility::asks_to_move,
    respond::{Refusal, Request},
    third_party::Session,
};
use crate::{
    DropReason, ServerConfig, Verdict,
    algorithm::{Algorithm, AnswerMac},
    allocation::Allocation,
    tick::Tick,
};

/// Proof that a request was authenticated, or that nobody needs to be.
#[derive(Debug)]
pub(super) struct Authenticated(Option<Credentials>);

impl Authenticated {
    /// Whose request it is; none on an open relay.
    pub(super) fn credentials(&self) -> Option<&Credentials> {
        self.0.as_ref()
    }

    /// Tells whether an allocation was made under this name (RFC 8656 §5: else 441).
    pub(super) fn is_maker_of(&self, allocation: &Allocation, request: &Request) -> bool {
        let session = |credentials: Option<&Credentials>| {
            credentials.is_some_and(|credentials| credentials.session().is_some())
        };
        // RFC 7635 §9: another token is shown when an allocation is refreshed.
        let shows_another_token = request.method == StunMethod::REFRESH
            && session(self.credentials())
            && session(allocation.credentials.as_ref());
        shows_another_token || self.may_take_along(allocation)
    }

    /// Tells whether an allocation may be taken along to another 5-tuple (RFC 8016 §3.2.2: else 441).
    ///
    /// Tickets can be read by whoever sees them pass, so that the credentials alone say who it is:
    /// another token than the one in use could be anybody's.
    pub(super) fn may_take_along(&self, allocation: &Allocation) -> bool {
        match (&self.0, &allocation.credentials) {
            (Some(asking), Some(maker)) => match (asking.session(), maker.session()) {
                (None, None) => asking.name == maker.name,
                // The session key says who it is; names of keys are everybody's.
                (Some(asking), Some(maker)) => asking.key == maker.key,
                _ => false,
            },
            // An open relay asks nobody; what was made under a name is still that name's.
            (None, maker) => maker.is_none(),
            (Some(_), None) => false,
        }
    }
}

/// Whose allocation it is, with the key prepared for the next request.
#[derive(Clone, Debug)]
pub(crate) struct Credentials {
    /// USERNAME as it was sent, or what USERHASH stands for.
    pub(crate) name: Arc<str>,
    /// What quotas are counted by: of a time-limited name the part behind the colon.
    pub(crate) account: Arc<str>,
    pub(crate) kind: CredentialKind,
    pub(crate) mac: AnswerMac,
}

/// Where a name comes from.
#[derive(Clone, Debug)]
pub(crate) enum CredentialKind {
    /// Listed in the configuration.
    Static,
    /// Made elsewhere with a shared secret; no new allocation from `expiry_unix_s` on.
    TimeLimited {
        expiry_unix_s: u64,
        /// The secret's place in the configuration.
        secret: usize,
    },
    /// The name of a key; a token that was sealed with it brought a session key (RFC 7635).
    ThirdParty(Arc<Session>),
}

/// Why a request is not authenticated.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// 400: something is missing, or is not what was offered.
    BadRequest { proved: bool },
    /// 401: no credentials, or wrong ones.
    Unauthenticated { proved: bool },
    /// 438: right credentials, old nonce.
    StaleNonce,
    /// Silence: whatever is wrong, there is no answer left for this source.
    OverBudget,
}

impl Failure {
    /// The client's address was proved by a nonce that it could only have received there.
    pub(super) const fn is_proved(self) -> bool {
        match self {
            Self::BadRequest { proved } | Self::Unauthenticated { proved } => proved,
            Self::StaleNonce | Self::OverBudget => false,
        }
    }
}

impl Server {
    /// Checks a request's credentials.
    pub(super) fn authenticate(
        &mut self,
        now: Tick,
        request: &Request,
        message: &Message<'_>,
    ) -> Result<Authenticated, Failure> {
        if self.config.open_relay {
            return Ok(Authenticated(None));
        }
        // RFC 8489 §9.2.4: "If the message does not contain a MESSAGE-INTEGRITY or
        // MESSAGE-INTEGRITY-SHA256 attribute, the server MUST generate an error response with an
        // error code of 401".
        if !message.has(AttributeType::MESSAGE_INTEGRITY_SHA256)
            && !message.has(AttributeType::MESSAGE_INTEGRITY)
        {
            return Err(Failure::Unauthenticated { proved: false });
        }
        // RFC 8489 §9.2.4: USERNAME or USERHASH, REALM or NONCE missing: 400.
        let nonce = message.find::<Nonce<'_>>();
        let Ok(Some(nonce)) = nonce else {
            return Err(Failure::BadRequest { proved: false });
        };
        let (fresh, features) = self.check_nonce(now, request, nonce);
        // With an old nonce it is an error in any case. A flood of those is not worth a single MAC.
        if !fresh && !self.has_answers_left(now, request) {
            return Err(Failure::OverBudget);
        }
        let bad_request = Failure::BadRequest { proved: fresh };
        let unauthenticated = Failure::Unauthenticated { proved: fresh };
        let realm = message
            .find::<Realm<'_>>()
            .ok()
            .flatten()
            .ok_or(bad_request)?;
        let config = Arc::clone(&self.config);
        let name = shown_name(message, &config, features).ok_or(bad_request)?;
        // RFC 8489 §9.2.4: the attributes are looked at where the nonce says that they were offered.
        let algorithm = if features.password_algorithms {
            Algorithm::chosen(message).ok_or(bad_request)?
        } else {
            Algorithm::Unnamed
        };
        if realm.0 != &*self.config.realm {
            return Err(unauthenticated);
        }
        let credentials = self
            .verify(now, request, message, name, algorithm)
            .ok_or(unauthenticated)?;
        // RFC 8489 §9.2.4: the nonce is checked last.
        if !fresh {
            return Err(Failure::StaleNonce);
        }
        if self.is_too_late(now, request, message, &credentials) {
            return Err(unauthenticated);
        }
        Ok(Authenticated(Some(credentials)))
    }

    /// Answers a request that was not authenticated, within the budgets of strangers.
    pub(super) fn reject(
        &mut self,
        now: Tick,
        request: &Request,
        message: &Message<'_>,
        failure: Failure,
    ) -> Result<Verdict, DropReason> {
        // An Allocate without its one mandatory attribute, or with an empty one, is 20 or 24 bytes:
        // the answer would be four times as long, and no client is waiting for it.
        if request.method == StunMethod::ALLOCATE
            && !matches!(message.find::<RequestedTransport>(), Ok(Some(_)))
        {
            return Err(DropReason::NoRequestedTransport);
        }
        self.may_answer(now, request, failure.is_proved())?;
        match failure {
            Failure::OverBudget => return Err(DropReason::UnauthenticatedRate),
            Failure::BadRequest { .. } => self.refuse(request, None, &Refusal::BAD_REQUEST),
            Failure::Unauthenticated { .. } => {
                self.challenge(now, request, ErrorCode::UNAUTHENTICATED);
            }
            Failure::StaleNonce => self.challenge(now, request, ErrorCode::STALE_NONCE),
        }
        Ok(Verdict::Handled)
    }

    /// Takes a token for an answer to a source that has not shown valid credentials.
    ///
    /// An empty bucket never touches streams or clients with a living allocation.
    pub(super) fn may_answer(
        &mut self,
        now: Tick,
        request: &Request,
        proved: bool,
    ) -> Result<(), DropReason> {
        let client = &request.client;
        if client.transport.is_stream() {
            return Ok(());
        }
        let limits = &self.config.limits;
        let (taken, reason) = if proved {
            let rate = limits.failed_credentials_per_client_per_s;
            (
                self.failed.take_exact(now, client.addr, rate),
                DropReason::FailedCredentialsRate,
            )
        } else {
            let rate = limits.unauthenticated_replies_per_prefix_per_s;
            (
                self.unproved.take_prefix(now, client.addr, rate),
                DropReason::UnauthenticatedRate,
            )
        };
        if taken || self.find(client, now).is_some() {
            Ok(())
        } else {
            Err(reason)
        }
    }

    /// Tells whether an answer to an unproved source would be sent, and takes no token for it.
    fn has_answers_left(&self, now: Tick, request: &Request) -> bool {
        let client = &request.client;
        let rate = self.config.limits.unauthenticated_replies_per_prefix_per_s;
        client.transport.is_stream()
            || self.unproved.has_prefix(now, client.addr, rate)
            || self.find(client, now).is_some()
    }

    /// Tells whether a nonce is good, and what it announces. An old one still says what its client
    /// was offered; what a forged one says leads to 438 at best.
    fn check_nonce(&self, now: Tick, request: &Request, nonce: Nonce<'_>) -> (bool, Features) {
        let (client, unix_s) = (&request.client, self.unix_s(now));
        let keys = &self.config.nonce_keys;
        match keys.check(nonce.0, client.addr, client.server, unix_s) {
            Check::Valid(features) => (true, features),
            Check::Stale => (false, Features::of(nonce.0).unwrap_or(Features::NONE)),
        }
    }

    /// A time-limited name makes no allocation once its time is over, and takes none along to
    /// another address. The success of one that was made earlier may still be repeated, and it may
    /// still be refreshed where it is.
    fn is_too_late(
        &self,
        now: Tick,
        request: &Request,
        message: &Message<'_>,
        credentials: &Credentials,
    ) -> bool {
        match &credentials.kind {
            CredentialKind::Static => false,
            CredentialKind::TimeLimited { expiry_unix_s, .. } => {
                (request.method == StunMethod::ALLOCATE || asks_to_move(request.method, message))
                    && *expiry_unix_s <= self.unix_s(now)
                    && self.find(&request.client, now).is_none()
            }
            // RFC 7635 §7: a token whose time is over is good for nothing.
            CredentialKind::ThirdParty(session) => session.ends_unix_s <= self.unix_s(now),
        }
    }

    /// Finds the key under which the message's MAC is right.
    fn verify(
        &mut self,
        now: Tick,
        request: &Request,
        message: &Message<'_>,
        name: Option<&str>,
        algorithm: Algorithm,
    ) -> Option<Credentials> {
        let Some(name) = name else {
            verify_as_nobody(message);
            return None;
        };
        if !self.config.oauth.is_empty() && message.has(AttributeType::ACCESS_TOKEN) {
            // A value that cannot be read is no token either.
            let token = message.find::<AccessToken<'_>>().ok().flatten()?;
            return self.verify_token(now, message, name, token, algorithm);
        }
        // The maker of a living allocation has its key prepared.
        let index = self.find(&request.client, now);
        let maker = index.and_then(|index| self.allocations[index].credentials.as_ref());
        let maker = maker.filter(|maker| *maker.name == *name);
        if let Some(maker) = maker
            && maker.mac.algorithm() == algorithm
            && maker.mac.is_borne_by(message)
        {
            return Some(maker.clone());
        }
        let (key, kind) = match maker.and_then(Credentials::session_of) {
            // RFC 7635 §9: requests other than Allocate and Refresh are signed with the session key
            // of the allocation's token, and bring none.
            Some(session) => {
                integrity::verify(message, &session.key).ok()?;
                (
                    session.key.clone(),
                    CredentialKind::ThirdParty(Arc::clone(session)),
                )
            }
            None => self.matching_key(message, name, algorithm)?,
        };
        let account = match (&kind, maker) {
            (CredentialKind::Static, _) => name,
            (CredentialKind::ThirdParty(_), Some(maker)) => &*maker.account,
            _ => account_of(name),
        };
        let credentials = Credentials {
            name: name.into(),
            account: account.into(),
            kind,
            mac: AnswerMac::new(algorithm, &key),
        };
        // The same name under another key: a secret has been replaced, or another algorithm is
        // liked better. One is kept.
        if maker.is_some()
            && let Some(index) = index
        {
            self.allocations[index].credentials = Some(credentials.clone());
        }
        Some(credentials)
    }

    fn matching_key(
        &self,
        message: &Message<'_>,
        name: &str,
        algorithm: Algorithm,
    ) -> Option<(Key, CredentialKind)> {
        let verified = |key: &Key| integrity::verify(message, key).is_ok();
        if let Some(key) = self.config.users.key(name, algorithm) {
            return verified(key).then(|| (key.clone(), CredentialKind::Static));
        }
        let time_limited = parse_rest_username(name);
        if let Some(parts) = time_limited {
            for (place, secret) in self.config.secrets.iter().enumerate() {
                let password = rest_password(secret.as_bytes(), name);
                let key = algorithm.key(name, &self.config.realm, &password);
                if verified(&key) {
                    let kind = CredentialKind::TimeLimited {
                        expiry_unix_s: parts.expiry_unix_s,
                        secret: place,
                    };
                    return Some((key, kind));
                }
            }
        }
        verify_as_nobody(message);
        None
    }
}

/// The name that a request shows, or what its hash stands for; none where neither attribute is
/// there, or where it is malformed. A hash of nobody's name is `Some(None)`.
fn shown_name<'a>(
    message: &Message<'a>,
    config: &'a ServerConfig,
    features: Features,
) -> Option<Option<&'a str>> {
    if let Some(Username(name)) = message.find().ok()? {
        return Some(Some(name));
    }
    let UserHash(hash) = message.find().ok()??;
    // Where it was not offered, nobody is looked up.
    let name = config
        .users
        .name(&hash)
        .or_else(|| config.oauth.name(&hash));
    Some(name.filter(|_| features.username_anonymity))
}

/// An unknown name costs a verification too, so that time does not tell names apart.
fn verify_as_nobody(message: &Message<'_>) {
    let nobody = Key::new(&[0; 16]);
    let _ = integrity::verify(message, &nobody);
}

/// The account of a time-limited name; a name that is nothing but a time is its own account.
fn account_of(name: &str) -> &str {
    match parse_rest_username(name) {
        Some(parts) if !parts.user.is_empty() => parts.user,
        _ => name,
    }
}

#[cfg(test)]
mod algorithm_tests;
#[cfg(test)]
mod tests;
