//! The certificate of a node that was given none: made at the first start, the same ever after.
//!
//! Key and certificate lie in one file, so that no crash leaves one without the other.

use std::path::Path;

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, date_time_ymd};
use rustls::crypto::CryptoProvider;
use sterna_daemon::private_file;

use super::TlsError;
use super::certificate::{Identity, chain, private_key, read};

/// Key and certificate, in the data directory.
const FILE: &str = "self-signed.pem";

/// Reads the certificate, or makes it.
pub(super) fn identity(
    data_dir: &Path,
    node_name: &str,
    provider: &CryptoProvider,
) -> Result<Identity, TlsError> {
    let path = data_dir.join(FILE);
    if !path.exists() {
        let text = generate(node_name)?;
        store(data_dir, &path, &text)?;
    }
    let text = read("node.data_dir", &path)?;
    Identity::new(
        chain(&path, &text)?,
        private_key(&path, &text)?,
        &path,
        &path,
        true,
        provider,
    )
}

fn generate(node_name: &str) -> Result<String, TlsError> {
    let names: Vec<String> = ["localhost", "127.0.0.1", "::1"]
        .map(str::to_owned)
        .to_vec();
    let mut params = CertificateParams::new(names)?;
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, format!("Sterna relay {node_name}"));
    params.distinguished_name = subject;
    params.not_before = date_time_ymd(2025, 1, 1);
    // RFC 5280 §4.1.2.5: no end that is known. Who trusts it does so by its fingerprint.
    params.not_after = date_time_ymd(9999, 12, 31);
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok(format!("{}{}", key.serialize_pem(), certificate.pem()))
}

fn store(data_dir: &Path, path: &Path, text: &str) -> Result<(), TlsError> {
    let unwritable = |path: &Path| {
        let path = path.to_owned();
        move |source| TlsError::Unwritable { path, source }
    };
    private_file::make_dir(data_dir).map_err(unwritable(data_dir))?;
    private_file::create(path, text.as_bytes()).map_err(unwritable(path))
}
