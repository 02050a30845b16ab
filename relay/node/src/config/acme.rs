//! `tls.acme`: a certificate from an ACME directory (RFC 8555), obtained and renewed by the node.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sterna_daemon::config::Fault;

use super::secret::Secret;

/// Let's Encrypt's directory.
pub const DEFAULT_DIRECTORY: &str = "https://acme-v02.api.letsencrypt.org/directory";

/// Where an authority looks for the answer of HTTP-01 (RFC 8555 §8.3).
const HTTP_PORT: u16 = 80;

/// Where it looks for that of TLS-ALPN-01 (RFC 8737 §3).
const TLS_PORT: u16 = 443;

/// Names of one certificate; authorities take at most a hundred.
const DOMAINS_MAX: usize = 100;

/// A DNS name in its text form (RFC 1035 §2.3.4).
const DOMAIN_BYTES_MAX: usize = 253;

const KEY: &str = "tls.acme";

/// What to obtain, from whom, and how to prove that it is ours.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Acme {
    /// The URL of the directory.
    pub directory: String,
    /// The names, or addresses, that the certificate is for.
    pub domains: Vec<String>,
    /// Whom the authority may write to.
    pub contact: Vec<String>,
    /// How the node proves that the names are its own.
    pub challenge: AcmeChallenge,
    /// Where HTTP-01 is answered; empty is port 80 of every address.
    pub http_listen: Vec<SocketAddr>,
    /// PEM file of the roots that the directory's own certificate is checked by, instead of the
    /// system's.
    pub ca_file: Option<PathBuf>,
    /// The profile to order, where the authority has several.
    pub profile: Option<String>,
    /// The account that the authority knows the operator by, where it asks for one.
    pub external_account: Option<ExternalAccount>,
}

/// How a name is proved.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub enum AcmeChallenge {
    /// By a TLS handshake on the node's own listeners (RFC 8737).
    #[default]
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01,
    /// By a file over HTTP (RFC 8555 §8.3).
    #[serde(rename = "http-01")]
    Http01,
}

/// External account binding (RFC 8555 §7.3.4).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExternalAccount {
    /// The key's name.
    pub key_id: String,
    /// The key, in base64url.
    pub hmac_key: Secret,
}

impl Default for Acme {
    fn default() -> Self {
        Self {
            directory: DEFAULT_DIRECTORY.to_owned(),
            domains: Vec::new(),
            contact: Vec::new(),
            challenge: AcmeChallenge::default(),
            http_listen: Vec::new(),
            ca_file: None,
            profile: None,
            external_account: None,
        }
    }
}

impl Acme {
    /// Where HTTP-01 is to be answered; nowhere for the other challenge.
    pub fn http_addrs(&self) -> Vec<SocketAddr> {
        match self.challenge {
            AcmeChallenge::TlsAlpn01 => Vec::new(),
            AcmeChallenge::Http01 if self.http_listen.is_empty() => vec![
                SocketAddr::from((Ipv4Addr::UNSPECIFIED, HTTP_PORT)),
                SocketAddr::from((Ipv6Addr::UNSPECIFIED, HTTP_PORT)),
            ],
            AcmeChallenge::Http01 => self.http_listen.clone(),
        }
    }

    /// `mailto:` URLs, as the authority wants them (RFC 8555 §7.3).
    pub fn contact_urls(&self) -> Vec<String> {
        let url = |contact: &String| {
            if contact.contains(':') {
                contact.clone()
            } else {
                format!("mailto:{contact}")
            }
        };
        self.contact.iter().map(url).collect()
    }

