//! What records show of clients.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::stream::prefix;

/// A client's address as records above DEBUG show it: its prefix (/24, /56), without the port.
#[derive(Clone, Copy, Debug)]
pub struct Redacted(pub SocketAddr);

impl fmt::Display for Redacted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match prefix(self.0.ip()) {
            IpAddr::V4(prefix) => write!(f, "{prefix}/24"),
            IpAddr::V6(prefix) => write!(f, "{prefix}/56"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_redacted_address_shows_its_prefix_and_no_port() {
        assert_eq!(
            Redacted("198.51.100.7:4000".parse().unwrap()).to_string(),
            "198.51.100.0/24"
        );
        assert_eq!(
            Redacted("[2001:db8:1:2ff::7]:4000".parse().unwrap()).to_string(),
            "2001:db8:1:200::/56"
        );
    }
}
