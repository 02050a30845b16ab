//! Whether the active one of several sessions of a device still answers.
//!
//! Two processes may have one key, and the newer one may die without a word. Its session would be
//! dead after its idle time only, and peers would reach nobody until then. So a session that is
//! active beside others is pinged after [`WATCH_SILENCE`] without a valid frame, at the times of a
//! device's own suspicion; with three pings unanswered, the session before it takes over. A frame of
//! the silent one brings its place back to it.

use super::Relay;
use super::session::Stage;
use crate::directory::SessionRef;
use crate::limits::{SUSPECT_UNANSWERED, WATCH_SILENCE, suspicion_ping_at};
use crate::message::Message;
use crate::time::Tick;

/// How far a session's watch has come.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Watch {
    /// It is its device's only one, or is not active.
    Off,
    /// It was heard of late.
    Heard,
    /// It is pinged, since then, and so many times so far.
    Pinging(Tick, usize),
    /// It does not answer: another one is active, if one answers.
    Silent,
}

impl Watch {
    /// When something is to be done, of a session that was heard then.
    pub(super) fn next(self, heard: Tick) -> Option<Tick> {
        match self {
            Self::Off | Self::Silent => None,
            Self::Pinging(since, sent) if since > heard => {
                Some(since.plus(suspicion_ping_at(sent)))
            }
            Self::Heard | Self::Pinging(..) => Some(heard.plus(WATCH_SILENCE)),
        }
    }
}

impl Relay {
    /// A session that is active has others of its device beside it.
    pub(super) fn watch(&mut self, now: Tick, session: SessionRef) {
        let Some(slot) = self.slot_of(session) else {
            return;
        };
        let session = &mut self.sessions[slot];
        if session.watch == Watch::Off && session.stage == Stage::Active {
            session.watch = Watch::Heard;
            self.arm(slot, now);
        }
    }

    pub(super) fn watch_timeout(&mut self, now: Tick, slot: usize) {
        let session = &mut self.sessions[slot];
        let due = session.watch.next(session.last_valid);
        if due.is_none_or(|due| due > now) {
            return;
        }
        let (tenant, device, me) = (session.ticket.tenant, session.ticket.device_key, session.me);
        if session.stage != Stage::Active || !self.directory.has_others(tenant, device) {
            session.watch = Watch::Off;
            return;
        }
        let (since, sent) = match session.watch {
            Watch::Pinging(since, sent) if since > session.last_valid => (since, sent),
            _ => (now, 0),
        };
        if sent == SUSPECT_UNANSWERED {
            session.watch = Watch::Silent;
            let change = self.directory.silence(tenant, device, me, true);
            return self.follow(None, &change);
        }
        session.watch = Watch::Pinging(since, sent + 1);
        let id = u32::try_from(sent).unwrap_or(u32::MAX);
        self.tell(slot, &Message::Ping { id, echo: false });
    }

    /// A session's device has said something under its keys.
    pub(super) fn heard(&mut self, slot: usize) {
        let session = &mut self.sessions[slot];
        if session.watch != Watch::Silent {
            return;
        }
        session.watch = Watch::Off;
        let (tenant, device, me) = (session.ticket.tenant, session.ticket.device_key, session.me);
        let change = self.directory.silence(tenant, device, me, false);
        self.follow(None, &change);
    }
}
