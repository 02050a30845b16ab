//! What the handshake carries sealed.
//!
//! ```text
//! INIT      features 1, payload max 2, ticket length 2, ticket
//! WELCOME   0 1, session id 8, node id 32, observed address 18, payload max 2, flows 2, bytes a second 8,
//!             packets a second 4, idle time in s 2, ticket's expiry 8
//!           1 1, refusal 1, text
//! ```

use std::net::SocketAddr;

use sterna_control_api::NodeId;

use super::bytes::{Reader, Writer};
use crate::SessionId;
use crate::code::Refusal;
use crate::frame::{address_bytes, address_of_bytes, cut};
use crate::limits::TEXT_BYTES_MAX;

/// The features that this version of the handshake's payload knows.
pub const FEATURES: u8 = 1;

/// What the sealed payload of INIT says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitPayload<'a> {
    /// The longest payload that the device can take on this rung.
    pub payload_max: u16,
    /// The relay ticket.
    pub ticket: &'a [u8],
}

impl<'a> InitPayload<'a> {
    /// Writes it.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut w = Writer(Vec::with_capacity(5 + self.ticket.len()));
        w.u8(FEATURES)
            .u16(self.payload_max)
            .u16(u16::try_from(self.ticket.len()).unwrap_or(0))
            .put(self.ticket);
        w.0
    }

    /// Reads it.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut r = Reader(bytes);
        let _features = r.u8()?;
        let payload_max = r.u16()?;
        let len = r.u16()?;
        Some(Self {
            payload_max,
            ticket: r.take(len.into())?,
        })
    }
}

/// What WELCOME tells a device.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The session's name.
    pub session: SessionId,
    /// The node's identity.
    pub node: NodeId,
    /// The device's address, as the node sees it.
    pub observed: SocketAddr,
    /// The longest payload that the node takes on this rung.
    pub payload_max: u16,
    /// Flows at a time; 0 for no cap.
    pub flows: u16,
    /// Payload bytes a second; 0 for no cap.
    pub bytes_per_s: u64,
    /// Packets a second; 0 for no cap.
    pub packets_per_s: u32,
    /// After so much silence, in seconds, the node forgets the session.
    pub idle_s: u16,
    /// When the ticket expires, in seconds since 1970.
    pub expires: u64,
}

/// What the sealed payload of WELCOME says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WelcomePayload {
    /// The session stands.
    Accepted(Welcome),
    /// It does not.
    Refused {
        /// Why; nothing for a code that this version does not know.
        refusal: Option<Refusal>,
        /// For people.
        text: String,
    },
}

impl WelcomePayload {
    /// Writes it.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut w = Writer(Vec::with_capacity(96));
        match self {
            Self::Accepted(it) => w
                .u8(0)
                .put(&it.session.0)
                .put(&it.node.0)
                .put(&address_bytes(it.observed))
                .u16(it.payload_max)
                .u16(it.flows)
                .u64(it.bytes_per_s)
                .u32(it.packets_per_s)
                .u16(it.idle_s)
                .u64(it.expires),
            Self::Refused { refusal, text } => w
                .u8(1)
                .u8(refusal.map_or(0, Refusal::byte))
                .put(cut(text, TEXT_BYTES_MAX).as_bytes()),
        };
        w.0
    }

    /// Reads it.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut r = Reader(bytes);
        match r.u8()? {
            0 => Some(Self::Accepted(Welcome {
                session: SessionId(r.array()?),
                node: NodeId(r.array()?),
                observed: address_of_bytes(&r.array()?),
                payload_max: r.u16()?,
                flows: r.u16()?,
                bytes_per_s: r.u64()?,
                packets_per_s: r.u32()?,
                idle_s: r.u16()?,
                expires: r.u64()?,
            })),
            1 => Some(Self::Refused {
                refusal: Refusal::of_byte(r.u8()?),
                text: cut(&String::from_utf8_lossy(r.0), TEXT_BYTES_MAX).to_owned(),
            }),
            _ => None,
        }
    }
}
