//! Writing messages into the caller's buffer (RFC 8489 §5, §14).
//!
//! The order is the wire's: attributes, then [`MessageWriter::integrity_sha1`], then
//! [`MessageWriter::integrity_sha256`], then [`MessageWriter::fingerprint`], each at most once and
//! only where wanted. Padding is zeroed (CVE-2020-4067: what is left in a buffer is not ours to
//! send).

use crate::attr::{Attribute, AttributeType};
use crate::integrity::{KeyedSha1, KeyedSha256, SHA1_BYTES, SHA256_BYTES};
use crate::message::{Class, Method, TransactionId};
use crate::{ATTRIBUTE_HEADER_BYTES, HEADER_BYTES, MAGIC_COOKIE, fingerprint, padding};

/// The buffer, the 16 bits of the length, or the attribute itself cannot hold the value.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("no room for the attribute")]
pub struct Full;

/// How far the message has come: what may follow is only what stands below.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Stage {
    Attributes,
    Integrity,
    IntegritySha256,
    Fingerprint,
}

/// Writes one message.
///
/// After an error the message is as it was before the call, so that a caller may leave out what
/// does not fit.
#[derive(Debug)]
pub struct MessageWriter<'o> {
    out: &'o mut [u8],
    len: usize,
    stage: Stage,
    transaction_id: TransactionId,
}

impl<'o> MessageWriter<'o> {
    /// Begins a message at the start of `out`, which must hold at least the header.
    #[inline]
    pub fn new(
        out: &'o mut [u8],
        class: Class,
        method: Method,
        transaction_id: TransactionId,
    ) -> Result<Self, Full> {
        let header = out.first_chunk_mut::<HEADER_BYTES>().ok_or(Full)?;
        write_header(header, class, method, 0, &transaction_id);
        Ok(Self {
            out,
            len: HEADER_BYTES,
            stage: Stage::Attributes,
            transaction_id,
        })
    }

    /// Adds an attribute.
    #[inline]
    pub fn attr<'v>(&mut self, attribute: &impl Attribute<'v>) -> Result<(), Full> {
        debug_assert!(
            self.stage == Stage::Attributes,
            "nobody looks behind the integrity"
        );
        let transaction_id = self.transaction_id;
        self.put(type_of(attribute), |out| {
            attribute.encode(&transaction_id, out)
        })
    }

    /// Adds an attribute of any type with this value.
    #[inline]
    pub fn raw(&mut self, type_: AttributeType, value: &[u8]) -> Result<(), Full> {
        debug_assert!(
            self.stage == Stage::Attributes,
            "nobody looks behind the integrity"
        );
        self.put(type_, |out| {
            out.get_mut(..value.len())
                .ok_or(Full)?
                .copy_from_slice(value);
            Ok(value.len())
        })
    }

    /// Adds MESSAGE-INTEGRITY (RFC 8489 §14.5).
    #[inline]
    pub fn integrity_sha1(&mut self, key: &KeyedSha1) -> Result<(), Full> {
        debug_assert!(
            self.stage < Stage::Integrity,
            "MESSAGE-INTEGRITY stands once and first"
        );
        self.put_over(
            AttributeType::MESSAGE_INTEGRITY,
            SHA1_BYTES,
            |covered, value| {
                value.copy_from_slice(&key.mac(covered));
            },
        )?;
        self.stage = Stage::Integrity;
        Ok(())
    }

    /// Adds MESSAGE-INTEGRITY-SHA256 in full length (RFC 8489 §14.6).
    #[inline]
    pub fn integrity_sha256(&mut self, key: &KeyedSha256) -> Result<(), Full> {
        debug_assert!(
            self.stage < Stage::IntegritySha256,
            "stands once, before FINGERPRINT"
        );
        self.put_over(
            AttributeType::MESSAGE_INTEGRITY_SHA256,
            SHA256_BYTES,
            |covered, value| {
                value.copy_from_slice(&key.mac(covered));
            },
        )?;
        self.stage = Stage::IntegritySha256;
        Ok(())
    }

    /// Adds FINGERPRINT (RFC 8489 §14.7).
    #[inline]
    pub fn fingerprint(&mut self) -> Result<(), Full> {
        debug_assert!(self.stage < Stage::Fingerprint, "FINGERPRINT stands once");
        self.put_over(AttributeType::FINGERPRINT, 4, |covered, value| {
            value.copy_from_slice(&fingerprint::value(covered).to_be_bytes());
        })?;
        self.stage = Stage::Fingerprint;
        Ok(())
    }

    /// The message's length so far.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Always false: a header is there from the start.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Ends the message and returns its length.
    #[inline]
    #[must_use]
    pub fn finish(self) -> usize {
        self.len
    }

    /// Appends type, length, the value that `fill` writes, and zeroed padding.
    #[inline]
    fn put(
        &mut self,
        type_: AttributeType,
        fill: impl FnOnce(&mut [u8]) -> Result<usize, Full>,
    ) -> Result<(), Full> {
        let value_at = self.len + ATTRIBUTE_HEADER_BYTES;
        let value_len = fill(self.out.get_mut(value_at..).ok_or(Full)?)?;
        let value_end = value_at + value_len;
        let end = value_end + padding(value_len);
        let length = message_length(end)?;
        let value_len = u16::try_from(value_len).map_err(|_| Full)?;
        self.out.get_mut(value_end..end).ok_or(Full)?.fill(0);
        self.out[self.len..self.len + 2].copy_from_slice(&type_.0.to_be_bytes());
        self.out[self.len + 2..value_at].copy_from_slice(&value_len.to_be_bytes());
        self.out[2..4].copy_from_slice(&length.to_be_bytes());
        self.len = end;
        Ok(())
    }

    /// Appends an attribute that covers what stands before it, with the length that counts it in.
    #[inline]
    fn put_over(
        &mut self,
        type_: AttributeType,
        value_len: usize,
        compute: impl FnOnce(&[u8], &mut [u8]),
    ) -> Result<(), Full> {
        let value_at = self.len + ATTRIBUTE_HEADER_BYTES;
        let covered = self.len;
        self.put(type_, |out| {
            (out.len() >= value_len).then_some(value_len).ok_or(Full)
        })?;
        let (before, after) = self.out.split_at_mut(value_at);
        compute(&before[..covered], &mut after[..value_len]);
        Ok(())
    }
}

