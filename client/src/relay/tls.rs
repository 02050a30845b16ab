//! TLS below the session: privacy towards the network, not proof of who the node is.
//!
//! The node proves itself in the Noise handshake, by the key from the signed relay map, and the
//! handshake is bound to this very TLS connection by its exporter. A middlebox that ends TLS, with a
//! certificate that the system trusts or any other, fails there, before the device has sent anything
//! that it could read. So certificates are not checked against a list of authorities, and a node needs
//! none that a device would know.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::{CipherSuite, DigitallySignedStruct, Error, PeerIncompatible, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

/// TLS 1.3, for one protocol, with whoever is there.
///
/// # Panics
/// Never: the provider's suites cover the version.
#[must_use]
pub fn config(alpn: &[u8]) -> Arc<ClientConfig> {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    // Rustls begins with AES-256. What passes here is encrypted from device to device already.
    provider
        .cipher_suites
        .sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
    let provider = Arc::new(provider);
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("invariant: the provider's suites cover the version")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(ProvedBelow(provider)))
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    Arc::new(config)
}

/// Takes any certificate whose key signs the handshake: the node is proved by Noise.
#[derive(Debug)]
struct ProvedBelow(Arc<CryptoProvider>);

impl ServerCertVerifier for ProvedBelow {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::PeerIncompatible(PeerIncompatible::Tls12NotOffered))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
