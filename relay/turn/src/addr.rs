//! The names by which driver and machine speak of clients, peers, ports and allocations.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    num::ParseIntError,
    str::FromStr,
};

/// What carries the messages between a client and this server.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// Datagrams: a source address proves nothing until a nonce came back.
    Udp,
    /// A TCP connection; one call hands over one frame.
    Tcp,
    /// A TLS connection; one call hands over one frame.
    Tls,
}

impl Transport {
    /// Tells whether frames arrive on a connection, in order and from a proven address.
    #[must_use]
    pub const fn is_stream(self) -> bool {
        matches!(self, Self::Tcp | Self::Tls)
    }

    /// The name used in logs and metric labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }
}

/// The client's end of a 5-tuple, and the way back to it.
///
/// `transport`, `route` and `addr` together identify the 5-tuple (RFC 8656 §3.2): the route stands
/// for the server's address, since a listener has one address and a stream has one connection.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub struct Client {
    /// What carries the messages.
    pub transport: Transport,
    /// The driver's handle: the listener over UDP, the connection over TCP and TLS.
    pub route: u32,
    /// The client's server-reflexive transport address.
    pub addr: SocketAddr,
    /// The server address that the client sent to.
    pub server: SocketAddr,
}

impl Client {
    /// Turns an IPv4-mapped client of a dual-stack socket into what it is, an IPv4 client.
    #[inline]
    pub(crate) fn unmapped(mut self) -> Self {
        if self.addr.is_ipv6() {
            self.addr = unmap(self.addr);
            self.server = unmap(self.server);
        }
        self
    }

    /// The key of the 5-tuple.
    #[inline]
    pub(crate) fn key(&self) -> ClientKey {
        let ip = match self.addr.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped().to_bits(),
            IpAddr::V6(ip) => ip.to_bits(),
        };
        let rest =
            u64::from(self.route) << 32 | u64::from(self.addr.port()) << 16 | self.transport as u64;
        ClientKey { ip, rest }
    }
}

/// A 5-tuple squeezed into three words, so that one look-up hashes and compares little.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ClientKey {
    ip: u128,
    rest: u64,
}

fn unmap(addr: SocketAddr) -> SocketAddr {
    match addr {
        SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
            Some(v4) => SocketAddr::from((v4, v6.port())),
            None => addr,
        },
        SocketAddr::V4(_) => addr,
    }
}

/// The transport address of a peer, never to be confused with a client's.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerAddr(pub SocketAddr);

/// The driver's handle of an open relay socket.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelayPort(pub u32);

/// The driver's handle of a TCP connection to a peer (RFC 6062).
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerConnection(pub u32);

/// The worker that a machine runs on.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerId(pub u8);

/// Connects a request for a socket with its answer.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BindToken(pub u64);

/// Names an allocation for the operator: worker, generation and index, shown as 16 hex digits.
///
/// The generation keeps an old name from meaning a later allocation.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AllocationId(u64);

impl AllocationId {
    /// Generations wrap after this many allocations in one place.
    pub(crate) const GENERATIONS: u32 = 1 << 24;

    pub(crate) const fn new(worker: WorkerId, generation: u32, index: u32) -> Self {
        let generation = generation % Self::GENERATIONS;
        Self((worker.0 as u64) << 56 | (generation as u64) << 32 | index as u64)
    }

    /// The worker that the allocation lives on.
    #[must_use]
    pub const fn worker(self) -> WorkerId {
        WorkerId(self.0.to_be_bytes()[0])
    }

    pub(crate) const fn index(self) -> usize {
        (self.0 & 0xffff_ffff) as usize
    }
}

impl fmt::Display for AllocationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for AllocationId {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u64::from_str_radix(text, 16).map(Self)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn client(transport: Transport, route: u32, addr: &str) -> Client {
        Client {
            transport,
            route,
            addr: addr.parse().unwrap(),
            server: "192.0.2.1:3478".parse().unwrap(),
        }
    }

    #[test]
    fn the_five_tuple_includes_transport_and_server_address() {
        let one = client(Transport::Udp, 0, "198.51.100.7:4000");
        assert_eq!(
            one.key(),
            client(Transport::Udp, 0, "198.51.100.7:4000").key()
        );
        assert_ne!(
            one.key(),
            client(Transport::Udp, 1, "198.51.100.7:4000").key()
        );
        assert_ne!(
            one.key(),
            client(Transport::Tcp, 0, "198.51.100.7:4000").key()
        );
        assert_ne!(
            one.key(),
            client(Transport::Udp, 0, "198.51.100.7:4001").key()
        );
        assert_ne!(
            one.key(),
            client(Transport::Udp, 0, "198.51.100.8:4000").key()
        );
    }

    #[test]
    fn an_ipv4_mapped_client_is_unmapped() {
        let mapped = client(Transport::Udp, 0, "[::ffff:198.51.100.7]:4000").unmapped();
        assert_eq!(mapped.addr, "198.51.100.7:4000".parse().unwrap());
    }

    #[test]
    fn an_allocation_id_survives_its_text_form() {
        let id = AllocationId::new(WorkerId(3), 0x0100_0007, 42);
        assert_eq!(id.to_string(), "030000070000002a");
        assert_eq!(id.to_string().parse::<AllocationId>().unwrap(), id);
        assert_eq!((id.worker(), id.index()), (WorkerId(3), 42));
        assert!("not hex".parse::<AllocationId>().is_err());
    }
}
