//! The answers that an authority looks for while an order is open: by TLS-ALPN-01 a certificate for
//! a handshake of its own protocol, by HTTP-01 a text under a well-known path.
//!
//! There are answers while an order is open and none else, so that at any other time neither
//! protocol gets anything from the node.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::crypto::CryptoProvider;
use rustls::server::ClientHello;
use rustls::sign::CertifiedKey;
use rustls_pki_types::PrivateKeyDer;

use super::AcmeError;

/// RFC 8737 §6.2: the protocol that an authority's handshake names, and nothing else.
pub(crate) const ACME_TLS: &[u8] = b"acme-tls/1";

/// The answers of the open order.
#[derive(Debug, Default)]
pub(crate) struct Answers(Mutex<Open>);

#[derive(Debug, Default)]
struct Open {
    /// By the name that the handshake asks for.
    certificates: HashMap<String, Arc<CertifiedKey>>,
    /// By token.
    texts: HashMap<String, String>,
}

impl Answers {
    /// Answers TLS-ALPN-01 for a name: RFC 8737 §3 wants a self-signed certificate for that name
    /// alone, with the digest of the key authorization in a critical extension.
    pub(super) fn answer_tls(
        &self,
        domain: &str,
        digest: &[u8],
        provider: &CryptoProvider,
    ) -> Result<(), AcmeError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(vec![domain.to_owned()])?;
        params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
        let certificate = params.self_signed(&key)?;
        let secret = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let signing = provider.key_provider.load_private_key(secret)?;
        let certified = CertifiedKey::new(vec![certificate.der().clone()], signing);
        let name = asked_name(domain);
        self.lock().certificates.insert(name, Arc::new(certified));
        Ok(())
    }

    /// Answers HTTP-01: the text under the token's path.
    pub(super) fn answer_http(&self, token: &str, text: &str) {
        let (token, text) = (token.to_owned(), text.to_owned());
        self.lock().texts.insert(token, text);
    }

    /// Forgets everything: the order is closed.
    pub(super) fn clear(&self) {
        *self.lock() = Open::default();
    }

    /// The text under a token's path.
    pub(super) fn text(&self, token: &str) -> Option<String> {
        self.lock().texts.get(token).cloned()
    }

    /// Whether an authority may come for a text.
    pub(super) fn expects_http(&self) -> bool {
        !self.lock().texts.is_empty()
    }

    /// The certificate for an authority's handshake, if an order for that name is open.
    pub(crate) fn certificate(&self, name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let name = name?.to_ascii_lowercase();
        self.lock().certificates.get(&name).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        // It is filled entry by entry, each whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a handshake is an authority's. RFC 8737 §3: its list has that one protocol.
pub(crate) fn is_authority(hello: &ClientHello<'_>) -> bool {
    hello.alpn().is_some_and(|mut protocols| {
        protocols.next() == Some(ACME_TLS) && protocols.next().is_none()
    })
}

/// What the handshake for a name asks for. RFC 8738 §6: an address is asked for by its reverse
/// name, since SNI takes no addresses.
fn asked_name(domain: &str) -> String {
    match domain.parse() {
        Err(_) => domain.to_ascii_lowercase(),
        Ok(IpAddr::V4(ip)) => {
            let [a, b, c, d] = ip.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        Ok(IpAddr::V6(ip)) => {
            let mut name = String::with_capacity(72);
            for byte in ip.octets().iter().rev() {
                name.push_str(&format!("{:x}.{:x}.", byte & 15, byte >> 4));
            }
            name.push_str("ip6.arpa");
            name
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use x509_parser::prelude::{FromDer, X509Certificate};

    use super::*;

    fn provider() -> CryptoProvider {
        rustls::crypto::aws_lc_rs::default_provider()
    }

    #[test]
    fn the_certificate_of_a_challenge_names_the_domain_alone_and_carries_the_digest_critically() {
        let answers = Answers::default();
        answers
            .answer_tls("Relay.example", &[7; 32], &provider())
            .unwrap();
        let key = answers.certificate(Some("relay.EXAMPLE")).unwrap();
        let (_, parsed) = X509Certificate::from_der(&key.cert[0]).unwrap();
        let names = parsed.subject_alternative_name().unwrap().unwrap();
        assert_eq!(names.value.general_names.len(), 1);
        // RFC 8737 §3: id-pe-acmeIdentifier, an OCTET STRING of 32 bytes.
        let extension = parsed
            .extensions()
            .iter()
            .find(|extension| extension.oid.to_id_string() == "1.3.6.1.5.5.7.1.31");
        let extension = extension.unwrap();
        assert!(extension.critical);
        assert_eq!(extension.value, [&[4, 32][..], &[7; 32]].concat());
    }

    #[test]
    fn nothing_is_answered_for_other_names_nor_when_the_order_is_closed() {
        let answers = Answers::default();
        answers
            .answer_tls("relay.example", &[7; 32], &provider())
            .unwrap();
        answers.answer_http("token", "token.thumb");
        assert!(answers.certificate(Some("other.example")).is_none());
        assert!(answers.certificate(None).is_none());
        assert_eq!(answers.text("token").as_deref(), Some("token.thumb"));
        assert!(answers.text("other").is_none());
        answers.clear();
        assert!(answers.certificate(Some("relay.example")).is_none());
        assert!(answers.text("token").is_none());
    }

    #[test]
    fn addresses_are_asked_for_by_their_reverse_names() {
        assert_eq!(asked_name("192.0.2.7"), "7.2.0.192.in-addr.arpa");
        assert_eq!(
            asked_name("2001:db8::1"),
            "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"
        );
    }
}
