//! What is relayed, and under which number (RFC 8656 §18.1, §18.4).

use super::{Attribute, AttributeError, AttributeType, exactly, put};
use crate::message::TransactionId;
use crate::writer::Full;

/// A channel's number (RFC 8656 §18.1).
///
/// Any number decodes: whether it is one of [`ChannelNumber::RANGE`] is for the server to judge,
/// which answers 400 where it is not (RFC 8656 §12.2).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ChannelNumber(pub u16);

impl ChannelNumber {
    /// The lowest number of a channel (RFC 8656 §12).
    pub const MIN: u16 = 0x4000;
    /// The highest number of a channel (RFC 8656 §12).
    pub const MAX: u16 = 0x4FFF;
    /// The highest number of a channel in the days of RFC 5766 (§11).
    pub const MAX_RFC5766: u16 = 0x7FFF;
    /// The numbers that a client may bind.
    pub const RANGE: std::ops::RangeInclusive<u16> = Self::MIN..=Self::MAX;

    /// Tells whether a client may bind this number.
    #[inline]
    #[must_use]
    pub const fn is_valid(self) -> bool {
        self.0 >= Self::MIN && self.0 <= Self::MAX
    }

    /// Tells whether a client of RFC 5766 could bind this number: four times as many (§11).
    #[inline]
    #[must_use]
    pub const fn is_valid_rfc5766(self) -> bool {
        self.0 >= Self::MIN && self.0 <= Self::MAX_RFC5766
    }
}

impl Attribute<'_> for ChannelNumber {
    const TYPE: AttributeType = AttributeType::CHANNEL_NUMBER;

    #[inline]
    fn decode(value: &[u8], _: &TransactionId) -> Result<Self, AttributeError> {
        // RFC 8656 §18.1: the two bytes of RFFU are ignored by the receiver.
        let [high, low, ..] = exactly::<4>(value)?;
        Ok(Self(u16::from_be_bytes([high, low])))
    }

    #[inline]
    fn encode(&self, _: &TransactionId, out: &mut [u8]) -> Result<usize, Full> {
        let [high, low] = self.0.to_be_bytes();
        put(out, &[high, low, 0, 0])
    }
}

/// What a Send or Data indication carries (RFC 8656 §18.4).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Data<'a>(pub &'a [u8]);

impl<'a> Attribute<'a> for Data<'a> {
    const TYPE: AttributeType = AttributeType::DATA;

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
    fn a_channel_number_ignores_its_reserved_bytes() {
        on_the_wire(ChannelNumber(0x4001), &[0x40, 0x01, 0, 0]);
        assert_eq!(
            ChannelNumber::decode(&[0x40, 0x01, 0xFF, 0xFF], &TRANSACTION_ID),
            Ok(ChannelNumber(0x4001))
        );
        refused::<ChannelNumber>(&[0x40, 0x01], AttributeError::Length);
    }

    #[test]
    fn channels_are_0x4000_to_0x4fff() {
        for (number, valid) in [
            (0x3FFF, false),
            (0x4000, true),
            (0x4FFF, true),
            (0x5000, false),
            (0x7FFF, false),
            (0x8000, false),
        ] {
            assert_eq!(ChannelNumber(number).is_valid(), valid, "{number:#x}");
            let old = (0x4000..=0x7FFF).contains(&number);
            assert_eq!(ChannelNumber(number).is_valid_rfc5766(), old, "{number:#x}");
            assert_eq!(ChannelNumber::RANGE.contains(&number), valid, "{number:#x}");
        }
    }

    #[test]
    fn data_is_whatever_it_is_also_nothing() {
        on_the_wire(Data(b"hello"), b"hello");
        on_the_wire(Data(b""), b"");
    }
}
