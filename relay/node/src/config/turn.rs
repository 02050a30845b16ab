//! `[turn]`: where the node listens and what it relays from.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::Ipv6Net;
use serde::{Deserialize, Serialize};
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
