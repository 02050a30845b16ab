//! Ports in pairs (RFC 8656 §18.7, §18.10).

use super::{Attribute, AttributeError, AttributeType, exactly, put};
use crate::message::TransactionId;
use crate::writer::Full;

/// Asks for an even port and, with R, for the next one to be held (RFC 8656 §18.7).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct EvenPort {
    /// The R bit: hold the next-higher port.
    pub reserve_next: bool,
}

impl Attribute<'_> for EvenPort {
    const TYPE: AttributeType = AttributeType::EVEN_PORT;

    #[inline]
    fn decode(value: &[u8], _: &TransactionId) -> Result<Self, AttributeError> {
        // RFC 8656 §18.7: the other seven bits are ignored by the receiver.
        let [flags] = exactly(value)?;
        Ok(Self {
            reserve_next: flags & 0x80 != 0,
        })
    }

    #[inline]
    fn encode(&self, _: &TransactionId, out: &mut [u8]) -> Result<usize, Full> {
        put(out, &[if self.reserve_next { 0x80 } else { 0 }])
    }
}

/// Names a held port (RFC 8656 §18.10).
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct ReservationToken(pub [u8; 8]);

impl std::fmt::Debug for ReservationToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Whoever knows the token gets the port.
        f.write_str("ReservationToken(…)")
    }
}

impl Attribute<'_> for ReservationToken {
    const TYPE: AttributeType = AttributeType::RESERVATION_TOKEN;

    #[inline]
    fn decode(value: &[u8], _: &TransactionId) -> Result<Self, AttributeError> {
        exactly(value).map(Self)
    }

    #[inline]
    fn encode(&self, _: &TransactionId, out: &mut [u8]) -> Result<usize, Full> {
        put(out, &self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{TRANSACTION_ID, on_the_wire, refused};
    use super::*;

    #[test]
    fn even_port_is_one_byte_of_which_the_highest_bit_counts() {
        on_the_wire(EvenPort { reserve_next: true }, &[0x80]);
        on_the_wire(
            EvenPort {
                reserve_next: false,
            },
            &[0x00],
        );
        assert_eq!(
            EvenPort::decode(&[0x7F], &TRANSACTION_ID),
            Ok(EvenPort {
                reserve_next: false
            })
        );
        refused::<EvenPort>(&[], AttributeError::Length);
        refused::<EvenPort>(&[0x80, 0, 0, 0], AttributeError::Length);
    }

    #[test]
    fn a_reservation_token_has_eight_bytes() {
        on_the_wire(
            ReservationToken([1, 2, 3, 4, 5, 6, 7, 8]),
            &[1, 2, 3, 4, 5, 6, 7, 8],
        );
        refused::<ReservationToken>(&[1, 2, 3, 4], AttributeError::Length);
    }
}
