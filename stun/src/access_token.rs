//! The inside of ACCESS-TOKEN: self-contained tokens of third-party authorisation (RFC 7635 §6.2).
//!
//! ```text
//! | 2            | 12    | 2          | 20 to 64 | 8         | 4        | 16       |
//! | nonce length | nonce | key length | key      | timestamp | lifetime | AEAD tag |
//!                         |<---------- encrypted ---------->|
//! ```
//!
//! An authorisation server seals a session key for one STUN server, by a key that it shares with that
//! server ([`TokenKey`]); the server's name is the associated data. The client carries the token and
//! cannot look inside: it was given the session key beside it, and signs its requests with that.
//!
//! Opening a token never allocates before the AEAD has vouched for every byte of it.

use std::fmt;

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes128Gcm, Aes256Gcm, Nonce, Tag};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::be16;
use crate::integrity::Key;

/// The length of an AEAD's nonce (RFC 5116 §5.1, §5.2: no other is allowed).
pub const NONCE_BYTES: usize = 12;
/// The length of an AEAD's tag (RFC 5116 §5.1).
pub const TAG_BYTES: usize = 16;
/// The shortest session key: 160 bits, as long as what MESSAGE-INTEGRITY makes of it.
pub const SESSION_KEY_BYTES_MIN: usize = 20;
/// The longest session key: a block of HMAC-SHA256.
pub const SESSION_KEY_BYTES_MAX: usize = 64;
/// How far clocks may be apart, in seconds: Delta, as RFC 7635 §7 recommends.
pub const CLOCK_DELTA_S: u64 = 5;

const LENGTH_BYTES: usize = 2;
const TAIL_BYTES: usize = 8 + 4;
const BLOCK_BYTES_MAX: usize = LENGTH_BYTES + SESSION_KEY_BYTES_MAX + TAIL_BYTES;
const OVERHEAD_BYTES: usize = LENGTH_BYTES + NONCE_BYTES + TAG_BYTES;
/// The longest token that may be opened.
pub const TOKEN_BYTES_MAX: usize = OVERHEAD_BYTES + BLOCK_BYTES_MAX;
/// The shortest token that may be opened.
pub const TOKEN_BYTES_MIN: usize =
    OVERHEAD_BYTES + LENGTH_BYTES + SESSION_KEY_BYTES_MIN + TAIL_BYTES;

// RFC 7635 §6.2: tokens have to leave room in a STUN message of 548 bytes.
const _: () = assert!(TOKEN_BYTES_MAX <= 128);

/// The AEADs of RFC 7635 §4.1.1, by their names in a JSON Web Key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokenAlgorithm {
    /// AEAD_AES_128_GCM.
    A128Gcm,
    /// AEAD_AES_256_GCM.
    A256Gcm,
}

impl TokenAlgorithm {
    /// Every algorithm.
    pub const ALL: [Self; 2] = [Self::A128Gcm, Self::A256Gcm];

    /// The name, as RFC 7518 §5.1 has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::A128Gcm => "A128GCM",
            Self::A256Gcm => "A256GCM",
        }
    }

    /// The length of its keys.
    #[must_use]
    pub const fn key_bytes(self) -> usize {
        match self {
            Self::A128Gcm => 16,
            Self::A256Gcm => 32,
        }
    }
}

/// A key has another length than its algorithm wants.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a key of {algorithm} has {expected} bytes, not {found}", algorithm = .algorithm.as_str(), expected = .algorithm.key_bytes())]
pub struct WrongKeyLength {
    /// What the key was for.
    pub algorithm: TokenAlgorithm,
    /// How long it was.
    pub found: usize,
}

/// Why a token is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// It is no token of this form, before or behind the seal.
    #[error("the token is malformed")]
    Malformed,
    /// Another key, another server's name, or a changed bit.
    #[error("the token was not sealed for this server by this key")]
    Forged,
    /// Its time is over, or has not come.
    #[error("the token's time is over, or has not come")]
    OutOfTime,
}

/// The key that an authorisation server and a STUN server share: it seals and opens tokens.
///
/// Wiped from memory when it is dropped, and never printed.
#[derive(Clone)]
pub struct TokenKey {
    bytes: Zeroizing<Vec<u8>>,
    cipher: Cipher,
}

#[derive(Clone)]
enum Cipher {
    A128Gcm(Box<Aes128Gcm>),
    A256Gcm(Box<Aes256Gcm>),
}

