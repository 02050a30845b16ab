//! What a frame's arrival calls for: a route, never bytes.

use std::net::SocketAddr;
use std::ops::Range;

use crate::directory::SessionRef;
use crate::{DropReason, FlowNumber, Head, Mark, ShardId, StreamId};

/// Where a frame goes.
///
/// `payload` is a range of the packet that was handed in. The driver sends `head` and then that
/// range, without a copy where the transport allows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Into a datagram, from the listener of that number, on whichever worker this is.
    ToUdp {
        /// The listener to send from.
        listener: u16,
        /// The device.
        to: SocketAddr,
        /// What stands before the payload.
        head: Head,
        /// What to send behind it.
        payload: Range<usize>,
    },
    /// Into the queue of a QUIC or WebSocket connection of this shard.
    ToStream {
        /// The connection.
        stream: StreamId,
        /// The receiver's number of the flow: the lane of the queue. None for KEYED.
        flow: FlowNumber,
        /// What stands before the payload.
        head: Head,
        /// What to send behind it.
        payload: Range<usize>,
    },
    /// To another shard, for its `handle_relayed`.
    ToShard {
        /// The shard that owns the receiving session.
        shard: ShardId,
        /// What the payload is for.
        target: Target,
        /// What to hand over.
        payload: Range<usize>,
    },
    /// The whole packet belongs to another shard: it is for its `handle_packet`, with the same link.
    /// Happens where no program steers datagrams to workers.
    PassOn {
        /// The shard whose session it is of.
        shard: ShardId,
    },
    /// Nothing is to be sent for this frame but what `poll_command` says.
    Handled,
    /// The frame goes nowhere. The machine has counted it.
    Drop(DropReason),
}

/// For whom a payload is that crosses from shard to shard.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// For the owner of a flow's end.
    Flow {
        /// The receiver's number of the flow.
        flow: FlowNumber,
        /// What is carried through.
        mark: Mark,
    },
    /// For a session that has no number of the flow yet: KEYED.
    Session {
        /// The receiver.
        session: SessionRef,
        /// The head that the receiver gets.
        head: Head,
    },
}
