//! The keys of third-party authorisation (RFC 7635): what this server shares with authorisation
//! servers, to open the tokens that they seal for its clients.

use std::sync::Arc;

use sterna_stun::{
    access_token::{SessionToken, TokenError, TokenKey},
    credentials::userhash,
};

/// A key that is shared with an authorisation server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OAuthKey {
    /// The key's name: what its tokens come under as USERNAME.
    pub kid: Box<str>,
    /// The key.
    pub key: TokenKey,
    /// Its tokens are refused before this time, in seconds since 1970.
    pub not_before_unix_s: u64,
    /// Its tokens are refused from this time on; none: no end.
    pub not_after_unix_s: Option<u64>,
}

impl OAuthKey {
    fn is_current(&self, unix_s: u64) -> bool {
        self.not_before_unix_s <= unix_s && self.not_after_unix_s.is_none_or(|end| unix_s < end)
    }
}

/// All keys, and the name that tokens have to be sealed for; without a key, third-party
/// authorisation is off.
#[derive(Clone, Debug, Default)]
pub struct OAuth {
    server_name: Box<str>,
    keys: Vec<Known>,
}

#[derive(Clone, Debug)]
struct Known {
    key: Arc<OAuthKey>,
    /// RFC 8489 §14.4: a name that is to stay hidden comes as a hash of it and the realm.
    hash: [u8; 32],
}

/// Why a token opened nothing, as it is counted.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TokenRefusal {
    /// No key of this name, or not now.
    UnknownKey,
    /// Not of the form of a token.
    Malformed,
    /// Sealed by another key, for another server, or changed.
    Forged,
    /// Its time is over, or has not come.
    OutOfTime,
    /// The request is not signed with the session key that is in it.
    WrongMac,
}

impl TokenRefusal {
    /// Every reason, in the order of its index.
    pub const ALL: [Self; 5] = [
        Self::UnknownKey,
        Self::Malformed,
        Self::Forged,
        Self::OutOfTime,
        Self::WrongMac,
    ];

    /// The stable name used in metric labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UnknownKey => "unknown_key",
            Self::Malformed => "malformed",
            Self::Forged => "forged",
            Self::OutOfTime => "out_of_time",
            Self::WrongMac => "wrong_mac",
        }
    }
}

impl From<TokenError> for TokenRefusal {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Forged => Self::Forged,
            TokenError::OutOfTime => Self::OutOfTime,
            _ => Self::Malformed,
        }
    }
}

impl OAuth {
    /// Keys for the server of this name, whose realm is `realm`.
    pub fn new(server_name: &str, realm: &str, keys: impl IntoIterator<Item = OAuthKey>) -> Self {
        let known = |key: OAuthKey| Known {
            hash: userhash(&key.kid, realm),
            key: Arc::new(key),
        };
        Self {
            server_name: server_name.into(),
            keys: keys.into_iter().map(known).collect(),
        }
    }

    /// Tells whether there is no key: third-party authorisation is off.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The name that tokens are sealed for, as THIRD-PARTY-AUTHORIZATION tells it.
    #[must_use]
    pub fn server_name(&self) -> &str {
        &self.server_name
    }

    /// The name of the key behind a USERHASH.
    pub(crate) fn name(&self, hash: &[u8; 32]) -> Option<&str> {
        let mut keys = self.keys.iter();
        let known = keys.find(|known| known.hash == *hash)?;
        Some(&known.key.kid)
    }

    /// Tells whether this very key is still configured, whatever the time.
    pub(crate) fn has(&self, key: &OAuthKey) -> bool {
        self.keys
            .iter()
            .any(|known| known.key.kid == key.kid && known.key.key == key.key)
    }

    /// Opens a token of the key that `kid` names; tells for how long it is good from now on.
    pub(crate) fn open(
        &self,
        kid: &str,
        token: &[u8],
        unix_s: u64,
    ) -> Result<(Arc<OAuthKey>, SessionToken, u32), TokenRefusal> {
        let mut keys = self.keys.iter().map(|known| &known.key);
        // RFC 7635 §7: the key is chosen by the kid, which is no secret.
        let key = keys
            .find(|key| *key.kid == *kid && key.is_current(unix_s))
            .ok_or(TokenRefusal::UnknownKey)?;
        let token = key.key.open(&self.server_name, token)?;
        let left_s = token.left_s(unix_s)?;
        Ok((Arc::clone(key), token, left_s))
    }
}
