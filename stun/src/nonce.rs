//! Stateless nonces (RFC 8489 §9.2, §18.1).
//!
//! ```text
//! | 9 characters | 4        | 20: base64 of 1 + 2 + 12 bytes |
//! | "obMatJos2"  | features | key id, minute, MAC            |
//! ```
//!
//! The MAC is HMAC-SHA256, cut to 96 bits, over key id, feature bits, minute, the client's address
//! and port, and the server's. So a nonce is valid for one client address only, tells when it was
//! issued, cannot have its feature bits taken away (RFC 8489 §9.2.1: bid-down protection), and
//! costs the server no memory. Its 33 characters keep a 401 within the amplification budget.
//!
//! The minute is the low 16 bits of the true one: they are completed to the one nearest to now, and
//! the MAC is over the completed one, so that a nonce does not come back to life after 45 days.

use std::net::{IpAddr, SocketAddr};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// How long a nonce stays valid, in seconds. RFC 8656 §5: a nonce should expire "at least once
/// every hour during the lifetime of the allocation".
pub const WINDOW_S: u64 = 3600;

/// How far ahead another node's clock may be, in seconds, for its nonces to be valid here.
pub const FUTURE_SKEW_S: u64 = 120;

/// The nonces of one client within a bucket are the same, in seconds.
pub const BUCKET_S: u64 = 60;

/// The length of a nonce that is issued.
pub const NONCE_BYTES: usize = PREFIX_BYTES + BODY_CHARS;

/// RFC 8489 §9.2: the cookie and the feature bits in base64 stand before every nonce, also where
/// no bit is set.
const COOKIE: &[u8; 9] = b"obMatJos2";
const PREFIX_BYTES: usize = COOKIE.len() + 4;
const MAC_BYTES: usize = 12;
const BODY_BYTES: usize = 1 + 2 + MAC_BYTES;
const BODY_CHARS: usize = BODY_BYTES / 3 * 4;

const _: () = assert!(BODY_BYTES.is_multiple_of(3), "base64 without padding");
const _: () = assert!(
    NONCE_BYTES == 33,
    "what the amplification budget counts with"
);
const _: () = assert!(WINDOW_S / BUCKET_S < 1 << 15 && FUTURE_SKEW_S / BUCKET_S < 1 << 15);

/// The security features that a nonce announces (RFC 8489 §18.1).
///
/// "Bit 0 is the leftmost bit", says the RFC, and the example of RFC 8656 §20 (`gAAA`) follows it;
/// verified erratum 6290 turns the order round, as the vector of RFC 8489 §B.1 (`AAAC`) has it.
/// There are clients of both kinds, so each feature is announced at both ends of the 24 bits, and a
/// bit at either end counts: to each kind, the other end's bits are unassigned ones.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Features {
    /// Bit 0: the server offers PASSWORD-ALGORITHMS.
    pub password_algorithms: bool,
    /// Bit 1: the server takes USERHASH for USERNAME.
    pub username_anonymity: bool,
}

impl Features {
    /// No feature: `AAAA` on the wire.
    pub const NONE: Self = Self {
        password_algorithms: false,
        username_anonymity: false,
    };

    #[inline]
    fn bits(self) -> [u8; 3] {
        let (algorithms, anonymity) = (
            u8::from(self.password_algorithms),
            u8::from(self.username_anonymity),
        );
        [
            algorithms << 7 | anonymity << 6,
            0,
            algorithms | anonymity << 1,
        ]
    }

    /// Reads the feature bits of any server's nonce, also of one that is not ours.
    ///
    /// None where the nonce does not begin with the cookie, or no base64 follows it.
    #[must_use]
    pub fn of(nonce: &[u8]) -> Option<Self> {
        let bits = nonce.strip_prefix(COOKIE)?.get(..4)?;
        let mut set = [0; 3];
        STANDARD.decode_slice(bits, &mut set).ok()?;
        Some(Self::of_bits(set))
    }

    #[inline]
    fn of_bits(bits: [u8; 3]) -> Self {
        Self {
            password_algorithms: bits[0] & 0x80 != 0 || bits[2] & 0x01 != 0,
            username_anonymity: bits[0] & 0x40 != 0 || bits[2] & 0x02 != 0,
        }
    }
}

/// One key, shared by the nodes of a fleet; known by its id.
#[derive(Clone)]
pub struct NonceKey {
    id: u8,
    state: Hmac<Sha256>,
}

impl NonceKey {
    /// Takes a key of 32 random bytes. Keys that live at the same time have different ids.
    #[must_use]
    pub fn new(id: u8, key: &[u8; 32]) -> Self {
        let state = Hmac::new_from_slice(key);
        Self {
            id,
            state: state.expect("invariant: an HMAC takes a key of any length"),
        }
    }

    /// The key's id.
    #[must_use]
    pub fn id(&self) -> u8 {
        self.id
    }

    // Two blocks of SHA-256: what is hashed fits one, the key's block is cached.
    fn mac(&self, minute: u64, features: [u8; 3], ends: &Ends) -> [u8; MAC_BYTES] {
        let mut state = self.state.clone();
        let mut input = [0; 12 + Ends::BYTES];
        input[0] = self.id;
        input[1..4].copy_from_slice(&features);
        input[4..12].copy_from_slice(&minute.to_be_bytes());
        input[12..].copy_from_slice(&ends.0);
        state.update(&input);
        let mut mac = [0; MAC_BYTES];
        mac.copy_from_slice(&state.finalize().into_bytes()[..MAC_BYTES]);
        mac
    }
}

