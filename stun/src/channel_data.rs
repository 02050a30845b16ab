//! ChannelData: four bytes, then the payload (RFC 8656 §12.4).
//!
//! ```text
//! |         Channel Number        |            Length             |
//! |                       Application Data                       ..
//! ```

use crate::be16;
use crate::padding;

/// The length of a ChannelData header (RFC 8656 §12.4).
pub const HEADER_BYTES: usize = 4;

/// Why bytes are not ChannelData.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelDataError {
    /// Fewer than the four bytes of a header.
    #[error("shorter than a ChannelData header")]
    TooShort,
    /// Not a channel: the number is outside 0x4000–0x7FFF.
    #[error("not a channel number")]
    NotAChannel,
    /// Shorter than its length field says.
    #[error("shorter than its length field")]
    Truncated,
}

/// A checked view of one ChannelData message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ChannelData<'a> {
    /// The channel's number: 0x4000–0x4FFF, or up to 0x7FFF from a client of RFC 5766.
    pub number: u16,
    /// The payload, which may be empty. It begins [`HEADER_BYTES`] into the message.
    pub data: &'a [u8],
}

impl<'a> ChannelData<'a> {
    /// Checks a datagram, or a frame of a stream with or without its padding.
    // A dozen instructions, no allocation.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ChannelDataError> {
        let Some((header, rest)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
            return Err(ChannelDataError::TooShort);
        };
        // RFC 5766 §11: 0x4000–0x7FFF, of which RFC 8656 §12 has left 0x4000–0x4FFF. Which of them can be
        // bound is for the server to judge; one that is not bound is dropped (§12.6).
        if header[0] & 0xC0 != 0x40 {
            return Err(ChannelDataError::NotAChannel);
        }
        // RFC 8656 §12.6: what is shorter than its length field is dropped; what is longer is
        // padded (§12.5: over UDP padding is not needed, but may be there).
        let data = rest
            .get(..usize::from(be16(header, 2)))
            .ok_or(ChannelDataError::Truncated)?;
        Ok(Self {
            number: be16(header, 0),
            data,
        })
    }
}

/// The header before a payload of `len` bytes.
///
/// Over TCP and TLS, [`tail`] zero bytes follow the payload; they are not counted in the length.
#[inline]
#[must_use]
pub const fn header(number: u16, len: u16) -> [u8; HEADER_BYTES] {
    let [a, b] = number.to_be_bytes();
    let [c, d] = len.to_be_bytes();
    [a, b, c, d]
}

/// How many bytes of padding follow a payload on a stream (RFC 8656 §12.5).
#[inline]
#[must_use]
pub const fn tail(len: usize) -> usize {
    padding(len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_payload_is_what_the_length_field_says_and_padding_is_left_off() {
        let bytes = [0x40, 0x01, 0x00, 0x05, 1, 2, 3, 4, 5, 0, 0, 0];
        let expected = Ok(ChannelData {
            number: 0x4001,
            data: &[1, 2, 3, 4, 5],
        });
        assert_eq!(ChannelData::parse(&bytes), expected);
        assert_eq!(ChannelData::parse(&bytes[..9]), expected);
        assert_eq!(header(0x4001, 5), bytes[..4]);
        assert_eq!(tail(5), 3);
        assert_eq!(tail(8), 0);
    }

    #[test]
    fn an_empty_payload_is_a_payload() {
        let bytes = [0x4F, 0xFF, 0x00, 0x00];
        assert_eq!(
            ChannelData::parse(&bytes),
            Ok(ChannelData {
                number: 0x4FFF,
                data: &[]
            })
        );
    }

    #[test]
    fn what_is_shorter_than_its_length_field_is_refused() {
        let bytes = [0x40, 0x00, 0x00, 0x02, 1];
        assert_eq!(ChannelData::parse(&bytes), Err(ChannelDataError::Truncated));
        assert_eq!(
            ChannelData::parse(&bytes[..3]),
            Err(ChannelDataError::TooShort)
        );
        assert_eq!(ChannelData::parse(&[]), Err(ChannelDataError::TooShort));
    }

    #[test]
    fn numbers_outside_0x4000_to_0x7fff_are_no_channels() {
        for first in [0x00, 0x3F, 0x80, 0xFF] {
            let bytes = [first, 0x00, 0x00, 0x00];
            assert_eq!(
                ChannelData::parse(&bytes),
                Err(ChannelDataError::NotAChannel)
            );
        }
    }
}
