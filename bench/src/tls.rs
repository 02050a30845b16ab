//! Whom a TLS client believes.

use std::path::PathBuf;
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
    /// Certificates that come from one of those in this PEM file, and carry the server's name.
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
    let verifier: Arc<dyn ServerCertVerifier> = match trust {
        Trust::Authority(file) => from_authority(file, provider)?,
        Trust::Certificate(certificate) => {
            Arc::new(Pinned::new(Some(certificate.clone()), &provider))
        }
        Trust::Anybody => Arc::new(Pinned::new(None, &provider)),
    };
    let builder = builder
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = builder.with_no_client_auth();
    config.alpn_protocols = vec![ALPN_TURN.to_vec()];
    Ok(Arc::new(config))
}

fn from_authority(
    file: &PathBuf,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, BenchError> {
    let what = file.display().to_string();
    let certificates =
        CertificateDer::pem_file_iter(file).map_err(|error| tls_error(&what, &error))?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        let certificate = certificate.map_err(|error| tls_error(&what, &error))?;
        roots
            .add(certificate)
            .map_err(|error| tls_error(&what, &error))?;
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
    Ok(verifier.map_err(|error| tls_error(&what, &error))?)
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

/// Believes one certificate, or any. The handshake's signature is checked in either case: who holds
/// a certificate must hold its key too.
#[derive(Debug)]
struct Pinned {
    certificate: Option<CertificateDer<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Pinned {
    fn new(certificate: Option<CertificateDer<'static>>, provider: &CryptoProvider) -> Self {
        let algorithms = provider.signature_verification_algorithms;
        Self {
            certificate,
            algorithms,
        }
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match &self.certificate {
            Some(pinned) if pinned != end_entity => {
                Err(Error::InvalidCertificate(CertificateError::UnknownIssuer))
            }
            _ => Ok(ServerCertVerified::assertion()),
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
