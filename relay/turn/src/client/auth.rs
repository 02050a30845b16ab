//! Long-term credentials on the client's side (RFC 8489 §9.2.3 and §9.2.5).
//!
//! The server's challenge (REALM, NONCE and PASSWORD-ALGORITHMS of a 401 or 438) is kept, and every
//! later request is signed with it at once. Where the server offers password algorithms, the first
//! known one of its list is taken, the list goes back as it came, and both sides sign by
//! MESSAGE-INTEGRITY-SHA256 only. Where it offers none, both use MD5 and MESSAGE-INTEGRITY.
//!
//! With an access token (RFC 7635) the name is the token's key's, and the session key signs as it is.
//! Allocate and Refresh bring the token; a new one counts from the Refresh on that was granted with it.
//!
//! Somebody on the path who takes the offer away is noticed, since the nonce announces it. To take
//! the announcement away as well he has to change the nonce, and to shorten the list is to change
//! it: neither request gets through at the server (RFC 8489 §9.2.1).

use std::sync::Arc;

use sterna_stun::attr::{
    AccessToken, AttributeType, Nonce, PasswordAlgorithm, PasswordAlgorithms, Realm, UserHash,
    Username,
};
use sterna_stun::credentials::{long_term_key_md5, long_term_key_sha256, opaque_string, userhash};
use sterna_stun::integrity::{Key, KeyedSha1, KeyedSha256};
use sterna_stun::message::{Message, Method};
use sterna_stun::nonce::Features;
use sterna_stun::writer::{Full, MessageWriter};

use super::config::{AccessGrant, Credentials};
use super::event::ClientError;

/// What the client knows for signing.
#[derive(Debug)]
pub(super) struct Auth {
    credentials: Option<Credentials>,
    /// In place of `credentials`.
    grant: Option<AccessGrant>,
    /// What will be in place of `grant` when a Refresh was granted with it.
    next: Option<AccessGrant>,
    challenge: Option<Arc<Challenge>>,
    /// The same with the newest token, for Allocate and Refresh.
    with_token: Option<Arc<Challenge>>,
}

/// What the server wants requests to be signed with. A request keeps its own: its answer may come
/// when the next challenge is there.
#[derive(Clone)]
pub(super) struct Challenge {
    realm: Box<str>,
    nonce: Box<[u8]>,
    who: Who,
    offer: Option<Offer>,
    mac: Mac,
    token: Option<Box<[u8]>>,
    /// The session key of the access token.
    key: Option<Key>,
}

/// The user, as the server wants to be told.
#[derive(Clone)]
enum Who {
    Name(Box<str>),
    Hash([u8; 32]),
}

/// A choice of password algorithms, and what was chosen.
#[derive(Clone)]
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
    pub(super) fn new(credentials: Option<Credentials>, grant: Option<AccessGrant>) -> Self {
        Self {
            credentials,
            grant,
            next: None,
            challenge: None,
            with_token: None,
        }
    }

    /// Whether the client has anything to sign with.
    pub(super) fn has_credentials(&self) -> bool {
        self.credentials.is_some() || self.grant.is_some()
    }

    /// Forgets what the server has asked for, since another one is asked next.
    pub(super) fn forget(&mut self) {
        self.challenge = None;
    }

    /// What requests are signed with, as soon as the server has said so.
    pub(super) fn challenge(&self, method: Method) -> Option<Arc<Challenge>> {
        // RFC 7635 §9: ACCESS-TOKEN is for Allocate and Refresh only.
        match method {
            Method::ALLOCATE | Method::REFRESH if self.with_token.is_some() => {
                self.with_token.clone()
            }
            _ => self.challenge.clone(),
        }
    }

    /// Takes another token, for the next Refresh.
    pub(super) fn renew(&mut self, grant: AccessGrant) {
        if let Some(challenge) = &self.challenge {
            self.with_token = Some(Arc::new(challenge.by(&grant, true)));
        }
        if self.challenge.is_some() {
            self.next = Some(grant);
        } else {
            self.grant = Some(grant);
        }
    }

    /// Takes note that a request was granted: the token that it brought is the allocation's now.
    pub(super) fn granted(&mut self, signed: Option<&Arc<Challenge>>) {
        let (Some(signed), Some(newest), Some(next)) = (signed, &self.with_token, &self.next)
        else {
            return;
        };
        // With the same token, maybe under an older nonce.
        if signed.token == newest.token {
            self.challenge = Some(Arc::new(newest.by(next, false)));
            self.grant = self.next.take();
        }
    }

    /// Tells whether a request that was refused with 401 is to be signed again: under an access token
    /// that another one has replaced, at this side or, if the answer was lost, at the other.
    pub(super) fn has_moved_on(&mut self, signed: Option<&Challenge>) -> bool {
        let (Some(signed), Some(grant)) = (signed, &self.grant) else {
            return false;
        };
        let is_by = |grant: &AccessGrant| signed.key.as_ref() == Some(&grant.key);
        match &self.next {
            Some(next) if is_by(grant) && signed.token.is_none() => {
                if let Some(challenge) = &self.challenge {
                    self.challenge = Some(Arc::new(challenge.by(next, false)));
                }
                self.grant = self.next.take();
                true
            }
            Some(next) => !is_by(grant) && !is_by(next),
            None => !is_by(grant),
        }
    }

    /// Adopts the challenge of a 401 or 438.
    pub(super) fn adopt(&mut self, answer: &Message<'_>) -> Result<(), ClientError> {
        if !self.has_credentials() {
            return Err(ClientError::NoCredentials);
        }
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
        if let Some(grant) = &self.grant {
            let base = Challenge::of_grant(grant, realm, nonce, offer);
            let newest = self.next.as_ref().unwrap_or(grant);
            self.with_token = Some(Arc::new(base.by(newest, true)));
            self.challenge = Some(Arc::new(base));
            return Ok(());
        }
        let Some(credentials) = &self.credentials else {
            return Err(ClientError::NoCredentials);
        };
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
            token: None,
            key: None,
        }));
        Ok(())
    }
}

impl Challenge {
    /// What requests under an access token are signed with; without the token itself.
    fn of_grant(grant: &AccessGrant, realm: &str, nonce: &[u8], offer: Option<Offer>) -> Self {
        let challenge = Self {
            realm: realm.into(),
            nonce: nonce.into(),
            who: Who::Name("".into()),
            offer,
            mac: Mac::Sha1(grant.key.sha1()),
            token: None,
            key: None,
        };
        challenge.by(grant, false)
    }

    /// The same under another access token, which goes along or not.
    fn by(&self, grant: &AccessGrant, with_token: bool) -> Self {
        let features = Features::of(&self.nonce).unwrap_or(Features::NONE);
        Self {
            who: if features.username_anonymity {
                Who::Hash(userhash(&grant.kid, &self.realm))
            } else {
                Who::Name(grant.kid.as_str().into())
            },
            mac: if self.offer.is_some() {
                Mac::Sha256(grant.key.sha256())
            } else {
                Mac::Sha1(grant.key.sha1())
            },
            token: with_token.then(|| grant.token.as_slice().into()),
            key: Some(grant.key.clone()),
            ..self.clone()
        }
    }

    /// Adds the credentials and the MAC.
    pub(super) fn sign(&self, writer: &mut MessageWriter<'_>) -> Result<(), Full> {
        if let Some(token) = &self.token {
            writer.attr(&AccessToken(token))?;
        }
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
