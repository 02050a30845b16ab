//! `[turn]`: where the node listens and what it relays from.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::Ipv6Net;
use serde::{Deserialize, Serialize};
use sterna_daemon::config::{Key, Kind, Section};
use sterna_turn::Discovery;

use super::cidr;
use super::dscp::Dscp;
use super::port_range::PortRange;
use super::redirect::AlternateWhen;

/// The port of STUN and TURN over UDP and TCP (RFC 8656 §3).
pub const DEFAULT_PORT: u16 = 3478;

/// The `[turn]` section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Turn {
    /// UDP and TCP listeners; a TLS handshake on the TCP side is recognised and served.
    #[serde(deserialize_with = "cidr::sockets")]
    pub listen: Vec<SocketAddr>,
    /// Listeners that take nothing but TLS over TCP.
    #[serde(deserialize_with = "cidr::sockets")]
    pub tls_listen: Vec<SocketAddr>,
    /// The second address and port of NAT behaviour discovery (RFC 5780), one a family; empty: off.
    #[serde(deserialize_with = "cidr::sockets")]
    pub alternate_listen: Vec<SocketAddr>,
    /// Servers that clients are sent to which this node does not take.
    #[serde(deserialize_with = "cidr::sockets")]
    pub alternate_server: Vec<SocketAddr>,
    /// The same for TLS clients; empty is `alternate_server`.
    #[serde(deserialize_with = "cidr::sockets")]
    pub alternate_tls_server: Vec<SocketAddr>,
    /// The name in the certificate of those servers, where it differs from this node's.
    pub alternate_domain: String,
    /// When clients are sent there.
    pub alternate_when: AlternateWhen,
    /// The realm of the long-term credentials.
    pub realm: String,
    /// The SOFTWARE attribute; empty leaves it out.
    pub software: String,
    /// Ports of relayed addresses.
    pub relay_ports: PortRange,
    /// The longest lifetime that an allocation gets.
    pub lifetime_max_s: u32,
    /// Addresses to relay from; empty is the address that the client's packet came in on.
    #[serde(deserialize_with = "cidr::addresses")]
    pub relay_addresses: Vec<IpAddr>,
    /// Addresses of this host as the outside knows them: internal to public.
    pub external_addresses: BTreeMap<IpAddr, IpAddr>,
    /// Whether clients may bind the channel numbers of RFC 5766 too.
    pub rfc5766_channels: bool,
    /// Whether clients may take their allocation along to another address (RFC 8016).
    pub mobility: bool,
    /// The DSCP of relayed packets.
    pub dscp: Dscp,
    /// Whether TCP connections are relayed too (RFC 6062).
    pub tcp_allocations: bool,
    /// NAT64 prefixes of this network, whose addresses count as the IPv4 ones inside.
    #[serde(deserialize_with = "cidr::nat64_prefixes")]
    pub nat64_prefixes: Vec<Ipv6Net>,
}

impl Turn {
    /// The address that an alternate one is the other of: the first of its family that is listed
    /// as itself, not as every address of the host.
    pub fn primary_of(&self, alternate: SocketAddr) -> Option<SocketAddr> {
        let mut listed = self.listen.iter().copied();
        listed.find(|addr| {
            addr.is_ipv4() == alternate.is_ipv4() && !addr.ip().is_unspecified() && addr.port() != 0
        })
    }

    /// The four UDP sockets of discovery, a set for each family that has it.
    pub fn discovery(&self) -> Vec<[SocketAddr; 4]> {
        let pairs = self
            .alternate_listen
            .iter()
            .filter_map(|&alternate| Some((self.primary_of(alternate)?, alternate)));
        pairs
            .map(|(primary, alternate)| Discovery::addresses(primary, alternate))
            .collect()
    }

    /// An address of this host as the outside knows it.
    pub fn public(&self, internal: IpAddr) -> IpAddr {
        let public = self.external_addresses.get(&internal);
        public.copied().unwrap_or(internal)
    }
}