impl TokenKey {
    /// Takes a key of the algorithm's length.
    pub fn new(algorithm: TokenAlgorithm, key: &[u8]) -> Result<Self, WrongKeyLength> {
        let wrong = |_| WrongKeyLength {
            algorithm,
            found: key.len(),
        };
        let cipher = match algorithm {
            TokenAlgorithm::A128Gcm => {
                Cipher::A128Gcm(Box::new(Aes128Gcm::new_from_slice(key).map_err(wrong)?))
            }
            TokenAlgorithm::A256Gcm => {
                Cipher::A256Gcm(Box::new(Aes256Gcm::new_from_slice(key).map_err(wrong)?))
            }
        };
        Ok(Self {
            bytes: Zeroizing::new(key.to_vec()),
            cipher,
        })
    }

    /// What it seals with.
    #[must_use]
    pub fn algorithm(&self) -> TokenAlgorithm {
        match self.cipher {
            Cipher::A128Gcm(_) => TokenAlgorithm::A128Gcm,
            Cipher::A256Gcm(_) => TokenAlgorithm::A256Gcm,
        }
    }

    /// Opens a token that was sealed for the server of this name (RFC 7635 §6.2, §7).
    ///
    /// # Errors
    /// [`TokenError::Malformed`] or [`TokenError::Forged`]; whether its time is over is asked of
    /// what comes out.
    pub fn open(&self, server_name: &str, token: &[u8]) -> Result<SessionToken, TokenError> {
        if !(TOKEN_BYTES_MIN..=TOKEN_BYTES_MAX).contains(&token.len())
            || usize::from(be16(token, 0)) != NONCE_BYTES
        {
            return Err(TokenError::Malformed);
        }
        let (nonce, sealed) = token[LENGTH_BYTES..].split_at(NONCE_BYTES);
        let (sealed, tag) = sealed.split_at(sealed.len() - TAG_BYTES);
        let mut room = Zeroizing::new([0; BLOCK_BYTES_MAX]);
        let block = &mut room[..sealed.len()];
        block.copy_from_slice(sealed);
        let nonce: Nonce<_> = fixed::<NONCE_BYTES>(nonce).into();
        let tag: Tag = fixed::<TAG_BYTES>(tag).into();
        let name = server_name.as_bytes();
        match &self.cipher {
            Cipher::A128Gcm(aead) => {
                aead.decrypt_inout_detached(&nonce, name, (&mut *block).into(), &tag)
            }
            Cipher::A256Gcm(aead) => {
                aead.decrypt_inout_detached(&nonce, name, (&mut *block).into(), &tag)
            }
        }
        .map_err(|_| TokenError::Forged)?;
        SessionToken::of(block).ok_or(TokenError::Malformed)
    }

    /// Seals a session key for the server of this name; returns the token's length.
    ///
    /// A nonce must not be used twice with one key (RFC 5116 §3.1): give it 12 random bytes.
    pub fn seal(
        &self,
        server_name: &str,
        nonce: &[u8; NONCE_BYTES],
        token: &SessionToken,
        out: &mut [u8; TOKEN_BYTES_MAX],
    ) -> usize {
        let head = LENGTH_BYTES + NONCE_BYTES;
        out[..LENGTH_BYTES].copy_from_slice(&length(NONCE_BYTES));
        out[LENGTH_BYTES..head].copy_from_slice(nonce);
        let len = token.write(&mut out[head..]);
        let block = &mut out[head..head + len];
        let nonce: Nonce<_> = (*nonce).into();
        let name = server_name.as_bytes();
        let tag = match &self.cipher {
            Cipher::A128Gcm(aead) => aead.encrypt_inout_detached(&nonce, name, block.into()),
            Cipher::A256Gcm(aead) => aead.encrypt_inout_detached(&nonce, name, block.into()),
        };
        let tag = tag.expect("invariant: the block is far below what GCM may seal");
        let end = head + len + TAG_BYTES;
        out[head + len..end].copy_from_slice(&tag);
        end
    }
}

impl PartialEq for TokenKey {
    fn eq(&self, other: &Self) -> bool {
        self.bytes.ct_eq(&other.bytes).into()
    }
}

impl Eq for TokenKey {}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenKey({})", self.algorithm().as_str())
    }
}

