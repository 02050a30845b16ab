//! A STUN message: its header and the walk over its attributes (RFC 8489 §5, §14).
//!
//! [`Message::parse`] checks once that the header is STUN's and that the attributes tile the
//! message exactly; afterwards no accessor can fail for the shape of the bytes. It also notes where
//! the integrity attributes stand, so that what follows them is never seen by anybody.

mod header;
mod walk;

pub use header::{Class, Method, TransactionId};
pub use walk::{Attributes, RawAttribute};

use std::ops::Range;

use crate::attr::{Attribute, AttributeError, AttributeType, UnknownAttributes};
use crate::{ATTRIBUTE_HEADER_BYTES, HEADER_BYTES, MAGIC_COOKIE, be16, padding};

/// Why bytes are not a STUN message.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseError {
    /// Fewer than the 20 bytes of a header.
    #[error("shorter than a STUN header")]
    TooShort,
    /// The two highest bits are not zero.
    #[error("the two highest bits are not zero")]
    NotStun,
    /// The magic cookie is another.
    #[error("not the magic cookie of RFC 8489")]
    WrongCookie,
    /// The length field is no multiple of four, or is not the length of what follows the header.
    #[error("the length field contradicts the length of the packet")]
    WrongLength,
    /// An attribute reaches beyond the end of the message.
    #[error("an attribute reaches beyond the end of the message")]
    AttributeOverrun,
    /// Something follows FINGERPRINT, which must stand last.
    #[error("an attribute follows FINGERPRINT")]
    AfterFingerprint,
}

/// A checked view of one STUN message.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    bytes: &'a [u8],
    /// Where the attributes that everybody may look at end.
    plain_end: usize,
    /// Offsets of the trailing attributes' headers; 0 where the message has none.
    integrity_at: usize,
    integrity_sha256_at: usize,
    fingerprint_at: usize,
}

