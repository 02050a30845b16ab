//! The cookie that proves an address without a byte of memory.
//!
//! ```text
//! 0–3   when it was made: seconds since the node started
//! 4–19  HMAC-SHA256, cut to 16 bytes, under the secret of the minute, over time, listener,
//!       address, port and client nonce
//! ```
//!
//! The secret of a minute is derived from one that the node draws at its start, so that all shards
//! agree on it without speaking to each other, and an old one is worth nothing a minute later.

use std::net::SocketAddr;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::frame::{COOKIE_BYTES, NONCE_BYTES, address_bytes};
use crate::limits::COOKIE_LIFETIME_S;

const ROTATION_S: u64 = 60;

/// Makes and checks cookies.
pub(crate) struct CookieJar(Zeroizing<[u8; 32]>);

impl CookieJar {
    pub(crate) fn new(secret: [u8; 32]) -> Self {
        Self(Zeroizing::new(secret))
    }

    /// The cookie of an address at `now_s`.
    pub(crate) fn issue(
        &self,
        now_s: u64,
        listener: u16,
        addr: SocketAddr,
        nonce: &[u8; NONCE_BYTES],
    ) -> [u8; COOKIE_BYTES] {
        let mut cookie = [0; COOKIE_BYTES];
        let time = u32::try_from(now_s & u64::from(u32::MAX)).unwrap_or(0);
        cookie[..4].copy_from_slice(&time.to_be_bytes());
        cookie[4..].copy_from_slice(&self.mac(now_s, listener, addr, nonce));
        cookie
    }

    /// Tells whether a cookie was issued to this address and nonce lately.
    pub(crate) fn check(
        &self,
        now_s: u64,
        listener: u16,
        addr: SocketAddr,
        nonce: &[u8; NONCE_BYTES],
        cookie: &[u8; COOKIE_BYTES],
    ) -> bool {
        let (time, mac) = cookie.split_at(4);
        let time = time.try_into().map_or(0, u32::from_be_bytes);
        // The low 32 bits of a time that is not later than now, and hardly earlier.
        let now_low = u32::try_from(now_s & u64::from(u32::MAX)).unwrap_or(0);
        let age_s = u64::from(now_low.wrapping_sub(time));
        if age_s > COOKIE_LIFETIME_S || age_s > now_s {
            return false;
        }
        self.mac(now_s - age_s, listener, addr, nonce)
            .ct_eq(mac)
            .into()
    }

    fn mac(
        &self,
        at_s: u64,
        listener: u16,
        addr: SocketAddr,
        nonce: &[u8; NONCE_BYTES],
    ) -> [u8; 16] {
        let minute = Zeroizing::new(hmac(&self.0[..], &[&(at_s / ROTATION_S).to_be_bytes()]));
        let parts: [&[u8]; 4] = [
            &at_s.to_be_bytes(),
            &listener.to_be_bytes(),
            &address_bytes(addr),
            nonce,
        ];
        let mut cut = [0; 16];
        cut.copy_from_slice(&hmac(&minute[..], &parts)[..16]);
        cut
    }
}

impl std::fmt::Debug for CookieJar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CookieJar")
    }
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(key).expect("invariant: an HMAC takes a key of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_cookie_holds_for_its_address_nonce_listener_and_ten_seconds_only() {
        let jar = CookieJar::new([1; 32]);
        let addr = "192.0.2.1:4000".parse().unwrap();
        let other = "192.0.2.1:4001".parse().unwrap();
        // Across the change of the minute's secret.
        for at in [0, 55, 59, 60] {
            let cookie = jar.issue(at, 0, addr, &[7; 16]);
            assert!(jar.check(at, 0, addr, &[7; 16], &cookie));
            assert!(jar.check(at + COOKIE_LIFETIME_S, 0, addr, &[7; 16], &cookie));
            assert!(!jar.check(at + COOKIE_LIFETIME_S + 1, 0, addr, &[7; 16], &cookie));
            assert!(at == 0 || !jar.check(at - 1, 0, addr, &[7; 16], &cookie));
            assert!(!jar.check(at, 1, addr, &[7; 16], &cookie));
            assert!(!jar.check(at, 0, other, &[7; 16], &cookie));
            assert!(!jar.check(at, 0, addr, &[8; 16], &cookie));
            assert!(!CookieJar::new([2; 32]).check(at, 0, addr, &[7; 16], &cookie));
        }
    }
}
