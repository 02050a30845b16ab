//! ICE's attributes (RFC 8445 §16.1).
//!
//! A relay does not do ICE, but a Binding that carries them must not be answered by 420.

use super::{Attribute, AttributeError, AttributeType, exactly, put};
use crate::message::TransactionId;
use crate::writer::Full;

/// The priority that a peer-reflexive candidate would get (RFC 8445 §16.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Priority(pub u32);

impl Attribute<'_> for Priority {
    const TYPE: AttributeType = AttributeType::PRIORITY;

    #[inline]
    fn decode(value: &[u8], _: &TransactionId) -> Result<Self, AttributeError> {
        exactly(value).map(u32::from_be_bytes).map(Self)
    }

    #[inline]
    fn encode(&self, _: &TransactionId, out: &mut [u8]) -> Result<usize, Full> {
        put(out, &self.0.to_be_bytes())
    }
}

/// The controlling agent's nomination (RFC 8445 §16.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct UseCandidate;

impl Attribute<'_> for UseCandidate {
    const TYPE: AttributeType = AttributeType::USE_CANDIDATE;

    #[inline]
    fn decode(value: &[u8], _: &TransactionId) -> Result<Self, AttributeError> {
        exactly::<0>(value).map(|_| Self)
    }

    #[inline]
    fn encode(&self, _: &TransactionId, _: &mut [u8]) -> Result<usize, Full> {
        Ok(0)
    }
}

/// The controlled agent's tie breaker (RFC 8445 §16.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct IceControlled(pub u64);

/// The controlling agent's tie breaker (RFC 8445 §16.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct IceControlling(pub u64);

macro_rules! tie_breaker {
    ($name:ident, $type:ident) => {
        impl Attribute<'_> for $name {
            const TYPE: AttributeType = AttributeType::$type;

            #[inline]
            fn decode(value: &[u8], _: &TransactionId) -> Result<Self, AttributeError> {
                exactly(value).map(u64::from_be_bytes).map(Self)
            }

            #[inline]
            fn encode(&self, _: &TransactionId, out: &mut [u8]) -> Result<usize, Full> {
                put(out, &self.0.to_be_bytes())
            }
        }
    };
}

tie_breaker!(IceControlled, ICE_CONTROLLED);
tie_breaker!(IceControlling, ICE_CONTROLLING);

#[cfg(test)]
mod tests {
    use super::super::testing::{on_the_wire, refused};
    use super::*;

    // The bytes of RFC 5769 §2.1.
    #[test]
    fn ices_attributes_are_numbers_and_a_flag() {
        on_the_wire(Priority(0x6E00_01FF), &[0x6E, 0x00, 0x01, 0xFF]);
        on_the_wire(
            IceControlled(0x932F_F9B1_5126_3B36),
            &[0x93, 0x2F, 0xF9, 0xB1, 0x51, 0x26, 0x3B, 0x36],
        );
        on_the_wire(IceControlling(1), &[0, 0, 0, 0, 0, 0, 0, 1]);
        on_the_wire(UseCandidate, &[]);
        refused::<Priority>(&[0; 5], AttributeError::Length);
        refused::<IceControlled>(&[0; 4], AttributeError::Length);
        refused::<UseCandidate>(&[0; 4], AttributeError::Length);
    }
}
