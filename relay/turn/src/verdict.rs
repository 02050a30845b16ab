//! What a packet's arrival calls for: a route, never bytes.

use std::{net::SocketAddr, ops::Range};

use sterna_stun::{channel_data, data_indication, message::TransactionId};

use crate::{Client, DropReason, Lease, PeerAddr, RelayPort, WorkerId};

/// Where a packet goes.
///
/// `payload` is a range of the packet that was handed in. The driver sends that range, without a
/// copy, with the header before it and the header's tail after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The payload goes to a peer from the relay socket.
    ToPeer {
        /// The relay socket to send from.
        port: RelayPort,
        /// The peer.
        peer: SocketAddr,
        /// What to send.
        payload: Range<usize>,
        /// Whether the datagram must not be fragmented: IPv4's DF bit (RFC 8656 §14).
        dont_fragment: bool,
    },
    /// Header, payload and tail go to a client: from a peer, or from a client of the same worker.
    ToClient {
        /// The client.
        client: Client,
        /// The channel header, or the Data indication up to its payload.
        header: Header,
        /// What to send behind the header.
        payload: Range<usize>,
    },
    /// The payload goes to another worker of this node, for its `handle_relayed`.
    ToWorker {
        /// The worker that owns the receiving allocation.
        worker: WorkerId,
        /// The relayed address of the receiving allocation, as the node itself knows it.
        to: PeerAddr,
        /// The relayed address of the sending allocation, as the receiving client shall see it.
        from: PeerAddr,
        /// What to hand over.
        payload: Range<usize>,
    },
    /// The whole packet goes to another worker of this node, for its `handle_moved`: its client has
    /// moved, and its allocation has not.
    ToOwner {
        /// The worker that has the allocation.
        worker: WorkerId,
        /// Who sent the packet, and by which way it can be answered.
        client: Client,
        /// Goes with a request to move.
        lease: Option<Lease>,
    },
    /// Nothing is to be sent for this packet but what `poll_command` says.
    Handled,
    /// The packet goes nowhere.
    Drop(DropReason),
}

/// The bytes before a payload to a client, and the number of zero bytes after it.
#[derive(Copy, Clone, PartialEq, Eq)]
pub struct Header {
    bytes: [u8; Self::BYTES_MAX],
    len: u8,
    tail: u8,
}

impl Header {
    /// A Data indication for an IPv6 peer: 20 + 24 + 4.
    pub const BYTES_MAX: usize = data_indication::HEADER_BYTES_MAX;

    /// A channel's header; none if the payload is longer than its length field can say.
    // RFC 8656 §12.5: over streams padded to four bytes, over UDP not.
    #[inline]
    pub(crate) fn channel_data(number: u16, len: usize, padded: bool) -> Option<Self> {
        let mut bytes = [0; Self::BYTES_MAX];
        bytes[..4].copy_from_slice(&channel_data::header(number, u16::try_from(len).ok()?));
        let tail = if padded { channel_data::tail(len) } else { 0 };
        Some(Self {
            bytes,
            len: 4,
            tail: u8::try_from(tail).ok()?,
        })
    }

    /// A Data indication up to its payload; none if the whole would be too long for STUN.
    #[inline]
    pub(crate) fn data_indication(
        transaction_id: TransactionId,
        peer: SocketAddr,
        payload_len: usize,
    ) -> Option<Self> {
        let mut bytes = [0; Self::BYTES_MAX];
        let len = data_indication::header(transaction_id, peer, payload_len, &mut bytes)?;
        let tail = data_indication::tail(payload_len);
        Some(Self {
            bytes,
            len: u8::try_from(len).ok()?,
            tail: u8::try_from(tail).ok()?,
        })
    }

    /// What stands before the payload.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// The number of zero bytes (0..=3) after the payload.
    #[must_use]
    pub fn tail(&self) -> usize {
        usize::from(self.tail)
    }
}

impl std::fmt::Debug for Header {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Header")
            .field("bytes", &self.bytes())
            .field("tail", &self.tail)
            .finish()
    }
}
