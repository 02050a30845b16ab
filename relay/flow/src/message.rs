//! What sealed frames say.
//!
//! A message is a kind of one byte and its fields, in the order below. A reader passes over what
//! follows the fields that it knows, so that later versions can append, and a frame can be padded.
//! A kind that is not known is ignored.
//!
//! ```text
//! kind            → node or device   fields
//!  1 PING         both               id 4, flags 1 (bit 0: pad the answer), padding
//!  2 PONG         both               id 4, length of the ping's frame 2, padding
//!  3 OPEN         node               request 4, peer's device key 32
//!  4 OPENED       device             request 4 (0: not asked for), notice 4, flow 4, peer's key 32,
//!                                    peer state 1, payload max 2
//!  5 PEER         device             notice 4, flow 4, peer state 1, payload max 2
//!  6 CLOSE_FLOW   node               request 4, flow 4
//!  7 DONE         device             request 4, refusal 1 (0: done)
//!  8 REBIND       node               nothing
//!  9 CHALLENGE    device             token 16
//! 10 RESPONSE     node               token 16
//! 11 REBOUND      device             observed address 18
//! 12 STATS        device             limited by 1, sojourn p95 in microseconds 4, n 1, n times
//!                                    {drop reason 1, packets 8}
//! 13 RESTARTING   device             notice 4, reconnect in ms 4, spread ms 4, n 1, node id 32 n times
//! 14 CLOSE        both               reason 1, text
//! 15 ACK          node               notice 4
//! 16 STANDING     device             notice 4, 1 active or 0 passive
//! 17 LIMIT        node               request 4, payload max 2
//! 18 RENEW        node               request 4, ticket length 2, ticket
//! ```
//!
//! Over `udp`, a message with a notice other than 0 is repeated until the device acknowledges it; a
//! device repeats a message with a request until it is answered. A repeated request gets the same
//! answer and does nothing twice.

mod bytes;
mod handshake;

use std::net::SocketAddr;

use sterna_control_api::{DeviceKey, NodeId};

use self::bytes::{Reader, Writer};
pub use self::handshake::{FEATURES, InitPayload, Welcome, WelcomePayload};
use crate::code::{CloseReason, LimitedBy, PeerState, Refusal};
use crate::frame::{address_bytes, address_of_bytes, cut};
use crate::limits::{ALTERNATES_MAX, TEXT_BYTES_MAX};
use crate::{DropReason, FlowNumber};

/// Stands for a limit of a later version, which nobody here can name: no version gives it out.
const UNKNOWN_LIMIT: u8 = 0xFF;

/// The kinds of messages, by their number.
pub mod kind {
    /// See the module's table.
    pub const PING: u8 = 1;
    /// See the module's table.
    pub const PONG: u8 = 2;
    /// See the module's table.
    pub const OPEN: u8 = 3;
    /// See the module's table.
    pub const OPENED: u8 = 4;
    /// See the module's table.
    pub const PEER: u8 = 5;
    /// See the module's table.
    pub const CLOSE_FLOW: u8 = 6;
    /// See the module's table.
    pub const DONE: u8 = 7;
    /// See the module's table.
    pub const REBIND: u8 = 8;
    /// See the module's table.
    pub const CHALLENGE: u8 = 9;
    /// See the module's table.
    pub const RESPONSE: u8 = 10;
    /// See the module's table.
    pub const REBOUND: u8 = 11;
    /// See the module's table.
    pub const STATS: u8 = 12;
    /// See the module's table.
    pub const RESTARTING: u8 = 13;
    /// See the module's table.
    pub const CLOSE: u8 = 14;
    /// See the module's table.
    pub const ACK: u8 = 15;
    /// See the module's table.
    pub const STANDING: u8 = 16;
    /// See the module's table.
    pub const LIMIT: u8 = 17;
    /// See the module's table.
    pub const RENEW: u8 = 18;

    /// Every kind with its name.
    pub const ALL: [(u8, &str); 18] = [
        (PING, "PING"),
        (PONG, "PONG"),
        (OPEN, "OPEN"),
        (OPENED, "OPENED"),
        (PEER, "PEER"),
        (CLOSE_FLOW, "CLOSE_FLOW"),
        (DONE, "DONE"),
        (REBIND, "REBIND"),
        (CHALLENGE, "CHALLENGE"),
        (RESPONSE, "RESPONSE"),
        (REBOUND, "REBOUND"),
        (STATS, "STATS"),
        (RESTARTING, "RESTARTING"),
        (CLOSE, "CLOSE"),
        (ACK, "ACK"),
        (STANDING, "STANDING"),
        (LIMIT, "LIMIT"),
        (RENEW, "RENEW"),
    ];
}

