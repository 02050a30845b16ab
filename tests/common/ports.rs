//! Free ports for listeners.
//!
//! Taken from below the system's ephemeral range, so that no client's socket or relay port takes one
//! between our look and the node's bind. Test binaries that run at the same time start at different
//! places.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};

const FIRST: u32 = 12_000;
const COUNT: u32 = 18_000;

/// A port that is free for UDP and TCP, IPv4 and IPv6, on loopback.
pub(crate) fn free_port() -> u16 {
    free_ports(1)
}

/// The first of so many neighbours that are free, and that no other test of this binary is given.
pub(crate) fn free_ports(neighbours: u32) -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let start = std::process::id().wrapping_mul(61);
    for _ in 0..COUNT {
        let turn = NEXT.fetch_add(neighbours, Ordering::Relaxed);
        let first = FIRST + start.wrapping_add(turn) % COUNT;
        let port = |n| u16::try_from(first + n).expect("below 65536");
        if (0..neighbours).all(|n| is_free(port(n))) {
            return port(0);
        }
    }
    panic!("no free port");
}

fn is_free(port: u16) -> bool {
    let v4 = IpAddr::from(Ipv4Addr::LOCALHOST);
    let v6 = IpAddr::from(Ipv6Addr::LOCALHOST);
    let free =
        |addr| UdpSocket::bind((addr, port)).is_ok() && TcpListener::bind((addr, port)).is_ok();
    free(v4) && (!has_ipv6() || free(v6))
}

/// Whether this machine has an IPv6 loopback address.
pub(crate) fn has_ipv6() -> bool {
    UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}
