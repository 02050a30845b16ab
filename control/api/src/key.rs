//! The Ed25519 keys of the control service, and the set that nodes verify with.
//!
//! A key is known by the first four bytes of its public half. Nodes hold a [`KeySet`]: a new key is
//! added everywhere before it signs, and an old one is taken out when the last of its signatures
//! has run out, so that rotation refuses nobody.

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::Signer;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::limits::KEYS_MAX;
use crate::text;

/// The length of an Ed25519 signature.
pub const SIGNATURE_BYTES: usize = 64;

/// What the text of a signing key begins with; whoever finds it in a log knows what it is.
const SECRET_PREFIX: &str = "sterna-ticket-secret-1.";
/// What the text of a verifying key begins with.
const PUBLIC_PREFIX: &str = "sterna-ticket-key-1.";

/// Why a text or a set of keys is not usable.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The text is no key of this kind.
    #[error("a ticket key looks like {PUBLIC_PREFIX}… (`sterna token ticket-key` makes one)")]
    NotPublic,
    /// The text is no secret key.
    #[error(
        "a ticket signing key looks like {SECRET_PREFIX}… (`sterna token ticket-key` makes one)"
    )]
    NotSecret,
    /// The bytes are no point of the curve, or one of small order.
    #[error("the key is no usable Ed25519 key")]
    Weak,
    /// Two keys of one set have the same id.
    #[error("two ticket keys have the id {0}")]
    SameId(KeyId),
    /// A set holds more than [`KEYS_MAX`] keys.
    #[error("at most {KEYS_MAX} ticket keys can be in use at a time")]
    TooMany,
}

/// The name of a key: the first four bytes of its public half.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub [u8; 4]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", u32::from_be_bytes(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// The half that signs.
#[derive(Clone)]
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// Makes a key of 32 random bytes.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    /// The half that verifies.
    #[must_use]
    pub fn verifying_key(&self) -> VerifyingKey {
        VerifyingKey(self.0.verifying_key())
    }

    /// The key's name.
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.verifying_key().id()
    }

    /// The secret as text, for a file that nobody else reads.
    #[must_use]
    pub fn to_secret_text(&self) -> Zeroizing<String> {
        Zeroizing::new(format!(
            "{SECRET_PREFIX}{}",
            text::encode(self.0.as_bytes())
        ))
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_BYTES] {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.id())
    }
}

impl FromStr for SigningKey {
    type Err = KeyError;

    fn from_str(given: &str) -> Result<Self, KeyError> {
        let seed = given
            .trim()
            .strip_prefix(SECRET_PREFIX)
            .and_then(text::decode_array)
            .map(Zeroizing::new)
            .ok_or(KeyError::NotSecret)?;
        Ok(Self::from_seed(&seed))
    }
}

/// The half that verifies.
#[derive(Copy, Clone, PartialEq, Eq)]
pub struct VerifyingKey(ed25519_dalek::VerifyingKey);

impl VerifyingKey {
    /// Takes the 32 bytes of a public key.
    ///
    /// # Errors
    /// [`KeyError::Weak`] for what is no key, or one that verifies anything.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, KeyError> {
        let key = ed25519_dalek::VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::Weak)?;
        if key.is_weak() {
            return Err(KeyError::Weak);
        }
        Ok(Self(key))
    }

    /// The 32 bytes of the public key.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// The key's name.
    #[must_use]
    pub fn id(&self) -> KeyId {
        let [a, b, c, d, ..] = self.0.to_bytes();
        KeyId([a, b, c, d])
    }

    pub(crate) fn verify(&self, message: &[u8], signature: &[u8; SIGNATURE_BYTES]) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(signature);
        self.0.verify_strict(message, &signature).is_ok()
    }
}

impl fmt::Display for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PUBLIC_PREFIX}{}", text::encode(&self.to_bytes()))
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({})", self.id())
    }
}

impl FromStr for VerifyingKey {
    type Err = KeyError;

    fn from_str(given: &str) -> Result<Self, KeyError> {
        let bytes = given
            .trim()
            .strip_prefix(PUBLIC_PREFIX)
            .and_then(text::decode_array)
            .ok_or(KeyError::NotPublic)?;
        Self::from_bytes(&bytes)
    }
}

impl Serialize for VerifyingKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for VerifyingKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(feature = "openapi")]
crate::schema::text_schema!(
    VerifyingKey,
    "a key that verifies",
    "^sterna-ticket-key-1[.][A-Za-z0-9_-]{43}$".to_owned()
);

/// The keys whose signatures count, old and new ones side by side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeySet {
    keys: Vec<VerifyingKey>,
}

impl KeySet {
    /// Takes keys with different ids.
    ///
    /// # Errors
    /// [`KeyError::SameId`] or [`KeyError::TooMany`].
    pub fn new(keys: impl IntoIterator<Item = VerifyingKey>) -> Result<Self, KeyError> {
        let mut set = Self::default();
        for key in keys {
            if set.find(key.id()).is_some() {
                return Err(KeyError::SameId(key.id()));
            }
            if set.keys.len() == KEYS_MAX {
                return Err(KeyError::TooMany);
            }
            set.keys.push(key);
        }
        Ok(set)
    }

    /// Tells whether no signature would count.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The keys, in the order in which they were given.
    pub fn iter(&self) -> impl Iterator<Item = &VerifyingKey> {
        self.keys.iter()
    }

    pub(crate) fn find(&self, id: KeyId) -> Option<&VerifyingKey> {
        self.keys.iter().find(|key| key.id() == id)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn both_halves_of_a_key_survive_as_text() {
        let key = SigningKey::from_seed(&[7; 32]);
        let again: SigningKey = key.to_secret_text().parse().unwrap();
        assert_eq!(again.id(), key.id());
        let public = key.verifying_key();
        assert_eq!(public.to_string().parse::<VerifyingKey>().unwrap(), public);
    }

    #[test]
    fn a_secret_is_not_taken_for_a_public_key_nor_shown_by_debug() {
        let key = SigningKey::from_seed(&[7; 32]);
        let secret = key.to_secret_text();
        assert_eq!(secret.parse::<VerifyingKey>(), Err(KeyError::NotPublic));
        assert!(!format!("{key:?}").contains(&secret[SECRET_PREFIX.len()..]));
    }

    #[test]
    fn a_key_that_verifies_anything_is_refused() {
        let mut small_order = [0; 32];
        small_order[0] = 1;
        assert_eq!(VerifyingKey::from_bytes(&small_order), Err(KeyError::Weak));
    }

    #[test]
    fn a_set_has_no_two_keys_of_one_id_and_a_bounded_number() {
        let keys: Vec<_> = (0..=KEYS_MAX)
            .map(|seed| SigningKey::from_seed(&[u8::try_from(seed).unwrap(); 32]).verifying_key())
            .collect();
        let twice = KeySet::new([keys[0], keys[0]]);
        assert_eq!(twice, Err(KeyError::SameId(keys[0].id())));
        assert_eq!(KeySet::new(keys.clone()), Err(KeyError::TooMany));
        assert!(KeySet::new(keys[1..].to_vec()).is_ok());
    }
}
