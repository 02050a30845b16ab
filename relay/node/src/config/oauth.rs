//! `auth.oauth_keys`: what the node shares with authorisation servers (RFC 7635).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sterna_stun::access_token::{TokenAlgorithm, TokenKey};
use zeroize::Zeroizing;

use super::secret::Secret;

/// A key that seals and opens access tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OAuthKey {
    /// Its name, which clients send as USERNAME.
    pub kid: String,
    /// The key itself in base64.
    pub key: Secret,
    /// What it seals with.
    #[serde(default)]
    pub algorithm: OAuthAlgorithm,
    /// From when on its tokens are taken, in seconds since 1970.
    #[serde(default)]
    pub not_before_unix_s: u64,
    /// From when on they are not taken any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after_unix_s: Option<u64>,
}

/// An AEAD by its name in a JSON Web Key (RFC 7518 §5.1).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub enum OAuthAlgorithm {
    /// AES in Galois/Counter Mode with a key of 128 bits.
    A128GCM,
    /// The same with 256 bits.
    #[default]
    A256GCM,
}

impl From<OAuthAlgorithm> for TokenAlgorithm {
    fn from(algorithm: OAuthAlgorithm) -> Self {
        match algorithm {
            OAuthAlgorithm::A128GCM => Self::A128Gcm,
            OAuthAlgorithm::A256GCM => Self::A256Gcm,
        }
    }
}

impl OAuthKey {
    /// The key, ready for use.
    ///
    /// # Errors
    /// A sentence with the remedy, without the key.
    pub fn token_key(&self) -> Result<TokenKey, String> {
        let algorithm = TokenAlgorithm::from(self.algorithm);
        let remedy = || {
            format!(
                "write {} random bytes in base64 (`sterna token oauth-key` makes them)",
                algorithm.key_bytes()
            )
        };
        let bytes = STANDARD
            .decode(self.key.expose())
            .map(Zeroizing::new)
            .map_err(|_| format!("the key of {:?} is not base64; {}", self.kid, remedy()))?;
        TokenKey::new(algorithm, &bytes)
            .map_err(|error| format!("the key of {:?}: {error}; {}", self.kid, remedy()))
    }
}
