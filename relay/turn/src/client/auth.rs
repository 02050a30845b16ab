//! Long-term credentials on the client's side (RFC 8489 §9.2.3 and §9.2.5).
//!
//! The server's challenge (REALM and NONCE of a 401 or 438) is kept, and every later request is
//! signed with it at once. Answers are signed by MESSAGE-INTEGRITY; the challenge's
//! PASSWORD-ALGORITHMS is left unanswered, which RFC 8489 §9.2.5 allows and which makes both sides
//! use MD5 and SHA-1.

use sterna_stun::attr::{Nonce, Realm, Username};
use sterna_stun::credentials::{long_term_key_md5, opaque_string};
use sterna_stun::integrity::KeyedSha1;
use sterna_stun::message::Message;
use sterna_stun::writer::{Full, MessageWriter};

use super::config::Credentials;
use super::event::ClientError;

/// What the client knows for signing.
#[derive(Debug)]
pub(super) struct Auth {
    credentials: Option<Credentials>,
    challenge: Option<Challenge>,
}

struct Challenge {
    realm: Box<str>,
    nonce: Box<[u8]>,
    key: KeyedSha1,
}

impl std::fmt::Debug for Challenge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Challenge")
            .field("realm", &self.realm)
            .finish_non_exhaustive()
    }
}

impl Auth {
    pub(super) fn new(credentials: Option<Credentials>) -> Self {
        Self {
            credentials,
            challenge: None,
        }
    }

    /// Whether requests can be signed.
    pub(super) fn is_ready(&self) -> bool {
        self.challenge.is_some()
    }

    /// Adopts the realm and the nonce of a 401 or 438.
    pub(super) fn adopt(&mut self, answer: &Message<'_>) -> Result<(), ClientError> {
        let Some(credentials) = &self.credentials else {
            return Err(ClientError::NoCredentials);
        };
        let (Ok(Some(realm)), Ok(Some(nonce))) =
            (answer.find::<Realm<'_>>(), answer.find::<Nonce<'_>>())
        else {
            return Err(ClientError::BadAnswer);
        };
        let key = match &self.challenge {
            Some(old) if *old.realm == *realm.0 => old.key.clone(),
            _ => key_of(credentials, realm.0),
        };
        self.challenge = Some(Challenge {
            realm: realm.0.into(),
            nonce: nonce.0.into(),
            key,
        });
        Ok(())
    }

    /// Adds USERNAME, REALM, NONCE and MESSAGE-INTEGRITY.
    pub(super) fn sign(&self, writer: &mut MessageWriter<'_>) -> Result<(), Full> {
        let (Some(credentials), Some(challenge)) = (&self.credentials, &self.challenge) else {
            return Ok(());
        };
        writer.attr(&Username(&credentials.username))?;
        writer.attr(&Realm(&challenge.realm))?;
        writer.attr(&Nonce(&challenge.nonce))?;
        writer.integrity_sha1(&challenge.key)
    }

    /// Whether the answer was made by somebody who knows the password.
    pub(super) fn verify(&self, answer: &Message<'_>) -> bool {
        self.challenge
            .as_ref()
            .is_some_and(|challenge| challenge.key.verify(answer).is_ok())
    }
}

/// The key of these credentials in this realm. A password that RFC 8265 forbids is used as it is: a
/// server that accepted it once did the same.
fn key_of(credentials: &Credentials, realm: &str) -> KeyedSha1 {
    let password = opaque_string(&credentials.password);
    let password = password.as_deref().unwrap_or(&credentials.password);
    long_term_key_md5(&credentials.username, realm, password).sha1()
}
