//! A device at another address: proved by a challenge before anything goes there.
//!
//! REBIND comes sealed, from the new address. CHALLENGE goes there, and only a RESPONSE with its
//! token, sealed and from that very address, moves the session. Until then data goes to the old
//! address, data from the new one is dropped, and nothing but the challenge is sent to it.

use rand::Rng;

use super::Relay;
use super::session::Challenge;
use crate::frame::{SEALED_HEAD_BYTES, TAG_BYTES};
use crate::limits::{CHALLENGE_LIFETIME, UNPROVED_AMPLIFICATION_MAX};
use crate::message::Message;
use crate::time::Tick;
use crate::{DropReason, Event, Link};

/// REBIND and CHALLENGE on the wire: one message a REBIND, each of a fresh counter.
const REBIND_BYTES: usize = SEALED_HEAD_BYTES + 1 + TAG_BYTES;
const CHALLENGE_BYTES: usize = SEALED_HEAD_BYTES + 1 + 16 + TAG_BYTES;
const _: () = assert!(CHALLENGE_BYTES <= UNPROVED_AMPLIFICATION_MAX as usize * REBIND_BYTES);

impl Relay {
    pub(super) fn rebind(&mut self, now: Tick, slot: usize, link: Link) {
        let session = &mut self.sessions[slot];
        let Link::Udp { addr, .. } = link else { return };
        if !matches!(session.link, Link::Udp { .. }) {
            return;
        }
        if session.link == link {
            // It is where it was: the device asked to be sure.
            session.challenge = None;
            self.tell(slot, &Message::Rebound { observed: addr });
            return;
        }
        let mut token = [0; 16];
        self.rng.fill_bytes(&mut token);
        let until = now.plus(CHALLENGE_LIFETIME);
        session.challenge = Some(Challenge { link, token, until });
        let frame = session
            .keys
            .seal(session.me.id, &Message::Challenge { token }.to_bytes());
        self.outbox.send(link, frame);
    }

    pub(super) fn response(
        &mut self,
        now: Tick,
        slot: usize,
        link: Link,
        token: [u8; 16],
    ) -> Result<(), DropReason> {
        let session = &mut self.sessions[slot];
        let Link::Udp { addr, .. } = link else {
            return Err(DropReason::Unexpected);
        };
        let matching = session.challenge.filter(|challenge| {
            challenge.link == link && challenge.token == token && challenge.until > now
        });
        if matching.is_none() {
            // A repeated RESPONSE of a session that has moved already is no error.
            return if session.link == link {
                Ok(())
            } else {
                Err(DropReason::WrongAddress)
            };
        }
        session.challenge = None;
        session.last_valid = now;
        let old = std::mem::replace(&mut session.link, link);
        let id = session.me.id;
        let slot_u32 = session.me.slot;
        if self.by_link.get(&old) == Some(&slot_u32) {
            self.by_link.remove(&old);
        }
        self.by_link.insert(link, slot_u32);
        self.counters.rebound += 1;
        self.outbox.event(Event::Rebound { session: id });
        self.tell(slot, &Message::Rebound { observed: addr });
        self.tell_others(slot);
        Ok(())
    }
}
