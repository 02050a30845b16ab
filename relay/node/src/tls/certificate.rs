//! A certificate with its chain and key, read from PEM and checked to belong together.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate};

use super::TlsError;

/// What there is to say about a certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CertificateInfo {
    /// Whether the node made it itself.
    pub self_signed: bool,
    /// Its subject.
    pub subject: String,
    /// SHA-256 over its DER form, in hexadecimal with colons, as browsers and `openssl x509
    /// -fingerprint` show it.
    pub sha256: String,
    /// The first second of its validity.
    pub not_before_unix_s: i64,
    /// The last second of its validity.
    pub not_after_unix_s: i64,
}

impl CertificateInfo {
    /// The last second of its validity, for people.
    pub fn expires(&self) -> String {
        ASN1Time::from_timestamp(self.not_after_unix_s)
            .map_or_else(|_| "never".to_owned(), |time| time.to_string())
    }

    /// What clients will hold against it at a time, in seconds since 1970.
    pub fn warning(&self, now_unix_s: i64) -> Option<&'static str> {
        if now_unix_s > self.not_after_unix_s {
            Some("the TLS certificate has expired: clients refuse it; renew it and reload")
        } else if now_unix_s < self.not_before_unix_s {
            Some(
                "the TLS certificate is not valid yet: clients refuse it; check the clock and the \
                 certificate",
            )
        } else {
            None
        }
    }
}

/// A certificate that can be served.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) key: Arc<CertifiedKey>,
    pub(super) info: CertificateInfo,
}

impl Identity {
    /// Reads both files.
    pub(super) fn from_files(
        certificate: &Path,
        key: &Path,
        provider: &CryptoProvider,
    ) -> Result<Self, TlsError> {
        let chain = chain(certificate, &read("tls.certificate", certificate)?)?;
        let secret = private_key(key, &read("tls.key", key)?)?;
        Self::new(chain, secret, certificate, key, false, provider)
    }

    /// Checks that key and certificate belong together.
    pub(super) fn new(
        chain: Vec<CertificateDer<'static>>,
        secret: PrivateKeyDer<'static>,
        certificate: &Path,
        key: &Path,
        self_signed: bool,
        provider: &CryptoProvider,
    ) -> Result<Self, TlsError> {
        let info = describe(&chain[0], self_signed).ok_or_else(|| TlsError::BadCertificate {
            path: certificate.to_owned(),
        })?;
        let signing_key = provider
            .key_provider
            .load_private_key(secret)
            .map_err(|reason| TlsError::BadKey {
                path: key.to_owned(),
                reason,
            })?;
        let certified = CertifiedKey::new(chain, signing_key);
        certified.keys_match().map_err(|_| TlsError::Mismatch {
            key: key.to_owned(),
            certificate: certificate.to_owned(),
        })?;
        Ok(Self {
            key: Arc::new(certified),
            info,
        })
    }
}

pub(super) fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Unreadable {
        key,
        path: path.to_owned(),
        source,
    })
}

/// The certificates of a PEM text, the server's own first; at least one.
pub(super) fn chain(path: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(text).collect();
    chain
        .ok()
        .filter(|chain| !chain.is_empty())
        .ok_or_else(|| TlsError::NotPem {
            key: "tls.certificate",
            path: path.to_owned(),
            wanted: "certificate",
            label: "CERTIFICATE",
        })
}

/// The private key of a PEM text.
pub(super) fn private_key(path: &Path, text: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(text).map_err(|_| TlsError::NotPem {
        key: "tls.key",
        path: path.to_owned(),
        wanted: "private key without a passphrase",
        label: "PRIVATE KEY",
    })
}

fn describe(certificate: &CertificateDer<'_>, self_signed: bool) -> Option<CertificateInfo> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let mut sha256 = String::new();
    for byte in Sha256::digest(certificate) {
        let colon = if sha256.is_empty() { "" } else { ":" };
        let _ = write!(sha256, "{colon}{byte:02X}");
    }
    Some(CertificateInfo {
        self_signed,
        subject: parsed.subject().to_string(),
        sha256,
        not_before_unix_s: parsed.validity().not_before.timestamp(),
        not_after_unix_s: parsed.validity().not_after.timestamp(),
    })
}
