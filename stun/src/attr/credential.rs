//! Who asks, and in which realm (RFC 8489 §14.3, §14.4, §14.9, §14.10).
//!
//! A text of fewer than 128 characters takes up to 509 bytes when it is sent; 763 are accepted, for
//! the sake of RFC 5389. Values are compared byte by byte with what the node holds: nothing here
//! normalises text.

use super::{
    Attribute, AttributeError, AttributeType, TEXT_BYTES_MAX, TEXT_SENT_BYTES_MAX, exactly, put,
    put_text, text,
};
use crate::message::TransactionId;
use crate::writer::Full;

/// The longest USERNAME that is sent (RFC 8489 §14.3: "fewer than 509 bytes").
pub const USERNAME_SENT_BYTES_MAX: usize = 508;

/// The user's name (RFC 8489 §14.3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Username<'a>(pub &'a str);

impl<'a> Attribute<'a> for Username<'a> {
    const TYPE: AttributeType = AttributeType::USERNAME;

    #[inline]
    fn decode(value: &'a [u8], _: &TransactionId) -> Result<Self, AttributeError> {
        text(value, TEXT_BYTES_MAX).map(Self)
    }

    #[inline]
    fn encode(&self, _: &TransactionId, out: &mut [u8]) -> Result<usize, Full> {
        put_text(out, self.0, USERNAME_SENT_BYTES_MAX)
    }
}

/// The user's name, hashed: see [`crate::credentials::userhash`] (RFC 8489 §14.4).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct UserHash(pub [u8; 32]);

impl Attribute<'_> for UserHash {
    const TYPE: AttributeType = AttributeType::USERHASH;

    #[inline]
    fn decode(value: &[u8], _: &TransactionId) -> Result<Self, AttributeError> {
        exactly(value).map(Self)
    }

    #[inline]
    fn encode(&self, _: &TransactionId, out: &mut [u8]) -> Result<usize, Full> {
        put(out, &self.0)
    }
}

/// The realm in which the name means something (RFC 8489 §14.9).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Realm<'a>(pub &'a str);

impl<'a> Attribute<'a> for Realm<'a> {
    const TYPE: AttributeType = AttributeType::REALM;

    #[inline]
    fn decode(value: &'a [u8], _: &TransactionId) -> Result<Self, AttributeError> {
        text(value, TEXT_BYTES_MAX).map(Self)
    }

    #[inline]
    fn encode(&self, _: &TransactionId, out: &mut [u8]) -> Result<usize, Full> {
        put_text(out, self.0, TEXT_SENT_BYTES_MAX)
    }
}

/// What the server gave out against replays (RFC 8489 §14.10).
///
/// Bytes, because a client gives back what it got and no server needs to read another's.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Nonce<'a>(pub &'a [u8]);

impl<'a> Attribute<'a> for Nonce<'a> {
    const TYPE: AttributeType = AttributeType::NONCE;

    #[inline]
    fn decode(value: &'a [u8], _: &TransactionId) -> Result<Self, AttributeError> {
        if value.len() > TEXT_BYTES_MAX {
            return Err(AttributeError::Length);
        }
        Ok(Self(value))
    }

    #[inline]
    fn encode(&self, _: &TransactionId, out: &mut [u8]) -> Result<usize, Full> {
        put(out, self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{TRANSACTION_ID, on_the_wire, refused};
    use super::*;

    #[test]
    fn a_username_is_utf8_of_fewer_than_509_bytes() {
        on_the_wire(Username("evtj:h6vY"), b"evtj:h6vY");
        on_the_wire(Username("マ"), &[0xE3, 0x83, 0x9E]);
        let longest = "u".repeat(USERNAME_SENT_BYTES_MAX);
        on_the_wire(Username(&longest), longest.as_bytes());
        let too_long = "u".repeat(USERNAME_SENT_BYTES_MAX + 1);
        assert_eq!(
            Username(&too_long).encode(&TRANSACTION_ID, &mut [0; 1024]),
            Err(Full)
        );
        refused::<Username<'_>>(&[b'u', 0xFF], AttributeError::Utf8);
    }

    // RFC 8489 §14.3: "A compliant implementation MUST be able to parse a UTF-8-encoded sequence of
    // 763 or fewer octets".
    #[test]
    fn a_username_of_up_to_763_bytes_is_read() {
        let longest = "u".repeat(763);
        assert_eq!(
            Username::decode(longest.as_bytes(), &TRANSACTION_ID),
            Ok(Username(&longest))
        );
        refused::<Username<'_>>(&[b'u'; 764], AttributeError::Length);
    }

    #[test]
    fn a_userhash_has_32_bytes() {
        on_the_wire(UserHash([7; 32]), &[7; 32]);
        refused::<UserHash>(&[7; 31], AttributeError::Length);
        refused::<UserHash>(&[7; 33], AttributeError::Length);
    }

    #[test]
    fn a_realm_has_at_most_763_bytes() {
        on_the_wire(Realm("example.org"), b"example.org");
        on_the_wire(Realm(""), b"");
        refused::<Realm<'_>>(&[b'r'; TEXT_BYTES_MAX + 1], AttributeError::Length);
        let too_long = "r".repeat(TEXT_SENT_BYTES_MAX + 1);
        assert_eq!(
            Realm(&too_long).encode(&TRANSACTION_ID, &mut [0; 1024]),
            Err(Full)
        );
        refused::<Realm<'_>>(&[0x80], AttributeError::Utf8);
    }

    #[test]
    fn a_nonce_has_at_most_763_bytes_of_anything() {
        on_the_wire(
            Nonce(b"f//499k954d6OL34oL9FSTvy64sA"),
            b"f//499k954d6OL34oL9FSTvy64sA",
        );
        on_the_wire(Nonce(&[0xFF, 0x00]), &[0xFF, 0x00]);
        refused::<Nonce<'_>>(&[b'n'; TEXT_BYTES_MAX + 1], AttributeError::Length);
    }
}
