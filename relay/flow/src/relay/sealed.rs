//! Sealed control: opened, checked for where it comes from, and done.

use std::time::{Duration, Instant};

use sterna_control_api::DeviceKey;

use super::Relay;
use super::session::Stage;
use crate::limits::{PAYLOAD_BYTES_INITIAL, SEALED_PER_S};
use crate::message::{Message, Stats};
use crate::time::Tick;
use crate::{
    CloseReason, DropReason, FlowNumber, LimitedBy, Link, Refusal, SessionId, ShardId, Verdict,
};

impl Relay {
    pub(super) fn sealed(
        &mut self,
        instant: Instant,
        now: Tick,
        link: Link,
        id: SessionId,
        counter: u64,
        ciphertext: &[u8],
    ) -> Result<Verdict, DropReason> {
        let shard = self.config.layout.shard_of_byte(id.0[0]);
        if shard != self.shard {
            return self.pass_on(link, shard).ok_or(DropReason::NoSession);
        }
        let slot = *self.by_id.get(&id).ok_or(DropReason::NoSession)? as usize;
        let session = self.sessions.get_mut(slot).ok_or(DropReason::NoSession)?;
        let rate = u64::from(SEALED_PER_S);
        if !session
            .rates
            .control
            .take(now, 1, rate, Duration::from_secs(1))
        {
            return Err(DropReason::ControlRate);
        }
        let opened = session.keys.open(counter, ciphertext)?;
        let message = Message::parse(&opened).ok_or(DropReason::Malformed)?;
        let moves = matches!(message, Message::Rebind | Message::Response { .. });
        if session.link != link && !moves {
            // The counter stays unused: whoever sends a copy from elsewhere, and is faster, must
            // not make the original a replay.
            return Err(DropReason::WrongAddress);
        }
        session.keys.accept(counter);
        if session.link == link {
            session.last_valid = now;
        }
        if session.stage == Stage::Embryo {
            if session.link != link {
                return Err(DropReason::Embryo);
            }
            self.activate(now, slot);
        }
        self.heard(slot);
        let frame_len = crate::frame::SEALED_HEAD_BYTES + ciphertext.len();
        self.message(instant, now, slot, link, frame_len, message)?;
        Ok(Verdict::Handled)
    }

    fn message(
        &mut self,
        instant: Instant,
        now: Tick,
        slot: usize,
        link: Link,
        frame_len: usize,
        message: Message,
    ) -> Result<(), DropReason> {
        match message {
            Message::Ping { id, echo } => self.ping(slot, id, echo, frame_len),
            Message::Open { request, peer } => self.asked_to_open(now, slot, request, peer),
            Message::CloseFlow { request, flow } => self.close_flow(slot, request, flow),
            Message::Rebind => self.rebind(now, slot, link),
            Message::Response { token } => self.response(now, slot, link, token)?,
            Message::Close { reason, .. } => {
                // Only a device that is done says so; its other reasons are of no interest here.
                let _ = reason;
                self.end_session(now, slot, CloseReason::Done);
            }
            Message::Ack { notice } => self.sessions[slot].notices.acknowledge(notice),
            Message::Limit {
                request,
                payload_max,
            } => {
                // Less than this would let a device make its peers send crumbs.
                let least = PAYLOAD_BYTES_INITIAL / 2;
                self.sessions[slot].device_payload_max = payload_max.max(least);
                self.ready(slot);
                self.payload_max_changed(now, slot);
                self.tell(
                    slot,
                    &Message::Done {
                        request,
                        refusal: None,
                    },
                );
            }
            Message::Renew { request, ticket } => self.renew(instant, now, slot, request, &ticket),
            Message::Pong { .. } => {}
            Message::Unknown => return Err(DropReason::UnknownKind),
            _ => return Err(DropReason::Unexpected),
        }
        Ok(())
    }

    fn ping(&mut self, slot: usize, id: u32, echo: bool, frame_len: usize) {
        let len = u16::try_from(frame_len).unwrap_or(u16::MAX);
        let mut pong = Message::Pong { id, len }.to_bytes();
        if echo {
            // As long as the ping: the device learns what crosses both ways.
            pong.resize(
                pong.len()
                    .max(frame_len - crate::frame::SEALED_HEAD_BYTES - 16),
                0,
            );
        }
        self.seal(slot, &pong);
        if self.sessions[slot].drops.is_news {
            self.stats(slot);
        }
    }

