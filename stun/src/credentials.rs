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

/// How often a prepared text may change when it is prepared again (RFC 8264 §7).
const PREPARED_AGAIN_MAX: usize = 3;

/// Prepares a password, realm or user name by the OpaqueString profile (RFC 8265 §4.2).
///
/// ASCII without control characters comes back as it is. Elsewhere other spaces become the space
/// of ASCII and the text is normalised to NFC; nothing is case-folded.
pub fn opaque_string(text: &str) -> Result<Cow<'_, str>, Disallowed> {
    if !text.is_empty() && text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Ok(Cow::Borrowed(text));
    }
    // RFC 8264 §7: the rules are applied until nothing changes any more, at most three times again.
    let mut prepared = OpaqueString::enforce(text)
        .map_err(|_| Disallowed)?
        .into_owned();
    for _ in 0..PREPARED_AGAIN_MAX {
        let again = OpaqueString::enforce(&prepared).map_err(|_| Disallowed)?;
        if again == prepared {
            return Ok(Cow::Owned(prepared));
        }
        prepared = again.into_owned();
    }
    Err(Disallowed)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ascii_is_prepared_already() {
        assert_eq!(
            opaque_string("correct horse~ battery"),
            Ok("correct horse~ battery".into())
        );
        assert!(matches!(opaque_string("plain"), Ok(Cow::Borrowed(_))));
    }

    // RFC 8265 §4.2.2: non-ASCII spaces become U+0020; then NFC.
    #[test]
    fn other_spaces_and_decomposed_letters_become_the_common_form() {
        assert_eq!(opaque_string("a\u{2003}b"), Ok("a b".into()));
        assert_eq!(opaque_string("Ko\u{308}ln"), Ok("K\u{F6}ln".into()));
        assert_eq!(
            opaque_string("\u{3A3}"),
            Ok("\u{3A3}".into()),
            "nothing is case-folded"
        );
    }

    // U+0387 is allowed, but NFC makes U+00B7 of it, which is allowed between two l's only.
    #[test]
    fn a_text_that_would_be_refused_once_it_is_prepared_is_refused() {
        assert_eq!(opaque_string("a\u{387}b"), Err(Disallowed));
        assert_eq!(opaque_string("l\u{387}l"), Ok("l\u{B7}l".into()));
    }

    #[test]
    fn nothing_and_control_characters_are_refused() {
        for text in ["", "a\0", "a\tb", "a\nb", "\u{7F}", "\u{200B}"] {
            assert_eq!(opaque_string(text), Err(Disallowed), "{text:?}");
        }
    }

    #[test]
    fn the_sha256_key_differs_from_the_userhash_by_the_password() {
        let key = long_term_key_sha256("user", "realm", "pass");
        // printf user:realm:pass | sha256sum
        let expected = [0x07, 0xE9, 0x34, 0x11, 0x7A, 0xBD, 0x40, 0x83];
        assert_eq!(key.as_bytes().len(), 32);
        assert_eq!(key.as_bytes()[..8], expected);
        assert_ne!(key.as_bytes(), userhash("user", "realm"));
    }

    #[test]
    fn a_time_limited_password_is_the_base64_of_an_hmac_over_the_name() {
        // printf 1762000000:alice | openssl dgst -sha1 -hmac north -binary | base64
        let password = rest_password(b"north", "1762000000:alice");
        assert_eq!(password.as_str(), "aPCG2bbq1q6GwKNrJ695BLfkE88=");
    }

    #[test]
    fn a_time_limited_name_is_a_time_and_perhaps_a_user() {
        let parts = |expiry_unix_s, user| {
            Some(RestUsername {
                expiry_unix_s,
                user,
            })
        };
        assert_eq!(
            parse_rest_username("1762000000:alice"),
            parts(1_762_000_000, "alice")
        );
        assert_eq!(
            parse_rest_username("1762000000:a:b"),
            parts(1_762_000_000, "a:b")
        );
        assert_eq!(parse_rest_username("1762000000"), parts(1_762_000_000, ""));
        assert_eq!(parse_rest_username("1762000000:"), parts(1_762_000_000, ""));
        for name in [
            "",
            "alice",
            "alice:1762000000",
            ":alice",
            "+1:alice",
            "-1:a",
            " 1:a",
            "1x:a",
        ] {
            assert_eq!(parse_rest_username(name), None, "{name:?}");
        }
        assert_eq!(
            parse_rest_username("99999999999999999999:alice"),
            None,
            "beyond 64 bits"
        );
    }
}