impl std::fmt::Debug for NonceKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NonceKey({}, …)", self.id)
    }
}

/// The two addresses that a nonce is bound to, in one form for both families.
struct Ends([u8; Ends::BYTES]);

impl Ends {
    const BYTES: usize = 2 * (16 + 2);

    fn new(client: SocketAddr, server: SocketAddr) -> Self {
        let mut bytes = [0; Self::BYTES];
        for (chunk, addr) in bytes.chunks_exact_mut(18).zip([client, server]) {
            let ip = match addr.ip() {
                IpAddr::V4(ip) => ip.to_ipv6_mapped(),
                IpAddr::V6(ip) => ip,
            };
            chunk[..16].copy_from_slice(&ip.octets());
            chunk[16..].copy_from_slice(&addr.port().to_be_bytes());
        }
        Self(bytes)
    }
}

/// A nonce as it goes into the attribute.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct IssuedNonce([u8; NONCE_BYTES]);

impl IssuedNonce {
    /// The characters, all of ASCII.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for IssuedNonce {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.as_bytes()))
    }
}

/// What a nonce is worth.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Check {
    /// Issued for this client by a node of this fleet, and not long ago.
    Valid(Features),
    /// Too old, or nobody's: 438 with a new one.
    Stale,
}

/// The keys of a node: it issues with the current one and accepts both.
#[derive(Clone, Debug)]
pub struct NonceKeys {
    current: NonceKey,
    previous: Option<NonceKey>,
}

impl NonceKeys {
    /// Takes the key to issue with, and the one that was issued with until lately.
    #[must_use]
    pub fn new(current: NonceKey, previous: Option<NonceKey>) -> Self {
        debug_assert!(
            previous
                .as_ref()
                .is_none_or(|previous| previous.id != current.id),
            "two live keys have different ids"
        );
        Self { current, previous }
    }

    /// Makes `next` the current key and keeps the one before it.
    pub fn rotate(&mut self, next: NonceKey) {
        self.previous = Some(std::mem::replace(&mut self.current, next));
    }

    /// Issues a nonce for a client, as it is at `unix_s`.
    #[must_use]
    pub fn issue(
        &self,
        client: SocketAddr,
        server: SocketAddr,
        unix_s: u64,
        features: Features,
    ) -> IssuedNonce {
        let minute = unix_s / BUCKET_S;
        let bits = features.bits();
        let [.., high, low] = minute.to_be_bytes();
        let mut body = [0; BODY_BYTES];
        body[..3].copy_from_slice(&[self.current.id, high, low]);
        body[3..].copy_from_slice(&self.current.mac(minute, bits, &Ends::new(client, server)));

        let mut nonce = IssuedNonce([0; NONCE_BYTES]);
        let (prefix, text) = nonce.0.split_at_mut(PREFIX_BYTES);
        prefix[..COOKIE.len()].copy_from_slice(COOKIE);
        encode(&bits, &mut prefix[COOKIE.len()..]);
        encode(&body, text);
        nonce
    }

    /// Tells whether a nonce is valid for this client at `unix_s`.
    #[must_use]
    pub fn check(
        &self,
        nonce: &[u8],
        client: SocketAddr,
        server: SocketAddr,
        unix_s: u64,
    ) -> Check {
        self.checked(nonce, client, server, unix_s)
            .map_or(Check::Stale, Check::Valid)
    }

    fn checked(
        &self,
        nonce: &[u8],
        client: SocketAddr,
        server: SocketAddr,
        unix_s: u64,
    ) -> Option<Features> {
        let nonce: &[u8; NONCE_BYTES] = nonce.try_into().ok()?;
        let (prefix, text) = nonce.split_at(PREFIX_BYTES);
        let mut bits = [0; 3];
        STANDARD
            .decode_slice(prefix.strip_prefix(COOKIE)?, &mut bits)
            .ok()?;
        let mut body = [0; BODY_BYTES];
        STANDARD.decode_slice(text, &mut body).ok()?;
        let [id, high, low, mac @ ..] = body;

        let now = unix_s / BUCKET_S;
        let minute = nearest(now, u16::from_be_bytes([high, low]));
        // Not secret: who wants to know the age of his nonce can remember when he got it.
        let (oldest, newest) = (
            now.saturating_sub(WINDOW_S / BUCKET_S),
            now + FUTURE_SKEW_S / BUCKET_S,
        );
        if minute < oldest || minute > newest {
            return None;
        }
        let key = std::iter::once(&self.current)
            .chain(&self.previous)
            .find(|key| key.id == id)?;
        let expected = key.mac(minute, bits, &Ends::new(client, server));
        bool::from(expected.ct_eq(&mac)).then(|| Features::of_bits(bits))
    }
}

/// The minute nearest to `now` whose low 16 bits are `low`.
fn nearest(now: u64, low: u16) -> u64 {
    let [.., high_now, low_now] = now.to_be_bytes();
    let ahead = low.wrapping_sub(u16::from_be_bytes([high_now, low_now]));
    if ahead < 1 << 15 {
        now.saturating_add(u64::from(ahead))
    } else {
        now.saturating_sub(u64::from(ahead.wrapping_neg()))
    }
}

/// Writes base64 that fills `out` exactly.
fn encode(bytes: &[u8], out: &mut [u8]) {
    let written = STANDARD.encode_slice(bytes, out);
    debug_assert!(written.is_ok(), "three bytes make four characters");
}

#[cfg(test)]
mod tests;