    /// What keeps a node from obtaining anything.
    pub(super) fn faults(&self, faults: &mut Vec<Fault>) {
        let mut fault = |sentence: String| faults.push((KEY, sentence));
        if !self.directory.starts_with("https://") {
            fault(format!(
                "directory {:?} is no https:// URL; write the authority's, such as \"{DEFAULT_DIRECTORY}\"",
                self.directory
            ));
        }
        if self.domains.is_empty() || self.domains.len() > DOMAINS_MAX {
            fault(format!(
                "domains names {} names; write 1 to {DOMAINS_MAX} that lead to this node, such as domains = \
                 [\"relay.example.org\"]",
                self.domains.len()
            ));
        }
        for domain in &self.domains {
            if !is_domain(domain) {
                fault(format!(
                    "{domain:?} is neither a host's name nor an address; write it as clients do, in ASCII and without a \
                     wildcard (which no challenge of a relay can prove)"
                ));
            }
        }
        if self.challenge == AcmeChallenge::TlsAlpn01 && !self.http_listen.is_empty() {
            fault(
                "http_listen is set, and challenge is \"tls-alpn-01\", which needs none; set challenge = \"http-01\" or remove \
                 http_listen"
                    .to_owned(),
            );
        }
        let unnamed = |account: &ExternalAccount| {
            account.key_id.is_empty() || account.hmac_key.expose().is_empty()
        };
        if self.external_account.as_ref().is_some_and(unnamed) {
            fault("external_account has an empty key_id or hmac_key; copy both from the authority's page, or remove it".to_owned());
        }
    }

    /// What an authority would stumble over, as far as it can be told from here.
    pub(super) fn warning(&self, listens: impl Iterator<Item = SocketAddr>) -> Option<String> {
        let (wanted, has) = match self.challenge {
            AcmeChallenge::TlsAlpn01 => (TLS_PORT, listens.map(|addr| addr.port()).collect()),
            AcmeChallenge::Http01 => {
                let ports = self.http_addrs().iter().map(SocketAddr::port).collect();
                (HTTP_PORT, ports)
            }
        };
        let has: BTreeSet<u16> = has;
        if has.contains(&wanted) {
            return None;
        }
        let key = match self.challenge {
            AcmeChallenge::TlsAlpn01 => "turn.tls_listen",
            AcmeChallenge::Http01 => "tls.acme.http_listen",
        };
        Some(format!(
            "tls.acme: the authority connects to TCP port {wanted} of {}, which nothing here listens on; add it to {key}, or have \
             it forwarded to one of {has:?}",
            self.domains.join(", ")
        ))
    }
}

/// A host's name (RFC 1123 §2.1) or an IP address (RFC 8738).
fn is_domain(text: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    text.parse::<IpAddr>().is_ok()
        || (text.len() <= DOMAIN_BYTES_MAX && text.split('.').all(is_label))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_taken_and_wildcards_are_not() {
        for name in ["relay.example.org", "localhost", "192.0.2.1", "2001:db8::1"] {
            assert!(is_domain(name), "{name}");
        }
        for name in [
            "",
            "*.example.org",
            "a..b",
            "-a.b",
            "a b",
            "ümlaut.example",
            "a.",
        ] {
            assert!(!is_domain(name), "{name}");
        }
    }

    #[test]
    fn an_address_to_write_to_becomes_a_url() {
        let acme = Acme {
            contact: vec!["ops@example.org".to_owned(), "mailto:a@b.c".to_owned()],
            ..Acme::default()
        };
        assert_eq!(
            acme.contact_urls(),
            ["mailto:ops@example.org", "mailto:a@b.c"]
        );
    }

    #[test]
    fn http_01_listens_on_port_80_of_every_address_unless_told_otherwise() {
        let mut acme = Acme::default();
        assert!(acme.http_addrs().is_empty());
        acme.challenge = AcmeChallenge::Http01;
        let ports: Vec<_> = acme.http_addrs().iter().map(SocketAddr::port).collect();
        assert_eq!(ports, [80, 80]);
        acme.http_listen = vec![SocketAddr::from(([127, 0, 0, 1], 8080))];
        assert_eq!(acme.http_addrs(), acme.http_listen);
    }
}
