//! What a device's session tells its owner.

use std::net::SocketAddr;
use std::time::Duration;

use sterna_control_api::DeviceKey;

use super::FlowId;
use crate::message::{Restarting, Stats, Welcome};
use crate::{CloseReason, PeerState, Refusal};

/// What has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The node has welcomed the device.
    Up(Welcome),
    /// A frame that carries such a payload has crossed both ways: the rung counts as up.
    Probed {
        /// The longest payload that is known to pass.
        payload_max: u16,
    },
    /// The node has refused the device. The session is over.
    Refused {
        /// Why; none for a code of a later version.
        refusal: Option<Refusal>,
        /// Whether the node has said so under keys: in clear, it may have been somebody between.
        sealed: bool,
        /// For people.
        text: String,
    },
    /// No answer in time. The session is over.
    Failed,
    /// A flow was opened, by this device or by its peer, or its peer's state has changed.
    Flow {
        /// The flow.
        flow: FlowId,
        /// The peer.
        peer: DeviceKey,
        /// Its state.
        state: PeerState,
        /// The longest payload of one frame to it.
        payload_max: u16,
        /// Whether this device asked for it.
        asked: bool,
    },
    /// The node has not opened a flow.
    OpenRefused {
        /// The flow, which is gone.
        flow: FlowId,
        /// Why.
        refusal: Refusal,
    },
    /// Three pings are unanswered: use another path as well, until one answers.
    Suspect,
    /// The node has answered a ping.
    Alive {
        /// The round trip.
        rtt: Duration,
        /// Whether the session was suspect.
        was_suspect: bool,
    },
    /// Peers reach the device through this session, or through a newer one.
    Standing {
        /// Whether it is this one.
        active: bool,
    },
    /// The node goes away: open another session, then close this one.
    Restarting(Restarting),
    /// What the node has dropped of and for this device.
    Stats(Stats),
    /// The session goes on from another address.
    Rebound {
        /// The device's address, as the node sees it.
        observed: SocketAddr,
    },
    /// The node has taken the newer ticket.
    Renewed,
    /// The node has not taken the newer ticket.
    RenewRefused(Refusal),
    /// The session is over.
    Closed {
        /// Why.
        reason: CloseReason,
        /// For people.
        text: String,
    },
}

/// Why a packet cannot be sent.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum SendError {
    /// The session is not up.
    #[error("the session with the relay is not up")]
    NotUp,
    /// There is no such flow.
    #[error("there is no such flow")]
    NoFlow,
    /// The flow is not open yet, and the packet is too long to go before it is.
    #[error("the flow is not open yet")]
    NotOpen,
    /// The peer is not at this node.
    #[error("the peer is not at this relay")]
    PeerAbsent,
    /// Two halves do not hold the packet either.
    #[error("the packet is longer than two frames")]
    TooLong,
    /// There is nothing to send.
    #[error("the packet is empty")]
    Empty,
}
