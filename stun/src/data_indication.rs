//! Send and Data indications on the fast path (RFC 8656 §11).
//!
//! A Data indication is written as a header that goes before a payload which nobody moves: the
//! peer's address first, DATA last. A Send indication is read in one pass over its attributes,
//! which agrees with [`Message::parse`] and [`Message::find`] on every input.
//!
//! [`Message::parse`]: crate::message::Message::parse
//! [`Message::find`]: crate::message::Message::find

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use crate::attr::{Attribute, AttributeType, Icmp, XorPeerAddress, address};
use crate::message::{Class, Message, Method, TransactionId};
use crate::writer::write_header;
use crate::{ATTRIBUTE_HEADER_BYTES, HEADER_BYTES, padding};

/// What stands before an IPv4 peer's payload.
pub const HEADER_V4_BYTES: usize = HEADER_BYTES + 2 * ATTRIBUTE_HEADER_BYTES + address::IPV4_BYTES;
/// What stands before an IPv6 peer's payload.
pub const HEADER_V6_BYTES: usize = HEADER_BYTES + 2 * ATTRIBUTE_HEADER_BYTES + address::IPV6_BYTES;
/// The largest of the two.
pub const HEADER_BYTES_MAX: usize = 48;

/// What stands before a payload with DONT-FRAGMENT at most.
pub const WHOLE_HEADER_BYTES_MAX: usize = HEADER_BYTES_MAX + ATTRIBUTE_HEADER_BYTES;

const _: () = assert!(HEADER_V6_BYTES == HEADER_BYTES_MAX);

/// The largest payload whose indication keeps within its 16 bits of length, for either family.
pub const PAYLOAD_BYTES_MAX: usize = 65_532 - (HEADER_V6_BYTES - HEADER_BYTES);

/// Writes everything that stands before the payload of a Data indication, and returns its length.
///
/// [`tail`] zero bytes follow the payload, on every transport. None where the payload is longer
/// than [`PAYLOAD_BYTES_MAX`].
#[inline]
#[must_use]
pub fn header(
    transaction_id: TransactionId,
    peer: SocketAddr,
    payload_len: usize,
    out: &mut [u8; HEADER_BYTES_MAX],
) -> Option<usize> {
    write(Method::DATA, transaction_id, peer, payload_len, false, out)
}

/// Writes everything that stands before the payload of a Send indication: the client's side.
#[inline]
#[must_use]
pub fn send_header(
    transaction_id: TransactionId,
    peer: SocketAddr,
    payload_len: usize,
    out: &mut [u8; HEADER_BYTES_MAX],
) -> Option<usize> {
    write(Method::SEND, transaction_id, peer, payload_len, false, out)
}

/// As [`send_header`], with DONT-FRAGMENT: the payload is to reach the peer in one piece or not at
/// all (RFC 8656 §11.1).
#[must_use]
pub fn whole_send_header(
    transaction_id: TransactionId,
    peer: SocketAddr,
    payload_len: usize,
    out: &mut [u8; WHOLE_HEADER_BYTES_MAX],
) -> Option<usize> {
    write(Method::SEND, transaction_id, peer, payload_len, true, out)
}

/// How many zero bytes follow the payload (RFC 8489 §14: values are padded).
#[inline]
#[must_use]
pub const fn tail(payload_len: usize) -> usize {
    padding(payload_len)
}

#[inline]
fn write(
    method: Method,
    transaction_id: TransactionId,
    peer: SocketAddr,
    payload_len: usize,
    dont_fragment: bool,
    out: &mut [u8],
) -> Option<usize> {
    if payload_len > PAYLOAD_BYTES_MAX {
        return None;
    }
    let (header_len, addr_len) = match peer.ip() {
        IpAddr::V4(_) => (HEADER_V4_BYTES, address::IPV4_BYTES),
        IpAddr::V6(_) => (HEADER_V6_BYTES, address::IPV6_BYTES),
    };
    let header_len = header_len + usize::from(dont_fragment) * ATTRIBUTE_HEADER_BYTES;
    let length = header_len - HEADER_BYTES + payload_len + padding(payload_len);
    let length = u16::try_from(length).ok()?;
    write_header(
        out.first_chunk_mut()?,
        Class::Indication,
        method,
        length,
        &transaction_id,
    );
    let value_at = HEADER_BYTES + ATTRIBUTE_HEADER_BYTES;
    attribute_header(
        &mut out[HEADER_BYTES..],
        AttributeType::XOR_PEER_ADDRESS,
        addr_len,
    )?;
    XorPeerAddress(peer)
        .encode(&transaction_id, &mut out[value_at..])
        .ok()?;
    if dont_fragment {
        let at = value_at + addr_len;
        attribute_header(&mut out[at..], AttributeType::DONT_FRAGMENT, 0)?;
    }
    let data_at = header_len - ATTRIBUTE_HEADER_BYTES;
    attribute_header(&mut out[data_at..], AttributeType::DATA, payload_len)?;
    Some(header_len)
}

