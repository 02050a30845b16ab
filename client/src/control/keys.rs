//! A device's three keys, made once and kept.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rand::RngExt as _;
use serde::{Deserialize, Serialize};
use sterna_control_api::{DeviceIdentity, DeviceKey, RelayKey, SigningKey};
use sterna_flow::Secret;

/// What a device proves itself with.
#[derive(Clone)]
pub struct DeviceKeys {
    /// Its Ed25519 identity, which signs what it asks of the control service.
    pub identity: SigningKey,
    /// Its WireGuard key, by whose public half others name it.
    pub wireguard: Secret,
    /// What it shakes hands with relays with.
    pub relay: Secret,
    seed: [u8; 32],
}

/// Why a device has no keys.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeysError {
    /// The file cannot be read or made.
    #[error("the device's keys in {path}: {source}", path = .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file holds something else.
    #[error(
        "{path} holds no device's keys; name another file, or remove it to have new ones made, under which the device is \
         another one",
        path = .0.display()
    )]
    Malformed(PathBuf),
}

/// The file: JSON, 32 bytes in base64url each.
#[derive(Serialize, Deserialize)]
struct Kept {
    /// The seed of the identity.
    identity: RelayKey,
    wireguard: RelayKey,
    relay: RelayKey,
}

impl DeviceKeys {
    /// Makes keys of random bytes.
    #[must_use]
    pub fn generate() -> Self {
        let mut rng = rand::rng();
        Self::of(rng.random(), rng.random(), rng.random())
    }

    /// Reads the keys in a file, or makes them where there is none.
    ///
    /// # Errors
    /// [`KeysError`] names the file.
    pub fn load_or_make(path: &Path) -> Result<Self, KeysError> {
        let failed = |source| KeysError::Io {
            path: path.to_owned(),
            source,
        };
        match fs::read_to_string(path) {
            Ok(text) => {
                let kept: Kept = serde_json::from_str(&text)
                    .map_err(|_| KeysError::Malformed(path.to_owned()))?;
                Ok(Self::of(kept.identity.0, kept.wireguard.0, kept.relay.0))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let made = Self::generate();
                made.write(path).map_err(failed)?;
                Ok(made)
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// The device's identity.
    #[must_use]
    pub fn device_identity(&self) -> DeviceIdentity {
        DeviceIdentity(self.identity.verifying_key().to_bytes())
    }

    /// The name by which its peers know the device.
    #[must_use]
    pub fn device_key(&self) -> DeviceKey {
        DeviceKey(self.wireguard.public().0)
    }

    fn of(seed: [u8; 32], wireguard: [u8; 32], relay: [u8; 32]) -> Self {
        Self {
            identity: SigningKey::from_seed(&seed),
            wireguard: Secret::new(wireguard),
            relay: Secret::new(relay),
            seed,
        }
    }

    fn write(&self, path: &Path) -> io::Result<()> {
        let kept = Kept {
            identity: RelayKey(self.seed),
            wireguard: RelayKey(*self.wireguard.expose()),
            relay: RelayKey(*self.relay.expose()),
        };
        let text = serde_json::to_string_pretty(&kept).map_err(io::Error::other)? + "\n";
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    }
}

impl fmt::Debug for DeviceKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceKeys")
            .field("identity", &self.device_identity())
            .field("device_key", &self.device_key())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn keys_are_made_once_kept_and_seen_by_nobody_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("device.json");
        let first = DeviceKeys::load_or_make(&path).unwrap();
        let again = DeviceKeys::load_or_make(&path).unwrap();
        assert_eq!(format!("{first:?}"), format!("{again:?}"));
        assert_eq!(first.relay.expose(), again.relay.expose());
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_file_of_something_else_is_named_and_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("device.json");
        fs::write(&path, "{}").unwrap();
        let said = DeviceKeys::load_or_make(&path).unwrap_err().to_string();
        assert!(said.contains("device.json"), "{said}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "{}");
    }
}
