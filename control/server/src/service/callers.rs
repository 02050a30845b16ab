//! Who calls, once it has proved itself.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use sterna_control_api::access::{Role, TokenKind};
use sterna_control_api::signature::{Claims, Freshness};
use sterna_control_api::{DeviceIdentity, NodeId};
use subtle::ConstantTimeEq as _;
use tracing::debug;
use zeroize::Zeroizing;

use super::Service;
use super::refusal::{Proof, Refusal};
use crate::domain::{Act, AuditRecord, DeviceRecord};
use crate::store::Nonce;

/// The longest text of a token's public half.
const TOKEN_ID_BYTES_MAX: usize = 64;

/// A node that has signed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node {
    /// Its identity.
    pub(crate) id: NodeId,
    /// The counter that the request was signed with; 0 with a nonce.
    pub(crate) counter: u64,
}

/// A device that has signed.
#[derive(Clone, Debug)]
pub(crate) struct Device {
    /// What is known of it.
    pub(crate) record: Arc<DeviceRecord>,
    /// The counter that the request was signed with; 0 with a nonce.
    pub(crate) counter: u64,
}

/// A person or a script.
#[derive(Clone, Debug)]
pub(crate) struct Person {
    /// `user:NAME` or `token:ID`, as the audit log has it.
    pub(crate) actor: String,
    /// What it may do.
    pub(crate) role: Role,
    /// The session, where it is one of a person.
    pub(crate) session: Option<String>,
}

/// A token that was shown: its kind, its public half and its secret's hash.
pub(crate) struct Shown {
    pub(crate) kind: ShownKind,
    pub(crate) id: String,
    hash: [u8; 32],
}

/// What a token says that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShownKind {
    Token(TokenKind),
    Session,
}

impl ShownKind {
    const ALL: [(&'static str, Self); 4] = [
        ("sterna-join-1", Self::Token(TokenKind::Join)),
        ("sterna-enrol-1", Self::Token(TokenKind::Enrolment)),
        ("sterna-api-1", Self::Token(TokenKind::Api)),
        ("sterna-session-1", Self::Session),
    ];

    fn prefix(self) -> &'static str {
        let found = Self::ALL.iter().find(|(_, kind)| *kind == self);
        found.map_or("", |(prefix, _)| prefix)
    }
}

impl Shown {
    /// Reads a token's text.
    pub(crate) fn parse(text: &str) -> Result<Self, Refusal> {
        let malformed = || Refusal::unauthorized(Proof::Malformed);
        let mut parts = text.splitn(3, '.');
        let (prefix, id, secret) = (parts.next(), parts.next(), parts.next());
        let kind = ShownKind::ALL
            .iter()
            .find(|(known, _)| Some(*known) == prefix)
            .ok_or_else(malformed)?
            .1;
        let id = id.filter(|id| !id.is_empty() && id.len() <= TOKEN_ID_BYTES_MAX);
        let secret = secret
            .and_then(|secret| URL_SAFE_NO_PAD.decode(secret).ok())
            .filter(|secret| secret.len() == 32)
            .map(Zeroizing::new)
            .ok_or_else(malformed)?;
        Ok(Self {
            kind,
            id: id.ok_or_else(malformed)?.to_owned(),
            hash: Sha256::digest(&secret[..]).into(),
        })
    }

    /// Whether the secret is the one whose hash this is.
    pub(crate) fn fits(&self, hash: &[u8; 32]) -> bool {
        self.hash.ct_eq(hash).into()
    }
}

/// A token that was just made.
pub(crate) struct Fresh {
    /// Its public half.
    pub(crate) id: String,
    /// What is kept of its secret half.
    pub(crate) hash: [u8; 32],
    /// The whole text, which is shown once.
    pub(crate) text: Zeroizing<String>,
}

impl Fresh {
    /// Makes a token.
    pub(crate) fn new(kind: ShownKind) -> Self {
        let secret: Zeroizing<[u8; 32]> = Zeroizing::new(rand::random());
        let id = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 9]>());
        let text = format!(
            "{}.{id}.{}",
            kind.prefix(),
            *Zeroizing::new(URL_SAFE_NO_PAD.encode(&secret[..]))
        );
        Self {
            hash: Sha256::digest(&secret[..]).into(),
            id,
            text: Zeroizing::new(text),
        }
    }
}

impl Service {
    /// The node whose key has signed.
    pub(crate) async fn known_node(&self, claims: &Claims) -> Result<Node, Refusal> {
        let id = NodeId(claims.key);
        if !self.live.knows(&id) {
            // It may have registered with another replica a moment ago.
            let record = self.answered(self.store.node(&id).await)?;
            self.live.put(record.ok_or_else(Refusal::gone)?);
        }
        Ok(Node {
            id,
            counter: counter(claims),
        })
    }

