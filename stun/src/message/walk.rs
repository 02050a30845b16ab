//! The walk over a checked message's attributes (RFC 8489 §14).

use crate::attr::AttributeType;
use crate::{ATTRIBUTE_HEADER_BYTES, HEADER_BYTES, be16, padding};

/// An attribute as it stands in the message, without its padding.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RawAttribute<'a> {
    /// The attribute's type.
    pub type_: AttributeType,
    /// The value, without padding.
    pub value: &'a [u8],
}

impl<'a> RawAttribute<'a> {
    /// The attribute whose header stands at `at`: `Message::parse` has checked that it fits.
    #[inline]
    pub(super) fn at(bytes: &'a [u8], at: usize) -> Self {
        let len = usize::from(be16(bytes, at + 2));
        let value = at + ATTRIBUTE_HEADER_BYTES;
        Self {
            type_: AttributeType(be16(bytes, at)),
            value: &bytes[value..value + len],
        }
    }
}

/// Walks over the attributes of a message that count.
#[derive(Clone, Debug)]
pub struct Attributes<'a> {
    bytes: &'a [u8],
    at: usize,
    plain_end: usize,
    /// Offsets of MESSAGE-INTEGRITY, MESSAGE-INTEGRITY-SHA256 and FINGERPRINT; 0 is absent.
    trailing: [usize; 3],
}

impl<'a> Attributes<'a> {
    #[inline]
    pub(super) fn new(bytes: &'a [u8], plain_end: usize, trailing: [usize; 3]) -> Self {
        Self {
            bytes,
            at: HEADER_BYTES,
            plain_end,
            trailing,
        }
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = RawAttribute<'a>;

    #[inline]
    fn next(&mut self) -> Option<RawAttribute<'a>> {
        if self.at < self.plain_end {
            let raw = RawAttribute::at(self.bytes, self.at);
            self.at += ATTRIBUTE_HEADER_BYTES + raw.value.len() + padding(raw.value.len());
            return Some(raw);
        }
        let slot = self.trailing.iter_mut().find(|at| **at != 0)?;
        Some(RawAttribute::at(self.bytes, std::mem::take(slot)))
    }
}
