//! Whom a TLS client believes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature,
    verify_tls13_signature,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

use crate::BenchError;

/// Whom a TLS client believes.
#[derive(Clone, Debug)]
pub enum Trust {
    /// Certificates that come from one of those in this PEM file and carry the server's name, and
    /// those in the file themselves (a self-signed one), whatever name they carry.
    Authority(PathBuf),
    /// Exactly this certificate, whatever name it carries: right for a self-signed one.
    Certificate(CertificateDer<'static>),
    /// Anybody: right for a test of speed, wrong for anything else.
    Anybody,
}

/// ALPN name of TURN (RFC 7443).
const ALPN_TURN: &[u8] = b"stun.turn";

/// A TLS configuration that believes `trust`.
pub(crate) fn client_config(trust: &Trust) -> Result<Arc<ClientConfig>, BenchError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| tls_error("TLS", &error))?;
    let verifier = match trust {
        Trust::Authority(file) => from_authority(file, &provider)?,
        Trust::Certificate(certificate) => Verifier::new(vec![certificate.clone()], &provider),
        Trust::Anybody => Verifier {
            is_credulous: true,
            ..Verifier::new(Vec::new(), &provider)
        },
    };
    let verifier = Arc::new(verifier);
    let builder = builder
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = builder.with_no_client_auth();
    config.alpn_protocols = vec![ALPN_TURN.to_vec()];
    Ok(Arc::new(config))
}

fn from_authority(file: &Path, provider: &Arc<CryptoProvider>) -> Result<Verifier, BenchError> {
    let what = file.display().to_string();
    let certificates: Vec<_> = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .map_err(|error| tls_error(&what, &error))?;
    let mut roots = RootCertStore::empty();
    for certificate in &certificates {
        let added = roots.add(certificate.clone());
        added.map_err(|error| tls_error(&what, &error))?;
    }
    let chains =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).build();
    let chains = chains.map_err(|error| tls_error(&what, &error))?;
    Ok(Verifier {
        chains: Some(chains),
        ..Verifier::new(certificates, provider)
    })
}

fn tls_error(what: &str, why: &dyn std::fmt::Display) -> BenchError {
    BenchError::Tls {
        what: what.to_owned(),
        why: why.to_string(),
    }
}

/// The server's name for a handshake.
pub(crate) fn server_name(host: &str) -> Result<ServerName<'static>, BenchError> {
    ServerName::try_from(host.to_owned()).map_err(|error| tls_error(host, &error))
}

/// Believes the pinned certificates, and those whose chain ends well. The handshake's signature is
/// checked in either case: who shows a certificate must hold its key too.
#[derive(Debug)]
struct Verifier {
    pinned: Vec<CertificateDer<'static>>,
    chains: Option<Arc<WebPkiServerVerifier>>,
    is_credulous: bool,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    fn new(pinned: Vec<CertificateDer<'static>>, provider: &CryptoProvider) -> Self {
        let algorithms = provider.signature_verification_algorithms;
        Self {
            pinned,
            chains: None,
            is_credulous: false,
            algorithms,
        }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.is_credulous || self.pinned.contains(end_entity) {
            return Ok(ServerCertVerified::assertion());
        }
        match &self.chains {
            Some(chains) => chains.verify_server_cert(
                end_entity,
                intermediates,
                server_name,
                ocsp_response,
                now,
            ),
            None => Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