/// What STATS says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// What has limited the session most since the last STATS.
    pub limited_by: Option<LimitedBy>,
    /// The 95th percentile of the time that packets waited for this device, in microseconds.
    pub sojourn_p95_us: u32,
    /// Packets of and for this device that were dropped since the session began, by reason.
    pub dropped: Vec<(DropReason, u64)>,
}

/// What RESTARTING says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restarting {
    /// When the node is worth another try at the soonest, in milliseconds from the device's move.
    pub reconnect_in_ms: u32,
    /// Over how many milliseconds devices spread their moves.
    pub spread_ms: u32,
    /// Nodes to go to, the best first.
    pub alternates: Vec<NodeId>,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(
    missing_docs,
    reason = "the table of the module says what each field is"
)]
pub enum Message {
    Ping {
        id: u32,
        echo: bool,
    },
    Pong {
        id: u32,
        len: u16,
    },
    Open {
        request: u32,
        peer: DeviceKey,
    },
    Opened {
        request: u32,
        notice: u32,
        flow: FlowNumber,
        peer: DeviceKey,
        state: PeerState,
        payload_max: u16,
    },
    Peer {
        notice: u32,
        flow: FlowNumber,
        state: PeerState,
        payload_max: u16,
    },
    CloseFlow {
        request: u32,
        flow: FlowNumber,
    },
    Done {
        request: u32,
        refusal: Option<Refusal>,
    },
    Rebind,
    Challenge {
        token: [u8; 16],
    },
    Response {
        token: [u8; 16],
    },
    Rebound {
        observed: SocketAddr,
    },
    Stats(Stats),
    Restarting {
        notice: u32,
        restarting: Restarting,
    },
    Close {
        reason: CloseReason,
        text: String,
    },
    Ack {
        notice: u32,
    },
    Standing {
        notice: u32,
        active: bool,
    },
    Limit {
        request: u32,
        payload_max: u16,
    },
    Renew {
        request: u32,
        ticket: Vec<u8>,
    },
    /// A kind, or a code in it, that this version does not know.
    Unknown,
}

