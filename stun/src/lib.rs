//! STUN and TURN on the wire.
//!
//! The crate turns bytes into checked views and values into bytes, and nothing else: it opens no
//! socket, reads no clock, draws no random number, and parsing never allocates.
//!
//! | module | holds | source |
//! |---|---|---|
//! | [`demux`] | what a packet is, by its first byte | RFC 7983, RFC 9443 |
//! | [`message`] | the header and the walk over attributes | RFC 8489 §5, §14 |
//! | [`attr`] | one type per attribute | RFC 8489, 8656, 5780, 6062, 7635, 8016, 8445 |
//! | [`writer`] | messages into the caller's buffer | RFC 8489 §5, §14 |
//! | [`integrity`] | MESSAGE-INTEGRITY and MESSAGE-INTEGRITY-SHA256 | RFC 8489 §14.5, §14.6 |
//! | [`fingerprint`] | FINGERPRINT | RFC 8489 §14.7 |
//! | [`credentials`] | keys of long-term and time-limited credentials | RFC 8489 §9.2, §14.4 |
//! | [`access_token`] | tokens of third-party authorisation | RFC 7635 §6.2 |
//! | [`nonce`] | stateless nonces | RFC 8489 §9.2 |
//! | [`ticket`] | mobility tickets | RFC 8016 §3.3 |
//! | [`channel_data`] | ChannelData | RFC 8656 §12.4 |
//! | [`data_indication`] | Send and Data indications, fast | RFC 8656 §11 |
//! | [`framing`] | where a frame ends on TCP and TLS | RFC 8489 §6.2.2, RFC 8656 §12.5 |
//!
//! A request goes through the crate like this:
//!
//! ```
//! use sterna_stun::attr::XorMappedAddress;
//! use sterna_stun::message::{Class, Message, Method};
//! use sterna_stun::writer::MessageWriter;
//!
//! let datagram = [
//!     0x00, 0x01, 0x00, 0x00, 0x21, 0x12, 0xA4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,
//! ];
//! let request = Message::parse(&datagram)?;
//! assert_eq!((request.class(), request.method()), (Class::Request, Method::BINDING));
//!
//! let mut out = [0; 128];
//! let mut answer =
//!     MessageWriter::new(&mut out, Class::Success, Method::BINDING, request.transaction_id())?;
//! answer.attr(&XorMappedAddress("192.0.2.1:32853".parse()?))?;
//! assert_eq!(answer.finish(), 32);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

pub mod access_token;
pub mod attr;
pub mod channel_data;
pub mod credentials;
pub mod data_indication;
pub mod demux;
pub mod fingerprint;
pub mod framing;
pub mod integrity;
pub mod message;
pub mod nonce;
pub mod ticket;
pub mod writer;

pub use attr::{Attribute, AttributeError, AttributeType};
pub use message::{Class, Message, Method, ParseError, TransactionId};
pub use writer::{Full, MessageWriter};

/// The value of every STUN header's second word (RFC 8489 §5).
pub const MAGIC_COOKIE: u32 = 0x2112_A442;

/// The length of a STUN header (RFC 8489 §5).
pub const HEADER_BYTES: usize = 20;

/// The length of an attribute's type and length fields (RFC 8489 §14).
pub const ATTRIBUTE_HEADER_BYTES: usize = 4;

/// Returns how many bytes of padding follow `len` bytes, so that a multiple of four is reached.
#[inline]
#[must_use]
pub const fn padding(len: usize) -> usize {
    len.wrapping_neg() & 3
}

/// Reads two bytes in network order; the caller has checked that they are there.
#[inline]
pub(crate) fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}
