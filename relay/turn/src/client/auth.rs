//! Long-term credentials on the client's side (RFC 8489 §9.2.3 and §9.2.5).
//!
//! The server's challenge (REALM, NONCE and PASSWORD-ALGORITHMS of a 401 or 438) is kept, and every
//! later request is signed with it at once. Where the server offers password algorithms, the first
//! known one of its list is taken, the list goes back as it came, and both sides sign by
//! MESSAGE-INTEGRITY-SHA256 only. Where it offers none, both use MD5 and MESSAGE-INTEGRITY.
//!
//! Somebody on the path who takes the offer away is noticed, since the nonce announces it. To take
//! the announcement away as well he has to change the nonce, and to shorten the list is to change
//! it: neither request gets through at the server (RFC 8489 §9.2.1).

use std::sync::Arc;

use sterna_stun::attr::{
    AttributeType, Nonce, PasswordAlgorithm, PasswordAlgorithms, Realm, UserHash, Username,
};
use sterna_stun::credentials::{long_term_key_md5, long_term_key_sha256, opaque_string, userhash};
use sterna_stun::integrity::{KeyedSha1, KeyedSha256};
use sterna_stun::message::Message;
use sterna_stun::nonce::Features;
use sterna_stun::writer::{Full, MessageWriter};

use super::config::Credentials;
use super::event::ClientError;

/// What the client knows for signing.
#[derive(Debug)]
pub(super) struct Auth {
    credentials: Option<Credentials>,
    challenge: Option<Arc<Challenge>>,
}

/// What the server wants requests to be signed with. A request keeps its own: its answer may come
/// when the next challenge is there.
pub(super) struct Challenge {
    realm: Box<str>,
    nonce: Box<[u8]>,
    who: Who,
    offer: Option<Offer>,
    mac: Mac,
}

/// The user, as the server wants to be told.
enum Who {
    Name(Box<str>),
    Hash([u8; 32]),
}

/// A choice of password algorithms, and what was chosen.
struct Offer {
    /// PASSWORD-ALGORITHMS as it came.
    list: Box<[u8]>,
    choice: PasswordAlgorithm<'static>,
}

#[derive(Clone)]
enum Mac {
    Sha1(KeyedSha1),
    Sha256(KeyedSha256),
}

impl std::fmt::Debug for Challenge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Challenge")
            .field("realm", &self.realm)
            .field("choice", &self.choice())
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

    /// Whether the client has anything to sign with.
    pub(super) fn has_credentials(&self) -> bool {
        self.credentials.is_some()
    }

    /// What requests are signed with, as soon as the server has said so.
    pub(super) fn challenge(&self) -> Option<Arc<Challenge>> {
        self.challenge.clone()
    }

    /// Adopts the challenge of a 401 or 438.
    pub(super) fn adopt(&mut self, answer: &Message<'_>) -> Result<(), ClientError> {
        let Some(credentials) = &self.credentials else {
            return Err(ClientError::NoCredentials);
        };
        let (Ok(Some(Realm(realm))), Ok(Some(Nonce(nonce)))) = (answer.find(), answer.find())
        else {
            return Err(ClientError::BadAnswer);
        };
        // RFC 8489 §9.2.5: with the nonce's bit and without PASSWORD-ALGORITHMS "the client MUST
        // NOT retry the request with a new transaction".
        if lacks_its_offer(answer) {
            return Err(ClientError::BidDown);
        }
        let offer = Offer::of(answer)?;
        let choice = offer.as_ref().map(|offer| offer.choice);
        let mac = match &self.challenge {
            Some(old) if *old.realm == *realm && old.choice() == choice => old.mac.clone(),
            _ => Mac::of(credentials, realm, choice),
        };
        // RFC 8489 §9.2.5: with the "Username anonymity" bit "the USERHASH attribute MUST be used".
        let anonymous = Features::of(nonce).is_some_and(|features| features.username_anonymity);
        let who = if anonymous {
            Who::Hash(userhash(&credentials.username, realm))
        } else {
            Who::Name(credentials.username.as_str().into())
        };
        self.challenge = Some(Arc::new(Challenge {
            realm: realm.into(),
            nonce: nonce.into(),
            who,
            offer,
            mac,
        }));
        Ok(())
    }
}

