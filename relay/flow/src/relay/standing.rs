//! Active and passive sessions of one device.
//!
//! The newest session that has spoken under its keys is active: peers reach the device through it.
//! The one before becomes passive. It is not ended, so two processes with the same key do not fight
//! by reconnecting, and a device can open its next connection before it closes the last one. When
//! the active one ends, or does not answer (`watch`), the one before it is active again.
//!
//! A session on `udp` whose device has others waits for its first LIMIT, which says that a probe of
//! useful length was answered: small frames may pass where packets do not.

use sterna_control_api::DeviceKey;

use super::Relay;
use super::session::Stage;
use crate::directory::{Change, SessionRef};
use crate::message::Message;
use crate::time::Tick;
use crate::{CloseReason, Event, Letter, Rung};

impl Relay {
    /// The first sealed frame of a session: it takes its place among its device's.
    pub(super) fn activate(&mut self, now: Tick, slot: usize) {
        let session = &mut self.sessions[slot];
        let (me, link, rung) = (session.me, session.link, session.rung);
        let (tenant, device, groups) = (
            session.ticket.tenant,
            session.ticket.device_key,
            session.ticket.groups,
        );
        session.is_ready = rung != Rung::Udp;
        let entering = (me, session.is_ready);
        self.hatch(device);
        self.by_link.insert(link, me.slot);
        let mut change = self.directory.enter(tenant, device, entering, groups, rung);
        let session = &mut self.sessions[slot];
        // Its device takes it for the active one until it is told otherwise.
        match change.promoted.filter(|promoted| promoted.session == me) {
            Some(promoted) => {
                session.stage = Stage::Active;
                session.order = promoted.order;
            }
            None => session.stage = Stage::Passive,
        }
        let waits = session.stage == Stage::Passive;
        self.counters.sessions_begun[rung as usize] += 1;
        self.outbox.event(Event::Began {
            session: me.id,
            device,
            tenant,
            rung,
        });
        self.arm(slot, now);
        if waits {
            let active = false;
            self.notify(now, slot, Message::Standing { notice: 0, active });
        }
        if let Some(session) = change.surplus.take() {
            let reason = CloseReason::Displaced;
            self.post(session.shard, Letter::Close { session, reason });
        }
        self.follow(Some(me), &change);
        if let Some(restarting) = self.draining.clone() {
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

    /// A session's device says that a frame of useful length has crossed.
    pub(super) fn ready(&mut self, slot: usize) {
        let session = &mut self.sessions[slot];
        if std::mem::replace(&mut session.is_ready, true) {
            return;
        }
        let (tenant, device, me) = (session.ticket.tenant, session.ticket.device_key, session.me);
        let change = self.directory.ready(tenant, device, me);
        self.follow(None, &change);
    }

    /// A device has one session less that has not spoken.
    pub(super) fn hatch(&mut self, device: DeviceKey) {
        if let Some(count) = self.embryos.get_mut(&device) {
            *count -= 1;
            if *count == 0 {
                self.embryos.remove(&device);
            }
        }
    }

    /// Whoever is promoted or demoted hears of it, and so do the watchers; but for one that knows.
    pub(super) fn follow(&mut self, knows: Option<SessionRef>, change: &Change) {
        if let Some(promoted) = change.promoted {
            let order = promoted.order;
            let standing = |session, active| Letter::Standing {
                session,
                active,
                order,
            };
            if knows != Some(promoted.session) {
                let session = promoted.session;
                self.post(session.shard, standing(session, true));
            }
            if let Some(session) = change.demoted {
                self.post(session.shard, standing(session, false));
            }
        }
        if let Some(session) = change.watched {
            self.post(session.shard, Letter::Watch { session });
        }
        for &(shard, end) in &change.watchers {
            self.post(shard, Letter::Arrived { end });
        }
    }

    pub(super) fn on_standing(&mut self, now: Tick, session: SessionRef, active: bool, order: u64) {
        let Some(slot) = self.slot_of(session) else {
            return;
        };
        let session = &mut self.sessions[slot];
        if active {
            if order < session.order {
                return;
            }
            session.order = order;
            session.stage = Stage::Active;
            self.counters.promoted += 1;
            // Its own ends are of an older order in the eyes of its peers.
            self.tell_others(slot);
        } else {
            // A promotion that has overtaken this word counts.
            if order < session.order {
                return;
            }
            session.stage = Stage::Passive;
            self.counters.displaced += 1;
        }
        self.notify(now, slot, Message::Standing { notice: 0, active });
    }

    /// Takes a session's new groups over: some peers may be reached now, others not any more.
    pub(super) fn regroup(&mut self, now: Tick, slot: usize) {
        let session = &self.sessions[slot];
        let (me, tenant, device) = (session.me, session.ticket.tenant, session.ticket.device_key);
        let groups = *session.groups();
        let watchers = self.directory.regroup(tenant, device, me, groups);
        for (shard, end) in watchers {
            self.post(shard, Letter::Arrived { end });
        }
        let ends: Vec<_> = self.sessions[slot]
            .ends
            .iter()
            .map(|(key, place)| (*key, *place))
            .collect();
        for (key, place) in ends {
            let end = self.ends.at(place as usize).number;
            self.directory.watch(tenant, key, self.shard, end, groups);
            self.letter(now, Letter::Arrived { end });
        }
    }
}