impl Message {
    /// Writes the message.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut w = Writer(Vec::with_capacity(64));
        match self {
            Self::Ping { id, echo } => w.u8(kind::PING).u32(*id).u8(u8::from(*echo)),
            Self::Pong { id, len } => w.u8(kind::PONG).u32(*id).u16(*len),
            Self::Open { request, peer } => w.u8(kind::OPEN).u32(*request).put(&peer.0),
            Self::Opened {
                request,
                notice,
                flow,
                peer,
                state,
                payload_max,
            } => w
                .u8(kind::OPENED)
                .u32(*request)
                .u32(*notice)
                .u32(flow.0)
                .put(&peer.0)
                .u8(state.byte())
                .u16(*payload_max),
            Self::Peer {
                notice,
                flow,
                state,
                payload_max,
            } => w
                .u8(kind::PEER)
                .u32(*notice)
                .u32(flow.0)
                .u8(state.byte())
                .u16(*payload_max),
            Self::CloseFlow { request, flow } => w.u8(kind::CLOSE_FLOW).u32(*request).u32(flow.0),
            Self::Done { request, refusal } => w
                .u8(kind::DONE)
                .u32(*request)
                .u8(refusal.map_or(0, Refusal::byte)),
            Self::Rebind => w.u8(kind::REBIND),
            Self::Challenge { token } => w.u8(kind::CHALLENGE).put(token),
            Self::Response { token } => w.u8(kind::RESPONSE).put(token),
            Self::Rebound { observed } => w.u8(kind::REBOUND).put(&address_bytes(*observed)),
            Self::Stats(stats) => {
                let limited = stats.limited_by.map_or(UNKNOWN_LIMIT, LimitedBy::byte);
                let shown = &stats.dropped[..stats.dropped.len().min(DropReason::COUNT)];
                w.u8(kind::STATS)
                    .u8(limited)
                    .u32(stats.sojourn_p95_us)
                    .u8(u8::try_from(shown.len()).unwrap_or(0));
                for (reason, packets) in shown {
                    w.u8(reason.byte()).u64(*packets);
                }
                &mut w
            }
            Self::Restarting { notice, restarting } => {
                let alternates = &restarting.alternates;
                let named = &alternates[..alternates.len().min(ALTERNATES_MAX)];
                w.u8(kind::RESTARTING)
                    .u32(*notice)
                    .u32(restarting.reconnect_in_ms)
                    .u32(restarting.spread_ms)
                    .u8(u8::try_from(named.len()).unwrap_or(0));
                for node in named {
                    w.put(&node.0);
                }
                &mut w
            }
            Self::Close { reason, text } => w
                .u8(kind::CLOSE)
                .u8(reason.byte())
                .put(cut(text, TEXT_BYTES_MAX).as_bytes()),
            Self::Ack { notice } => w.u8(kind::ACK).u32(*notice),
            Self::Standing { notice, active } => {
                w.u8(kind::STANDING).u32(*notice).u8(u8::from(*active))
            }
            Self::Limit {
                request,
                payload_max,
            } => w.u8(kind::LIMIT).u32(*request).u16(*payload_max),
            Self::Renew { request, ticket } => w
                .u8(kind::RENEW)
                .u32(*request)
                .u16(u16::try_from(ticket.len()).unwrap_or(0))
                .put(ticket),
            Self::Unknown => w.u8(0),
        };
        w.0
    }

    /// Reads a message; nothing where it is shorter than its fields.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut r = Reader(bytes);
        Some(match r.u8()? {
            kind::PING => Self::Ping {
                id: r.u32()?,
                echo: r.u8()? & 1 == 1,
            },
            kind::PONG => Self::Pong {
                id: r.u32()?,
                len: r.u16()?,
            },
            kind::OPEN => Self::Open {
                request: r.u32()?,
                peer: r.key()?,
            },
            kind::OPENED => {
                let (request, notice, flow, peer) = (r.u32()?, r.u32()?, r.flow()?, r.key()?);
                let (state, payload_max) = (r.u8()?, r.u16()?);
                match PeerState::of_byte(state) {
                    Some(state) => Self::Opened {
                        request,
                        notice,
                        flow,
                        peer,
                        state,
                        payload_max,
                    },
                    None => Self::Unknown,
                }
            }
            kind::PEER => {
                let (notice, flow, state, payload_max) = (r.u32()?, r.flow()?, r.u8()?, r.u16()?);
                match PeerState::of_byte(state) {
                    Some(state) => Self::Peer {
                        notice,
                        flow,
                        state,
                        payload_max,
                    },
                    None => Self::Unknown,
                }
            }
            kind::CLOSE_FLOW => Self::CloseFlow {
                request: r.u32()?,
                flow: r.flow()?,
            },
            kind::DONE => {
                let (request, code) = (r.u32()?, r.u8()?);
                // A refusal that a later version has added is still one.
                let refusal = (code != 0).then(|| Refusal::of_byte(code).unwrap_or(Refusal::Busy));
                Self::Done { request, refusal }
            }
            kind::REBIND => Self::Rebind,
            kind::CHALLENGE => Self::Challenge { token: r.array()? },
            kind::RESPONSE => Self::Response { token: r.array()? },
            kind::REBOUND => Self::Rebound {
                observed: address_of_bytes(&r.array()?),
            },
            kind::STATS => {
                let limited_by = LimitedBy::of_byte(r.u8()?);
                let sojourn_p95_us = r.u32()?;
                let mut dropped = Vec::new();
                for _ in 0..r.u8()? {
                    let (reason, packets) = (r.u8()?, r.u64()?);
                    if dropped.len() < DropReason::COUNT {
                        dropped.extend(DropReason::of_byte(reason).map(|reason| (reason, packets)));
                    }
                }
                Self::Stats(Stats {
                    limited_by,
                    sojourn_p95_us,
                    dropped,
                })
            }
            kind::RESTARTING => {
                let notice = r.u32()?;
                let mut restarting = Restarting {
                    reconnect_in_ms: r.u32()?,
                    spread_ms: r.u32()?,
                    alternates: Vec::new(),
                };
                for _ in 0..r.u8()? {
                    let node = NodeId(r.array()?);
                    if restarting.alternates.len() < ALTERNATES_MAX {
                        restarting.alternates.push(node);
                    }
                }
                Self::Restarting { notice, restarting }
            }
            kind::CLOSE => {
                let reason = CloseReason::of_byte(r.u8()?).unwrap_or(CloseReason::Unknown);
                let text = String::from_utf8_lossy(r.0);
                Self::Close {
                    reason,
                    text: cut(&text, TEXT_BYTES_MAX).to_owned(),
                }
            }
            kind::ACK => Self::Ack { notice: r.u32()? },
            kind::STANDING => Self::Standing {
                notice: r.u32()?,
                active: r.u8()? == 1,
            },
            kind::LIMIT => Self::Limit {
                request: r.u32()?,
                payload_max: r.u16()?,
            },
            kind::RENEW => {
                let (request, len) = (r.u32()?, r.u16()?);
                Self::Renew {
                    request,
                    ticket: r.take(len.into())?.to_vec(),
                }
            }
            _ => Self::Unknown,
        })
    }

    /// The same message under another notice number, where it has one.
    #[must_use]
    pub(crate) fn with_notice(mut self, number: u32) -> Self {
        match &mut self {
            Self::Opened { notice, .. }
            | Self::Peer { notice, .. }
            | Self::Restarting { notice, .. }
            | Self::Standing { notice, .. } => *notice = number,
            _ => {}
        }
        self
    }
}

#[cfg(test)]
mod tests;
