//! What outlives a restart: the account with its key, and the certificate with its own.
//!
//! Both lie in `node.data_dir`/acme, for the node's user only. Key and certificate share one file, so
//! that no crash leaves one without the other, and its first line says which directory they are of.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use instant_acme::AccountCredentials;
use sha2::{Digest, Sha256};
use sterna_daemon::private_file;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::AcmeError;
use crate::tls::certificate;

const FOLDER: &str = "acme";

const CERTIFICATE: &str = "certificate.pem";

/// How the certificate's file begins; PEM readers pass over it.
const ORDERED_FROM: &str = "ordered from ";

/// The certificate's file, which holds the key too.
pub(crate) fn certificate_path(data_dir: &Path) -> PathBuf {
    data_dir.join(FOLDER).join(CERTIFICATE)
}

/// Where account and certificate are kept.
#[derive(Debug)]
pub(super) struct Store {
    folder: PathBuf,
    directory: String,
}

/// What is known of the certificate that is kept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Held {
    /// The directory that it was ordered from.
    pub(super) directory: String,
    /// The names that it is for.
    pub(super) names: BTreeSet<String>,
    pub(super) not_before_unix_s: i64,
    pub(super) not_after_unix_s: i64,
}

impl Store {
    pub(super) fn new(data_dir: &Path, directory: &str) -> Self {
        Self {
            folder: data_dir.join(FOLDER),
            directory: directory.to_owned(),
        }
    }

    /// Makes sure that what is obtained can be kept, before anybody is asked for it: an authority
    /// counts accounts and certificates that nobody kept, too.
    pub(super) fn prepare(&self) -> Result<(), AcmeError> {
        let probe = self.folder.join("writable");
        self.keep(&probe, b"")?;
        fs::remove_file(&probe).map_err(storage(&probe, "written"))
    }

    /// The account at this directory, if there is one.
    pub(super) fn account(&self) -> Result<Option<AccountCredentials>, AcmeError> {
        let path = self.account_path();
        let text = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(storage(&path, "read"))?,
        };
        serde_json::from_slice(&text)
            .map(Some)
            .map_err(|error| AcmeError::Account {
                path,
                reason: error.to_string(),
            })
    }

    pub(super) fn keep_account(&self, account: &AccountCredentials) -> Result<(), AcmeError> {
        let text = serde_json::to_vec(account).expect("invariant: an account is plain data");
        self.keep(&self.account_path(), &text)
    }

    /// Sets an account aside that the authority does not know any more.
    pub(super) fn retire_account(&self) -> Result<(), AcmeError> {
        let path = self.account_path();
        fs::rename(&path, path.with_extension("unknown")).map_err(storage(&path, "written"))
    }

    pub(super) fn keep_certificate(&self, key_pem: &str, chain_pem: &str) -> Result<(), AcmeError> {
        let path = self.folder.join(CERTIFICATE);
        let text = format!("{ORDERED_FROM}{}\n{key_pem}{chain_pem}", self.directory);
        self.keep(&path, text.as_bytes())
    }

    /// The certificate that is kept; nothing where there is none that could be served.
    pub(super) fn certificate(&self) -> Option<Held> {
        let path = self.folder.join(CERTIFICATE);
        let text = fs::read(&path).ok()?;
        let chain = certificate::chain(&path, &text).ok()?;
        certificate::private_key(&path, &text).ok()?;
        let (_, parsed) = X509Certificate::from_der(&chain[0]).ok()?;
        let first = String::from_utf8_lossy(&text);
        let first = first.lines().next().unwrap_or_default();
        Some(Held {
            directory: first
                .strip_prefix(ORDERED_FROM)
                .unwrap_or_default()
                .to_owned(),
            names: names(&parsed),
            not_before_unix_s: parsed.validity().not_before.timestamp(),
            not_after_unix_s: parsed.validity().not_after.timestamp(),
        })
    }

    fn keep(&self, path: &Path, text: &[u8]) -> Result<(), AcmeError> {
        private_file::make_dir(&self.folder).map_err(storage(&self.folder, "written"))?;
        private_file::replace(path, text).map_err(storage(path, "written"))
    }

    /// One a directory: an account at the staging directory is none at the real one.
    fn account_path(&self) -> PathBuf {
        let digest = Sha256::digest(&self.directory);
        let digest = u64::from_be_bytes(digest[..8].try_into().expect("invariant: eight bytes"));
        self.folder.join(format!("account-{digest:016x}.json"))
    }
}

/// A name as names are compared.
pub(super) fn canonical(name: &str) -> String {
    name.parse::<IpAddr>()
        .map_or_else(|_| name.to_ascii_lowercase(), |ip| ip.to_string())
}

/// The names of a certificate; clients look at nothing but these (RFC 9525 §2).
fn names(certificate: &X509Certificate<'_>) -> BTreeSet<String> {
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names.iter().flat_map(|names| &names.value.general_names);
    names
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(canonical(name)),
            GeneralName::IPAddress(bytes) => {
                let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
                let ip = v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from));
                ip.ok().map(|ip| ip.to_string())
            }
            _ => None,
        })
        .collect()
}

fn storage(path: &Path, verb: &'static str) -> impl FnOnce(io::Error) -> AcmeError {
    let path = path.to_owned();
    move |source| AcmeError::Storage { path, verb, source }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::PermissionsExt as _;

    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    #[test]
    fn a_certificate_is_kept_with_its_key_for_the_owner_only_and_says_what_it_is_for() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path(), "https://ca.example/directory");
        assert_eq!(store.certificate(), None);
        let key = KeyPair::generate().unwrap();
        let names = ["Relay.example", "192.0.2.1", "2001:db8::1"].map(str::to_owned);
        let mut params = CertificateParams::new(names.to_vec()).unwrap();
        params.not_before = date_time_ymd(2026, 1, 1);
        params.not_after = date_time_ymd(2026, 4, 1);
        let certificate = params.self_signed(&key).unwrap();
        store
            .keep_certificate(&key.serialize_pem(), &certificate.pem())
            .unwrap();
        let held = store.certificate().unwrap();
        assert_eq!(held.directory, "https://ca.example/directory");
        assert_eq!(
            held.names,
            names.iter().map(|name| canonical(name)).collect()
        );
        assert_eq!(held.not_after_unix_s - held.not_before_unix_s, 90 * 86_400);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&certificate_path(dir.path())), 0o600);
        assert_eq!(mode(&dir.path().join(FOLDER)), 0o700);
    }

    #[test]
    fn a_damaged_certificate_counts_as_none_and_a_damaged_account_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path(), "https://ca.example/directory");
        assert!(store.account().unwrap().is_none());
        fs::create_dir(dir.path().join(FOLDER)).unwrap();
        fs::write(certificate_path(dir.path()), "-----BEGIN CERT").unwrap();
        assert_eq!(store.certificate(), None);
        fs::write(store.account_path(), "{").unwrap();
        let said = store.account().map(drop).unwrap_err().to_string();
        assert!(said.contains("remove the file"), "{said}");
        let staging = Store::new(dir.path(), "https://staging.example/directory");
        assert!(
            staging.account().unwrap().is_none(),
            "each directory has its own"
        );
    }
}