impl<'a> Message<'a> {
    /// Checks that `bytes` are exactly one STUN message.
    ///
    /// The whole datagram, or the whole frame of a stream, is one message: neither less nor more.
    // One pass over the attribute headers, no allocation.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ParseError> {
        let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(ParseError::TooShort);
        };
        // RFC 8489 §6.3: "the first two bits are 0, that the Magic Cookie field has the correct
        // value, that the message length is sensible".
        if header[0] & 0xC0 != 0 {
            return Err(ParseError::NotStun);
        }
        if header[4..8] != MAGIC_COOKIE.to_be_bytes() {
            return Err(ParseError::WrongCookie);
        }
        // RFC 8489 §5: the length does not include the header, and its last two bits are zero.
        let length = usize::from(be16(header, 2));
        if length % 4 != 0 || length + HEADER_BYTES != bytes.len() {
            return Err(ParseError::WrongLength);
        }
        let mut message = Self {
            bytes,
            plain_end: bytes.len(),
            integrity_at: 0,
            integrity_sha256_at: 0,
            fingerprint_at: 0,
        };
        message.walk()?;
        Ok(message)
    }

    /// Checks that the attributes tile the message and notes where the trailing ones stand.
    #[inline]
    fn walk(&mut self) -> Result<(), ParseError> {
        let end = self.bytes.len();
        let mut at = HEADER_BYTES;
        // `at` and `end` are multiples of four, so a whole attribute header stands at `at`.
        while at < end {
            let kind = AttributeType(be16(self.bytes, at));
            let len = usize::from(be16(self.bytes, at + 2));
            let next = at + ATTRIBUTE_HEADER_BYTES + len + padding(len);
            if next > end {
                return Err(ParseError::AttributeOverrun);
            }
            match kind {
                AttributeType::MESSAGE_INTEGRITY => self.note_integrity(at),
                AttributeType::MESSAGE_INTEGRITY_SHA256 => self.note_integrity_sha256(at),
                AttributeType::FINGERPRINT => {
                    // RFC 8489 §14.7: FINGERPRINT stands last.
                    if next != end {
                        return Err(ParseError::AfterFingerprint);
                    }
                    self.fingerprint_at = at;
                    self.plain_end = self.plain_end.min(at);
                }
                _ => {}
            }
            at = next;
        }
        Ok(())
    }

    fn note_integrity(&mut self, at: usize) {
        // RFC 8489 §14.6: after MESSAGE-INTEGRITY-SHA256 only FINGERPRINT counts. A second
        // MESSAGE-INTEGRITY is one of the attributes that §14.5 tells us to ignore.
        if self.integrity_at == 0 && self.integrity_sha256_at == 0 {
            self.integrity_at = at;
            self.plain_end = at;
        }
    }

    fn note_integrity_sha256(&mut self, at: usize) {
        if self.integrity_sha256_at == 0 {
            self.integrity_sha256_at = at;
            self.plain_end = self.plain_end.min(at);
        }
    }

    /// The message's class.
    #[inline]
    #[must_use]
    pub fn class(&self) -> Class {
        Class::of_type(be16(self.bytes, 0))
    }

    /// The message's method.
    #[inline]
    #[must_use]
    pub fn method(&self) -> Method {
        Method::of_type(be16(self.bytes, 0))
    }

    /// The transaction id, which an answer repeats.
    #[inline]
    #[must_use]
    pub fn transaction_id(&self) -> TransactionId {
        let mut id = [0; 12];
        id.copy_from_slice(&self.bytes[8..HEADER_BYTES]);
        TransactionId(id)
    }

    /// The whole message, header included.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Walks over the attributes that count, in their order.
    ///
    /// RFC 8489 §14.5 and §14.6: whatever follows MESSAGE-INTEGRITY is ignored, but
    /// MESSAGE-INTEGRITY-SHA256 and FINGERPRINT; whatever follows MESSAGE-INTEGRITY-SHA256, but
    /// FINGERPRINT.
    #[inline]
    #[must_use]
    pub fn attributes(&self) -> Attributes<'a> {
        let trailing = [
            self.integrity_at,
            self.integrity_sha256_at,
            self.fingerprint_at,
        ];
        Attributes::new(self.bytes, self.plain_end, trailing)
    }

    /// Finds the first attribute of a type and decodes it.
    ///
    /// RFC 8489 §14: of an attribute that appears more than once only the first counts, unless its
    /// own text says otherwise; for those see [`Message::find_all`].
    #[inline]
    pub fn find<A: Attribute<'a>>(&self) -> Result<Option<A>, AttributeError> {
        let raw = self
            .raw(A::TYPE)
            .or_else(|| A::ALIAS.and_then(|alias| self.raw(alias)));
        match raw {
            Some(raw) => A::decode(raw.value, &self.transaction_id()).map(Some),
            None => Ok(None),
        }
    }

    /// Decodes every attribute of a type, in their order.
    #[inline]
    pub fn find_all<A: Attribute<'a>>(&self) -> impl Iterator<Item = Result<A, AttributeError>> {
        let transaction_id = self.transaction_id();
        self.attributes()
            .filter(|raw| raw.type_ == A::TYPE)
            .map(move |raw| A::decode(raw.value, &transaction_id))
    }

    /// Tells whether an attribute of this type is there.
    #[inline]
    #[must_use]
    pub fn has(&self, type_: AttributeType) -> bool {
        self.raw(type_).is_some()
    }

    /// Finds the first attribute of a type, undecoded.
    #[inline]
    #[must_use]
    pub fn raw(&self, type_: AttributeType) -> Option<RawAttribute<'a>> {
        self.attributes().find(|raw| raw.type_ == type_)
    }

    /// Lists the comprehension-required attributes that `known` does not know, each once.
    ///
    /// RFC 8489 §6.3.1: a request with one is answered by 420 and this list; §6.3.2: an indication
    /// with one is dropped. The integrity attributes and FINGERPRINT need not be known.
    #[inline]
    pub fn unknown_required(&self, known: impl Fn(AttributeType) -> bool) -> UnknownAttributes {
        let mut unknown = UnknownAttributes::default();
        for raw in Attributes::new(self.bytes, self.plain_end, [0; 3]) {
            if raw.type_.is_required() && !known(raw.type_) {
                unknown.push(raw.type_);
            }
        }
        unknown
    }

    /// Walks over the attributes before the trailing ones: type, and where the value stands.
    #[inline]
    pub(crate) fn plain_ranges(&self) -> impl Iterator<Item = (AttributeType, Range<usize>)> {
        let mut at = HEADER_BYTES;
        Attributes::new(self.bytes, self.plain_end, [0; 3]).map(move |raw| {
            let start = at + ATTRIBUTE_HEADER_BYTES;
            let end = start + raw.value.len();
            at = end + padding(raw.value.len());
            (raw.type_, start..end)
        })
    }

    /// MESSAGE-INTEGRITY's offset and value.
    #[inline]
    pub(crate) fn integrity(&self) -> Option<(usize, &'a [u8])> {
        self.trailing(self.integrity_at)
    }

    /// MESSAGE-INTEGRITY-SHA256's offset and value.
    #[inline]
    pub(crate) fn integrity_sha256(&self) -> Option<(usize, &'a [u8])> {
        self.trailing(self.integrity_sha256_at)
    }

    /// FINGERPRINT's offset and value.
    #[inline]
    pub(crate) fn fingerprint(&self) -> Option<(usize, &'a [u8])> {
        self.trailing(self.fingerprint_at)
    }

    #[inline]
    fn trailing(&self, at: usize) -> Option<(usize, &'a [u8])> {
        (at != 0).then(|| (at, RawAttribute::at(self.bytes, at).value))
    }
}

#[cfg(test)]
mod tests;
