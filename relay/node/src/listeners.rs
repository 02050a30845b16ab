//! The node's UDP listening sockets: which addresses, and one socket a worker for each.
//!
//! A wildcard is expanded into the host's addresses, since an answer must leave from the address
//! that was asked. All sockets of a SO_REUSEPORT group are bound before the first is read, and none
//! is closed before the node ends: either would re-hash living 5-tuples to other workers.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Instant;

use sterna_io::{interfaces, limits::LISTENER_BUFFER_BYTES, sockets};
use tracing::info;

use crate::limits::{LISTEN_PATIENCE, LISTEN_RETRY};

/// Why the node cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Somebody else has the port.
    #[error(
        "{transport} {addr} is in use by another process; stop that process, or listen elsewhere: \
         --set '{key}=[\"{ip}:{other_port}\"]'",
        ip = bracketed(addr.ip()),
        other_port = other_port(*addr)
    )]
    InUse {
        /// `udp`, `tcp` or `tls`.
        transport: &'static str,
        /// The address that was asked for.
        addr: SocketAddr,
        /// The configuration key that names it.
        key: &'static str,
    },
    /// The address is not one of the host's.
    #[error("{transport} {addr}: no interface of this host has that address; correct {key}")]
    NotLocal {
        /// `udp`, `tcp` or `tls`.
        transport: &'static str,
        /// The address that was asked for.
        addr: SocketAddr,
        /// The configuration key that names it.
        key: &'static str,
    },
    /// A port below 1024 without the permission for it.
    #[error(
        "{transport} {addr}: permission denied; grant CAP_NET_BIND_SERVICE, or set {key} to a port of 1024 or above"
    )]
    Denied {
        /// `udp`, `tcp` or `tls`.
        transport: &'static str,
        /// The address that was asked for.
        addr: SocketAddr,
        /// The configuration key that names it.
        key: &'static str,
    },
    /// The host has no address that a wildcard could stand for.
    #[error("{key} names no address that this host has; name one of its addresses")]
    Nothing {
        /// The configuration key.
        key: &'static str,
    },
    /// Anything else that the kernel says.
    #[error("{transport} {addr}: {source}")]
    Io {
        /// `udp`, `tcp` or `tls`.
        transport: &'static str,
        /// The address that was asked for.
        addr: SocketAddr,
        /// The kernel's error.
        source: io::Error,
    },
}

impl ListenError {
    /// Sorts the kernel's error by what the operator can do about it.
    #[must_use]
    pub fn from_io(
        transport: &'static str,
        addr: SocketAddr,
        key: &'static str,
        source: io::Error,
    ) -> Self {
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::InUse {
                transport,
                addr,
                key,
            },
            io::ErrorKind::AddrNotAvailable => Self::NotLocal {
                transport,
                addr,
                key,
            },
            io::ErrorKind::PermissionDenied => Self::Denied {
                transport,
                addr,
                key,
            },
            _ => Self::Io {
                transport,
                addr,
                source,
            },
        }
    }
}

/// The bound listening sockets: `sockets[worker][listener]`.
#[derive(Debug)]
pub struct UdpListeners {
    /// The address of each listener, as every worker numbers them.
    pub addrs: Vec<SocketAddr>,
    /// One row a worker, in the order of `addrs`.
    pub sockets: Vec<Vec<UdpSocket>>,
}

const KEY: &str = "turn.listen";
const ALTERNATE_KEY: &str = "turn.alternate_listen";

/// Binds every address of `listen`, wildcards expanded, and those of `discovery` that are not among
/// them, once for each of `workers` workers.
///
/// # Errors
/// [`ListenError`] for the first address that cannot be had.
pub fn bind_udp(
    listen: &[SocketAddr],
    discovery: &[[SocketAddr; 4]],
    workers: usize,
) -> Result<UdpListeners, ListenError> {
    let mut listeners = UdpListeners {
        addrs: Vec::new(),
        sockets: (0..workers).map(|_| Vec::new()).collect(),
    };
    for &configured in listen {
        // One port for all that a wildcard stands for, also where the system is to choose it.
        let mut port = configured.port();
        for ip in expand(configured.ip()) {
            let mut addr = configured;
            addr.set_ip(ip);
            addr.set_port(port);
            port = bind_group(addr, KEY, &mut listeners)?;
        }
    }
    for &addr in discovery.as_flattened() {
        if !listeners.addrs.contains(&addr) {
            bind_group(addr, ALTERNATE_KEY, &mut listeners)?;
        }
    }
    if listeners.addrs.is_empty() {
        return Err(ListenError::Nothing { key: KEY });
    }
    Ok(listeners)
}

/// Binds a group of sockets for an address that the host has got since; one a worker.
///
/// # Errors
/// [`ListenError`] when the kernel refuses.
pub fn bind_udp_late(addr: SocketAddr, workers: usize) -> Result<Vec<UdpSocket>, ListenError> {
    let mut listeners = UdpListeners {
        addrs: Vec::new(),
        sockets: (0..workers).map(|_| Vec::new()).collect(),
    };
    bind_group(addr, KEY, &mut listeners)?;
    Ok(listeners.sockets.into_iter().flatten().collect())
}

