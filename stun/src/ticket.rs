//! Mobility tickets as they go over the wire (RFC 8016 §3.3).
//!
//! ```text
//! | 32 characters: base64url of 8 + 16 bytes |
//! | handle, MAC                              |
//! ```
//!
//! The handle is drawn at random and means something in the server's tables only, so there is
//! nothing to be gleaned from a ticket and nothing in it to encrypt. The MAC is HMAC-SHA256, cut to
//! 128 bits, so that a ticket that somebody made up is told from one whose session is over. Nothing
//! but letters, digits, `-` and `_`, and 32 of them: there are clients that keep tickets as text, in
//! a buffer of 33 bytes.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::attr::MobilityTicket;

/// The length of a ticket.
pub const TICKET_BYTES: usize = BODY_BYTES / 3 * 4;

const HANDLE_BYTES: usize = 8;
const MAC_BYTES: usize = 16;
const BODY_BYTES: usize = HANDLE_BYTES + MAC_BYTES;

const _: () = assert!(BODY_BYTES.is_multiple_of(3), "base64 without padding");
const _: () = assert!(TICKET_BYTES == 32, "what coturn's client has room for");

/// What makes tickets, and recognises its own.
#[derive(Clone)]
pub struct TicketKey(Hmac<Sha256>);

impl TicketKey {
    /// Takes a key of 32 random bytes.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        let state = Hmac::new_from_slice(key);
        Self(state.expect("invariant: an HMAC takes a key of any length"))
    }

    /// Makes the ticket of a handle, which has to be random.
    #[must_use]
    pub fn seal(&self, handle: u64) -> SealedTicket {
        let mut body = [0; BODY_BYTES];
        body[..HANDLE_BYTES].copy_from_slice(&handle.to_be_bytes());
        body[HANDLE_BYTES..].copy_from_slice(&self.mac(handle));
        let mut text = [0; TICKET_BYTES];
        let written = URL_SAFE_NO_PAD.encode_slice(body, &mut text);
        debug_assert_eq!(written, Ok(TICKET_BYTES));
        SealedTicket(text)
    }

    /// Returns the handle of a ticket that this key has made. Takes as long whichever byte differs.
    #[must_use]
    pub fn open(&self, ticket: MobilityTicket<'_>) -> Option<u64> {
        let mut body = [0; BODY_BYTES];
        if ticket.0.len() != TICKET_BYTES
            || URL_SAFE_NO_PAD.decode_slice(ticket.0, &mut body) != Ok(BODY_BYTES)
        {
            return None;
        }
        let (handle, mac) = body.split_first_chunk::<HANDLE_BYTES>()?;
        let handle = u64::from_be_bytes(*handle);
        bool::from(self.mac(handle).ct_eq(mac)).then_some(handle)
    }

    fn mac(&self, handle: u64) -> [u8; MAC_BYTES] {
        let mut state = self.0.clone();
        state.update(&handle.to_be_bytes());
        let mut mac = [0; MAC_BYTES];
        mac.copy_from_slice(&state.finalize().into_bytes()[..MAC_BYTES]);
        mac
    }
}

impl std::fmt::Debug for TicketKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TicketKey(…)")
    }
}

/// A ticket that is ready to go into the attribute; never printed.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct SealedTicket([u8; TICKET_BYTES]);

impl SealedTicket {
    /// The attribute.
    #[must_use]
    pub fn attribute(&self) -> MobilityTicket<'_> {
        MobilityTicket(&self.0)
    }
}

impl std::fmt::Debug for SealedTicket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealedTicket(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 32] = [7; 32];

    #[test]
    fn a_ticket_leads_back_to_its_handle_under_its_own_key_only() {
        let key = TicketKey::new(&KEY);
        for handle in [0, 1, u64::MAX, 0x0102_0304_0506_0708] {
            let ticket = key.seal(handle);
            assert_eq!(key.open(ticket.attribute()), Some(handle));
            assert_eq!(TicketKey::new(&[8; 32]).open(ticket.attribute()), None);
        }
    }

    #[test]
    fn whatever_is_changed_of_a_ticket_it_is_no_ticket_any_more() {
        let key = TicketKey::new(&KEY);
        let SealedTicket(ticket) = key.seal(42);
        for at in 0..TICKET_BYTES {
            let mut changed = ticket;
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(key.open(MobilityTicket(&changed)), None);
        }
        assert_eq!(key.open(MobilityTicket(&ticket[..31])), None);
        assert_eq!(key.open(MobilityTicket(&[])), None);
        assert_eq!(key.open(MobilityTicket(&[b'='; TICKET_BYTES])), None);
    }

    // coturn's client keeps a ticket in 33 bytes, the last of which is zero, and sends it up to its
    // first zero byte.
    #[test]
    fn a_ticket_is_text_of_32_characters() {
        let SealedTicket(ticket) = TicketKey::new(&KEY).seal(0);
        assert!(
            ticket
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        );
        assert_eq!(format!("{:?}", SealedTicket(ticket)), "SealedTicket(…)");
    }
}
