//! What a server says of itself (RFC 8489 §14.14, §14.16).

use super::{Attribute, AttributeError, AttributeType, put, text};
use crate::message::TransactionId;
use crate::writer::Full;

/// The longest SOFTWARE that is decoded (RFC 8489 §14.14).
pub const SOFTWARE_BYTES_MAX: usize = 763;
/// The longest ALTERNATE-DOMAIN (RFC 8489 §14.16: a DNS name of at most 255 bytes).
pub const ALTERNATE_DOMAIN_BYTES_MAX: usize = 255;

/// The name of the sender's software, for people (RFC 8489 §14.14).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Software<'a>(pub &'a str);

impl<'a> Attribute<'a> for Software<'a> {
    const TYPE: AttributeType = AttributeType::SOFTWARE;

    #[inline]
    fn decode(value: &'a [u8], _: &TransactionId) -> Result<Self, AttributeError> {
        text(value, SOFTWARE_BYTES_MAX).map(Self)
    }

    #[inline]
    fn encode(&self, _: &TransactionId, out: &mut [u8]) -> Result<usize, Full> {
        put(out, self.0.as_bytes())
    }
}

/// The name that the certificate of ALTERNATE-SERVER bears (RFC 8489 §14.16).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AlternateDomain<'a>(pub &'a str);

impl<'a> Attribute<'a> for AlternateDomain<'a> {
    const TYPE: AttributeType = AttributeType::ALTERNATE_DOMAIN;

    #[inline]
    fn decode(value: &'a [u8], _: &TransactionId) -> Result<Self, AttributeError> {
        text(value, ALTERNATE_DOMAIN_BYTES_MAX).map(Self)
    }

    #[inline]
    fn encode(&self, _: &TransactionId, out: &mut [u8]) -> Result<usize, Full> {
        put(out, self.0.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{on_the_wire, refused};
    use super::*;

    #[test]
    fn software_is_text() {
        on_the_wire(Software("Sterna"), b"Sterna");
        refused::<Software<'_>>(&[b's'; SOFTWARE_BYTES_MAX + 1], AttributeError::Length);
        refused::<Software<'_>>(&[0xFF], AttributeError::Utf8);
    }

    #[test]
    fn an_alternate_domain_is_text_of_at_most_255_bytes() {
        on_the_wire(AlternateDomain("turn.example.org"), b"turn.example.org");
        refused::<AlternateDomain<'_>>(&[b'd'; 256], AttributeError::Length);
    }
}
