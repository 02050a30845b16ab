//! The end of sessions, and of the node's welcome.

use super::Relay;
use super::session::Stage;
use crate::message::{Message, Restarting};
use crate::time::Tick;
use crate::{CloseReason, Event, Link, Revoke};

impl Relay {
    /// Tells the device why, then ends its session and closes its connection.
    pub(super) fn close_session(&mut self, now: Tick, slot: usize, reason: CloseReason) {
        let text = reason.describe().trim().to_owned();
        self.tell(slot, &Message::Close { reason, text });
        self.end_session(now, slot, reason);
    }

    /// Ends a session. What it leaves is told to those who need to know.
    pub(super) fn end_session(&mut self, _now: Tick, slot: usize, reason: CloseReason) {
        let session = &mut self.sessions[slot];
        let (me, link, rung, stage) = (session.me, session.link, session.rung, session.stage);
        let (tenant, device) = (session.ticket.tenant, session.ticket.device_key);
        let traffic = session.traffic;
        let nonce = session.stored.as_ref().map(|stored| stored.nonce);
        let places: Vec<u32> = session.ends.values().copied().collect();
        let change = if stage == Stage::Embryo {
            self.hatch(device);
            crate::directory::Change::default()
        } else {
            self.directory.remove(tenant, device, me, rung)
        };
        for place in places {
            // Where a session takes this one's place, the other ends are about to hear from it.
            self.remove_end(place as usize, change.promoted.is_none());
        }
        let session = self.sessions.remove(slot);
        self.timers.remove(&(session.deadline, me.slot));
        self.by_id.remove(&me.id);
        if let Some(nonce) = nonce {
            self.by_nonce.remove(&nonce);
        }
        if self.by_link.get(&link) == Some(&me.slot) {
            self.by_link.remove(&link);
        }
        if let Link::Stream(id) = link {
            self.streams.remove(&id);
            if reason != CloseReason::LinkGone {
                self.outbox.close_stream(id);
            }
        }
        self.directory.leave(tenant);
        self.counters.count_end(reason);
        let (bytes, packets) = (traffic.bytes, traffic.packets);
        let session = me.id;
        self.outbox.event(Event::Ended {
            session,
            device,
            tenant,
            rung,
            reason,
            bytes,
            packets,
        });
        self.follow(None, &change);
    }

    pub(super) fn revoke_matching(&mut self, now: Tick, revoke: &Revoke) -> usize {
        let matching: Vec<usize> = self
            .sessions
            .iter()
            .filter(|(_, session)| match *revoke {
                Revoke::Ticket(id) => session.ticket.ticket_id == id,
                Revoke::Device(id) => session.ticket.device_id == id,
                Revoke::DeviceKey(key) => session.ticket.device_key == key,
                Revoke::Tenant(id) => session.ticket.tenant == id,
                Revoke::Session(id) => session.me.id == id,
            })
            .map(|(slot, _)| slot)
            .collect();
        let reason = match revoke {
            Revoke::Session(_) => CloseReason::Operator,
            _ => CloseReason::Revoked,
        };
        for slot in &matching {
            self.close_session(now, *slot, reason);
        }
        matching.len()
    }

    pub(super) fn set_draining(&mut self, now: Tick, restarting: Option<Restarting>) {
        self.draining.clone_from(&restarting);
        let Some(restarting) = restarting else { return };
        let spoken = self
            .sessions
            .iter()
            .filter(|(_, session)| session.stage != Stage::Embryo);
        let all: Vec<usize> = spoken.map(|(slot, _)| slot).collect();
        for slot in all {
            let restarting = restarting.clone();
            self.notify(
                now,
                slot,
                Message::Restarting {
                    notice: 0,
                    restarting,
                },
            );
        }
    }
}
