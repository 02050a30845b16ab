//! Keys out of names and passwords (RFC 8489 §9.2.2, §14.4, §18.5; draft-uberti-behave-turn-rest).
//!
//! The key functions hash what they are given, byte by byte. Passwords, realms and user names are
//! to be prepared first by [`opaque_string`], where they enter the system: when the configuration
//! is read, not when a packet is. What came over the wire (USERNAME of a time-limited credential)
//! has been prepared by its sender and is taken as it is.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use precis_profiles::OpaqueString;
use precis_profiles::precis_core::profile::PrecisFastInvocation;
use sha1::Sha1;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::integrity::Key;

/// The text cannot be a password, realm or user name (RFC 8265 §4.2).
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("empty, or holds characters that RFC 8265 §4.2 forbids (control characters among them)")]
pub struct Disallowed;

/// Prepares a password, realm or user name by the OpaqueString profile (RFC 8265 §4.2).
///
/// ASCII without control characters comes back as it is. Elsewhere other spaces become the space
/// of ASCII and the text is normalised to NFC; nothing is case-folded.
pub fn opaque_string(text: &str) -> Result<Cow<'_, str>, Disallowed> {
    if !text.is_empty() && text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Ok(Cow::Borrowed(text));
    }
    OpaqueString::enforce(text).map_err(|_| Disallowed)
}

/// The key of long-term credentials with MD5 (RFC 8489 §18.5.1.1).
#[must_use]
pub fn long_term_key_md5(user: &str, realm: &str, password: &str) -> Key {
    let mut key: [u8; 16] = joined::<Md5>(&[user, realm, password]).into();
    let made = Key::new(&key);
    zeroize::Zeroize::zeroize(&mut key);
    made
}

/// The key of long-term credentials with SHA-256 (RFC 8489 §18.5.1.2).
#[must_use]
pub fn long_term_key_sha256(user: &str, realm: &str, password: &str) -> Key {
    let mut key: [u8; 32] = joined::<Sha256>(&[user, realm, password]).into();
    let made = Key::new(&key);
    zeroize::Zeroize::zeroize(&mut key);
    made
}

/// USERHASH: SHA-256 over user and realm (RFC 8489 §14.4).
#[must_use]
pub fn userhash(user: &str, realm: &str) -> [u8; 32] {
    joined::<Sha256>(&[user, realm]).into()
}

/// The hash over parts with colons between them.
fn joined<D: Digest>(parts: &[&str]) -> md5::digest::Output<D> {
    let mut hash = D::new();
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            hash.update(b":");
        }
        hash.update(part.as_bytes());
    }
    hash.finalize()
}

/// The password of a time-limited credential: base64 of HMAC-SHA1 over the user name, under a
/// secret that the node shares with whoever gives out credentials.
#[must_use]
pub fn rest_password(secret: &[u8], username: &str) -> Zeroizing<String> {
    let state = Hmac::<Sha1>::new_from_slice(secret);
    let mut state = state.expect("invariant: an HMAC takes a key of any length");
    state.update(username.as_bytes());
    Zeroizing::new(STANDARD.encode(state.finalize().into_bytes()))
}

/// A time-limited user name's parts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RestUsername<'a> {
    /// Until when an allocation may be made, in seconds since 1970.
    pub expiry_unix_s: u64,
    /// Whose it is: what quotas are counted by. May be empty.
    pub user: &'a str,
}

/// Takes a time-limited user name apart: `1762000000:alice`, or the time alone.
///
/// None where the part before the first colon is not a number of decimal digits: then it is
/// somebody's plain name.
#[must_use]
pub fn parse_rest_username(username: &str) -> Option<RestUsername<'_>> {
    let (expiry, user) = username.split_once(':').unwrap_or((username, ""));
    // `parse` would also take a sign.
    if !expiry.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(RestUsername {
        expiry_unix_s: expiry.parse().ok()?,
        user,
    })
}