/// The addresses that `ip` stands for: itself, or all of the host's when it is a wildcard.
///
/// Link-local addresses are left out: no client reaches the node by one that it could have been told.
#[must_use]
pub fn expand(ip: IpAddr) -> Vec<IpAddr> {
    if !ip.is_unspecified() {
        return vec![ip];
    }
    let local: BTreeSet<IpAddr> = match interfaces::local_addresses() {
        Ok(addresses) => addresses
            .into_iter()
            .map(|local| local.addr)
            .filter(|a| a.is_ipv4() == ip.is_ipv4())
            .collect(),
        Err(error) => {
            info!(%error, "cannot list the host's addresses");
            return Vec::new();
        }
    };
    local.into_iter().filter(|a| !is_link_local(*a)).collect()
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

/// Binds one SO_REUSEPORT group and returns its port.
fn bind_group(
    mut addr: SocketAddr,
    key: &'static str,
    listeners: &mut UdpListeners,
) -> Result<u16, ListenError> {
    let refused = |addr, source| ListenError::from_io("udp", addr, key, source);
    // A first bind without SO_REUSEPORT finds out whether another process of ours is on the port:
    // with it, both would silently share the packets.
    let alone = bind_alone(addr).map_err(|error| refused(addr, error))?;
    addr = alone.local_addr().map_err(|error| refused(addr, error))?;
    drop(alone);
    for row in &mut listeners.sockets {
        row.push(
            sockets::bind_listener(addr, true, LISTENER_BUFFER_BYTES)
                .map_err(|error| refused(addr, error))?,
        );
    }
    listeners.addrs.push(addr);
    Ok(addr.port())
}

/// Binds without SO_REUSEPORT; waits a moment for a port that is taken.
///
/// The kernel takes an io_uring down behind a process that was killed, and holds its sockets until
/// then: without the wait, a node that is restarted at once would find its own ports taken.
fn bind_alone(addr: SocketAddr) -> io::Result<UdpSocket> {
    let give_up = Instant::now() + LISTEN_PATIENCE;
    loop {
        match sockets::bind_listener(addr, false, LISTENER_BUFFER_BYTES) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < give_up => {
                std::thread::sleep(LISTEN_RETRY);
            }
            bound => return bound,
        }
    }
}

fn bracketed(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

/// A port to suggest instead of a taken one.
fn other_port(addr: SocketAddr) -> u16 {
    addr.port().checked_add(1).unwrap_or(3479)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_worker_has_a_socket_on_every_address() {
        let listeners = bind_udp(
            &["127.0.0.1:0".parse().unwrap(), "[::1]:0".parse().unwrap()],
            &[],
            3,
        )
        .unwrap();
        assert_eq!(listeners.addrs.len(), 2);
        for row in &listeners.sockets {
            let addrs: Vec<_> = row
                .iter()
                .map(|socket| socket.local_addr().unwrap())
                .collect();
            assert_eq!(addrs, listeners.addrs);
        }
    }

    #[test]
    fn a_wildcard_is_one_listener_a_local_address_on_one_port() {
        let listeners = bind_udp(&["0.0.0.0:0".parse().unwrap()], &[], 1).unwrap();
        assert!(listeners.addrs.iter().any(|addr| addr.ip().is_loopback()));
        assert!(
            listeners
                .addrs
                .iter()
                .all(|addr| addr.port() == listeners.addrs[0].port())
        );
    }

    #[test]
    fn a_taken_port_is_named_and_another_is_suggested() {
        let first = bind_udp(&["127.0.0.1:0".parse().unwrap()], &[], 2).unwrap();
        let error = bind_udp(&first.addrs, &[], 1).unwrap_err();
        assert!(matches!(error, ListenError::InUse { addr, .. } if addr == first.addrs[0]));
        assert!(
            error
                .to_string()
                .contains("--set 'turn.listen=[\"127.0.0.1:"),
            "{error}"
        );
    }

    #[test]
    fn the_sockets_of_discovery_are_bound_once_and_blamed_on_their_key() {
        let taken = bind_udp(&["127.0.0.1:0".parse().unwrap()], &[], 1).unwrap();
        let primary = taken.addrs[0];
        drop(taken);
        let mut others = [primary; 4];
        others[2].set_ip("127.0.0.2".parse().unwrap());
        others[3] = others[2];
        let listeners = bind_udp(&[primary], &[others], 2).unwrap();
        assert_eq!(listeners.addrs, [primary, others[2]]);
        others[1] = "192.0.2.254:3479".parse().unwrap();
        drop(listeners);
        let error = bind_udp(&[primary], &[others], 2).unwrap_err().to_string();
        assert!(error.contains("correct turn.alternate_listen"), "{error}");
    }
}
