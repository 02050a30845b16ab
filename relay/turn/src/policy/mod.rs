//! Which peers may be reached, in three layers, after canonicalising.
//!
//! 1. Never, whatever the operator allows: the node's own listening pairs of address and port,
//!    6to4 and Teredo (RFC 8656 §21.4).
//! 2. The node's own relay addresses are permitted as peers, but only reach a living relay.
//! 3. `deny`, then `allow`, then the built-in list of addresses that are not the public Internet's,
//!    and the host's other addresses.
//!
//! CreatePermission asks about the address ([`Policy::address`]); ChannelBind, Send and every
//! forwarding decision ask about address and port ([`Policy::peer`]).

mod builtin;
mod canonical;
mod ranges;

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use self::{
    canonical::{Canonical, canonicalise},
    ranges::{Layer, Layers},
};

/// What a policy is made of.
#[derive(Clone, Debug, Default)]
pub struct PolicyConfig {
    /// Prefixes that are refused.
    pub deny: Vec<IpNet>,
    /// Prefixes that are permitted although the built-in list refuses them.
    pub allow: Vec<IpNet>,
    /// The operator's NAT64 prefixes (RFC 6052), beside the well-known one.
    pub nat64_prefixes: Vec<ipnet::Ipv6Net>,
    /// Every address and port that the node listens on: TURN, admin, control, QUIC. An
    /// unspecified address stands for all addresses of the host, and for loopback.
    pub own_pairs: Vec<SocketAddr>,
    /// The node's relay addresses, internal and external.
    pub relay_addresses: Vec<IpAddr>,
    /// The host's other addresses.
    pub host_addresses: Vec<IpAddr>,
    /// Prefixes that the host takes for its own by its routes.
    pub host_prefixes: Vec<IpNet>,
}

/// The compiled policy. Asking costs a binary search.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    layers: Layers,
    nat64_prefixes: Vec<ipnet::Ipv6Net>,
    own_pairs: Vec<SocketAddr>,
    relay_addresses: Vec<IpAddr>,
    /// What is the host's own: its layer `Deny`.
    host: Layers,
}

/// What the policy says about a peer's address.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Permitted {
    /// The address is one of the node's relay addresses: only a living relay may be reached.
    pub(crate) own: bool,
    /// `allow` names the address: privileged ports and, on an own address, ports that are no
    /// relay may be reached.
    pub(crate) allowed: bool,
}

/// The policy refuses the peer.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Denied;

impl Policy {
    /// Compiles a policy.
    #[must_use]
    pub fn new(config: &PolicyConfig) -> Self {
        let sorted = |addresses: &[IpAddr]| {
            let mut addresses = addresses.to_vec();
            addresses.sort_unstable();
            addresses.dedup();
            addresses
        };
        // What listens on an address makes it the host's.
        let listened = config.own_pairs.iter().map(SocketAddr::ip);
        let mut host: Vec<IpNet> = config
            .host_addresses
            .iter()
            .copied()
            .chain(listened)
            .filter(|ip| !ip.is_unspecified())
            .map(IpNet::from)
            .collect();
        host.extend(&config.host_prefixes);
        Self {
            layers: Layers::new(&config.deny, &config.allow, builtin::LIST),
            nat64_prefixes: config.nat64_prefixes.clone(),
            own_pairs: config.own_pairs.clone(),
            relay_addresses: sorted(&config.relay_addresses),
            host: Layers::new(&host, &[], &[]),
        }
    }

    /// Asks about a peer's address, as CreatePermission does.
    ///
    /// # Errors
    /// [`Denied`] if no packet may be relayed to or from the address.
    pub fn address(&self, ip: IpAddr) -> Result<Permitted, Denied> {
        if builtin::is_never(ip) {
            return Err(Denied);
        }
        let Canonical {
            ip: inner,
            translated,
        } = canonicalise(ip, &self.nat64_prefixes);
        if inner != ip {
            // What is spelled differently can be refused in either spelling. It cannot be an own
            // relay: packets would leave the node and come back around every check.
            if self.layers.of(ip) == Layer::Deny || self.is_own(inner) {
                return Err(Denied);
            }
            if !translated && self.layers.of(ip) == Layer::BuiltIn {
                return Err(Denied);
            }
        }
        let own = self.is_relay(inner);
        match self.layers.of(inner) {
            Layer::Deny => Err(Denied),
            // What allows the inner address opens no privileged port of an outer one that is an
            // address in its own right.
            Layer::Allow => Ok(Permitted {
                own,
                allowed: inner == ip || translated || self.layers.of(ip) == Layer::Allow,
            }),
            _ if own => Ok(Permitted {
                own,
                allowed: false,
            }),
            Layer::BuiltIn => Err(Denied),
            Layer::Public if self.is_host(inner) => Err(Denied),
            Layer::Public => Ok(Permitted {
                own: false,
                allowed: false,
            }),
        }
    }

    /// Asks about a peer, as ChannelBind, Send and forwarding do.
    ///
    /// # Errors
    /// [`Denied`] if the address is refused, or the port is 0, privileged or the node's own.
    pub fn peer(&self, peer: SocketAddr) -> Result<Permitted, Denied> {
        let permitted = self.address(peer.ip())?;
        self.port(permitted, peer)?;
        Ok(permitted)
    }

    /// Asks about the port of a peer whose address is permitted.
    pub(crate) fn port(&self, permitted: Permitted, peer: SocketAddr) -> Result<(), Denied> {
        let port = peer.port();
        if port == 0 || (port < 1024 && !permitted.allowed) {
            return Err(Denied);
        }
        // An address of this host is an own relay address, allowed, or refused before.
        if (permitted.own || permitted.allowed) && self.is_own_pair(peer) {
            return Err(Denied);
        }
        Ok(())
    }

    fn is_own_pair(&self, peer: SocketAddr) -> bool {
        let Canonical { ip, .. } = canonicalise(peer.ip(), &self.nat64_prefixes);
        let is_here = |pair: &SocketAddr| {
            pair.ip() == ip
                // Listens everywhere.
                || pair.ip().is_unspecified() && (self.is_own(ip) || ip.is_loopback())
                // The unspecified address reaches this host whatever the listener's address is.
                || ip.is_unspecified()
                // A relay address may be the listener's in its external form.
                || self.is_relay(ip) && self.is_relay(pair.ip())
        };
        self.own_pairs
            .iter()
            .any(|pair| pair.port() == peer.port() && is_here(pair))
    }

    fn is_own(&self, ip: IpAddr) -> bool {
        self.is_relay(ip) || self.is_host(ip)
    }

    fn is_host(&self, ip: IpAddr) -> bool {
        self.host.of(ip) == Layer::Deny
    }

    fn is_relay(&self, ip: IpAddr) -> bool {
        self.relay_addresses.binary_search(&ip).is_ok()
    }
}

#[cfg(test)]
mod tests;
