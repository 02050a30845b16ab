//! Other servers, where clients are sent that this one does not take (RFC 8489 §10, RFC 8656 §7.2
//! step 11).

use std::net::SocketAddr;

use crate::Transport;

/// Where clients are sent instead, and when.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alternates {
    /// For clients over UDP and TCP, each sent to one of its own address family at random. Empty:
    /// nobody is sent away.
    pub servers: Vec<SocketAddr>,
    /// For clients over TLS; empty: those of `servers`.
    pub tls_servers: Vec<SocketAddr>,
    /// The name in the certificates of `tls_servers`; empty: the one that this server has.
    pub domain: Box<str>,
    /// When.
    pub when: RedirectWhen,
}

/// When clients are sent away; each includes the ones before it.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum RedirectWhen {
    /// While the server drains.
    Draining,
    /// When it has no room: no allocation, port or socket is left (otherwise 508).
    #[default]
    Full,
    /// Always: it takes nobody any more.
    Always,
}

/// One way out, as a client is told it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Alternate {
    /// Of the client's family.
    pub(crate) server: SocketAddr,
    /// Of the other one.
    pub(crate) other: Option<SocketAddr>,
    pub(crate) domain: Option<Box<str>>,
}

impl Alternates {
    /// The way out for a client; `below` draws a random number below its argument.
    ///
    /// RFC 8489 §10: at least one ALTERNATE-SERVER, "which MUST contain an IP address of the same
    /// family as the source IP address of the request message", and one "of the family other than
    /// the source IP address" after it (SHOULD).
    pub(crate) fn pick(
        &self,
        transport: Transport,
        client: SocketAddr,
        mut below: impl FnMut(usize) -> usize,
    ) -> Option<Alternate> {
        let is_tls = transport == Transport::Tls;
        let servers = if is_tls && !self.tls_servers.is_empty() {
            &self.tls_servers
        } else {
            &self.servers
        };
        let mut one_of = |is_ipv4: bool| {
            let of_family: Vec<_> = servers
                .iter()
                .filter(|to| to.is_ipv4() == is_ipv4)
                .collect();
            (!of_family.is_empty()).then(|| *of_family[below(of_family.len())])
        };
        let server = one_of(client.is_ipv4())?;
        Some(Alternate {
            server,
            other: one_of(!client.is_ipv4()),
            domain: (is_tls && !self.domain.is_empty()).then(|| self.domain.clone()),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn alternates() -> Alternates {
        let addrs = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        Alternates {
            servers: addrs(&["192.0.2.1:3478", "[2001:db8::1]:3478", "192.0.2.2:3478"]),
            tls_servers: addrs(&["192.0.2.1:5349"]),
            domain: "other.example".into(),
            when: RedirectWhen::Full,
        }
    }

    #[test]
    fn the_clients_family_comes_first_and_the_other_one_second() {
        let v6 = "[2001:db8::9]:9".parse().unwrap();
        let found = alternates()
            .pick(Transport::Udp, v6, |bound| bound - 1)
            .unwrap();
        assert_eq!(found.server, "[2001:db8::1]:3478".parse().unwrap());
        assert_eq!(found.other, Some("192.0.2.2:3478".parse().unwrap()));
        assert_eq!(found.domain, None);
    }

    #[test]
    fn tls_has_servers_and_a_name_of_its_own() {
        let v4 = "192.0.2.9:9".parse().unwrap();
        let found = alternates().pick(Transport::Tls, v4, |_| 0).unwrap();
        assert_eq!(found.server, "192.0.2.1:5349".parse().unwrap());
        assert_eq!(found.domain.as_deref(), Some("other.example"));
        let v6 = "[2001:db8::9]:9".parse().unwrap();
        assert_eq!(
            alternates().pick(Transport::Tls, v6, |_| 0),
            None,
            "none of its family"
        );
        let same = Alternates {
            tls_servers: Vec::new(),
            ..alternates()
        };
        let found = same.pick(Transport::Tls, v4, |_| 0).unwrap();
        assert_eq!(found.server, "192.0.2.1:3478".parse().unwrap());
    }
}
