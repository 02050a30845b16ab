//! How a node describes itself to devices: its place in a relay map.

use std::net::{IpAddr, SocketAddr};

use sterna_control_api::node::Services;
use sterna_control_api::relay_map::{self, NodeState};

use super::Identity;
use crate::config::Config;
use crate::listeners::expand;
use crate::node::Addresses;

/// A running node, as a relay map would describe it: under the addresses that devices reach.
pub(crate) fn running(
    config: &Config,
    identity: &Identity,
    addresses: &Addresses,
) -> relay_map::Node {
    let served = services(config, addresses);
    relay_map::Node {
        name: config.node.display_name(),
        identity: identity.node_id(),
        noise_key: identity.noise_key(),
        state: NodeState::Ready,
        load: 0,
        stun: served.stun,
        udp: served.udp,
        quic: served.quic,
        wss: served.wss,
        host: served.host,
        pins: served.pins,
    }
}

/// What a running node serves where, under the addresses that devices reach.
pub(crate) fn services(config: &Config, addresses: &Addresses) -> Services {
    let known = |addrs: &[SocketAddr]| outside(config, addrs.iter().copied());
    Services {
        stun: known(&addresses.udp),
        turns: known(&addresses.tls),
        udp: if config.flow.udp {
            known(&addresses.udp)
        } else {
            Vec::new()
        },
        quic: known(&addresses.quic),
        wss: known(&addresses.wss),
        host: String::new(),
        pins: Vec::new(),
    }
}

/// The node of a configuration, as a relay map would describe it, whether it runs or not. Listeners on
/// every address of the host become `reached_at` where it is given, else the host's own addresses.
#[must_use]
pub fn configured(
    config: &Config,
    identity: &Identity,
    reached_at: Option<IpAddr>,
) -> relay_map::Node {
    let addrs = |listeners: &[SocketAddr]| {
        listeners
            .iter()
            .flat_map(|listener| {
                let ips = match reached_at {
                    Some(ip) if reaches(*listener, ip) => vec![ip],
                    Some(_) => Vec::new(),
                    None => expand(listener.ip()),
                };
                ips.into_iter()
                    .map(|ip| SocketAddr::new(ip, listener.port()))
            })
            .collect()
    };
    running(
        config,
        identity,
        &Addresses {
            udp: addrs(&config.turn.listen),
            tcp: Vec::new(),
            tls: Vec::new(),
            quic: addrs(&config.flow.quic_listen),
            wss: addrs(&config.flow.wss_listen),
            admin: SocketAddr::from(([127, 0, 0, 1], 0)),
        },
    )
}

/// Whether what is sent to `ip` from outside may arrive at a listener: another address of the same
/// family stands for it where there is a NAT between.
fn reaches(listener: SocketAddr, ip: IpAddr) -> bool {
    listener.is_ipv4() == ip.is_ipv4() && (!listener.ip().is_loopback() || ip.is_loopback())
}

fn outside(config: &Config, addrs: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let each = |addr: SocketAddr| {
        expand(addr.ip())
            .into_iter()
            .map(move |ip| SocketAddr::new(ip, addr.port()))
    };
    let mut known: Vec<_> = addrs
        .flat_map(each)
        .map(|addr| SocketAddr::new(config.turn.public(addr.ip()), addr.port()))
        .collect();
    known.dedup();
    // A device takes the first that answers: loopback is the last that helps anybody else.
    known.sort_by_key(|addr| addr.ip().is_loopback());
    known
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn node(config: &Config, reached_at: Option<&str>) -> relay_map::Node {
        let dir = tempfile::tempdir().unwrap();
        let identity = Identity::load(dir.path()).unwrap();
        configured(config, &identity, reached_at.map(|ip| ip.parse().unwrap()))
    }

    fn config() -> Config {
        let mut config = Config::default();
        config.turn.listen = vec!["10.0.0.5:3478".parse().unwrap()];
        config.flow.quic_listen = vec!["0.0.0.0:443".parse().unwrap()];
        config.flow.wss_listen = vec!["[::]:443".parse().unwrap()];
        config
    }

    #[test]
    fn devices_are_told_the_address_that_they_reach() {
        let node = node(&config(), Some("203.0.113.7"));
        assert_eq!(node.udp, ["203.0.113.7:3478".parse().unwrap()]);
        assert_eq!(node.quic, ["203.0.113.7:443".parse().unwrap()]);
        assert!(node.wss.is_empty(), "the other family does not lead there");
    }

    #[test]
    fn external_addresses_stand_for_internal_ones() {
        let mut config = config();
        let (inside, outside) = ("10.0.0.5".parse().unwrap(), "203.0.113.9".parse().unwrap());
        config.turn.external_addresses.insert(inside, outside);
        let described = node(&config, None);
        assert_eq!(described.udp, ["203.0.113.9:3478".parse().unwrap()]);
        config.flow.udp = false;
        assert!(node(&config, None).udp.is_empty());
    }
}
