//! The node's own keys, made at its first start and the same ever after: its Ed25519 identity, and
//! the X25519 key that devices shake hands with.

use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sterna_control_api::{NodeId, RelayKey, SigningKey};
use sterna_daemon::private_file;
use sterna_flow::Secret;
use zeroize::Zeroizing;

/// Both keys, in the data directory: 64 bytes in base64, the identity first.
const FILE: &str = "node.key";

const KEY_BYTES: usize = 32;

/// Who the node is.
#[derive(Clone)]
pub struct Identity {
    signing: SigningKey,
    noise: Secret,
}

/// Why the node has no keys.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file cannot be read or made.
    #[error("the node's keys in {path}: {source}; give the node's user the right to node.data_dir")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// There is no such file yet, and it is not for the reader to make one.
    #[error(
        "{0} is not there yet: the node makes its keys at its first start; start it once, with this configuration"
    )]
    Missing(PathBuf),
    /// The file holds something else.
    #[error(
        "{0} does not hold a node's keys; put the right file back, or remove it to have new keys made, under which the \
         node is another one to its fleet"
    )]
    Malformed(PathBuf),
}

impl Identity {
    /// Reads the keys, or makes them.
    ///
    /// # Errors
    /// [`IdentityError`], with the remedy.
    pub fn load(data_dir: &Path) -> Result<Self, IdentityError> {
        let path = data_dir.join(FILE);
        let failed = |source| IdentityError::Io {
            path: path.clone(),
            source,
        };
        if !path.exists() {
            let fresh: Zeroizing<[u8; 2 * KEY_BYTES]> = Zeroizing::new(rand::random());
            let text = Zeroizing::new(URL_SAFE_NO_PAD.encode(*fresh) + "\n");
            private_file::make_dir(data_dir).map_err(failed)?;
            private_file::create(&path, text.as_bytes()).map_err(failed)?;
        }
        Self::read(data_dir)
    }

    /// Reads the keys that the node has made.
    ///
    /// # Errors
    /// [`IdentityError`], with the remedy.
    pub fn read(data_dir: &Path) -> Result<Self, IdentityError> {
        let path = data_dir.join(FILE);
        if !path.exists() {
            return Err(IdentityError::Missing(path));
        }
        let failed = |source| IdentityError::Io {
            path: path.clone(),
            source,
        };
        let text = Zeroizing::new(std::fs::read_to_string(&path).map_err(failed)?);
        Self::parse(&text).ok_or(IdentityError::Malformed(path))
    }

    fn parse(text: &str) -> Option<Self> {
        let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(text.trim()).ok()?);
        let (identity, noise) = bytes.split_at_checked(KEY_BYTES)?;
        Some(Self {
            signing: SigningKey::from_seed(identity.try_into().ok()?),
            noise: Secret::new(noise.try_into().ok()?),
        })
    }

    /// The node's name in the fleet.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        NodeId(self.signing.verifying_key().to_bytes())
    }

    /// What devices shake hands with; the relay map tells them.
    #[must_use]
    pub fn noise_key(&self) -> RelayKey {
        self.noise.public()
    }

    /// What signs the node's calls of the control service.
    pub(crate) fn signing_key(&self) -> &SigningKey {
        &self.signing
    }

    pub(super) fn noise_secret(&self) -> Secret {
        self.noise.clone()
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity")
            .field("node", &self.node_id())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn keys_are_made_once_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = dir.path().join("data");
        let first = Identity::load(&data_dir).unwrap();
        let again = Identity::load(&data_dir).unwrap();
        assert_eq!(first.node_id(), again.node_id());
        assert_eq!(first.noise_key(), again.noise_key());
        assert_ne!(first.node_id().as_bytes(), first.noise_key().as_bytes());
    }

    #[test]
    fn whoever_only_reads_makes_no_keys() {
        let dir = tempfile::tempdir().unwrap();
        let said = Identity::read(dir.path()).unwrap_err().to_string();
        assert!(said.contains("start it once"), "{said}");
        let made = Identity::load(dir.path()).unwrap();
        assert_eq!(
            Identity::read(dir.path()).unwrap().node_id(),
            made.node_id()
        );
    }

    #[test]
    fn a_damaged_file_is_named_and_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        std::fs::write(&path, "AAAA").unwrap();
        let said = Identity::load(dir.path()).unwrap_err().to_string();
        assert!(said.contains("node.key"), "{said}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "AAAA");
    }
}
