//! Secrets at rest.
//!
//! Signing keys and TURN secrets are encrypted (AES-256-GCM) with the key of a file beside the
//! service, so that a copy of the database alone signs nothing. Each is bound to its place: one that
//! is moved to another row does not open.
//!
//! ```text
//! key file   one line: 32 random bytes, base64url; mode 0600
//! sealed     1 byte: version 1 · 12 bytes: nonce, random · ciphertext · 16 bytes: tag
//! ```

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use aes_gcm::aead::{AeadInOut as _, KeyInit as _};
use aes_gcm::{Aes256Gcm, Nonce, Tag};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sterna_daemon::private_file;
use zeroize::Zeroizing;

use super::db::corrupt;
use crate::domain::KeySecret;
use crate::store::{OpenError, Result};

const VERSION: u8 = 1;
const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;

/// Encrypts and decrypts what is kept secret in the database.
pub(super) struct Sealer {
    cipher: Box<Aes256Gcm>,
}

impl Sealer {
    fn new(key: &[u8; 32]) -> Self {
        let cipher = Aes256Gcm::new_from_slice(key).expect("invariant: 32 bytes are a key");
        Self {
            cipher: Box::new(cipher),
        }
    }

    /// Reads the key file.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, OpenError> {
        let file = |error| OpenError::File {
            path: path.to_owned(),
            error,
        };
        let mode = match std::fs::metadata(path) {
            Ok(metadata) => metadata.mode(),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(file(error)),
        };
        if mode & 0o077 != 0 {
            return Err(OpenError::KeyFileExposed(path.to_owned()));
        }
        let text = Zeroizing::new(std::fs::read_to_string(path).map_err(file)?);
        let mut key = Zeroizing::new([0; 32]);
        match URL_SAFE_NO_PAD.decode_slice(text.trim(), key.as_mut()) {
            Ok(32) => Ok(Some(Self::new(&key))),
            _ => Err(OpenError::KeyFileMalformed(path.to_owned())),
        }
    }

    /// Makes the key file; where another has made it meanwhile, that one counts.
    pub(super) fn make(path: &Path) -> Result<Self, OpenError> {
        let key: Zeroizing<[u8; 32]> = Zeroizing::new(rand::random());
        let text = Zeroizing::new(URL_SAFE_NO_PAD.encode(key.as_ref()) + "\n");
        let file = |error| OpenError::File {
            path: path.to_owned(),
            error,
        };
        // Whole and on the disk before anything is encrypted with it, whoever's it is.
        private_file::create(path, text.as_bytes()).map_err(file)?;
        Self::read(path)?.ok_or_else(|| OpenError::KeyFileMissing(path.to_owned()))
    }

    /// Encrypts a secret for a place.
    pub(super) fn seal(&self, place: &str, secret: &KeySecret) -> Vec<u8> {
        let nonce: [u8; NONCE_BYTES] = rand::random();
        let mut sealed = vec![VERSION];
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(secret.reveal().as_bytes());
        let begin = 1 + NONCE_BYTES;
        let tag = self
            .cipher
            .encrypt_inout_detached(
                &Nonce::from(nonce),
                place.as_bytes(),
                (&mut sealed[begin..]).into(),
            )
            .expect("invariant: a secret is shorter than 64 GiB");
        sealed.extend_from_slice(&tag);
        sealed
    }

    /// Decrypts what was sealed for a place.
    pub(super) fn open(&self, place: &str, sealed: &[u8]) -> Result<KeySecret> {
        let secret = self.try_open(place, sealed);
        secret.ok_or_else(|| corrupt("sealed", &"not encrypted with this key for this place"))
    }

    pub(super) fn try_open(&self, place: &str, sealed: &[u8]) -> Option<KeySecret> {
        let (&[version], rest) = sealed.split_first_chunk::<1>()?;
        let (nonce, rest) = rest.split_first_chunk::<NONCE_BYTES>()?;
        let (ciphertext, tag) = rest.split_last_chunk::<TAG_BYTES>()?;
        if version != VERSION {
            return None;
        }
        let mut secret = Zeroizing::new(ciphertext.to_vec());
        self.cipher
            .decrypt_inout_detached(
                &Nonce::from(*nonce),
                place.as_bytes(),
                secret.as_mut_slice().into(),
                &Tag::from(*tag),
            )
            .ok()?;
        Some(KeySecret::new(std::str::from_utf8(&secret).ok()?))
    }
}

/// Where the check value lies that tells a wrong key file from a right one.
pub(super) const CHECK: &str = "key file check";

/// What the check value says.
pub(super) fn check_text() -> KeySecret {
    KeySecret::new("sterna control 1")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_secret_opens_in_its_place_with_its_key_and_nowhere_else() {
        let sealer = Sealer::new(&[1; 32]);
        let secret = KeySecret::new("a secret");
        let sealed = sealer.seal("here", &secret);
        assert_eq!(sealer.open("here", &sealed), Ok(secret.clone()));
        assert!(!sealed.windows(8).any(|part| part == b"a secret"));
        assert_eq!(sealer.try_open("there", &sealed), None);
        assert_eq!(Sealer::new(&[2; 32]).try_open("here", &sealed), None);
        for bit in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(sealer.try_open("here", &changed), None, "bit {bit}");
        }
        for len in 0..sealed.len() {
            assert_eq!(sealer.try_open("here", &sealed[..len]), None);
        }
        assert_ne!(sealer.seal("here", &secret), sealed, "each has its nonce");
    }

    #[test]
    fn a_key_file_is_made_once_for_its_owner_only_and_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.key");
        assert!(Sealer::read(&path).unwrap().is_none());
        let made = Sealer::make(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let sealed = made.seal("here", &check_text());
        let again = Sealer::make(&path).unwrap();
        assert_eq!(again.try_open("here", &sealed), Some(check_text()));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_key_file_that_others_can_read_or_that_holds_no_key_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.key");
        Sealer::make(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(
            Sealer::read(&path),
            Err(OpenError::KeyFileExposed(_))
        ));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, "too short\n").unwrap();
        assert!(matches!(
            Sealer::read(&path),
            Err(OpenError::KeyFileMalformed(_))
        ));
    }
}
