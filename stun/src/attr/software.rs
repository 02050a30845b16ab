//! What a server says of itself (RFC 8489 §14.14, §14.16).

use super::{
    Attribute, AttributeError, AttributeType, TEXT_BYTES_MAX, TEXT_SENT_BYTES_MAX, put_text, text,
};
use crate::message::TransactionId;
use crate::writer::Full;

/// The longest ALTERNATE-DOMAIN (RFC 8489 §14.16: "255 or fewer ASCII characters").
pub const ALTERNATE_DOMAIN_BYTES_MAX: usize = 255;

/// The name of the sender's software, for people (RFC 8489 §14.14).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Software<'a>(pub &'a str);

impl<'a> Attribute<'a> for Software<'a> {
    const TYPE: AttributeType = AttributeType::SOFTWARE;

    #[inline]
    fn decode(value: &'a [u8], _: &TransactionId) -> Result<Self, AttributeError> {
        text(value, TEXT_BYTES_MAX).map(Self)
    }

    #[inline]
    fn encode(&self, _: &TransactionId, out: &mut [u8]) -> Result<usize, Full> {
        put_text(out, self.0, TEXT_SENT_BYTES_MAX)
    }
}

/// The name that the certificate of ALTERNATE-SERVER bears (RFC 8489 §14.16).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AlternateDomain<'a>(pub &'a str);

impl<'a> Attribute<'a> for AlternateDomain<'a> {
    const TYPE: AttributeType = AttributeType::ALTERNATE_DOMAIN;

    #[inline]
    fn decode(value: &'a [u8], _: &TransactionId) -> Result<Self, AttributeError> {
        let domain = text(value, ALTERNATE_DOMAIN_BYTES_MAX)?;
        if domain.is_ascii() {
            Ok(Self(domain))
        } else {
            Err(AttributeError::Range)
        }
    }

    #[inline]
    fn encode(&self, _: &TransactionId, out: &mut [u8]) -> Result<usize, Full> {
        put_text(out, self.0, ALTERNATE_DOMAIN_BYTES_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{on_the_wire, refused};
    use super::*;

    #[test]
    fn software_is_text() {
        on_the_wire(Software("Sterna"), b"Sterna");
        refused::<Software<'_>>(&[b's'; TEXT_BYTES_MAX + 1], AttributeError::Length);
        refused::<Software<'_>>(&[0xFF], AttributeError::Utf8);
    }

    #[test]
    fn an_alternate_domain_is_ascii_of_at_most_255_characters() {
        on_the_wire(AlternateDomain("turn.example.org"), b"turn.example.org");
        refused::<AlternateDomain<'_>>(&[b'd'; 256], AttributeError::Length);
        refused::<AlternateDomain<'_>>("tür.example".as_bytes(), AttributeError::Range);
    }
}