    /// The device whose key has signed.
    pub(crate) async fn known_device(&self, claims: &Claims) -> Result<Device, Refusal> {
        let identity = DeviceIdentity(claims.key);
        let record = self.device_by_identity(identity).await?;
        let record =
            record.filter(|record| !record.revoked && !self.is_tenant_revoked(record.tenant));
        Ok(Device {
            record: record.ok_or_else(Refusal::gone)?,
            counter: counter(claims),
        })
    }

    /// Remembers the request's nonce, where every replica sees it.
    pub(crate) async fn take_nonce(&self, claims: &Claims) -> Result<(), Refusal> {
        let Freshness::Nonce(nonce) = claims.freshness else {
            return Err(Refusal::unauthorized(Proof::Malformed));
        };
        let nonce = Nonce {
            key: claims.key,
            nonce,
        };
        self.answered(self.store.remember_nonce(&nonce, self.now()).await)
    }

    /// Takes the request's counter.
    pub(crate) fn take_counter(&self, claims: &Claims) -> Result<(), Refusal> {
        let Freshness::Counter(counter) = claims.freshness else {
            return Err(Refusal::unauthorized(Proof::Malformed));
        };
        self.counters
            .take(self.now(), claims.key, claims.created, counter)
    }

    /// The person or script whose token it is.
    pub(crate) async fn person(&self, shown: &Shown) -> Result<Person, Refusal> {
        let unknown = || Refusal::unauthorized(Proof::UnknownToken);
        let now = self.now();
        match shown.kind {
            ShownKind::Token(TokenKind::Api) => {
                let token = self.answered(self.store.token(&shown.id).await)?;
                let token = token
                    .filter(|token| token.kind == TokenKind::Api && shown.fits(&token.secret_hash))
                    .filter(|token| token.is_good(now))
                    .ok_or_else(unknown)?;
                self.token_used(&token.id);
                Ok(Person {
                    actor: format!("token:{}", token.id),
                    role: token.role.unwrap_or(Role::Auditor),
                    session: None,
                })
            }
            ShownKind::Session => {
                let found = self.answered(self.store.session(&shown.id, now).await)?;
                let (session, role) = found
                    .filter(|(session, _)| shown.fits(&session.secret_hash))
                    .ok_or_else(unknown)?;
                Ok(Person {
                    actor: format!("user:{}", session.user),
                    role,
                    session: Some(session.id),
                })
            }
            ShownKind::Token(_) => Err(unknown()),
        }
    }

    /// Writes `auth.refused`, so many a second that nobody fills the log with it.
    pub(crate) async fn note_refusal(&self, actor: &str, subject: &str, what: &str) {
        if self.noted_refusals.check().is_err() {
            return;
        }
        debug!(subject, what, "refused");
        let record = AuditRecord {
            act: Act::new(actor, self.now()),
            action: "auth.refused",
            subject: subject.to_owned(),
            before: None,
            after: Some(serde_json::json!({ "what": what })),
        };
        // The refusal stands whether or not it can be written down; the store counts its failure.
        let _ = self.answered(self.store.record_audit(&record).await);
    }

    /// Host and port that requests to this service are signed over, given what the request says.
    ///
    /// With a URL that the operator has given, requests to that name and to the listener itself count.
    pub(crate) fn authority<'a>(&'a self, host: &'a str) -> &'a str {
        let Some(public) = self.public_authority.as_deref() else {
            return host;
        };
        let is_ours = host == self.local_authority
            || host.rsplit_once(':').is_some_and(|(name, port)| {
                name == "localhost" && self.local_authority.ends_with(port)
            });
        if is_ours { host } else { public }
    }
}

fn counter(claims: &Claims) -> u64 {
    match claims.freshness {
        Freshness::Counter(counter) => counter,
        Freshness::Nonce(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_token_that_was_made_is_read_again_and_fits_its_hash_only() {
        for (_, kind) in ShownKind::ALL {
            let fresh = Fresh::new(kind);
            let shown = Shown::parse(&fresh.text).unwrap();
            assert_eq!((shown.kind, &shown.id), (kind, &fresh.id));
            assert!(shown.fits(&fresh.hash));
            assert!(!shown.fits(&[0; 32]));
        }
    }

    #[test]
    fn what_is_no_token_is_refused_as_malformed() {
        for wrong in [
            "",
            "x",
            "sterna-join-1.a",
            "sterna-join-1..AAAA",
            "sterna-join-1.a.AAAA",
            "other.a.b",
        ] {
            let refusal = Shown::parse(wrong).err().unwrap();
            assert_eq!(refusal.proof, Some(Proof::Malformed), "{wrong}");
        }
    }
}
