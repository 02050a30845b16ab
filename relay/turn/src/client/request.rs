//! The requests, as what is asked and as bytes.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use sterna_stun::attr::{
    ChannelNumber, DontFragment, EvenPort, Lifetime, RequestedAddressFamily, RequestedTransport,
    ReservationToken, XorPeerAddress,
};
use sterna_stun::message::Method;
use sterna_stun::writer::{Full, MessageWriter};

use super::config::{AllocateOptions, PortWish};

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
}

impl Request {
    pub(super) fn method(&self) -> Method {
        match self {
            Self::Binding => Method::BINDING,
            Self::Allocate(_) => Method::ALLOCATE,
            Self::Refresh { .. } => Method::REFRESH,
            Self::CreatePermission { .. } => Method::CREATE_PERMISSION,
            Self::ChannelBind { .. } => Method::CHANNEL_BIND,
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
            Self::Refresh { lifetime } => write_lifetime(*lifetime, writer),
            Self::CreatePermission { peers } => peers
                .iter()
                .try_for_each(|peer| writer.attr(&XorPeerAddress(SocketAddr::new(*peer, 0)))),
            Self::ChannelBind { number, peer } => {
                writer.attr(&ChannelNumber(*number))?;
                writer.attr(&XorPeerAddress(*peer))
            }
        }
    }
}

fn write_allocate(options: &AllocateOptions, writer: &mut MessageWriter<'_>) -> Result<(), Full> {
    writer.attr(&RequestedTransport::UDP)?;
    // RFC 8656 §7.1: with RESERVATION-TOKEN neither EVEN-PORT nor a family may be named.
    match options.port {
        PortWish::Reserved(token) => writer.attr(&ReservationToken(token))?,
        wish => {
            if let Some(family) = options.family {
                writer.attr(&RequestedAddressFamily(family))?;
            }
            if wish != PortWish::Any {
                let reserve_next = wish == PortWish::EvenAndNext;
                writer.attr(&EvenPort { reserve_next })?;
            }
        }
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
