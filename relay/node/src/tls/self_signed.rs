//! The certificate of a node that was given none: made at the first start, the same ever after.
//!
//! Key and certificate lie in one file, so that no crash leaves one without the other.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, date_time_ymd};
use rustls::crypto::CryptoProvider;

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

/// Writes the file whole or not at all, readable by its owner only. Whoever comes second keeps the
/// first one's.
fn store(data_dir: &Path, path: &Path, text: &str) -> Result<(), TlsError> {
    let unwritable = |path: &Path| {
        let path = path.to_owned();
        move |source| TlsError::Unwritable { path, source }
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data_dir)
        .map_err(unwritable(data_dir))?;
    let draft = draft_path(path);
    let written = write(&draft, text).and_then(|()| match fs::hard_link(&draft, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    });
    let _ = fs::remove_file(&draft);
    written.map_err(unwritable(path))
}

fn write(draft: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn draft_path(path: &Path) -> PathBuf {
    path.with_extension(format!(
        "{}.{:08x}",
        std::process::id(),
        rand::random::<u32>()
    ))
}
