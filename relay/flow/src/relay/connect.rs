//! A flow's two ends finding each other.
//!
//! The device that wants a flow gets an end on its own shard; the end watches the peer in the
//! directory. Is the peer here, and may the two talk, a letter asks the peer's shard for the other
//! end, and its answer completes the first. Both steps can be repeated. When the peer gets another
//! active session, the directory names the ends that watch it, and each asks again.

use sterna_control_api::DeviceKey;

use super::Relay;
use super::ends::Path;
use crate::directory::{PeerRef, Route, SessionRef};
use crate::message::Message;
use crate::time::Tick;
use crate::{FlowNumber, Letter, Link, PeerState, Refusal};

impl Relay {
    pub(super) fn letter(&mut self, now: Tick, letter: Letter) {
        match letter {
            Letter::Connect { to, from } => self.on_connect(now, to, from),
            Letter::Connected { end, peer } => self.on_connected(now, end, peer),
            Letter::Disconnected { end, gone } => self.on_disconnected(now, end, gone),
            Letter::Moved { end, peer } => self.on_moved(now, end, peer),
            Letter::Arrived { end } => {
                if let Some(place) = self.ends.find(end) {
                    self.look_up(now, place);
                }
            }
            Letter::Standing {
                session,
                active,
                order,
            } => {
                self.on_standing(now, session, active, order);
            }
            Letter::Watch { session } => self.watch(now, session),
            Letter::Close { session, reason } => {
                if let Some(slot) = self.slot_of(session) {
                    self.close_session(now, slot, reason);
                }
            }
        }
    }

    /// Gets or makes a session's end towards a peer.
    pub(super) fn open(&mut self, slot: usize, peer: DeviceKey) -> Result<usize, Refusal> {
        let session = &self.sessions[slot];
        if let Some(place) = session.ends.get(&peer) {
            return Ok(*place as usize);
        }
        let max = session.rates.flows_max;
        if max != 0 && session.ends.len() >= max as usize {
            self.counters.flows_refused += 1;
            return Err(Refusal::TooManyFlows);
        }
        let made = self.ends.insert(&mut self.rng, session.me.slot, peer);
        let place = made.ok_or(Refusal::Busy)?;
        let number = self.ends.at(place).number;
        let session = &mut self.sessions[slot];
        session
            .ends
            .insert(peer, u32::try_from(place).unwrap_or(u32::MAX));
        let (tenant, groups) = (session.ticket.tenant, *session.groups());
        self.directory
            .watch(tenant, peer, self.shard, number, groups);
        self.counters.flows_opened += 1;
        Ok(place)
    }

    /// Answers OPEN at once, or when the peer's shard has answered.
    pub(super) fn answer_open(&mut self, now: Tick, place: usize, request: u32) {
        self.ends.at(place).request = Some(request);
        if self.ends.at(place).state == PeerState::Online || !self.look_up(now, place) {
            self.answer_request(place);
        }
    }

    /// Asks for the other end, if the peer is here; says whether it is.
    fn look_up(&mut self, now: Tick, place: usize) -> bool {
        let end = self.ends.at(place);
        let (slot, key) = (end.session as usize, end.key);
        let Some(session) = self.sessions.get(slot) else {
            return false;
        };
        let (tenant, groups) = (session.ticket.tenant, *session.groups());
        // A device that asks for itself finds nobody.
        let is_other = key != session.ticket.device_key;
        match self
            .directory
            .find(tenant, key, &groups)
            .filter(|_| is_other)
        {
            Some(to) => {
                let from = self.peer_ref(place);
                self.post(to.shard, Letter::Connect { to, from });
                true
            }
            None => {
                self.part(now, place, PeerState::Unknown);
                false
            }
        }
    }

