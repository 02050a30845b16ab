//! What an engine has to say beside packets.

use std::net::SocketAddr;
use std::time::Duration;

use crate::engine::{Port, RelaySlot};

/// Something that happened to a socket, taken with
/// [`Engine::next_notice`](crate::Engine::next_notice).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Notice {
    /// A datagram that left a relay port did not arrive.
    Icmp(IcmpError),
    /// A socket could not be received from, and is left alone for a while.
    ReceiveFailed {
        /// Which.
        port: Port,
        /// What the kernel answered, `errno(3)`.
        errno: i32,
        /// For how long.
        rest: Duration,
    },
}

/// An ICMP error about a datagram that left a relay port, or what the host itself has to say in
/// its words: a datagram that must not be fragmented and is longer than the path allows.
///
/// Anybody can forge one who guesses the two addresses and ports: it is a hint, nothing more.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct IcmpError {
    /// The port that the datagram left.
    pub port: RelaySlot,
    /// Where it was to go.
    pub peer: SocketAddr,
    /// The type, of ICMPv4 or ICMPv6 by the family of `peer`.
    pub kind: u8,
    /// The code.
    pub code: u8,
    /// The MTU, where the datagram was too big: ICMPv4's type 3 with code 4, ICMPv6's type 2. Else 0.
    pub mtu: u32,
}

impl IcmpError {
    /// That a datagram must not be fragmented and is longer than `mtu`: RFC 792 and RFC 1191, or
    /// RFC 4443 §3.2.
    #[must_use]
    pub fn too_big(port: RelaySlot, peer: SocketAddr, mtu: u32) -> Self {
        let (kind, code) = if peer.is_ipv4() { (3, 4) } else { (2, 0) };
        Self {
            port,
            peer,
            kind,
            code,
            mtu,
        }
    }

    /// That nobody listens on the peer's port: RFC 792, or RFC 4443 §3.1.
    #[must_use]
    pub fn port_unreachable(port: RelaySlot, peer: SocketAddr) -> Self {
        let (kind, code) = if peer.is_ipv4() { (3, 3) } else { (1, 4) };
        Self {
            port,
            peer,
            kind,
            code,
            mtu: 0,
        }
    }
}
