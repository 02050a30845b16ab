//! Where a frame ends on TCP and TLS (RFC 8489 §6.2.2, RFC 8656 §12.5).
//!
//! STUN messages tell their length and are multiples of four. ChannelData tells its payload's
//! length and is padded to a multiple of four, padding not counted. Nothing else is on a TURN
//! stream, so anything else ends it: there is no way to find the next frame.

use crate::demux::{Kind, classify};
use crate::{HEADER_BYTES, MAGIC_COOKIE, be16, channel_data, padding};

/// The longest frame: a STUN message with the largest length field that is a multiple of four.
pub const MAX_FRAME: usize = HEADER_BYTES + 65_532;

const _: () = assert!(
    MAX_FRAME >= channel_data::HEADER_BYTES + 65_536,
    "ChannelData fits too"
);

/// Why a stream cannot go on.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FramingError {
    /// Neither STUN nor ChannelData.
    #[error("neither a STUN message nor ChannelData")]
    NotTurn,
    /// A STUN message whose length is no multiple of four.
    #[error("a STUN message's length is no multiple of four")]
    WrongLength,
}

/// Tells how long the frame at the start of `stream` is, ChannelData's padding included.
///
/// None: too few bytes to tell. The frame itself may be incomplete yet: compare the length, which
/// is never more than [`MAX_FRAME`] and never 0, with what has arrived.
#[inline]
pub fn next_frame(stream: &[u8]) -> Result<Option<usize>, FramingError> {
    let Some(first) = stream.first() else {
        return Ok(None);
    };
    match classify(*first) {
        Kind::Stun => stun(stream),
        Kind::ChannelData => {
            let Some(header) = stream.first_chunk::<{ channel_data::HEADER_BYTES }>() else {
                return Ok(None);
            };
            let len = usize::from(be16(header, 2));
            Ok(Some(channel_data::HEADER_BYTES + len + padding(len)))
        }
        Kind::Dtls | Kind::Flow | Kind::Quic | Kind::Unknown => Err(FramingError::NotTurn),
    }
}

#[inline]
fn stun(stream: &[u8]) -> Result<Option<usize>, FramingError> {
    let Some(header) = stream.first_chunk::<8>() else {
        return Ok(None);
    };
    // Checked before the message is complete, so that a stranger cannot make us wait for 64 KiB.
    if header[4..] != MAGIC_COOKIE.to_be_bytes() {
        return Err(FramingError::NotTurn);
    }
    let len = usize::from(be16(header, 2));
    if len % 4 != 0 {
        return Err(FramingError::WrongLength);
    }
    Ok(Some(HEADER_BYTES + len))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BINDING: [u8; 20] = [
        0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,
    ];

    #[test]
    fn a_stun_messages_length_is_known_after_eight_bytes() {
        for len in 0..8 {
            assert_eq!(next_frame(&BINDING[..len]), Ok(None));
        }
        for len in 8..20 {
            assert_eq!(next_frame(&BINDING[..len]), Ok(Some(20)));
        }
    }

    #[test]
    fn a_channel_data_frame_counts_its_padding() {
        assert_eq!(next_frame(&[0x40, 0, 0]), Ok(None));
        assert_eq!(next_frame(&[0x40, 0, 0, 0]), Ok(Some(4)));
        assert_eq!(next_frame(&[0x40, 0, 0, 1]), Ok(Some(8)));
        assert_eq!(next_frame(&[0x40, 0, 0, 4]), Ok(Some(8)));
        assert_eq!(next_frame(&[0x40, 0, 0, 5, 1, 2]), Ok(Some(12)));
        assert_eq!(next_frame(&[0x4F, 0xFF, 0xFF, 0xFF]), Ok(Some(65_540)));
    }

    #[test]
    fn the_longest_message_is_within_the_bound() {
        let longest = [0, 1, 0xFF, 0xFC, 0x21, 0x12, 0xA4, 0x42];
        assert_eq!(next_frame(&longest), Ok(Some(MAX_FRAME)));
    }

    #[test]
    fn what_is_neither_stun_nor_channel_data_ends_the_stream() {
        assert_eq!(next_frame(&[0x16, 3, 1]), Err(FramingError::NotTurn));
        assert_eq!(next_frame(&[0x80, 0, 0, 0]), Err(FramingError::NotTurn));
        assert_eq!(
            next_frame(&[0, 1, 0, 0, 0, 0, 0, 0]),
            Err(FramingError::NotTurn)
        );
        let odd = [0, 1, 0, 2, 0x21, 0x12, 0xA4, 0x42];
        assert_eq!(next_frame(&odd), Err(FramingError::WrongLength));
    }
}
