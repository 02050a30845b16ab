//! Data: a flow number in, another one out.

use std::time::Duration;

use sterna_control_api::DeviceKey;

use super::Relay;
use super::ends::Path;
use super::session::Stage;
use crate::frame::{DATA_HEAD_BYTES, KEYED_HEAD_BYTES};
use crate::limits::KEYED_PER_S;
use crate::time::Tick;
use crate::{DropReason, FlowNumber, Head, Link, Mark, Rung, Target, Verdict};

impl Relay {
    /// DATA of a device.
    // One look-up by index, no hash, no allocation, no lock.
    #[inline]
    pub(super) fn data(
        &mut self,
        now: Tick,
        link: Link,
        mark: Mark,
        flow: FlowNumber,
        len: usize,
    ) -> Result<Verdict, DropReason> {
        let shard = self.config.layout.shard_of(flow);
        if shard != self.shard {
            return self.pass_on(link, shard).ok_or(DropReason::NoFlow);
        }
        let place = self.ends.find(flow).ok_or(DropReason::NoFlow)?;
        let end = self.ends.at(place);
        let session = self
            .sessions
            .get_mut(end.session as usize)
            .ok_or(DropReason::NoFlow)?;
        // Data is taken from the proved address only.
        if session.link != link {
            return Err(DropReason::WrongAddress);
        }
        if len == 0 {
            return Err(DropReason::Empty);
        }
        session.last_valid = now;
        let policed = session
            .rates
            .police(now, &mut end.share, len, mark.is_priority());
        let refusal = match (policed, end.path) {
            (Err(reason), _) => Some(reason),
            (_, Path::Nowhere) => Some(DropReason::PeerAbsent),
            _ => None,
        };
        if let Some(reason) = refusal {
            session.drops.add(reason, 1);
            return Err(reason);
        }
        session.traffic.add(len);
        end.traffic.add(len);
        self.counters.received[session.rung as usize].add(len);
        let payload = DATA_HEAD_BYTES..DATA_HEAD_BYTES + len;
        match end.path {
            Path::Udp(Link::Udp { listener, addr }, number) => {
                self.counters.sent[Rung::Udp as usize].add(len);
                let head = Head::data(mark, number);
                Ok(Verdict::ToUdp {
                    listener,
                    to: addr,
                    head,
                    payload,
                })
            }
            Path::Shard(shard, number) => {
                self.counters.to_shards += 1;
                let target = Target::Flow { flow: number, mark };
                Ok(Verdict::ToShard {
                    shard,
                    target,
                    payload,
                })
            }
            Path::Local(number) => {
                let target = Target::Flow { flow: number, mark };
                let mut verdict = self.deliver(target, len)?;
                if let Verdict::ToUdp { payload, .. } | Verdict::ToStream { payload, .. } =
                    &mut verdict
                {
                    *payload = DATA_HEAD_BYTES..DATA_HEAD_BYTES + len;
                }
                Ok(verdict)
            }
            Path::Udp(Link::Stream(_), _) | Path::Nowhere => Err(DropReason::PeerAbsent),
        }
    }

    /// The receiving half of what another shard handed over.
    #[inline]
    pub(super) fn relayed(
        &mut self,
        _now: Tick,
        target: Target,
        len: usize,
    ) -> Result<Verdict, DropReason> {
        self.deliver(target, len)
    }

    /// To a device of this shard; the payload is the whole of what was handed over.
    fn deliver(&mut self, target: Target, len: usize) -> Result<Verdict, DropReason> {
        let (slot, head, flow) = match target {
            Target::Flow { flow, mark } => {
                let place = self.ends.find(flow).ok_or(DropReason::NoFlow)?;
                let slot = self.ends.at(place).session as usize;
                (slot, Head::data(mark, flow), flow)
            }
            Target::Session { session, head } => {
                let slot = self.slot_of(session).ok_or(DropReason::NoSession)?;
                (slot, head, FlowNumber::NONE)
            }
        };
        let session = self.sessions.get_mut(slot).ok_or(DropReason::NoSession)?;
        // A datagram of QUIC cannot be longer than the path lets it; others fragment below.
        if session.rung == Rung::Quic && len > usize::from(session.payload_max) {
            session.drops.add(DropReason::TooLong, 1);
            return Err(DropReason::TooLong);
        }
        self.counters.sent[session.rung as usize].add(len);
        Ok(match session.link {
            Link::Udp { listener, addr } => Verdict::ToUdp {
                listener,
                to: addr,
                head,
                payload: 0..len,
            },
            Link::Stream(stream) => Verdict::ToStream {
                stream,
                flow,
                head,
                payload: 0..len,
            },
        })
    }

    /// KEYED of a device: the first packets, while OPEN is on its way.
    pub(super) fn keyed(
        &mut self,
        now: Tick,
        link: Link,
        mark: Mark,
        key: DeviceKey,
        len: usize,
    ) -> Result<Verdict, DropReason> {
        let slot = *self.by_link.get(&link).ok_or(DropReason::NoSession)? as usize;
        let session = self.sessions.get_mut(slot).ok_or(DropReason::NoSession)?;
        if session.stage == Stage::Embryo {
            return Err(DropReason::Embryo);
        }
        if len == 0 {
            return Err(DropReason::Empty);
        }
        session.last_valid = now;
        let rate = u64::from(KEYED_PER_S);
        if !session
            .rates
            .keyed
            .take(now, 1, rate, Duration::from_secs(1))
        {
            session.drops.add(DropReason::KeyedRate, 1);
            return Err(DropReason::KeyedRate);
        }
        let (ticket, from) = (&session.ticket, session.ticket.device_key);
        let found = self.directory.find(ticket.tenant, key, &ticket.groups);
        // A device that asks for itself finds nobody.
        let Some(to) = found.filter(|_| key != from) else {
            session.drops.add(DropReason::PeerAbsent, 1);
            return Err(DropReason::PeerAbsent);
        };
        session.traffic.add(len);
        self.counters.received[session.rung as usize].add(len);
        let head = Head::keyed(mark, None, &from);
        let target = Target::Session { session: to, head };
        let range = KEYED_HEAD_BYTES..KEYED_HEAD_BYTES + len;
        if to.shard != self.shard {
            self.counters.to_shards += 1;
            return Ok(Verdict::ToShard {
                shard: to.shard,
                target,
                payload: range,
            });
        }
        let mut verdict = self.deliver(target, len)?;
        if let Verdict::ToUdp { payload, .. } | Verdict::ToStream { payload, .. } = &mut verdict {
            *payload = range;
        }
        Ok(verdict)
    }
}
