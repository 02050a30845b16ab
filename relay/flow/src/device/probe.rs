//! How long a frame the path of a `udp` session carries.
//!
//! A ping that is padded to some length, and answered at that length, shows that it passes both
//! ways. The caller's socket must not let the kernel fragment (DF set, `IP_MTU_DISCOVER` = PROBE).
//! What is known to pass is shown again from time to time: where it has stopped passing while small
//! pings do, the search begins anew from below.

use std::time::Duration;

use super::{Event, Session};
use crate::Rung;
use crate::frame::{DATA_HEAD_BYTES, SEALED_HEAD_BYTES, TAG_BYTES};
use crate::limits::{PAYLOAD_BYTES_WIREGUARD, PROBE_BYTES_UP};
use crate::message::Message;
use crate::time::Tick;

/// What is tried, ascending, in bytes of the datagram: up at all; a full-size WireGuard packet; and
/// path MTUs of 1,400 (IPv4), 1,500 (IPv6) and 1,500 (IPv4).
const SIZES: [usize; 5] = [
    PROBE_BYTES_UP,
    PAYLOAD_BYTES_WIREGUARD as usize + DATA_HEAD_BYTES,
    1_372,
    1_452,
    1_472,
];
const TRIES: u32 = 3;
const TRY_FOR: Duration = Duration::from_millis(400);
/// How often what passes is shown again.
const AGAIN: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct Probe {
    on: bool,
    /// The size that is being tried: an index of [`SIZES`].
    trying: Option<usize>,
    /// The largest that has passed.
    passed: Option<usize>,
    tries: u32,
    ids: [u32; TRIES as usize],
    next: Option<Tick>,
    /// Whether what is tried has passed before.
    again: bool,
}

impl Probe {
    pub(super) const fn new(rung: Rung) -> Self {
        Self {
            on: matches!(rung, Rung::Udp),
            trying: None,
            passed: None,
            tries: 0,
            ids: [0; TRIES as usize],
            next: None,
            again: false,
        }
    }

    pub(super) const fn next(&self) -> Option<Tick> {
        self.next
    }
}

impl Session {
    pub(super) fn begin_probes(&mut self, now: Tick) {
        if self.probe.on {
            self.try_size(now, 0, false);
        } else {
            // QUIC has shown 1,200 bytes with its handshake, and TLS carries any length.
            self.events.push_back(Event::Probed {
                payload_max: self.payload_max,
            });
        }
    }

    fn try_size(&mut self, now: Tick, place: usize, again: bool) {
        self.probe.trying = Some(place);
        self.probe.again = again;
        self.probe.tries = 0;
        self.send_probe(now);
    }

    fn send_probe(&mut self, now: Tick) {
        let Some(place) = self.probe.trying else {
            return;
        };
        let id = self.next_ping(now);
        let mut message = Message::Ping { id, echo: true }.to_bytes();
        message.resize(SIZES[place] - SEALED_HEAD_BYTES - TAG_BYTES, 0);
        self.tell_bytes(&message);
        self.probe.ids[self.probe.tries as usize] = id;
        self.probe.tries += 1;
        self.probe.next = Some(now.plus(TRY_FOR));
    }

    pub(super) fn probe_answered(&mut self, now: Tick, id: u32, frame_len: usize) {
        let Some(place) = self.probe.trying else {
            return;
        };
        let sent = &self.probe.ids[..self.probe.tries as usize];
        if !sent.contains(&id) || frame_len < SIZES[place] {
            return;
        }
        self.probe.trying = None;
        self.probe.passed = Some(place);
        let payload_max = u16::try_from(SIZES[place] - DATA_HEAD_BYTES).unwrap_or(u16::MAX);
        if payload_max != self.payload_max {
            self.limit(now, payload_max);
        }
        if !self.probe.again {
            self.events.push_back(Event::Probed { payload_max });
        }
        match SIZES.get(place + 1) {
            Some(_) if !self.probe.again => self.try_size(now, place + 1, false),
            _ => self.probe.next = Some(now.plus(AGAIN)),
        }
    }

    pub(super) fn probe_timeout(&mut self, now: Tick) {
        if !self.is_up() || self.probe.next.is_none_or(|next| next > now) {
            return;
        }
        match self.probe.trying {
            Some(_) if self.probe.tries < TRIES => self.send_probe(now),
            Some(place) if self.probe.again && place > 0 => {
                // What passed does not any more: down to what every path carries, and up again.
                let least = u16::try_from(SIZES[0] - DATA_HEAD_BYTES).unwrap_or(u16::MAX);
                self.limit(now, least);
                self.probe.passed = Some(0);
                self.try_size(now, 0, false);
            }
            // This one does not pass; what passed before is what there is. Nothing has passed:
            // the rung is not up yet, and goes on trying.
            Some(_) if self.probe.passed.is_none() || self.probe.again => {
                self.try_size(now, 0, false);
            }
            Some(_) => {
                self.probe.trying = None;
                self.probe.next = Some(now.plus(AGAIN));
            }
            None => {
                let place = self.probe.passed.unwrap_or(0);
                self.try_size(now, place, true);
            }
        }
    }
}
