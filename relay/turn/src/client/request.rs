//! The requests, as what is asked and as bytes.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use sterna_stun::attr::{
    AdditionalAddressFamily, AddressFamily, ChannelNumber, ConnectionId, DontFragment, EvenPort,
    Lifetime, MobilityTicket, RequestedAddressFamily, RequestedTransport, ReservationToken,
    XorPeerAddress,
};
use sterna_stun::message::Method;
use sterna_stun::writer::{Full, MessageWriter};

use super::config::{AllocateOptions, FamilyWish, Link, PortWish, Relayed};
use super::mobility::Ticket;

/// What a client can ask of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// What is my address? (RFC 8489)
    Binding,
    /// A relayed address (RFC 8656 §7).
    Allocate(AllocateOptions),
    /// A longer life of the allocation; zero ends it (RFC 8656 §8).
    Refresh {
        /// `None` leaves it to the server.
        lifetime: Option<Duration>,
        /// One half of a dual allocation; `None`: all that there is.
        family: Option<AddressFamily>,
    },
    /// A Refresh from another address, port or connection (RFC 8016 §3.2.1).
    Move {
        /// `None` leaves it to the server.
        lifetime: Option<Duration>,
        /// What the server gave out last.
        ticket: Ticket,
        /// What carries the packets from there.
        link: Link,
    },
    /// Leave for these peers to send (RFC 8656 §10).
    CreatePermission {
        /// Addresses; a permission has no port.
        peers: Box<[IpAddr]>,
    },
    /// A channel to a peer, and a permission with it (RFC 8656 §12).
    ChannelBind {
        /// 0x4000–0x4FFF.
        number: u16,
        /// Address and port.
        peer: SocketAddr,
    },
    /// A TCP connection to a peer (RFC 6062 §4.3).
    Connect {
        /// Address and port.
        peer: SocketAddr,
    },
    /// This connection for the bytes of a peer (RFC 6062 §4.3).
    ConnectionBind {
        /// As the control connection was told.
        connection_id: u32,
    },
}

impl Request {
    pub(super) fn method(&self) -> Method {
        match self {
            Self::Binding => Method::BINDING,
            Self::Allocate(_) => Method::ALLOCATE,
            Self::Refresh { .. } | Self::Move { .. } => Method::REFRESH,
            Self::CreatePermission { .. } => Method::CREATE_PERMISSION,
            Self::ChannelBind { .. } => Method::CHANNEL_BIND,
            Self::Connect { .. } => Method::CONNECT,
            Self::ConnectionBind { .. } => Method::CONNECTION_BIND,
        }
    }

    /// Whether it is signed as soon as the client has a realm and a nonce.
    pub(super) fn is_authenticated(&self) -> bool {
        !matches!(self, Self::Binding)
    }

    /// Writes the attributes that say what is asked.
    pub(super) fn write(&self, writer: &mut MessageWriter<'_>) -> Result<(), Full> {
        match self {
            Self::Binding => Ok(()),
            Self::Allocate(options) => write_allocate(options, writer),
            Self::Refresh { lifetime, family } => {
                if let Some(family) = *family {
                    writer.attr(&RequestedAddressFamily(family))?;
                }
                write_lifetime(*lifetime, writer)
            }
            Self::Move {
                lifetime, ticket, ..
            } => {
                write_lifetime(*lifetime, writer)?;
                writer.attr(&ticket.attribute())
            }
            Self::CreatePermission { peers } => peers
                .iter()
                .try_for_each(|peer| writer.attr(&XorPeerAddress(SocketAddr::new(*peer, 0)))),
            Self::ChannelBind { number, peer } => {
                writer.attr(&ChannelNumber(*number))?;
                writer.attr(&XorPeerAddress(*peer))
            }
            Self::Connect { peer } => writer.attr(&XorPeerAddress(*peer)),
            Self::ConnectionBind { connection_id } => writer.attr(&ConnectionId(*connection_id)),
        }
    }
}

fn write_allocate(options: &AllocateOptions, writer: &mut MessageWriter<'_>) -> Result<(), Full> {
    writer.attr(&match options.relayed {
        Relayed::Udp => RequestedTransport::UDP,
        Relayed::Tcp => RequestedTransport::TCP,
    })?;
    // RFC 8656 §7.1: with RESERVATION-TOKEN neither EVEN-PORT nor a family may be named.
    match options.port {
        PortWish::Reserved(token) => writer.attr(&ReservationToken(token))?,
        wish => {
            match options.family {
                FamilyWish::Any => {}
                FamilyWish::Only(family) => writer.attr(&RequestedAddressFamily(family))?,
                // RFC 8656 §7.1: its value is IPv6, and IPv4 goes without saying.
                FamilyWish::Both => writer.attr(&AdditionalAddressFamily(AddressFamily::Ipv6))?,
            }
            if wish != PortWish::Any {
                let reserve_next = wish == PortWish::EvenAndNext;
                writer.attr(&EvenPort { reserve_next })?;
            }
        }
    }
    if options.mobile {
        // RFC 8016 §3.1.1: "with a length of zero".
        writer.attr(&MobilityTicket(b""))?;
    }
    if options.dont_fragment {
        writer.attr(&DontFragment)?;
    }
    write_lifetime(options.lifetime, writer)
}

fn write_lifetime(lifetime: Option<Duration>, writer: &mut MessageWriter<'_>) -> Result<(), Full> {
    let Some(lifetime) = lifetime else {
        return Ok(());
    };
    let seconds = u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX);
    writer.attr(&Lifetime(seconds))
}
