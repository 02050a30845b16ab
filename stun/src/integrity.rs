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
    /// password of short-term ones (RFC 8489 §9.1.1), or a session key (RFC 7635 §4).
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
mod tests {
    use super::*;
    use crate::attr::testing::TRANSACTION_ID;
    use crate::attr::{Attribute, AttributeType, Lifetime, Nonce};
    use crate::message::{Class, Method};
    use crate::writer::MessageWriter;

    fn key() -> Key {
        Key::new(b"a key")
    }

    fn message(fill: impl FnOnce(&mut MessageWriter<'_>)) -> Vec<u8> {
        let mut out = vec![0; 512];
        let mut writer =
            MessageWriter::new(&mut out, Class::Request, Method::REFRESH, TRANSACTION_ID)
                .expect("fits");
        writer.attr(&Lifetime(600)).expect("fits");
        fill(&mut writer);
        let len = writer.finish();
        out.truncate(len);
        out
    }

    fn parse(bytes: &[u8]) -> Message<'_> {
        Message::parse(bytes).expect("a message")
    }

    /// Appends an attribute behind whatever stands last, as no writer of ours would.
    fn append(bytes: &mut Vec<u8>, type_: AttributeType, value: &[u8]) {
        bytes.extend(type_.0.to_be_bytes());
        bytes.extend(u16::try_from(value.len()).expect("short").to_be_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        let length = u16::try_from(bytes.len() - HEADER_BYTES).expect("short");
        bytes[2..4].copy_from_slice(&length.to_be_bytes());
    }

    #[test]
    fn a_message_without_integrity_says_so() {
        let bytes = message(|_| ());
        assert_eq!(
            key().sha1().verify(&parse(&bytes)),
            Err(IntegrityError::Absent)
        );
        assert_eq!(
            key().sha256().verify(&parse(&bytes)),
            Err(IntegrityError::Absent)
        );
        assert_eq!(verify(&parse(&bytes), &key()), Err(IntegrityError::Absent));
    }

    #[test]
    fn any_changed_bit_that_is_covered_breaks_the_integrity() {
        for sha256 in [false, true] {
            let mut bytes = message(|writer| {
                if sha256 {
                    writer.integrity_sha256(&key().sha256()).expect("fits");
                } else {
                    writer.integrity_sha1(&key().sha1()).expect("fits");
                }
            });
            assert!(verify(&parse(&bytes), &key()).is_ok());
            for bit in 0..bytes.len() * 8 {
                bytes[bit / 8] ^= 1 << (bit % 8);
                if let Ok(message) = Message::parse(&bytes) {
                    assert!(verify(&message, &key()).is_err(), "bit {bit}");
                }
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
        }
    }

    // RFC 8489 §14.5: "the Length field in the STUN header must be adjusted to point to the end of
    // the MESSAGE-INTEGRITY attribute prior to calculating the HMAC".
    #[test]
    fn what_follows_the_integrity_does_not_change_it() {
        let bytes = message(|writer| {
            writer.integrity_sha1(&key().sha1()).expect("fits");
            writer.integrity_sha256(&key().sha256()).expect("fits");
            writer.fingerprint().expect("fits");
        });
        let message = parse(&bytes);
        assert_eq!(key().sha1().verify(&message), Ok(()));
        assert_eq!(key().sha256().verify(&message), Ok(()));
        assert_eq!(message.attributes().count(), 4);
    }

    // RFC 8489 §9.2.4: MESSAGE-INTEGRITY-SHA256 where it is present, otherwise MESSAGE-INTEGRITY.
    #[test]
    fn where_both_are_present_only_sha256_counts() {
        let bytes = message(|writer| {
            writer
                .integrity_sha1(&Key::new(b"wrong").sha1())
                .expect("fits");
            writer.integrity_sha256(&key().sha256()).expect("fits");
        });
        assert_eq!(verify(&parse(&bytes), &key()), Ok(Verified::Sha256));
        let bytes = message(|writer| {
            writer.integrity_sha1(&key().sha1()).expect("fits");
            writer
                .integrity_sha256(&Key::new(b"wrong").sha256())
                .expect("fits");
        });
        assert_eq!(
            verify(&parse(&bytes), &key()),
            Err(IntegrityError::Mismatch)
        );
    }

    fn truncated(len: usize) -> Vec<u8> {
        let mut bytes = message(|_| ());
        let at = bytes.len();
        append(
            &mut bytes,
            AttributeType::MESSAGE_INTEGRITY_SHA256,
            &vec![0; len],
        );
        let mac = key().sha256().expected(&parse(&bytes), at, len);
        bytes[at + ATTRIBUTE_HEADER_BYTES..][..len].copy_from_slice(&mac[..len]);
        bytes
    }

    // RFC 8489 §14.6: "it MUST be at least 16 bytes and MUST be a multiple of 4 bytes. The value
    // must be the full 32 bytes unless the STUN Usage explicitly specifies that truncation is
    // allowed."
    #[test]
    fn a_truncated_sha256_passes_only_where_the_usage_allows_that_length() {
        for len in [16, 20, 24, 28, 32] {
            let bytes = truncated(len);
            let full = key().sha256().verify(&parse(&bytes));
            assert_eq!(full.is_ok(), len == 32, "{len}");
            assert_eq!(
                key().sha256().verify_truncated(&parse(&bytes), 0),
                Ok(()),
                "{len}"
            );
            let at_least_24 = key().sha256().verify_truncated(&parse(&bytes), 24);
            assert_eq!(at_least_24.is_ok(), len >= 24, "{len}");
        }
        for len in [0, 4, 12, 15, 17, 18, 19, 30] {
            let bytes = truncated(len);
            let refused = key().sha256().verify_truncated(&parse(&bytes), 0);
            assert_eq!(refused, Err(IntegrityError::Mismatch), "{len}");
        }
    }

    #[test]
    fn an_integrity_of_the_wrong_length_never_passes() {
        for len in [0, 4, 16, 19, 21, 24, 32] {
            let mut bytes = message(|_| ());
            append(&mut bytes, AttributeType::MESSAGE_INTEGRITY, &vec![0; len]);
            let refused = key().sha1().verify(&parse(&bytes));
            assert_eq!(refused, Err(IntegrityError::Mismatch), "{len}");
        }
        for len in [36, 64] {
            let mut bytes = message(|_| ());
            append(
                &mut bytes,
                AttributeType::MESSAGE_INTEGRITY_SHA256,
                &vec![0; len],
            );
            let refused = key().sha256().verify_truncated(&parse(&bytes), 0);
            assert_eq!(refused, Err(IntegrityError::Mismatch), "{len}");
        }
    }

    // RFC 8489 §9: "agents MUST ignore all attributes that follow MESSAGE-INTEGRITY, with the
    // exception of the MESSAGE-INTEGRITY-SHA256 and FINGERPRINT attributes."
    #[test]
    fn attributes_smuggled_in_behind_the_integrity_are_not_seen() {
        let mut bytes = message(|writer| {
            writer.integrity_sha1(&key().sha1()).expect("fits");
        });
        append(&mut bytes, Lifetime::TYPE, &9u32.to_be_bytes());
        append(&mut bytes, Nonce::TYPE, b"smuggled");
        append(&mut bytes, AttributeType(0x7777), b"required and unknown");
        let message = parse(&bytes);
        assert_eq!(key().sha1().verify(&message), Ok(()));
        assert_eq!(message.find(), Ok(Some(Lifetime(600))));
        assert_eq!(message.find::<Nonce<'_>>(), Ok(None));
        assert!(message.unknown_required(AttributeType::is_known).is_empty());
        assert_eq!(message.attributes().count(), 2);
        assert_eq!(message.find_all::<Lifetime>().count(), 1);
    }

    // RFC 8489 §9: "agents MUST ignore all attributes that follow the MESSAGE-INTEGRITY-SHA256
    // attribute if the MESSAGE-INTEGRITY attribute is not present, with the exception of the
    // FINGERPRINT attribute."
    #[test]
    fn behind_sha256_even_message_integrity_is_not_seen() {
        let mut bytes = message(|writer| {
            writer.integrity_sha256(&key().sha256()).expect("fits");
        });
        let at = bytes.len();
        append(
            &mut bytes,
            AttributeType::MESSAGE_INTEGRITY,
            &[0; SHA1_BYTES],
        );
        let mac = key().sha1().expected(&parse(&bytes), at, SHA1_BYTES);
        bytes[at + ATTRIBUTE_HEADER_BYTES..].copy_from_slice(&mac);
        append(&mut bytes, Nonce::TYPE, b"smuggled");
        let message = parse(&bytes);
        assert_eq!(key().sha1().verify(&message), Err(IntegrityError::Absent));
        assert_eq!(key().sha256().verify(&message), Ok(()));
        assert_eq!(message.find::<Nonce<'_>>(), Ok(None));
        assert_eq!(message.attributes().count(), 2);
    }

    #[test]
    fn keys_are_compared_by_value_and_never_printed() {
        assert_eq!(key(), Key::new(b"a key"));
        assert_ne!(key(), Key::new(b"a kez"));
        let printed = format!("{:?} {:?} {:?}", key(), key().sha1(), key().sha256());
        assert_eq!(printed, "Key(…) KeyedSha1(…) KeyedSha256(…)");
    }
}
