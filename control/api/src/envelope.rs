//! JSON under a signature of the control service: relay maps and orders travel in it.
//!
//! What is signed are a context string and the bytes of the JSON, carried as base64url, so that
//! nobody has to agree on a canonical form, and what one context has signed counts in no other.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::key::{KeySet, SIGNATURE_BYTES, SigningKey};
use crate::text;

/// The three texts of an envelope.
#[derive(Copy, Clone)]
pub(crate) struct Envelope<T> {
    /// The bytes of the JSON, base64url.
    pub(crate) body: T,
    /// The signing key, as in tickets.
    pub(crate) key_id: T,
    /// Ed25519 over context and bytes, base64url.
    pub(crate) signature: T,
}

/// What is allowed in an envelope of one kind.
pub(crate) struct Kind {
    /// What the signature is over, before the bytes.
    pub(crate) context: &'static [u8],
    /// The longest body, as text.
    pub(crate) bytes_max: usize,
}

/// Why an envelope is not opened, or not made.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum EnvelopeError {
    TooLarge,
    Malformed,
    UnknownKey,
    BadSignature,
}

impl Kind {
    /// Signs `value`.
    pub(crate) fn seal<V: Serialize>(
        &self,
        value: &V,
        key: &SigningKey,
    ) -> Result<Envelope<String>, EnvelopeError> {
        let bytes = serde_json::to_vec(value).map_err(|_| EnvelopeError::Malformed)?;
        let body = text::encode(&bytes);
        if body.len() > self.bytes_max {
            return Err(EnvelopeError::TooLarge);
        }
        Ok(Envelope {
            body,
            key_id: key.id().to_string(),
            signature: text::encode(&key.sign(&self.signed(&bytes))),
        })
    }

    /// Verifies the signature, and only then reads what it is over.
    pub(crate) fn open<V: DeserializeOwned>(
        &self,
        envelope: &Envelope<&str>,
        keys: &KeySet,
    ) -> Result<V, EnvelopeError> {
        if envelope.body.len() > self.bytes_max {
            return Err(EnvelopeError::TooLarge);
        }
        let bytes = text::decode(envelope.body).ok_or(EnvelopeError::Malformed)?;
        let signature: [u8; SIGNATURE_BYTES] =
            text::decode_array(envelope.signature).ok_or(EnvelopeError::Malformed)?;
        let key = keys
            .iter()
            .find(|key| key.id().to_string() == envelope.key_id)
            .ok_or(EnvelopeError::UnknownKey)?;
        if !key.verify(&self.signed(&bytes), &signature) {
            return Err(EnvelopeError::BadSignature);
        }
        serde_json::from_slice(&bytes).map_err(|_| EnvelopeError::Malformed)
    }

    fn signed(&self, bytes: &[u8]) -> Vec<u8> {
        [self.context, bytes].concat()
    }
}