#[inline]
fn attribute_header(out: &mut [u8], type_: AttributeType, len: usize) -> Option<()> {
    let out = out.first_chunk_mut::<ATTRIBUTE_HEADER_BYTES>()?;
    out[..2].copy_from_slice(&type_.0.to_be_bytes());
    out[2..].copy_from_slice(&u16::try_from(len).ok()?.to_be_bytes());
    Some(())
}

/// Why an indication is dropped. An indication is never answered (RFC 8489 §6.3.2).
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum IndicationError {
    /// Not a STUN message, or not this indication.
    #[error("not this indication")]
    NotThis,
    /// It has a comprehension-required attribute that this crate does not know.
    #[error("an unknown comprehension-required attribute")]
    UnknownRequired,
    /// XOR-PEER-ADDRESS is missing or malformed.
    #[error("no peer address")]
    NoPeer,
    /// DATA is missing, or what stands for it is malformed.
    #[error("no data")]
    NoData,
    /// DONT-FRAGMENT or ICMP is malformed.
    #[error("a malformed attribute")]
    Malformed,
}

/// What a Send indication asks for (RFC 8656 §11.1).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SendIndication {
    /// To whom.
    pub peer: SocketAddr,
    /// Where in the message the payload stands.
    pub payload: Range<usize>,
    /// Whether the client asks for the DF bit.
    pub dont_fragment: bool,
}

/// What a Data indication brings (RFC 8656 §11.6): the client's side.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DataIndication {
    /// From whom, or about whom.
    pub peer: SocketAddr,
    /// Where in the message the payload stands; none where ICMP stands for it.
    pub payload: Option<Range<usize>>,
    /// An ICMP error from the peer's side (RFC 8656 §11.5).
    pub icmp: Option<Icmp>,
}

impl SendIndication {
    /// Reads a datagram or frame that should be a Send indication.
    // One pass over the attributes beyond the parse, no allocation.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<Self, IndicationError> {
        Self::of(&Message::parse(bytes).map_err(|_| IndicationError::NotThis)?)
    }

    /// Reads a message that should be a Send indication.
    #[inline]
    pub fn of(message: &Message<'_>) -> Result<Self, IndicationError> {
        let found = Found::of(message, Method::SEND)?;
        Ok(Self {
            peer: found.peer(message)?,
            payload: found.data.ok_or(IndicationError::NoData)?,
            dont_fragment: match found.dont_fragment {
                None => false,
                Some(0) => true,
                Some(_) => return Err(IndicationError::Malformed),
            },
        })
    }
}

impl DataIndication {
    /// Reads a datagram or frame that should be a Data indication.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<Self, IndicationError> {
        Self::of(&Message::parse(bytes).map_err(|_| IndicationError::NotThis)?)
    }

    /// Reads a message that should be a Data indication.
    #[inline]
    pub fn of(message: &Message<'_>) -> Result<Self, IndicationError> {
        let found = Found::of(message, Method::DATA)?;
        let peer = found.peer(message)?;
        let icmp = match found.icmp {
            None => None,
            Some(range) => {
                let value = &message.bytes()[range];
                let icmp = Icmp::decode(value, &message.transaction_id());
                Some(icmp.map_err(|_| IndicationError::Malformed)?)
            }
        };
        // RFC 8656 §11.6: neither DATA nor ICMP → discarded.
        if found.data.is_none() && icmp.is_none() {
            return Err(IndicationError::NoData);
        }
        Ok(Self {
            peer,
            payload: found.data,
            icmp,
        })
    }
}

/// The first of each attribute that indications are made of.
#[derive(Default)]
struct Found {
    peer: Option<Range<usize>>,
    data: Option<Range<usize>>,
    icmp: Option<Range<usize>>,
    /// The length of DONT-FRAGMENT's value, which should be 0.
    dont_fragment: Option<usize>,
}

impl Found {
    #[inline]
    fn of(message: &Message<'_>, method: Method) -> Result<Self, IndicationError> {
        if message.class() != Class::Indication || message.method() != method {
            return Err(IndicationError::NotThis);
        }
        let mut found = Self::default();
        for (type_, value) in message.plain_ranges() {
            let slot = match type_ {
                AttributeType::XOR_PEER_ADDRESS => &mut found.peer,
                AttributeType::DATA => &mut found.data,
                AttributeType::ICMP => &mut found.icmp,
                AttributeType::DONT_FRAGMENT => {
                    found.dont_fragment.get_or_insert(value.len());
                    continue;
                }
                // RFC 8489 §6.3.2: an indication with an unknown comprehension-required attribute
                // is discarded.
                _ if type_.is_required() && !type_.is_known() => {
                    return Err(IndicationError::UnknownRequired);
                }
                _ => continue,
            };
            slot.get_or_insert(value);
        }
        Ok(found)
    }

    #[inline]
    fn peer(&self, message: &Message<'_>) -> Result<SocketAddr, IndicationError> {
        let range = self.peer.clone().ok_or(IndicationError::NoPeer)?;
        let value = &message.bytes()[range];
        let peer = XorPeerAddress::decode(value, &message.transaction_id());
        peer.map(|peer| peer.0).map_err(|_| IndicationError::NoPeer)
    }
}

#[cfg(test)]
mod tests;
