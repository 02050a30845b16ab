//! The node's sockets beside those of its workers, and what the machine is told of them all.

use std::net::SocketAddr;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use sterna_stun::nonce::{NonceKey, NonceKeys};
use sterna_turn::{Discovery, DiscoverySocket, Epoch};
use tracing::{info, warn};

use super::Addresses;
use super::compile::Facts;
use crate::config::{self, Config};
use crate::flow;
use crate::stream::{BindError, Protocols, StreamListener};
use crate::tls;
use crate::tls::acme::HttpListeners;

/// TCP goes where UDP goes, on the same port also where the system chose it; TLS where it was told to.
pub(super) fn bind_tcp(
    config: &Config,
    udp: &[SocketAddr],
) -> Result<Vec<StreamListener>, BindError> {
    let mut listeners = Vec::new();
    for &(mut addr) in &config.turn.listen {
        if addr.port() == 0 {
            let same_family = udp
                .iter()
                .find(|bound| addr.ip().is_unspecified() || bound.ip() == addr.ip());
            addr.set_port(same_family.map_or(0, SocketAddr::port));
        }
        listeners.extend(bind_stream(addr, Protocols::TcpAndTls)?);
    }
    for &addr in &config.turn.tls_listen {
        listeners.extend(bind_stream(addr, Protocols::TlsOnly)?);
    }
    Ok(listeners)
}

/// Where the challenges of ACME are answered that come over HTTP.
pub(super) fn http_listeners(config: &Config) -> Result<HttpListeners, tls::TlsError> {
    let addrs = config.tls.acme.as_ref().map(config::Acme::http_addrs);
    HttpListeners::bind(&addrs.unwrap_or_default())
        .map_err(|(addr, source)| tls::TlsError::HttpListen { addr, source })
}

/// A wildcard of a family that this host does not have is passed over, as it is over UDP.
fn bind_stream(
    addr: SocketAddr,
    protocols: Protocols,
) -> Result<Option<StreamListener>, BindError> {
    if addr.ip().is_unspecified() && crate::listeners::expand(addr.ip()).is_empty() {
        return Ok(None);
    }
    StreamListener::bind(addr, protocols).map(Some)
}

/// Lets frames that name their worker reach it, wherever their device is now; `members` are one
/// socket of each group.
pub(super) fn steer<'a>(
    plan: &flow::FlowPlan,
    members: impl IntoIterator<Item = &'a std::net::UdpSocket>,
) {
    for member in members {
        if let Err(error) = plan.steering().attach(member) {
            // All works without it, with a detour for some packets.
            warn!(%error, "flow frames are not steered to their workers");
        }
    }
}

/// The sockets of NAT behaviour discovery by their place among the listeners, as every worker
/// numbers them.
pub(super) fn discovery(config: &Config, udp: &[SocketAddr]) -> Vec<Discovery> {
    let socket = |local: SocketAddr| {
        let place = udp.iter().position(|bound| *bound == local);
        let place = place.expect("invariant: bind_udp has bound all four");
        DiscoverySocket {
            route: u32::try_from(place).expect("invariant: LISTENERS_MAX is small"),
            local,
            public: SocketAddr::new(config.turn.public(local.ip()), local.port()),
        }
    };
    let sets = config.turn.discovery();
    for set in &sets {
        info!(primary = %set[0], alternate = %set[3], "NAT behaviour discovery is served");
    }
    sets.into_iter()
        .map(|set| Discovery::new(set.map(socket)))
        .collect()
}

pub(super) fn facts(
    addresses: &Addresses,
    http: &HttpListeners,
    discovery: Vec<Discovery>,
    workers: usize,
) -> Facts {
    let unix_s = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    Facts {
        turn_listeners: addresses
            .udp
            .iter()
            .chain(&addresses.tcp)
            .chain(&addresses.tls)
            .copied()
            .collect(),
        other_listeners: [
            vec![addresses.admin],
            addresses.quic.clone(),
            addresses.wss.clone(),
            http.addrs(),
        ]
        .concat(),
        discovery,
        workers,
        nonce_keys: NonceKeys::new(NonceKey::new(0, &rand::random()), None),
        epoch: Epoch {
            instant: Instant::now(),
            unix_s,
        },
    }
}
