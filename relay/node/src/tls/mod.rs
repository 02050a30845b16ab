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

pub(crate) mod acme;
mod certificate;
mod error;
mod self_signed;
mod watch;

pub use acme::{AcmeCounters, AcmeError};
pub use certificate::CertificateInfo;
pub use error::TlsError;
pub(crate) use watch::LOOK;
pub use watch::Watch;

use acme::Answers;
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
    acme: Arc<acme::Tally>,
}

/// Where the certificate comes from.
#[derive(Debug)]
struct Source {
    tls: config::Tls,
    data_dir: PathBuf,
    /// The subject of a self-signed certificate.
    node_name: String,
}

/// What handshakes get from now on.
#[derive(Debug)]
struct Current {
    identity: ArcSwap<Identity>,
    /// For an ACME authority that verifies a name.
    answers: Arc<Answers>,
}

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
        let identity = source.first_identity(&provider)?;
        source.say(&identity.info);
        let current = Arc::new(Current {
            identity: ArcSwap::from_pointee(identity),
            answers: Arc::default(),
        });
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .expect("invariant: the provider's suites cover both versions")
            .with_no_client_auth()
            .with_cert_resolver(Arc::<Current>::clone(&current));
        server.alpn_protocols = ALPN.map(<[u8]>::to_vec).to_vec();
        if let Some(acme) = &tls.acme
            && acme.challenge == config::AcmeChallenge::TlsAlpn01
        {
            server.alpn_protocols.push(acme::ACME_TLS.to_vec());
        }
        Ok(Self {
            server: Arc::new(server),
            current,
            source: Arc::new(Mutex::new(source)),
            acme: Arc::default(),
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
            source.say(&identity.info);
        }
        self.current.identity.store(Arc::new(identity));
        Ok(())
    }

    /// The files of certificate and key; none where the certificate is self-signed.
    fn files(&self) -> Option<(PathBuf, PathBuf)> {
        let source = self.source();
        if let Some(obtained) = source.obtained() {
            return Some((obtained.clone(), obtained));
        }
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

    /// TLS 1.3 with the same certificate, for one protocol; no early data, which could be replayed.
    pub(crate) fn tls13(&self, alpn: &[u8]) -> Arc<ServerConfig> {
        let mut server =
            ServerConfig::builder_with_provider(Arc::clone(self.server.crypto_provider()))
                .with_protocol_versions(&[&rustls::version::TLS13])
                .expect("invariant: the provider's suites cover the version")
                .with_no_client_auth()
                .with_cert_resolver(Arc::<Current>::clone(&self.current));
        server.alpn_protocols = vec![alpn.to_vec()];
        Arc::new(server)
    }

    /// The server's own certificate, as clients are shown it now.
    pub fn leaf(&self) -> CertificateDer<'static> {
        let identity = self.current.identity.load();
        identity
            .key
            .cert
            .first()
            .cloned()
            .expect("invariant: an identity has a certificate")
    }

    /// What an ACME authority gets that verifies a name.
    fn answers(&self) -> Arc<Answers> {
        Arc::clone(&self.current.answers)
    }

    /// What there is to say about certificates from an ACME authority.
    pub fn acme(&self) -> AcmeCounters {
        self.acme.read()
    }

    /// What is served now.
    pub fn certificate(&self) -> CertificateInfo {
        self.current.identity.load().info.clone()
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Certificates")
            .field(&self.current.identity.load().info)
            .finish()
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if acme::is_authority(&hello) {
            return self.answers.certificate(hello.server_name());
        }
        Some(Arc::clone(&self.identity.load().key))
    }
}

impl Source {
    /// What a node starts with: a damaged certificate of the ACME authority is replaced by the next
    /// one, and is no reason not to start.
    fn first_identity(&self, provider: &CryptoProvider) -> Result<Identity, TlsError> {
        self.identity(provider).or_else(|error| {
            if self.tls.acme.is_none() {
                return Err(error);
            }
            warn!(%error, "the certificate from the ACME authority cannot be used; another one is ordered");
            self_signed::identity(&self.data_dir, &self.node_name, provider)
        })
    }

    fn identity(&self, provider: &CryptoProvider) -> Result<Identity, TlsError> {
        if let Some(obtained) = self.obtained() {
            return Identity::from_files(&obtained, &obtained, provider);
        }
        match (&self.tls.certificate, &self.tls.key) {
            (Some(certificate), Some(key)) => Identity::from_files(certificate, key, provider),
            (None, None) => self_signed::identity(&self.data_dir, &self.node_name, provider),
            (Some(_), None) => Err(TlsError::NoKey),
            (None, Some(_)) => Err(TlsError::NoCertificate),
        }
    }

    /// The file of the certificate from an ACME authority, once there is one.
    fn obtained(&self) -> Option<PathBuf> {
        self.tls.acme.as_ref()?;
        Some(acme::certificate_path(&self.data_dir)).filter(|path| path.exists())
    }

    fn say(&self, certificate: &CertificateInfo) {
        let sha256 = &certificate.sha256;
        if !certificate.self_signed {
            info!(%sha256, subject = %certificate.subject, expires = %certificate.expires(), "TLS serves the configured certificate");
        } else if self.tls.acme.is_some() {
            warn!(%sha256, "TLS serves a self-signed certificate, which clients refuse, until the ACME authority has issued one");
        } else {
            info!(%sha256, "TLS serves a self-signed certificate, which browsers refuse; set tls.certificate and tls.key, or tls.acme");
        }
        if let Some(warning) = certificate.warning(unix_s()) {
            warn!(%sha256, "{warning}");
        }
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
    if let Some(acme) = &tls.acme {
        acme::check(acme)?;
    }
    let (Some(certificate), Some(key)) = (&tls.certificate, &tls.key) else {
        return Ok(None);
    };
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let identity = Identity::from_files(certificate, key, &provider)?;
    Ok(identity.info.warning(unix_s()))
}

#[cfg(test)]
mod tests;