impl Default for Turn {
    fn default() -> Self {
        Self {
            listen: vec![
                SocketAddr::from((Ipv4Addr::UNSPECIFIED, DEFAULT_PORT)),
                SocketAddr::from((Ipv6Addr::UNSPECIFIED, DEFAULT_PORT)),
            ],
            tls_listen: Vec::new(),
            alternate_listen: Vec::new(),
            alternate_server: Vec::new(),
            alternate_tls_server: Vec::new(),
            alternate_domain: String::new(),
            alternate_when: AlternateWhen::Full,
            realm: "sterna".to_owned(),
            software: "Sterna".to_owned(),
            relay_ports: PortRange::default(),
            lifetime_max_s: 3600,
            relay_addresses: Vec::new(),
            external_addresses: BTreeMap::new(),
            rfc5766_channels: true,
            mobility: true,
            dscp: Dscp::Copy,
            tcp_allocations: false,
            nat64_prefixes: Vec::new(),
        }
    }
}

/// The section's keys.
pub(super) const SECTION: Section = Section {
    name: "turn",
    about: "Where the node listens, and what it relays from.",
    keys: &[
        Key {
            path: "turn.listen",
            meaning: "UDP and TCP listeners for STUN and TURN. A TLS handshake on the TCP side is recognised and served. An unspecified address means every address of the host.",
            unit: "ADDRESS:PORT",
            kind: Kind::List,
            ..Key::PLAIN
        },
        Key {
            path: "turn.tls_listen",
            meaning: "Listeners that take nothing but TLS over TCP.",
            unit: "ADDRESS:PORT",
            kind: Kind::List,
            advice: "port 5349, or 443 to pass strict firewalls",
            ..Key::PLAIN
        },
        Key {
            path: "turn.alternate_listen",
            meaning: "The second address and port of NAT behaviour discovery (RFC 5780), at most one IPv4 and one IPv6; empty: off. With the first concrete address of its family in turn.listen, it makes four UDP sockets: both addresses on both ports. Binding answers then tell of them, and are sent from another one when asked.",
            unit: "ADDRESS:PORT",
            kind: Kind::List,
            advice: "another address of this host than in turn.listen, on another port, such as 3479; UDP to both addresses on both ports must pass the firewall",
            ..Key::PLAIN
        },
        Key {
            path: "turn.alternate_server",
            meaning: "Servers that new clients are sent to which this node does not take (300, ALTERNATE-SERVER): one of the client's address family at random, by `turn.alternate_when`. Only clients that have shown credentials are sent away, so those must be good there too; whoever has an allocation keeps it. Empty: such clients get 508.",
            unit: "ADDRESS:PORT",
            kind: Kind::List,
            advice: "one of each address family that clients have, in its public form",
            reload: true,
        },
        Key {
            path: "turn.alternate_tls_server",
            meaning: "The same for clients over TLS. Empty: those of `turn.alternate_server`.",
            unit: "ADDRESS:PORT",
            kind: Kind::List,
            advice: "needed where the other server's TLS has a port of its own, such as 5349",
            reload: true,
        },
        Key {
            path: "turn.alternate_domain",
            meaning: "The name in the certificate of those TLS servers, where it differs from this node's (ALTERNATE-DOMAIN). TLS clients older than RFC 8489 would check this node's name there, and get 508. Empty: the same name.",
            reload: true,
            ..Key::PLAIN
        },
        Key {
            path: "turn.alternate_when",
            meaning: "When clients are sent to the alternate servers: while the node drains (draining); then and when `limits.allocations_max` is reached or no port or socket is left (full); or always, on a node that is to take nobody any more.",
            kind: Kind::Choice(&["draining", "full", "always"]),
            reload: true,
            ..Key::PLAIN
        },
        Key {
            path: "turn.realm",
            meaning: "The realm of the long-term credentials. Passwords are hashed with it: a change locks out clients that cached a key.",
            advice: "at most 12 characters: a longer one leaves no room for PASSWORD-ALGORITHMS within the amplification budget",
            ..Key::PLAIN
        },
        Key {
            path: "turn.software",
            meaning: "The SOFTWARE attribute of answers over TCP and TLS and of authenticated ones. Empty leaves it out.",
            advice: "no version number",
            reload: true,
            ..Key::PLAIN
        },
        Key {
            path: "turn.relay_ports",
            meaning: "Ports of relayed addresses; the firewall must let UDP to them pass.",
            unit: "LOW-HIGH",
            kind: Kind::Form("LOW-HIGH, such as \"49152-65535\""),
            advice: "1024 or above, at least as many as allocations on one address",
            ..Key::PLAIN
        },
        Key {
            path: "turn.lifetime_max_s",
            meaning: "The longest lifetime that an allocation or its refresh gets; clients refresh before it ends.",
            unit: "seconds",
            kind: Kind::Number(600, 86_400),
            advice: "600 to 3600: a client that vanished holds its port that long",
            reload: true,
        },
        Key {
            path: "turn.relay_addresses",
            meaning: "Addresses to relay from. A client gets the one that its packet came in on where that is among them, else any of its family. Empty: the addresses that are listened on.",
            unit: "ADDRESS",
            kind: Kind::List,
            ..Key::PLAIN
        },
        Key {
            path: "turn.external_addresses",
            meaning: "Addresses of this host as the outside knows them: internal = public. The public one is told to clients, and is understood when a peer names it.",
            unit: "ADDRESS = ADDRESS",
            kind: Kind::Map(
                "pairs of addresses, such as { \"10.0.0.4\" = \"192.0.2.4\" } (10.0.0.4=192.0.2.4 by flag)",
            ),
            advice: "needed behind a one-to-one NAT, as at most cloud providers",
            ..Key::PLAIN
        },
        Key {
            path: "turn.rfc5766_channels",
            meaning: "Lets clients bind channel numbers up to 0x7FFF, as RFC 5766 had it and older clients such as coturn's do; otherwise up to 0x4FFF (RFC 8656).",
            kind: Kind::Flag,
            reload: true,
            ..Key::PLAIN
        },
        Key {
            path: "turn.mobility",
            meaning: "Gives tickets to clients that ask, with which they take their allocation along to another address, port or connection (RFC 8016). Switched off, such clients get 405 and allocate anew; never in force on an open relay.",
            kind: Kind::Flag,
            reload: true,
            ..Key::PLAIN
        },
        Key {
            path: "turn.dscp",
            meaning: "The DSCP of relayed packets: `copy` keeps that of the packet that came in (RFC 8656 §14), a number sets the same for all, STUN answers too. ECN bits are kept either way. What came over TCP or TLS leaves with 0 under `copy`.",
            kind: Kind::Form("\"copy\" or a number from 0 to 63"),
            advice: "`0` where clients' marks must not count in your network, `46` (EF) where it honours that for media",
            ..Key::PLAIN
        },
        Key {
            path: "turn.tcp_allocations",
            meaning: "Relays TCP connections too (RFC 6062), for clients over TCP and TLS: a client then asks the node to connect to peers, and peers that it has permitted can connect to the relayed address. A port is used for datagrams or for connections, never for both.",
            kind: Kind::Flag,
            advice: "off unless a client needs it: browsers do not. Switching it off leaves allocations that live",
            reload: true,
            ..Key::PLAIN
        },
        Key {
            path: "turn.nat64_prefixes",
            meaning: "NAT64 prefixes of this network. Peers inside them are judged by the IPv4 address that they contain; `64:ff9b::/96` always is.",
            unit: "CIDR",
            kind: Kind::List,
            reload: true,
            ..Key::PLAIN
        },
    ],
};
