//! The four addresses that NAT behaviour discovery needs (RFC 5780 §6).
//!
//! Two addresses and two ports make four sockets, numbered so that one bit each stands for the
//! address and the port:
//!
//! | number | socket |
//! |---|---|
//! | 0 | A1:P1, the primary one |
//! | 1 | A1:P2 |
//! | 2 | A2:P1 |
//! | 3 | A2:P2, the alternate one |
//!
//! To change the address or the port (RFC 5780 §6.1, table 1) is to flip a bit.

use std::net::SocketAddr;

use sterna_stun::attr::ChangeRequest;

use crate::{Client, Transport};

const ADDRESS: usize = 0b10;
const PORT: usize = 0b01;

/// The four UDP sockets of one address family, each on every worker.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Discovery {
    sockets: [DiscoverySocket; 4],
}

/// One of the four.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct DiscoverySocket {
    /// The [`Client::route`] of those who send to it.
    pub route: u32,
    /// Its address as this host knows it.
    pub local: SocketAddr,
    /// Its address as clients know it.
    pub public: SocketAddr,
}

impl Discovery {
    /// The addresses that `primary` and `alternate` span, in the order of their numbers.
    #[must_use]
    pub fn addresses(primary: SocketAddr, alternate: SocketAddr) -> [SocketAddr; 4] {
        let ports = [primary.port(), alternate.port()];
        let [first, second] = [primary, alternate].map(|mut addr| {
            ports.map(|port| {
                addr.set_port(port);
                addr
            })
        });
        [first[0], first[1], second[0], second[1]]
    }

    /// Takes the sockets in the order of [`Discovery::addresses`].
    #[must_use]
    pub fn new(sockets: [DiscoverySocket; 4]) -> Self {
        Self { sockets }
    }

    /// Which of the sockets a client has sent to, if any.
    pub(crate) fn place_of(&self, client: &Client) -> Option<Place<'_>> {
        if client.transport != Transport::Udp {
            return None;
        }
        let number = self
            .sockets
            .iter()
            .position(|socket| socket.route == client.route)?;
        Some(Place {
            discovery: self,
            number,
        })
    }
}

/// The socket that a request came in on, among its kind.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Place<'a> {
    discovery: &'a Discovery,
    number: usize,
}

impl Place<'_> {
    /// Where the answer leaves from.
    pub(crate) fn origin(self, change: ChangeRequest) -> DiscoverySocket {
        let address = if change.ip { ADDRESS } else { 0 };
        let port = if change.port { PORT } else { 0 };
        self.discovery.sockets[self.number ^ address ^ port]
    }

    /// Where it would leave from with both changed, whatever was asked (OTHER-ADDRESS).
    pub(crate) fn other(self) -> DiscoverySocket {
        self.discovery.sockets[self.number ^ ADDRESS ^ PORT]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    fn discovery() -> Discovery {
        let addresses = Discovery::addresses(addr("192.0.2.1:1"), addr("192.0.2.2:2"));
        let mut route = 10;
        Discovery::new(addresses.map(|local| {
            route += 1;
            DiscoverySocket {
                route,
                local,
                public: local,
            }
        }))
    }

    #[test]
    fn two_addresses_and_two_ports_span_four_sockets() {
        assert_eq!(
            Discovery::addresses(addr("192.0.2.1:1"), addr("192.0.2.2:2")),
            ["192.0.2.1:1", "192.0.2.1:2", "192.0.2.2:1", "192.0.2.2:2"].map(addr)
        );
    }

    // RFC 5780 §6.1, table 1, for a request to each of the four.
    #[test]
    fn the_flags_choose_the_source_as_the_table_of_the_rfc_says() {
        let discovery = discovery();
        let flags = [(false, false), (true, false), (false, true), (true, true)];
        let expected = [
            ["192.0.2.1:1", "192.0.2.2:1", "192.0.2.1:2", "192.0.2.2:2"],
            ["192.0.2.1:2", "192.0.2.2:2", "192.0.2.1:1", "192.0.2.2:1"],
            ["192.0.2.2:1", "192.0.2.1:1", "192.0.2.2:2", "192.0.2.1:2"],
            ["192.0.2.2:2", "192.0.2.1:2", "192.0.2.2:1", "192.0.2.1:1"],
        ];
        for (route, origins) in (11..).zip(expected) {
            let mut client = Client {
                transport: Transport::Udp,
                route,
                addr: addr("198.51.100.7:7"),
                server: addr(origins[0]),
            };
            let place = discovery.place_of(&client).expect("one of the four");
            let seen = flags.map(|(ip, port)| place.origin(ChangeRequest { ip, port }).local);
            assert_eq!(seen, origins.map(addr));
            assert_eq!(place.other().local, addr(origins[3]));
            client.transport = Transport::Tcp;
            assert!(discovery.place_of(&client).is_none());
        }
    }
}
