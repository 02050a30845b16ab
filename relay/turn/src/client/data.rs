//! Peers' data: what stands before an outgoing payload, and what an incoming packet holds.
//!
//! The payload itself is never touched: a caller sends [`Prefix`], payload and tail in one vector.

use std::net::SocketAddr;

use sterna_stun::channel_data::{self, ChannelData};
use sterna_stun::data_indication::{self, DataIndication, IndicationError};
use sterna_stun::message::{Message, TransactionId};

use super::config::Link;
use super::event::{Carrier, ClientError, Ignored, Received};
use super::upkeep::Allocation;

/// Longest prefix: that of a Send indication to an IPv6 peer, with DONT-FRAGMENT.
const PREFIX_BYTES_MAX: usize = data_indication::WHOLE_HEADER_BYTES_MAX;

/// What stands before a payload, and how many zero bytes stand after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    bytes: [u8; PREFIX_BYTES_MAX],
    len: usize,
    tail: usize,
}

impl Prefix {
    /// The bytes before the payload.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// How many zero bytes follow the payload: 0 to 3.
    #[must_use]
    pub fn tail(&self) -> usize {
        self.tail
    }
}

/// Prefix of a ChannelData message. Constant time, no allocation.
pub(super) fn channel_prefix(number: u16, len: usize, link: Link) -> Result<Prefix, ClientError> {
    let len = u16::try_from(len).map_err(|_| ClientError::TooLong)?;
    let mut bytes = [0; PREFIX_BYTES_MAX];
    bytes[..4].copy_from_slice(&channel_data::header(number, len));
    // RFC 8656 §12.5: padded to four bytes over TCP and TLS; over UDP padding is not required.
    let tail = match link {
        Link::Stream => channel_data::tail(usize::from(len)),
        Link::Datagram => 0,
    };
    Ok(Prefix {
        bytes,
        len: channel_data::HEADER_BYTES,
        tail,
    })
}

/// Prefix of a Send indication whose DATA comes last, with DONT-FRAGMENT for a `whole` one. Constant
/// time, no allocation.
pub(super) fn indication_prefix(
    id: TransactionId,
    peer: SocketAddr,
    len: usize,
    whole: bool,
) -> Result<Prefix, ClientError> {
    let mut bytes = [0; PREFIX_BYTES_MAX];
    let written = if whole {
        data_indication::whole_send_header(id, peer, len, &mut bytes)
    } else {
        let plain = bytes.first_chunk_mut();
        plain.and_then(|plain| data_indication::send_header(id, peer, len, plain))
    };
    Ok(Prefix {
        bytes,
        len: written.ok_or(ClientError::TooLong)?,
        tail: data_indication::tail(len),
    })
}

/// Looks into a packet of the server that is no answer.
pub(super) fn receive_channel_data(packet: &[u8], allocation: Option<&Allocation>) -> Received {
    let Ok(message) = ChannelData::parse(packet) else {
        return Received::Ignored(Ignored::Malformed);
    };
    let peer = allocation.and_then(|allocation| allocation.channels.peer_of(message.number));
    let Some(peer) = peer else {
        return Received::Ignored(Ignored::UnknownChannel);
    };
    Received::Data {
        peer,
        payload: channel_data::HEADER_BYTES..channel_data::HEADER_BYTES + message.data.len(),
        carrier: Carrier::Channel,
    }
}

/// Looks into an indication of the server.
pub(super) fn receive_indication(
    message: &Message<'_>,
    allocation: Option<&Allocation>,
) -> Received {
    let indication = match DataIndication::of(message) {
        Ok(indication) => indication,
        Err(IndicationError::NotThis) => return Received::Ignored(Ignored::Unexpected),
        Err(_) => return Received::Ignored(Ignored::Malformed),
    };
    // RFC 8656 §11.4: only from peers for which the client believes to have a permission.
    let peer = indication.peer;
    if !allocation.is_some_and(|allocation| allocation.is_permitted(peer.ip())) {
        return Received::Ignored(Ignored::UnknownPeer);
    }
    match (indication.payload, indication.icmp) {
        // RFC 8656 §11.6: the application learns of it, with the peer that it is about.
        (_, Some(icmp)) => Received::Icmp { peer, icmp },
        (Some(payload), None) => Received::Data {
            peer,
            payload,
            carrier: Carrier::Indication,
        },
        (None, None) => Received::Ignored(Ignored::Malformed),
    }
}
