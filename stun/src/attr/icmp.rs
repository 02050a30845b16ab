//! An ICMP error that came back from the peer's side (RFC 8656 §18.13).
//!
//! ```text
//! |  Reserved                     |  ICMP Type  |  ICMP Code      |
//! |                          Error Data                           |
//! ```
//!
//! The type has seven bits and the code nine.

use super::{Attribute, AttributeError, AttributeType, exactly, put};
use crate::be16;
use crate::message::TransactionId;
use crate::writer::Full;

/// An ICMP error's type, code and data (RFC 8656 §18.13).
///
/// Whether it is of ICMP or of ICMPv6 follows from the family of the indication's peer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Icmp {
    /// The ICMP type, at most 127.
    pub type_: u8,
    /// The ICMP code, at most 511.
    pub code: u16,
    /// The "rest of header": the next hop's MTU for fragmentation-needed and packet-too-big.
    pub data: [u8; 4],
}

impl Attribute<'_> for Icmp {
    const TYPE: AttributeType = AttributeType::ICMP;

    #[inline]
    fn decode(value: &[u8], _: &TransactionId) -> Result<Self, AttributeError> {
        let [_, _, high, low, data @ ..] = exactly::<8>(value)?;
        Ok(Self {
            type_: high >> 1,
            code: be16(&[high & 1, low], 0),
            data,
        })
    }

    #[inline]
    fn encode(&self, _: &TransactionId, out: &mut [u8]) -> Result<usize, Full> {
        debug_assert!(
            self.type_ <= 0x7F && self.code <= 0x1FF,
            "fields of seven and nine bits"
        );
        let [code_high, code_low] = (self.code & 0x1FF).to_be_bytes();
        let [a, b, c, d] = self.data;
        put(
            out,
            &[0, 0, self.type_ << 1 | code_high, code_low, a, b, c, d],
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{on_the_wire, refused};
    use super::*;

    #[test]
    fn an_icmp_error_has_seven_bits_of_type_and_nine_of_code() {
        // Destination unreachable, fragmentation needed, next hop's MTU 1,280.
        on_the_wire(
            Icmp {
                type_: 3,
                code: 4,
                data: [0, 0, 5, 0],
            },
            &[0, 0, 0x06, 0x04, 0, 0, 5, 0],
        );
        on_the_wire(
            Icmp {
                type_: 127,
                code: 511,
                data: [9; 4],
            },
            &[0, 0, 0xFF, 0xFF, 9, 9, 9, 9],
        );
        on_the_wire(
            Icmp {
                type_: 1,
                code: 256,
                data: [0; 4],
            },
            &[0, 0, 3, 0, 0, 0, 0, 0],
        );
        refused::<Icmp>(&[0; 4], AttributeError::Length);
    }
}
