//! TLS of the stream listeners: one certificate, replaced without a pause on reload and when its
//! files change.
//!
//! TLS 1.2 and 1.3 by rustls; ALPN `stun.turn` and `stun.nat-discovery` (RFC 7443) are taken, and
//! so is none at all.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};

use crate::config;

mod certificate;
mod error;
mod self_signed;
mod watch;

pub use certificate::CertificateInfo;
pub use error::TlsError;
pub(crate) use watch::LOOK;
pub use watch::Watch;

use certificate::Identity;

/// RFC 7443 §3: STUN and TURN name themselves in ALPN.
const ALPN: [&[u8]; 2] = [b"stun.turn", b"stun.nat-discovery"];

/// The node's TLS side.
#[derive(Clone)]
pub struct Certificates {
    server: Arc<ServerConfig>,
    current: Arc<Current>,
    /// Held while a certificate is read and replaced, so that the last word is the newest.
    source: Arc<Mutex<Source>>,
}

/// Where the certificate comes from.
#[derive(Debug)]
struct Source {
    tls: config::Tls,
    data_dir: PathBuf,
    /// The subject of a self-signed certificate.
    node_name: String,
}

/// The certificate that handshakes get from now on.
#[derive(Debug)]
struct Current(ArcSwap<Identity>);

impl Certificates {
    /// Reads the configured certificate, or makes a self-signed one in the data directory when
    /// there is none, and says in the log which one is served.
    ///
    /// # Errors
    /// What is wrong with the files, with the remedy.
    pub fn load(tls: &config::Tls, data_dir: &Path, node_name: &str) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let source = Source {
            tls: tls.clone(),
            data_dir: data_dir.to_owned(),
            node_name: node_name.to_owned(),
        };
        let identity = source.identity(&provider)?;
        say(&identity.info);
        let current = Arc::new(Current(ArcSwap::from_pointee(identity)));
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .expect("invariant: the provider's suites cover both versions")
            .with_no_client_auth()
            .with_cert_resolver(Arc::<Current>::clone(&current));
        server.alpn_protocols = ALPN.map(<[u8]>::to_vec).to_vec();
        Ok(Self {
            server: Arc::new(server),
            current,
            source: Arc::new(Mutex::new(source)),
        })
    }

    /// Reads the certificate again; handshakes from now on get it, connections that stand keep
    /// theirs.
    ///
    /// # Errors
    /// What is wrong with the files; the old certificate stays.
    pub fn reload(&self, tls: &config::Tls, data_dir: &Path) -> Result<(), TlsError> {
        let mut source = self.source();
        let newer = Source {
            tls: tls.clone(),
            data_dir: data_dir.to_owned(),
            node_name: source.node_name.clone(),
        };
        self.replace(&newer)?;
        *source = newer;
        Ok(())
    }

    /// Reads the certificate again from where it came.
    fn refresh(&self) -> Result<(), TlsError> {
        self.replace(&self.source())
    }

    fn replace(&self, source: &Source) -> Result<(), TlsError> {
        let identity = source.identity(self.server.crypto_provider())?;
        if identity.info != self.certificate() {
            say(&identity.info);
        }
        self.current.0.store(Arc::new(identity));
        Ok(())
    }

    /// The configured files; none where the certificate is self-signed.
    fn files(&self) -> Option<(PathBuf, PathBuf)> {
        let source = self.source();
        source.tls.certificate.clone().zip(source.tls.key.clone())
    }

    fn source(&self) -> MutexGuard<'_, Source> {
        // It is replaced whole or not at all.
        self.source.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the stream side accepts handshakes with.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.server))
    }

    /// The server's own certificate, as clients are shown it now.
    pub fn leaf(&self) -> CertificateDer<'static> {
        let identity = self.current.0.load();
        identity
            .key
            .cert
            .first()
            .cloned()
            .expect("invariant: an identity has a certificate")
    }

    /// What is served now.
    pub fn certificate(&self) -> CertificateInfo {
        self.current.0.load().info.clone()
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Certificates")
            .field(&self.current.0.load().info)
            .finish()
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.load().key))
    }
}

impl Source {
    fn identity(&self, provider: &CryptoProvider) -> Result<Identity, TlsError> {
        match (&self.tls.certificate, &self.tls.key) {
            (Some(certificate), Some(key)) => Identity::from_files(certificate, key, provider),
            (None, None) => self_signed::identity(&self.data_dir, &self.node_name, provider),
            (Some(_), None) => Err(TlsError::NoKey),
            (None, Some(_)) => Err(TlsError::NoCertificate),
        }
    }
}

fn say(certificate: &CertificateInfo) {
    let sha256 = &certificate.sha256;
    if certificate.self_signed {
        info!(%sha256, "TLS serves a self-signed certificate, which browsers refuse; set tls.certificate and tls.key");
    } else {
        info!(%sha256, subject = %certificate.subject, expires = %certificate.expires(), "TLS serves the configured certificate");
    }
    if let Some(warning) = certificate.warning(unix_s()) {
        warn!(%sha256, "{warning}");
    }
}

fn unix_s() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}

/// Reads the configured certificate as the node would, without making one where none is configured;
/// what the node would warn of.
///
/// # Errors
/// What is wrong with the files, with the remedy.
pub fn check(tls: &config::Tls) -> Result<Option<&'static str>, TlsError> {
    let (Some(certificate), Some(key)) = (&tls.certificate, &tls.key) else {
        return Ok(None);
    };
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let identity = Identity::from_files(certificate, key, &provider)?;
    Ok(identity.info.warning(unix_s()))
}

#[cfg(test)]
mod tests;