impl Challenge {
    /// Adds the credentials and the MAC.
    pub(super) fn sign(&self, writer: &mut MessageWriter<'_>) -> Result<(), Full> {
        match &self.who {
            Who::Name(name) => writer.attr(&Username(name))?,
            Who::Hash(hash) => writer.attr(&UserHash(*hash))?,
        }
        writer.attr(&Realm(&self.realm))?;
        writer.attr(&Nonce(&self.nonce))?;
        // RFC 8489 §9.2.5: "the request MUST contain the PASSWORD-ALGORITHMS attribute with the same
        // content", and PASSWORD-ALGORITHM.
        if let Some(offer) = &self.offer {
            writer.raw(AttributeType::PASSWORD_ALGORITHMS, &offer.list)?;
            writer.attr(&offer.choice)?;
        }
        match &self.mac {
            Mac::Sha1(mac) => writer.integrity_sha1(mac),
            Mac::Sha256(mac) => writer.integrity_sha256(mac),
        }
    }

    /// Whether an answer was made by somebody who knows the password, and in the way that the
    /// request asked for (RFC 8489 §9.2.4).
    pub(super) fn is_proven(&self, answer: &Message<'_>) -> bool {
        match &self.mac {
            Mac::Sha1(mac) => mac.verify(answer).is_ok(),
            Mac::Sha256(mac) => mac.verify(answer).is_ok(),
        }
    }

    fn choice(&self) -> Option<PasswordAlgorithm<'static>> {
        self.offer.as_ref().map(|offer| offer.choice)
    }
}

impl Offer {
    /// Takes the first algorithm that is known here; none where there is no choice.
    fn of(answer: &Message<'_>) -> Result<Option<Self>, ClientError> {
        let list = answer.find::<PasswordAlgorithms<'_>>();
        let Some(list) = list.map_err(|_| ClientError::BadAnswer)? else {
            return Ok(None);
        };
        let known = [PasswordAlgorithm::SHA256, PasswordAlgorithm::MD5];
        let choice = list
            .iter()
            .find_map(|offered| known.into_iter().find(|known| *known == offered))
            .ok_or(ClientError::NoPasswordAlgorithm)?;
        let mut attributes = answer.attributes();
        let raw = attributes.find(|raw| raw.type_ == AttributeType::PASSWORD_ALGORITHMS);
        Ok(raw.map(|raw| Self {
            list: raw.value.into(),
            choice,
        }))
    }
}

impl Mac {
    /// The key of these credentials in this realm. A password that RFC 8265 forbids is used as it
    /// is: a server that accepted it once did the same.
    fn of(
        credentials: &Credentials,
        realm: &str,
        choice: Option<PasswordAlgorithm<'static>>,
    ) -> Self {
        let (name, password) = (&credentials.username, &credentials.password);
        let prepared = opaque_string(password);
        let password = prepared.as_deref().unwrap_or(password);
        match choice {
            None => Self::Sha1(long_term_key_md5(name, realm, password).sha1()),
            // RFC 8489 §9.2.5: where there was an offer, requests are authenticated by
            // MESSAGE-INTEGRITY-SHA256 only, whatever was chosen.
            Some(PasswordAlgorithm::SHA256) => {
                Self::Sha256(long_term_key_sha256(name, realm, password).sha256())
            }
            Some(_) => Self::Sha256(long_term_key_md5(name, realm, password).sha256()),
        }
    }
}

/// Tells whether the nonce announces password algorithms and the attribute is not there.
pub(super) fn lacks_its_offer(answer: &Message<'_>) -> bool {
    let nonce = answer.find::<Nonce<'_>>().ok().flatten();
    let features = nonce.and_then(|nonce| Features::of(nonce.0));
    features.is_some_and(|features| features.password_algorithms)
        && !answer.has(AttributeType::PASSWORD_ALGORITHMS)
}
