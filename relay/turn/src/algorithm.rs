//! Which hash made a key, and which MAC an answer bears (RFC 8489 §9.2.4).
//!
//! | PASSWORD-ALGORITHM(S) in the request | key | answer |
//! |---|---|---|
//! | neither | MD5 | MESSAGE-INTEGRITY |
//! | both, MD5 chosen | MD5 | MESSAGE-INTEGRITY-SHA256 |
//! | both, SHA-256 chosen | SHA-256 | MESSAGE-INTEGRITY-SHA256 |
//!
//! The request itself may bear either MAC; where it bears both, only the latter counts.

use sterna_stun::{
    attr::{AttributeType, PasswordAlgorithm, PasswordAlgorithms},
    credentials::{long_term_key_md5, long_term_key_sha256},
    integrity::{Key, KeyedSha1, KeyedSha256},
    message::Message,
    writer::{Full, MessageWriter},
};

/// What is offered, best first. There is one list only, so the bit in a nonce that it was offered
/// tells which list went with that nonce.
pub(crate) const OFFERED: PasswordAlgorithms<'static> = PasswordAlgorithms::SHA256_MD5;

/// What a request says about its password algorithm.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    /// Nothing, as all clients before RFC 8489: MD5.
    Unnamed,
    /// MD5, by a client that knows the choice.
    Md5,
    /// SHA-256.
    Sha256,
}

impl Algorithm {
    /// Reads it from a request whose nonce was issued with [`OFFERED`]; none where the attributes do
    /// not match that offer.
    pub(crate) fn chosen(message: &Message<'_>) -> Option<Self> {
        // RFC 8489 §9.2.4: "If the request contains neither the PASSWORD-ALGORITHMS nor the
        // PASSWORD-ALGORITHM algorithm, then the request is processed as though PASSWORD-ALGORITHM
        // were MD5."
        if !message.has(AttributeType::PASSWORD_ALGORITHMS)
            && !message.has(AttributeType::PASSWORD_ALGORITHM)
        {
            return Some(Self::Unnamed);
        }
        // Ibid.: both are present, the list is the one that was sent, and the choice is on it.
        let list = message.find::<PasswordAlgorithms<'_>>().ok()??;
        let choice = message.find::<PasswordAlgorithm<'_>>().ok()??;
        match choice {
            _ if list != OFFERED => None,
            PasswordAlgorithm::SHA256 => Some(Self::Sha256),
            PasswordAlgorithm::MD5 => Some(Self::Md5),
            _ => None,
        }
    }

    /// Derives the key of long-term credentials.
    pub(crate) fn key(self, user: &str, realm: &str, password: &str) -> Key {
        match self {
            Self::Unnamed | Self::Md5 => long_term_key_md5(user, realm, password),
            Self::Sha256 => long_term_key_sha256(user, realm, password),
        }
    }
}

/// A key prepared for the answers to one kind of request, and to check that kind quickly.
#[derive(Clone, Debug)]
pub(crate) enum AnswerMac {
    Unnamed(KeyedSha1),
    Md5(KeyedSha256),
    Sha256(KeyedSha256),
}

impl AnswerMac {
    /// Prepares the key that `algorithm` made.
    pub(crate) fn new(algorithm: Algorithm, key: &Key) -> Self {
        match algorithm {
            Algorithm::Unnamed => Self::Unnamed(key.sha1()),
            Algorithm::Md5 => Self::Md5(key.sha256()),
            Algorithm::Sha256 => Self::Sha256(key.sha256()),
        }
    }

    /// The kind of request that it is for.
    pub(crate) fn algorithm(&self) -> Algorithm {
        match self {
            Self::Unnamed(_) => Algorithm::Unnamed,
            Self::Md5(_) => Algorithm::Md5,
            Self::Sha256(_) => Algorithm::Sha256,
        }
    }

    /// Tells whether a request of that kind bears this very MAC. One that bears the other MAC under
    /// the same key is to be checked with the key itself.
    pub(crate) fn is_borne_by(&self, message: &Message<'_>) -> bool {
        match self {
            // RFC 8489 §9.2.4: MESSAGE-INTEGRITY does not count beside its successor.
            Self::Unnamed(mac) => {
                !message.has(AttributeType::MESSAGE_INTEGRITY_SHA256) && mac.verify(message).is_ok()
            }
            Self::Md5(mac) | Self::Sha256(mac) => mac.verify(message).is_ok(),
        }
    }

    /// Adds the MAC to an answer.
    pub(crate) fn write(&self, writer: &mut MessageWriter<'_>) -> Result<(), Full> {
        match self {
            Self::Unnamed(mac) => writer.integrity_sha1(mac),
            Self::Md5(mac) | Self::Sha256(mac) => writer.integrity_sha256(mac),
        }
    }
}
