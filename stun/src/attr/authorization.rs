//! Third-party authorisation (RFC 7635 §6).

use super::{Attribute, AttributeError, AttributeType, put, text};
use crate::message::TransactionId;
use crate::writer::Full;

/// A token that an authorisation server has sealed for this STUN server (RFC 7635 §6.2).
///
/// The view is the opaque value; its inner layout belongs to whoever holds the key.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct AccessToken<'a>(pub &'a [u8]);

impl std::fmt::Debug for AccessToken<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AccessToken({} bytes)", self.0.len())
    }
}

impl<'a> Attribute<'a> for AccessToken<'a> {
    const TYPE: AttributeType = AttributeType::ACCESS_TOKEN;

    #[inline]
    fn decode(value: &'a [u8], _: &TransactionId) -> Result<Self, AttributeError> {
        Ok(Self(value))
    }

    #[inline]
    fn encode(&self, _: &TransactionId, out: &mut [u8]) -> Result<usize, Full> {
        put(out, self.0)
    }
}

/// The name of the STUN server, with which a client asks for its token (RFC 7635 §6.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ThirdPartyAuthorization<'a>(pub &'a str);

impl<'a> Attribute<'a> for ThirdPartyAuthorization<'a> {
    const TYPE: AttributeType = AttributeType::THIRD_PARTY_AUTHORIZATION;

    #[inline]
    fn decode(value: &'a [u8], _: &TransactionId) -> Result<Self, AttributeError> {
        text(value, value.len()).map(Self)
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
    fn a_token_is_opaque_and_never_printed() {
        on_the_wire(AccessToken(&[0, 12, 0xFF, 0xFE]), &[0, 12, 0xFF, 0xFE]);
        assert_eq!(
            format!("{:?}", AccessToken(b"secret")),
            "AccessToken(6 bytes)"
        );
    }

    #[test]
    fn the_servers_name_is_text() {
        on_the_wire(
            ThirdPartyAuthorization("turn1.example.com"),
            b"turn1.example.com",
        );
        refused::<ThirdPartyAuthorization<'_>>(&[0xC0], AttributeError::Utf8);
    }
}
