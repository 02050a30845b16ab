//! Pings, suspicion, and a session that moves to another address.
//!
//! While an answer is expected, 400 ms of silence bring pings at 0, 200, 400 and 800 ms. With three
//! of them unanswered the path is suspect. Over `udp`, the silence may be that of a NAT that has
//! given the device another address, so a REBIND goes out with the second ping.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use super::{Event, Session};
use crate::limits::{
    PING_IDLE, REQUEST_REPEAT, REQUEST_REPEAT_MAX, SESSION_IDLE, SUSPECT_SILENCE,
    SUSPECT_UNANSWERED, suspicion_ping_at as ping_at,
};
use crate::message::Message;
use crate::time::Tick;
use crate::{CloseReason, Rung};

/// Pings that may still be answered.
const PINGS_REMEMBERED: usize = 16;

#[derive(Debug, Default)]
pub(super) struct Liveness {
    heard: Tick,
    /// When the node last had something to hear: one that only listens must ping, too.
    spoke: Tick,
    /// When the first packet went out that nothing has been heard since.
    expecting: Option<Tick>,
    /// When the pings of a suspicion began, and how many have gone out.
    pinging: Option<(Tick, usize)>,
    suspect: bool,
    pings: VecDeque<(u32, Tick)>,
    last_ping: u32,
    pinged: Tick,
    rtt: Option<Duration>,
    rebind: Option<Rebind>,
}

#[derive(Copy, Clone, Debug)]
struct Rebind {
    wait: Duration,
    again: Tick,
}

impl Liveness {
    pub(super) fn begin(&mut self, now: Tick) {
        self.heard = now;
        self.spoke = now;
    }

    /// When the next ping of an idle session is due.
    fn idle(&self) -> Tick {
        self.heard.min(self.spoke).max(self.pinged).plus(PING_IDLE)
    }

    pub(super) const fn is_suspect(&self) -> bool {
        self.suspect
    }

    pub(super) const fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    /// Something went out to which an answer is due.
    pub(super) fn sent(&mut self, now: Tick) {
        self.spoke = now;
        self.expecting.get_or_insert(now);
    }

    /// Something valid came in.
    pub(super) fn heard(&mut self, now: Tick) {
        self.heard = now;
        self.expecting = None;
        self.pinging = None;
    }

    pub(super) fn next(&self) -> Tick {
        let idle = self.idle();
        let dead = self.heard.plus(SESSION_IDLE);
        let suspicion = match (self.pinging, self.expecting) {
            (Some((since, sent)), _) => Some(since.plus(ping_at(sent))),
            (None, Some(since)) => Some(since.plus(SUSPECT_SILENCE)),
            (None, None) => None,
        };
        let rebind = self.rebind.map(|rebind| rebind.again);
        [Some(idle), Some(dead), suspicion, rebind]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(dead)
    }
}

impl Session {
    /// Sends a ping of the least length.
    pub(super) fn ping(&mut self, now: Tick) {
        let id = self.next_ping(now);
        // A probe is no such ping: it may be too long to arrive.
        self.liveness.pinged = now;
        // An answer is due: a NAT may have given an idle device another address, too.
        self.liveness.sent(now);
        self.tell(&Message::Ping { id, echo: false });
    }

    /// Numbers a ping.
    pub(super) fn next_ping(&mut self, now: Tick) -> u32 {
        let liveness = &mut self.liveness;
        liveness.last_ping = liveness.last_ping.wrapping_add(1);
        if liveness.pings.len() >= PINGS_REMEMBERED {
            liveness.pings.pop_front();
        }
        liveness.pings.push_back((liveness.last_ping, now));
        liveness.last_ping
    }

    pub(super) fn on_pong(&mut self, now: Tick, id: u32, _pinged_len: usize, frame_len: usize) {
        let pings = &mut self.liveness.pings;
        let Some(place) = pings.iter().position(|(known, _)| *known == id) else {
            return;
        };
        let Some((_, sent)) = pings.remove(place) else {
            return;
        };
        let rtt = now.since(sent);
        self.liveness.rtt = Some(rtt);
        let was_suspect = std::mem::take(&mut self.liveness.suspect);
        self.events.push_back(Event::Alive { rtt, was_suspect });
        self.probe_answered(now, id, frame_len);
    }

    pub(super) fn liveness_timeout(&mut self, now: Tick) {
        if !self.is_up() {
            return;
        }
        if now.since(self.liveness.heard) >= SESSION_IDLE {
            let reason = CloseReason::Idle;
            return self.end(Event::Closed {
                reason,
                text: reason.describe().trim().to_owned(),
            });
        }
        if now >= self.liveness.idle() {
            self.ping(now);
        }
        let silent = self
            .liveness
            .expecting
            .is_some_and(|at| now.since(at) >= SUSPECT_SILENCE);
        if silent && self.liveness.pinging.is_none() {
            self.liveness.pinging = Some((now, 0));
        }
        if let Some((since, sent)) = self.liveness.pinging
            && now.since(since) >= ping_at(sent)
        {
            if sent == 1 && self.rung == Rung::Udp && self.liveness.rebind.is_none() {
                self.rebind(now);
            }
            if sent >= SUSPECT_UNANSWERED && !self.liveness.suspect {
                self.liveness.suspect = true;
                self.events.push_back(Event::Suspect);
            }
            self.ping(now);
            self.liveness.pinging = Some((since, sent + 1));
        }
        if let Some(rebind) = self.liveness.rebind.filter(|rebind| rebind.again <= now) {
            let wait = (rebind.wait * 2).min(REQUEST_REPEAT_MAX);
            self.liveness.rebind = Some(Rebind {
                wait,
                again: now.plus(wait),
            });
            self.tell(&Message::Rebind);
        }
    }

    /// Asks the node to take the address that this comes from.
    pub(super) fn rebind(&mut self, now: Tick) {
        if !self.is_up() || self.rung != Rung::Udp {
            return;
        }
        let again = now.plus(REQUEST_REPEAT);
        self.liveness.rebind = Some(Rebind {
            wait: REQUEST_REPEAT,
            again,
        });
        self.tell(&Message::Rebind);
    }

    pub(super) fn on_challenge(&mut self, token: [u8; 16]) {
        // Nobody answers a challenge that he has not asked for.
        if self.liveness.rebind.is_some() {
            self.tell(&Message::Response { token });
        }
    }

    pub(super) fn on_rebound(&mut self, observed: SocketAddr) {
        if self.liveness.rebind.take().is_some() {
            self.events.push_back(Event::Rebound { observed });
        }
    }
}
