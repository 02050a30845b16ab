//! Cold work that a relay names for its driver.

use sterna_control_api::{DeviceId, DeviceKey, TenantId, TicketId};

use crate::directory::{PeerRef, SessionRef};
use crate::{CloseReason, FlowNumber, Link, Refusal, Rung, SessionId, ShardId, StreamId};

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// A frame goes to a device; its bytes are in the caller's buffer. Over QUIC, it goes on the
    /// control stream.
    Send {
        /// The way there.
        link: Link,
        /// How many bytes.
        len: usize,
    },
    /// A letter goes to another shard, for its `handle_letter`. Letters between two shards keep
    /// their order.
    Post {
        /// The shard.
        shard: ShardId,
        /// The letter.
        letter: Letter,
    },
    /// A connection is to be closed once what is queued for it has been sent.
    CloseStream {
        /// The connection.
        stream: StreamId,
    },
    /// Something happened that logs and usage records want to know.
    Event(Event),
}

/// What one shard tells another: on the control path only, never for a packet.
///
/// A driver carries letters, and reads nothing out of them.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Letter {
    /// A peer of one of your sessions wants to exchange packets with it.
    Connect {
        /// The session that is asked.
        to: SessionRef,
        /// Who asks: its key, its end, and how it is reached.
        from: PeerRef,
    },
    /// The answer: the asked end, for the end that asked.
    Connected {
        /// The end that asked.
        end: FlowNumber,
        /// The end that was asked.
        peer: PeerRef,
    },
    /// The other end of a flow is gone, or was not to be had; nothing happens where it has been
    /// replaced.
    Disconnected {
        /// The end that is told.
        end: FlowNumber,
        /// The end that is gone; none where there was nobody to connect to.
        gone: FlowNumber,
    },
    /// The other end is reached elsewhere, or takes other payloads.
    Moved {
        /// The end that is told.
        end: FlowNumber,
        /// The other end, as it is now.
        peer: PeerRef,
    },
    /// A device that one of your ends watches has a new active session, or other groups.
    Arrived {
        /// The end that watches.
        end: FlowNumber,
    },
    /// One of your sessions has become passive, or active again.
    Standing {
        /// The session.
        session: SessionRef,
        /// What it is now.
        active: bool,
        /// The order of activation that goes with it.
        order: u64,
    },
    /// One of your sessions is active beside others of its device: it is to be watched.
    Watch {
        /// The session.
        session: SessionRef,
    },
    /// One of your sessions is to be closed.
    Close {
        /// The session.
        session: SessionRef,
        /// Why.
        reason: CloseReason,
    },
}

/// What the control service, or an operator, takes back.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Revoke {
    /// One ticket.
    Ticket(TicketId),
    /// A device, by its registration.
    Device(DeviceId),
    /// A device, by its key.
    DeviceKey(DeviceKey),
    /// A tenant.
    Tenant(TenantId),
    /// One session, which may come again: an operator's word.
    Session(SessionId),
}

/// What logs and usage records want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A session has become active: its device has spoken under the new keys.
    Began {
        /// The session.
        session: SessionId,
        /// Its device.
        device: DeviceKey,
        /// Its tenant.
        tenant: TenantId,
        /// What carries it.
        rung: Rung,
    },
    /// A session has ended.
    Ended {
        /// The session.
        session: SessionId,
        /// Its device.
        device: DeviceKey,
        /// Its tenant.
        tenant: TenantId,
        /// What carried it.
        rung: Rung,
        /// Why.
        reason: CloseReason,
        /// Payload bytes that the device sent and that were relayed.
        bytes: u64,
        /// Packets that the device sent and that were relayed.
        packets: u64,
    },
    /// A handshake was refused.
    Refused {
        /// What would have carried it.
        rung: Rung,
        /// Why.
        refusal: Refusal,
    },
    /// A session has moved to another address.
    Rebound {
        /// The session.
        session: SessionId,
    },
}
