//! Lifetimes and repetitions: one timer a session, armed for the next thing that may be due.

use std::time::Instant;

use super::Relay;
use super::session::Stage;
use crate::CloseReason;
use crate::limits::{EMBRYO_LIFETIME, SESSION_IDLE, TIMEOUT_BATCH_MAX};
use crate::time::Tick;

impl Relay {
    pub(super) fn timeout(&mut self, instant: Instant, now: Tick) {
        for _ in 0..TIMEOUT_BATCH_MAX {
            let Some(&(deadline, slot)) = self.timers.first().filter(|(at, _)| *at <= now) else {
                return;
            };
            self.timers.remove(&(deadline, slot));
            self.session_timeout(instant, now, slot as usize);
        }
    }

    fn session_timeout(&mut self, instant: Instant, now: Tick, slot: usize) {
        let Some(session) = self.sessions.get_mut(slot) else {
            return;
        };
        if session.stage == Stage::Embryo {
            if now.since(session.began) >= EMBRYO_LIFETIME {
                return self.end_session(now, slot, CloseReason::NeverSpoke);
            }
        } else if now.since(session.last_valid) >= SESSION_IDLE {
            return self.close_session(now, slot, CloseReason::Idle);
        }
        let unix_s = self.config.epoch.unix_s(instant);
        if session.ticket.expires.saturating_add(self.config.grace_s) <= unix_s {
            return self.close_session(now, slot, CloseReason::Expired);
        }
        if session
            .stored
            .as_ref()
            .is_some_and(|stored| stored.until <= now)
            && let Some(stored) = session.stored.take()
        {
            self.by_nonce.remove(&stored.nonce);
        }
        let due = session.notices.due(now);
        self.counters.notices_lost += due.lost;
        for message in due.again {
            self.counters.notices_repeated += 1;
            self.tell(slot, &message);
        }
        self.watch_timeout(now, slot);
        self.arm(slot, now);
    }

    /// Arms a session's timer for whatever comes first.
    pub(super) fn arm(&mut self, slot: usize, now: Tick) {
        let session = &mut self.sessions[slot];
        let (since, lifetime) = match session.stage {
            Stage::Embryo => (session.began, EMBRYO_LIFETIME),
            _ => (session.last_valid, SESSION_IDLE),
        };
        let expires = session.ticket.expires.saturating_add(self.config.grace_s);
        let unix_s = self.config.epoch.unix_s(self.clock.instant(now));
        let left = std::time::Duration::from_secs(expires.saturating_sub(unix_s));
        let stored = session.stored.as_ref().map(|stored| stored.until);
        let candidates = [
            Some(since.plus(lifetime)),
            Some(now.plus(left)),
            stored,
            session.notices.next(),
            session.watch.next(session.last_valid),
        ];
        // Never now: what is due now is done, or is done when its time has moved on.
        let soonest = Tick(now.0 + 1_000_000);
        let deadline = candidates
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(soonest)
            .max(soonest);
        self.timers.remove(&(session.deadline, session.me.slot));
        session.deadline = deadline;
        self.timers.insert((deadline, session.me.slot));
    }
}
