//! Certificates for `localhost`, and TLS clients that trust exactly one.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::SOON;

/// A self-signed certificate with its key.
pub(crate) struct Certificate {
    der: CertificateDer<'static>,
    pem: String,
    key: String,
}

impl Certificate {
    pub(crate) fn new() -> Self {
        let made =
            rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        Self {
            der: made.cert.der().clone(),
            pem: made.cert.pem(),
            key: made.signing_key.serialize_pem(),
        }
    }

    /// Writes `cert.pem` and `key.pem`, over what was there.
    pub(crate) fn install(&self, folder: &Path) -> (PathBuf, PathBuf) {
        let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
        fs::write(&certificate, &self.pem).expect("a file");
        fs::write(&key, &self.key).expect("a file");
        (certificate, key)
    }

    /// A TLS connection to `to`, if it shows this certificate.
    pub(crate) fn connect(
        &self,
        to: SocketAddr,
    ) -> Option<StreamOwned<ClientConnection, TcpStream>> {
        connect(to, &self.der)
    }
}

/// A TLS connection to `to`, if it shows a certificate for `localhost` below this root.
pub(crate) fn connect(
    to: SocketAddr,
    root: &CertificateDer<'static>,
) -> Option<StreamOwned<ClientConnection, TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).expect("a root");
    let config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = "localhost".try_into().expect("a name");
    let mut tls = ClientConnection::new(Arc::new(config), name).expect("a connection");
    let mut tcp = TcpStream::connect(to).ok()?;
    tcp.set_read_timeout(Some(SOON)).expect("a timeout");
    while tls.is_handshaking() {
        tls.complete_io(&mut tcp).ok()?;
    }
    Some(StreamOwned::new(tls, tcp))
}