    fn stats(&mut self, slot: usize) {
        let session = &mut self.sessions[slot];
        session.drops.is_news = false;
        use DropReason as D;
        let ranked = [
            (
                session
                    .drops
                    .of(&[D::ByteRate, D::PacketRate, D::FlowShare, D::PriorityRate]),
                LimitedBy::Rate,
            ),
            (
                session.drops.of(&[D::QueueFull, D::QueueSojourn]),
                LimitedBy::Queue,
            ),
            (
                session
                    .drops
                    .of(&[D::MailboxFull, D::PeerAbsent, D::TooLong]),
                LimitedBy::Peer,
            ),
        ];
        let most = ranked
            .into_iter()
            .max_by_key(|(n, _)| *n)
            .filter(|(n, _)| *n > 0);
        let stats = Stats {
            limited_by: Some(most.map_or(LimitedBy::Nothing, |(_, by)| by)),
            sojourn_p95_us: session.sojourn_p95_us,
            dropped: session.drops.met(),
        };
        self.tell(slot, &Message::Stats(stats));
    }

    fn asked_to_open(&mut self, now: Tick, slot: usize, request: u32, peer: DeviceKey) {
        match self.open(slot, peer) {
            Ok(place) => self.answer_open(now, place, request),
            Err(refusal) => {
                self.counters.count_refusal(refusal);
                self.tell(
                    slot,
                    &Message::Done {
                        request,
                        refusal: Some(refusal),
                    },
                );
            }
        }
    }

    fn close_flow(&mut self, slot: usize, request: u32, flow: FlowNumber) {
        let own = self
            .ends
            .find(flow)
            .filter(|place| usize::try_from(self.ends.at(*place).session) == Ok(slot));
        if let Some(place) = own {
            self.remove_end(place, true);
        }
        // A flow that is not there is as closed as one can be.
        self.tell(
            slot,
            &Message::Done {
                request,
                refusal: None,
            },
        );
    }

    /// Takes a newer ticket of the same device over.
    fn renew(&mut self, instant: Instant, now: Tick, slot: usize, request: u32, ticket: &[u8]) {
        let unix_s = self.config.epoch.unix_s(instant);
        let outcome = self.verify(ticket, unix_s).and_then(|ticket| {
            let held = &self.sessions[slot].ticket;
            let who = (held.tenant, held.device_key, held.device_id, held.relay_key);
            if (
                ticket.tenant,
                ticket.device_key,
                ticket.device_id,
                ticket.relay_key,
            ) != who
            {
                return Err(Refusal::OtherDevice);
            }
            if self.directory.is_revoked(&ticket) {
                return Err(Refusal::Revoked);
            }
            Ok(ticket)
        });
        let refusal = match outcome {
            Ok(ticket) => {
                let session = &mut self.sessions[slot];
                let regrouped = session.ticket.groups != ticket.groups;
                session.ticket = ticket;
                session.rates.reclass(&ticket, &self.config.limits);
                if regrouped {
                    self.regroup(now, slot);
                }
                self.arm(slot, now);
                None
            }
            Err(refusal) => {
                self.counters.count_refusal(refusal);
                Some(refusal)
            }
        };
        self.tell(slot, &Message::Done { request, refusal });
    }

    /// Says something to a device, once.
    pub(super) fn tell(&mut self, slot: usize, message: &Message) {
        self.seal(slot, &message.to_bytes());
    }

    /// Says something to a device until it has heard it.
    pub(super) fn notify(&mut self, now: Tick, slot: usize, message: Message) {
        let session = &mut self.sessions[slot];
        if session.rung.is_reliable() {
            self.tell(slot, &message);
            return;
        }
        let (message, gave_way) = session.notices.push(now, message);
        self.counters.notices_lost += u64::from(gave_way);
        self.tell(slot, &message);
        self.arm(slot, now);
    }

    fn seal(&mut self, slot: usize, message: &[u8]) {
        let session = &mut self.sessions[slot];
        let frame = session.keys.seal(session.me.id, message);
        self.outbox.send(session.link, frame);
    }

    /// A datagram of a session that another worker has.
    pub(super) fn pass_on(&mut self, link: Link, shard: ShardId) -> Option<Verdict> {
        let is_udp = matches!(link, Link::Udp { .. });
        let passes = is_udp && shard.0 < self.config.workers && self.is_worker();
        passes.then(|| {
            self.counters.passed_on += 1;
            Verdict::PassOn { shard }
        })
    }
}