#[inline]
fn type_of<'v, A: Attribute<'v>>(_: &A) -> AttributeType {
    A::TYPE
}

/// The length field of a message of `end` bytes.
#[inline]
fn message_length(end: usize) -> Result<u16, Full> {
    u16::try_from(end - HEADER_BYTES).map_err(|_| Full)
}

/// Writes a header.
#[inline]
pub(crate) fn write_header(
    out: &mut [u8; HEADER_BYTES],
    class: Class,
    method: Method,
    length: u16,
    transaction_id: &TransactionId,
) {
    out[..2].copy_from_slice(&class.message_type(method).to_be_bytes());
    out[2..4].copy_from_slice(&length.to_be_bytes());
    out[4..8].copy_from_slice(&MAGIC_COOKIE.to_be_bytes());
    out[8..].copy_from_slice(&transaction_id.0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attr::testing::TRANSACTION_ID;
    use crate::attr::{Data, Lifetime, Software, Username};
    use crate::message::Message;

    #[test]
    fn padding_is_zeroed_whatever_the_buffer_held() {
        let mut out = [0xEE; 64];
        let mut writer =
            MessageWriter::new(&mut out, Class::Request, Method::BINDING, TRANSACTION_ID)
                .expect("fits");
        writer.attr(&Software("Stern")).expect("fits");
        let len = writer.finish();
        assert_eq!(&out[HEADER_BYTES..len], b"\x80\x22\0\x05Stern\0\0\0");
        assert_eq!(&out[..4], &[0x00, 0x01, 0x00, 0x0C]);
        assert_eq!(out[len], 0xEE);
    }

    #[test]
    fn what_does_not_fit_leaves_the_message_as_it_was() {
        let mut out = [0; 32];
        let mut writer =
            MessageWriter::new(&mut out, Class::Request, Method::REFRESH, TRANSACTION_ID)
                .expect("fits");
        writer.attr(&Lifetime(1)).expect("fits");
        assert_eq!(writer.attr(&Username("x")), Err(Full));
        assert_eq!(writer.fingerprint(), Err(Full));
        let len = writer.finish();
        let message = Message::parse(&out[..len]).expect("a message");
        assert_eq!(message.find::<Lifetime>(), Ok(Some(Lifetime(1))));
        assert_eq!(message.attributes().count(), 1);
        let mut short = [0; 19];
        let refused =
            MessageWriter::new(&mut short, Class::Request, Method::REFRESH, TRANSACTION_ID);
        assert_eq!(refused.err(), Some(Full));
    }

    #[test]
    fn the_length_never_wraps_its_16_bits() {
        let mut out = vec![0; 70_000];
        let payload = vec![7; 65_529];
        let mut writer =
            MessageWriter::new(&mut out, Class::Indication, Method::DATA, TRANSACTION_ID)
                .expect("fits");
        assert_eq!(writer.attr(&Data(&payload)), Err(Full));
        assert_eq!(writer.attr(&Data(&payload[..65_528])), Ok(()));
        assert_eq!(writer.attr(&Lifetime(1)), Err(Full));
        let len = writer.finish();
        assert_eq!(len, HEADER_BYTES + 65_532);
        assert!(Message::parse(&out[..len]).is_ok());
    }
}