/// What a token holds: a session key, and from when for how long it is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionToken {
    key: Key,
    timestamp: u64,
    lifetime_s: u32,
}

/// A session key is shorter than [`SESSION_KEY_BYTES_MIN`] or longer than
/// [`SESSION_KEY_BYTES_MAX`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a session key has {SESSION_KEY_BYTES_MIN} to {SESSION_KEY_BYTES_MAX} bytes, not {0}")]
pub struct WrongSessionKey(pub usize);

impl SessionToken {
    /// Makes a token of a session key that is good for `lifetime_s` from `issued_unix_s` on.
    pub fn new(key: &Key, issued_unix_s: u64, lifetime_s: u32) -> Result<Self, WrongSessionKey> {
        let len = key.as_bytes().len();
        if !(SESSION_KEY_BYTES_MIN..=SESSION_KEY_BYTES_MAX).contains(&len) {
            return Err(WrongSessionKey(len));
        }
        Ok(Self {
            key: key.clone(),
            timestamp: issued_unix_s << 16,
            lifetime_s,
        })
    }

    /// The key of MESSAGE-INTEGRITY and MESSAGE-INTEGRITY-SHA256.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// When it was issued: 48 bits of seconds since 1970, 16 bits of 64,000ths of a second.
    #[must_use]
    pub fn timestamp(&self) -> u64 {
        self.timestamp
    }

    /// How long it is good for, in seconds.
    #[must_use]
    pub fn lifetime_s(&self) -> u32 {
        self.lifetime_s
    }

    /// What tells it from other tokens without telling its key: a hash.
    #[must_use]
    pub fn id(&self) -> [u8; 8] {
        let mut hash = Sha256::new();
        hash.update(b"sterna access token");
        hash.update(self.key.as_bytes());
        fixed(&hash.finalize()[..8])
    }

    /// How many whole seconds it is good for from `unix_s` on: never none, and never more than its
    /// lifetime (RFC 7635 §9).
    ///
    /// # Errors
    /// [`TokenError::OutOfTime`].
    pub fn left_s(&self, unix_s: u64) -> Result<u32, TokenError> {
        // RFC 7635 §7: lifetime + Delta > abs(RDnew - TS), in whole seconds.
        let apart_s = unix_s.abs_diff(self.timestamp >> 16);
        let left_s = (u64::from(self.lifetime_s) + CLOCK_DELTA_S).saturating_sub(apart_s);
        if self.lifetime_s == 0 || left_s == 0 {
            return Err(TokenError::OutOfTime);
        }
        Ok(u32::try_from(left_s).map_or(self.lifetime_s, |left_s| left_s.min(self.lifetime_s)))
    }

    /// Reads an opened block.
    fn of(block: &[u8]) -> Option<Self> {
        let key_bytes = usize::from(be16(block, 0));
        let tail = block.len().checked_sub(TAIL_BYTES)?;
        let key = block.get(LENGTH_BYTES..LENGTH_BYTES + key_bytes)?;
        if LENGTH_BYTES + key_bytes != tail
            || !(SESSION_KEY_BYTES_MIN..=SESSION_KEY_BYTES_MAX).contains(&key_bytes)
        {
            return None;
        }
        let (timestamp, lifetime) = block[tail..].split_at(8);
        Some(Self {
            key: Key::new(key),
            timestamp: u64::from_be_bytes(fixed(timestamp)),
            lifetime_s: u32::from_be_bytes(fixed(lifetime)),
        })
    }

    /// Writes a block to be sealed; returns its length.
    fn write(&self, out: &mut [u8]) -> usize {
        let key = self.key.as_bytes();
        let tail = LENGTH_BYTES + key.len();
        out[..LENGTH_BYTES].copy_from_slice(&length(key.len()));
        out[LENGTH_BYTES..tail].copy_from_slice(key);
        out[tail..tail + 8].copy_from_slice(&self.timestamp.to_be_bytes());
        out[tail + 8..tail + TAIL_BYTES].copy_from_slice(&self.lifetime_s.to_be_bytes());
        tail + TAIL_BYTES
    }
}

fn length(bytes: usize) -> [u8; LENGTH_BYTES] {
    u16::try_from(bytes)
        .expect("invariant: the longest token is far below 64 KiB")
        .to_be_bytes()
}

/// An array of a slice that was cut to this length.
fn fixed<const N: usize>(slice: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(slice);
    array
}

#[cfg(test)]
mod tests;