    /// An end, as its other end shall know it.
    pub(super) fn peer_ref(&mut self, place: usize) -> PeerRef {
        let (number, slot) = (self.ends.at(place).number, self.ends.at(place).session);
        let session = &self.sessions[slot as usize];
        PeerRef {
            key: session.ticket.device_key,
            end: number,
            route: session.route(self.shard),
            payload_max: session.payload_max,
            order: session.order,
        }
    }

    fn on_connect(&mut self, now: Tick, to: SessionRef, from: PeerRef) {
        let asker = self.config.layout.shard_of(from.end);
        let nobody = Letter::Disconnected {
            end: from.end,
            gone: FlowNumber::NONE,
        };
        let Some(slot) = self.slot_of(to) else {
            return self.post(asker, nobody);
        };
        let is_new = !self.sessions[slot].ends.contains_key(&from.key);
        let Ok(place) = self.open(slot, from.key) else {
            return self.post(asker, nobody);
        };
        let peer = self.peer_ref(place);
        self.post(
            asker,
            Letter::Connected {
                end: from.end,
                peer,
            },
        );
        self.join(now, place, from, is_new);
    }

    fn on_connected(&mut self, now: Tick, end: FlowNumber, peer: PeerRef) {
        if let Some(place) = self
            .ends
            .find(end)
            .filter(|place| self.ends.at(*place).key == peer.key)
        {
            self.join(now, place, peer, false);
        }
    }

    fn on_moved(&mut self, now: Tick, end: FlowNumber, peer: PeerRef) {
        let Some(place) = self.ends.find(end) else {
            return;
        };
        let known = self.ends.at(place).peer;
        if known.is_some_and(|known| known.end == peer.end) {
            self.join(now, place, peer, false);
        }
    }

    /// Takes the other end over, and tells the device what is new to it.
    fn join(&mut self, now: Tick, place: usize, peer: PeerRef, is_new: bool) {
        let end = self.ends.at(place);
        // A passive session of the peer's may have asked later than the active one.
        let is_older = end.peer.is_some_and(|known| known.order > peer.order);
        if !is_older {
            let path = self.path_to(&peer);
            let session = &self.sessions[self.ends.at(place).session as usize];
            let payload_max = session.payload_max.min(peer.payload_max);
            let end = self.ends.at(place);
            let is_news = end.state != PeerState::Online || end.payload_max != payload_max;
            end.path = path;
            end.peer = Some(peer);
            end.state = PeerState::Online;
            end.payload_max = payload_max;
            if is_new {
                self.announce(now, place);
            } else if is_news && end.request.is_none() {
                self.tell_peer_state(now, place);
            }
        }
        if self.ends.at(place).request.is_some() {
            self.answer_request(place);
        }
    }

    fn path_to(&self, peer: &PeerRef) -> Path {
        let shard = self.config.layout.shard_of(peer.end);
        match peer.route {
            Route::Udp(link) if self.is_worker() => Path::Udp(link, peer.end),
            _ if shard == self.shard => Path::Local(peer.end),
            _ => Path::Shard(shard, peer.end),
        }
    }

    fn on_disconnected(&mut self, now: Tick, end: FlowNumber, gone: FlowNumber) {
        let Some(place) = self.ends.find(end) else {
            return;
        };
        let known = self.ends.at(place).peer.map(|peer| peer.end);
        if gone != FlowNumber::NONE && known == Some(gone) {
            self.part(now, place, PeerState::Gone);
        }
        if self.ends.at(place).request.is_some() {
            self.answer_request(place);
        }
    }

    /// Takes the other end away.
    fn part(&mut self, now: Tick, place: usize, state: PeerState) {
        let shard_of = self.config.layout;
        let end = self.ends.at(place);
        let was = end.state;
        end.path = Path::Nowhere;
        if was != PeerState::Online {
            return;
        }
        end.state = state;
        let number = end.number;
        let peer = end.peer.take();
        if let Some(peer) = peer.filter(|_| state == PeerState::Unknown) {
            // It is this end that may not any more: the other end cannot know.
            let told = Letter::Disconnected {
                end: peer.end,
                gone: number,
            };
            self.post(shard_of.shard_of(peer.end), told);
        }
        self.tell_peer_state(now, place);
    }

