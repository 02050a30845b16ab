//! What can be wrong with certificates and keys, said to the operator.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why there is no certificate to serve.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TlsError {
    /// `tls.certificate` without `tls.key`.
    #[error(
        "tls.certificate is set without tls.key; set both, or neither to have a self-signed one made"
    )]
    NoKey,
    /// `tls.key` without `tls.certificate`.
    #[error(
        "tls.key is set without tls.certificate; set both, or neither to have a self-signed one made"
    )]
    NoCertificate,
    /// A file cannot be read.
    #[error("{key}: {} cannot be read: {source}; check the path and that the node's user may read it", path.display())]
    Unreadable {
        /// The configuration key that names the file.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file is not what its key asks for.
    #[error("{key}: {} holds no {wanted} in PEM form (-----BEGIN {label}-----)", path.display())]
    NotPem {
        /// The configuration key that names the file.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What was looked for.
        wanted: &'static str,
        /// Its PEM label.
        label: &'static str,
    },
    /// A key of a kind that rustls cannot sign with.
    #[error("tls.key: {} holds a key that cannot be used: {reason}; RSA (2048 to 8192 bits), ECDSA P-256, P-384, P-521 and \
             Ed25519 can", path.display())]
    BadKey {
        /// The file.
        path: PathBuf,
        /// What rustls says.
        reason: rustls::Error,
    },
    /// A certificate that cannot be parsed.
    #[error("tls.certificate: the first certificate in {} cannot be parsed", path.display())]
    BadCertificate {
        /// The file.
        path: PathBuf,
    },
    /// The key belongs to another certificate.
    #[error("tls.key: {} is not the key of the certificate in {} (its first one must be the server's own, before the \
             chain)", key.display(), certificate.display())]
    Mismatch {
        /// The key file.
        key: PathBuf,
        /// The certificate file.
        certificate: PathBuf,
    },
    /// The self-signed certificate cannot be stored.
    #[error("{} cannot be written: {source}; a self-signed certificate is kept there: set node.data_dir to a directory that \
             the node's user may write, or set tls.certificate and tls.key", path.display())]
    Unwritable {
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// What ACME needs is not there.
    #[error(transparent)]
    Acme(#[from] super::AcmeError),
    /// The listener of HTTP-01 cannot be had.
    #[error("tls.acme.http_listen: TCP {addr} cannot be listened on: {source}; stop what holds it (`ss -ltnp sport = :{}` names it), \
             grant CAP_NET_BIND_SERVICE for a port below 1024, or have port 80 forwarded to another one that is named there", addr.port())]
    HttpListen {
        /// The address.
        addr: std::net::SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The self-signed certificate cannot be made.
    #[error("a self-signed certificate cannot be made: {0}; set tls.certificate and tls.key")]
    Generate(#[from] rcgen::Error),
}
