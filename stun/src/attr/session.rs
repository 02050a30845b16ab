//! Names of sessions that move or multiply (RFC 8016 §4.2, RFC 6062 §6.2.1).

use super::{Attribute, AttributeError, AttributeType, exactly, put};
use crate::message::TransactionId;
use crate::writer::Full;

/// With which a client takes its allocation along to another address (RFC 8016 §4.2).
///
/// Empty in an Allocate that asks for mobility; otherwise what the server gave out.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct MobilityTicket<'a>(pub &'a [u8]);

impl std::fmt::Debug for MobilityTicket<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MobilityTicket({} bytes)", self.0.len())
    }
}

impl<'a> Attribute<'a> for MobilityTicket<'a> {
    const TYPE: AttributeType = AttributeType::MOBILITY_TICKET;

    #[inline]
    fn decode(value: &'a [u8], _: &TransactionId) -> Result<Self, AttributeError> {
        Ok(Self(value))
    }

    #[inline]
    fn encode(&self, _: &TransactionId, out: &mut [u8]) -> Result<usize, Full> {
        put(out, self.0)
    }
}

/// Names one TCP connection to a peer (RFC 6062 §6.2.1).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct ConnectionId(pub u32);

impl Attribute<'_> for ConnectionId {
    const TYPE: AttributeType = AttributeType::CONNECTION_ID;

    #[inline]
    fn decode(value: &[u8], _: &TransactionId) -> Result<Self, AttributeError> {
        exactly(value).map(u32::from_be_bytes).map(Self)
    }

    #[inline]
    fn encode(&self, _: &TransactionId, out: &mut [u8]) -> Result<usize, Full> {
        put(out, &self.0.to_be_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{on_the_wire, refused};
    use super::*;

    #[test]
    fn a_mobility_ticket_is_opaque_may_be_empty_and_is_never_printed() {
        on_the_wire(MobilityTicket(b""), b"");
        on_the_wire(MobilityTicket(&[1, 2, 3]), &[1, 2, 3]);
        assert_eq!(
            format!("{:?}", MobilityTicket(b"abc")),
            "MobilityTicket(3 bytes)"
        );
    }

    #[test]
    fn a_connection_id_has_32_bits() {
        on_the_wire(ConnectionId(0x0102_0304), &[1, 2, 3, 4]);
        refused::<ConnectionId>(&[1, 2, 3], AttributeError::Length);
    }
}