    /// Tells a device of a flow that it did not ask for.
    fn announce(&mut self, now: Tick, place: usize) {
        let slot = self.ends.at(place).session as usize;
        let message = self.opened(place, 0);
        self.notify(now, slot, message);
    }

    fn answer_request(&mut self, place: usize) {
        let slot = self.ends.at(place).session as usize;
        if let Some(request) = self.ends.at(place).request.take() {
            let message = self.opened(place, request);
            self.tell(slot, &message);
        }
    }

    fn opened(&mut self, place: usize, request: u32) -> Message {
        let end = self.ends.at(place);
        Message::Opened {
            request,
            notice: 0,
            flow: end.number,
            peer: end.key,
            state: end.state,
            payload_max: end.payload_max,
        }
    }

    fn tell_peer_state(&mut self, now: Tick, place: usize) {
        let end = self.ends.at(place);
        let (slot, flow) = (end.session as usize, end.number);
        let (state, payload_max) = (end.state, end.payload_max);
        let message = Message::Peer {
            notice: 0,
            flow,
            state,
            payload_max,
        };
        self.notify(now, slot, message);
    }

    /// Tells the other ends where a session is now, and what it takes.
    pub(super) fn tell_others(&mut self, slot: usize) {
        let places: Vec<u32> = self.sessions[slot].ends.values().copied().collect();
        for place in places {
            let place = place as usize;
            let Some(peer) = self.ends.at(place).peer else {
                continue;
            };
            let moved = Letter::Moved {
                end: peer.end,
                peer: self.peer_ref(place),
            };
            self.post(self.config.layout.shard_of(peer.end), moved);
        }
    }

    /// Recomputes what the flows of a session carry, at both ends.
    pub(super) fn payload_max_changed(&mut self, now: Tick, slot: usize) {
        let session = &mut self.sessions[slot];
        let own = match session.link {
            Link::Udp { .. } => self.config.udp_payload_max,
            Link::Stream(id) => self
                .streams
                .get(&id)
                .map_or(u16::MAX, |known| known.payload_max),
        };
        session.payload_max = session.device_payload_max.min(own);
        let places: Vec<u32> = session.ends.values().copied().collect();
        for place in places {
            if let Some(peer) = self.ends.at(place as usize).peer {
                self.join(now, place as usize, peer, false);
            }
        }
        self.tell_others(slot);
    }

    pub(super) fn stream_payload_max(
        &mut self,
        now: Tick,
        stream: crate::StreamId,
        payload_max: u16,
    ) {
        let Some(known) = self.streams.get_mut(&stream) else {
            return;
        };
        known.payload_max = payload_max;
        if let Some(slot) = known.session {
            self.payload_max_changed(now, slot as usize);
        }
    }

    /// Takes an end away; tells the other one if there is nobody to take its place.
    pub(super) fn remove_end(&mut self, place: usize, tell_other: bool) {
        let end = self.ends.remove(place);
        let peer = end.peer.filter(|_| tell_other);
        if let Some(session) = self.sessions.get_mut(end.session as usize) {
            session.ends.remove(&end.key);
            let tenant = session.ticket.tenant;
            self.directory.unwatch(tenant, end.key, end.number);
        }
        if let Some(peer) = peer {
            let told = Letter::Disconnected {
                end: peer.end,
                gone: end.number,
            };
            self.post(self.config.layout.shard_of(peer.end), told);
        }
    }

    /// The place of a session that others have named, if it still lives.
    pub(super) fn slot_of(&self, session: SessionRef) -> Option<usize> {
        let slot = session.slot as usize;
        let found = self.sessions.get(slot)?;
        (found.me == session).then_some(slot)
    }
}
