//! MESSAGE-INTEGRITY and MESSAGE-INTEGRITY-SHA256 (RFC 8489 §14.5, §14.6).
//!
//! Both are an HMAC over the message up to the attribute, with a length field that ends behind it.
//! The first two blocks of an HMAC depend on the key alone: [`KeyedSha1`] and [`KeyedSha256`] keep
//! the state behind them, so that an allocation's later requests cost half.

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::message::Message;
use crate::{ATTRIBUTE_HEADER_BYTES, HEADER_BYTES};

/// The length of MESSAGE-INTEGRITY's value (RFC 8489 §14.5).
pub const SHA1_BYTES: usize = 20;

/// The length of MESSAGE-INTEGRITY-SHA256's value, untruncated (RFC 8489 §14.6).
pub const SHA256_BYTES: usize = 32;

/// The shortest truncation of MESSAGE-INTEGRITY-SHA256 that any usage may allow (RFC 8489 §14.6).
pub const SHA256_BYTES_MIN: usize = 16;

// What is cached depends on the key, so it is wiped with it: an HMAC consists of these states.
const _: fn() = || {
    fn wiped_on_drop<T: zeroize::ZeroizeOnDrop>() {}
    wiped_on_drop::<Sha1>();
    wiped_on_drop::<Sha256>();
};

/// Why a message's integrity does not hold.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum IntegrityError {
    /// The attribute that was to be checked is not there.
    #[error("the message carries no integrity of this kind")]
    Absent,
    /// The value is another, or of a forbidden length.
    #[error("the integrity does not match")]
    Mismatch,
}

/// The key of an HMAC: wiped from memory when it is dropped, and never printed.
#[derive(Clone)]
pub struct Key(Zeroizing<Vec<u8>>);

impl Key {
    /// Takes a key as it is: the hash of long-term credentials (see [`crate::credentials`]), the
    /// password of short-term ones (RFC 8489 §9.1.1), or a session key (RFC 7635 §5).
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(bytes.to_vec()))
    }

    /// The key's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Prepares the key for MESSAGE-INTEGRITY.
    #[must_use]
    pub fn sha1(&self) -> KeyedSha1 {
        KeyedSha1::new(self)
    }

    /// Prepares the key for MESSAGE-INTEGRITY-SHA256.
    #[must_use]
    pub fn sha256(&self) -> KeyedSha256 {
        KeyedSha256::new(self)
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Key {}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(…)")
    }
}

macro_rules! keyed {
    ($(#[$doc:meta])* $name:ident, $hash:ty, $bytes:expr) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name(Hmac<$hash>);

        impl $name {
            /// Computes the two blocks that depend on the key alone.
            #[must_use]
            pub fn new(key: &Key) -> Self {
                let state = Hmac::new_from_slice(key.as_bytes());
                Self(state.expect("invariant: an HMAC takes a key of any length"))
            }

            /// The MAC over a message's bytes, whose length field is right already.
            #[inline]
            pub(crate) fn mac(&self, covered: &[u8]) -> [u8; $bytes] {
                self.mac_of_parts(&[covered])
            }

            #[inline]
            fn mac_of_parts(&self, parts: &[&[u8]]) -> [u8; $bytes] {
                let mut state = self.0.clone();
                for part in parts {
                    state.update(part);
                }
                state.finalize().into_bytes().into()
            }

            /// The MAC that an attribute at `at` with a value of `value_len` bytes should bear.
            #[inline]
            fn expected(&self, message: &Message<'_>, at: usize, value_len: usize) -> [u8; $bytes] {
                let covered = &message.bytes()[..at];
                // RFC 8489 §14.5: the length "must be adjusted to point to the end of the
                // MESSAGE-INTEGRITY attribute", whatever follows it.
                let length = at - HEADER_BYTES + ATTRIBUTE_HEADER_BYTES + value_len;
                let length = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
                self.mac_of_parts(&[&covered[..2], &length, &covered[4..]])
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(concat!(stringify!($name), "(…)"))
            }
        }
    };
}

keyed! {
    /// A key prepared for MESSAGE-INTEGRITY: one clone and two blocks a short message.
    KeyedSha1, Sha1, SHA1_BYTES
}

keyed! {
    /// A key prepared for MESSAGE-INTEGRITY-SHA256.
    KeyedSha256, Sha256, SHA256_BYTES
}

impl KeyedSha1 {
    /// Checks MESSAGE-INTEGRITY, in constant time.
    #[inline]
    pub fn verify(&self, message: &Message<'_>) -> Result<(), IntegrityError> {
        let (at, value) = message.integrity().ok_or(IntegrityError::Absent)?;
        let expected = self.expected(message, at, SHA1_BYTES);
        // Slices of different lengths are unequal.
        equal(&expected, value)
    }
}

impl KeyedSha256 {
    /// Checks MESSAGE-INTEGRITY-SHA256 in full length, in constant time.
    ///
    /// RFC 8489 §14.6: truncated values are for usages that specify them; TURN is none.
    #[inline]
    pub fn verify(&self, message: &Message<'_>) -> Result<(), IntegrityError> {
        self.verify_truncated(message, SHA256_BYTES)
    }

    /// Checks MESSAGE-INTEGRITY-SHA256, of which the sender may have sent `bytes_min` bytes only.
    ///
    /// Whatever `bytes_min` says, fewer than [`SHA256_BYTES_MIN`] or no multiple of four never
    /// passes (RFC 8489 §14.6).
    #[inline]
    pub fn verify_truncated(
        &self,
        message: &Message<'_>,
        bytes_min: usize,
    ) -> Result<(), IntegrityError> {
        let (at, value) = message.integrity_sha256().ok_or(IntegrityError::Absent)?;
        let shortest = bytes_min.max(SHA256_BYTES_MIN);
        if value.len() < shortest || value.len() > SHA256_BYTES || value.len() % 4 != 0 {
            return Err(IntegrityError::Mismatch);
        }
        let expected = self.expected(message, at, value.len());
        equal(&expected[..value.len()], value)
    }
}

/// Which attribute vouched for a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verified {
    /// MESSAGE-INTEGRITY.
    Sha1,
    /// MESSAGE-INTEGRITY-SHA256.
    Sha256,
}

/// Checks a message's integrity in constant time, and tells which attribute was checked.
///
/// RFC 8489 §9.2.4: where both are present, only MESSAGE-INTEGRITY-SHA256 counts. For a key that is
/// used again, keep a [`KeyedSha1`] or [`KeyedSha256`].
pub fn verify(message: &Message<'_>, key: &Key) -> Result<Verified, IntegrityError> {
    if message.integrity_sha256().is_some() {
        key.sha256().verify(message).map(|()| Verified::Sha256)
    } else {
        key.sha1().verify(message).map(|()| Verified::Sha1)
    }
}

#[inline]
fn equal(expected: &[u8], value: &[u8]) -> Result<(), IntegrityError> {
    if expected.ct_eq(value).into() {
        Ok(())
    } else {
        Err(IntegrityError::Mismatch)
    }
}

#[cfg(test)]
mod tests;
