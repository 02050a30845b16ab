//! NAT behaviour discovery (RFC 5780 §7).

use super::{Attribute, AttributeError, AttributeType, exactly, put};
use crate::message::TransactionId;
use crate::writer::Full;

/// Asks for an answer from another address or port (RFC 5780 §7.2).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ChangeRequest {
    /// Answer from the other address.
    pub ip: bool,
    /// Answer from the other port.
    pub port: bool,
}

const CHANGE_IP: u32 = 0x4;
const CHANGE_PORT: u32 = 0x2;

impl Attribute<'_> for ChangeRequest {
    const TYPE: AttributeType = AttributeType::CHANGE_REQUEST;

    #[inline]
    fn decode(value: &[u8], _: &TransactionId) -> Result<Self, AttributeError> {
        let flags = u32::from_be_bytes(exactly(value)?);
        Ok(Self {
            ip: flags & CHANGE_IP != 0,
            port: flags & CHANGE_PORT != 0,
        })
    }

    #[inline]
    fn encode(&self, _: &TransactionId, out: &mut [u8]) -> Result<usize, Full> {
        let ip = if self.ip { CHANGE_IP } else { 0 };
        let port = if self.port { CHANGE_PORT } else { 0 };
        put(out, &(ip | port).to_be_bytes())
    }
}

/// Asks for an answer to another port of the client (RFC 5780 §7.5).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ResponsePort(pub u16);

impl Attribute<'_> for ResponsePort {
    const TYPE: AttributeType = AttributeType::RESPONSE_PORT;

    #[inline]
    fn decode(value: &[u8], _: &TransactionId) -> Result<Self, AttributeError> {
        // RFC 5780 §7.5: a port and two bytes of padding. Padding is not counted (RFC 8489 §14),
        // but some senders count it.
        match *value {
            [high, low] | [high, low, _, _] => Ok(Self(u16::from_be_bytes([high, low]))),
            _ => Err(AttributeError::Length),
        }
    }

    #[inline]
    fn encode(&self, _: &TransactionId, out: &mut [u8]) -> Result<usize, Full> {
        put(out, &self.0.to_be_bytes())
    }
}

/// Makes a message large enough to be fragmented (RFC 5780 §7.6).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Padding<'a>(pub &'a [u8]);

impl<'a> Attribute<'a> for Padding<'a> {
    const TYPE: AttributeType = AttributeType::PADDING;

    #[inline]
    fn decode(value: &'a [u8], _: &TransactionId) -> Result<Self, AttributeError> {
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
    fn a_change_request_is_two_bits() {
        on_the_wire(
            ChangeRequest {
                ip: true,
                port: true,
            },
            &[0, 0, 0, 6],
        );
        on_the_wire(
            ChangeRequest {
                ip: false,
                port: true,
            },
            &[0, 0, 0, 2],
        );
        on_the_wire(
            ChangeRequest {
                ip: true,
                port: false,
            },
            &[0, 0, 0, 4],
        );
        assert_eq!(
            ChangeRequest::decode(&[0xFF, 0xFF, 0xFF, 0xF9], &TRANSACTION_ID),
            Ok(ChangeRequest {
                ip: false,
                port: false
            })
        );
        refused::<ChangeRequest>(&[6], AttributeError::Length);
    }

    #[test]
    fn a_response_port_is_read_with_and_without_its_padding() {
        on_the_wire(ResponsePort(3478), &[0x0D, 0x96]);
        assert_eq!(
            ResponsePort::decode(&[0x0D, 0x96, 0, 0], &TRANSACTION_ID),
            Ok(ResponsePort(3478))
        );
        refused::<ResponsePort>(&[0x0D, 0x96, 0], AttributeError::Length);
    }

    #[test]
    fn padding_is_whatever_it_is() {
        on_the_wire(Padding(&[0; 1000]), &[0; 1000]);
    }
}
