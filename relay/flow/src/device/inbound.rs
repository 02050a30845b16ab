//! What comes from the node.

use super::{Event, FlowId, Received, Session, State};
use crate::frame::{DATA_HEAD_BYTES, Frame, KEYED_HEAD_BYTES};
use crate::message::Message;
use crate::time::Tick;
use crate::{DropReason, Mark};

impl Session {
    pub(super) fn inbound(&mut self, now: Tick, packet: &[u8]) -> Result<Received, DropReason> {
        match Frame::parse(packet)? {
            Frame::Data {
                mark,
                flow,
                payload,
            } => {
                self.only_up()?;
                let flow = self.flows.numbered(flow).ok_or(DropReason::NoFlow)?;
                self.data(now, flow, mark, payload)
            }
            Frame::Keyed {
                mark, key, payload, ..
            } => {
                self.only_up()?;
                if payload.is_empty() {
                    return Err(DropReason::Empty);
                }
                // The node lets only those pass that may talk to this device.
                let flow = self.flows.get_or_insert(key, false);
                self.liveness.heard(now);
                let range = KEYED_HEAD_BYTES..packet.len();
                Ok(Received::Data {
                    flow,
                    peer: key,
                    mark,
                    payload: range,
                })
            }
            Frame::Sealed {
                session,
                counter,
                ciphertext,
            } => {
                let State::Up(up) = &mut self.state else {
                    return Err(DropReason::Unexpected);
                };
                if up.welcome.session != session {
                    return Err(DropReason::NoSession);
                }
                let opened = up.keys.open(counter, ciphertext)?;
                up.keys.accept(counter);
                self.liveness.heard(now);
                let message = Message::parse(&opened).ok_or(DropReason::Malformed)?;
                self.message(now, message, packet.len())?;
                Ok(Received::Handled)
            }
            Frame::Cookie { nonce, cookie } => self.on_cookie(now, nonce, cookie),
            Frame::Welcome { rung, nonce, noise } => self.on_welcome(now, rung, nonce, noise),
            Frame::Refused { code, nonce, text } => self.on_refused(nonce, code, text),
            Frame::Hello { .. } | Frame::Init { .. } => Err(DropReason::Unexpected),
        }
    }

    fn only_up(&self) -> Result<(), DropReason> {
        if self.is_up() {
            Ok(())
        } else {
            Err(DropReason::Unexpected)
        }
    }

    fn data(
        &mut self,
        now: Tick,
        id: FlowId,
        mark: Mark,
        payload: &[u8],
    ) -> Result<Received, DropReason> {
        if payload.is_empty() {
            return Err(DropReason::Empty);
        }
        self.liveness.heard(now);
        let flow = &mut self.flows.all[id.0 as usize];
        let peer = flow.peer;
        if !mark.is_fragment() {
            let range = DATA_HEAD_BYTES..DATA_HEAD_BYTES + payload.len();
            return Ok(Received::Data {
                flow: id,
                peer,
                mark,
                payload: range,
            });
        }
        let mark = Mark::new(mark.ecn(), mark.is_priority());
        Ok(match flow.halves.take(now, payload)? {
            Some(message) => Received::Whole {
                flow: id,
                peer,
                mark,
                message,
            },
            None => Received::Handled,
        })
    }

    fn message(&mut self, now: Tick, message: Message, frame_len: usize) -> Result<(), DropReason> {
        self.acknowledge(&message);
        match message {
            Message::Pong { id, len } => self.on_pong(now, id, len.into(), frame_len),
            Message::Ping { id, .. } => {
                let len = u16::try_from(frame_len).unwrap_or(u16::MAX);
                self.tell(&Message::Pong { id, len });
            }
            Message::Opened {
                request,
                flow,
                peer,
                state,
                payload_max,
                ..
            } => {
                if request != 0 && self.requests.answered(request).is_none() {
                    return Ok(()); // An answer to a repetition; the first one counted.
                }
                if request != 0 && self.flows.to(&peer).is_none() {
                    // Given up meanwhile: the node is to forget it too.
                    self.request(now, move |request| Message::CloseFlow { request, flow });
                    return Ok(());
                }
                self.flow_opened(peer, flow, state, payload_max);
            }
            Message::Peer {
                flow,
                state,
                payload_max,
                ..
            } => {
                if let Some(flow) = self.flows.numbered(flow) {
                    self.flow_changed(flow, state, payload_max);
                }
            }
            Message::Done { request, refusal } => self.on_done(request, refusal),
            Message::Challenge { token } => self.on_challenge(token),
            Message::Rebound { observed } => self.on_rebound(observed),
            Message::Stats(stats) => self.events.push_back(Event::Stats(stats)),
            Message::Restarting { restarting, .. } => {
                self.events.push_back(Event::Restarting(restarting));
            }
            Message::Standing { active, .. } => {
                if self.active != active {
                    self.active = active;
                    self.events.push_back(Event::Standing { active });
                }
            }
            Message::Close { reason, text } => self.end(Event::Closed { reason, text }),
            Message::Unknown => return Err(DropReason::UnknownKind),
            _ => return Err(DropReason::Unexpected),
        }
        Ok(())
    }

    fn acknowledge(&mut self, message: &Message) {
        let (Message::Opened { notice, .. }
        | Message::Peer { notice, .. }
        | Message::Restarting { notice, .. }
        | Message::Standing { notice, .. }) = message
        else {
            return;
        };
        if *notice != 0 {
            self.tell(&Message::Ack { notice: *notice });
        }
    }

    fn on_done(&mut self, request: u32, refusal: Option<crate::Refusal>) {
        let Some(asked) = self.requests.answered(request) else {
            return;
        };
        match (asked, refusal) {
            (Message::Open { peer, .. }, Some(refusal)) => {
                if let Some(flow) = self.flows.to(&peer) {
                    self.flows.remove(flow);
                    self.events.push_back(Event::OpenRefused { flow, refusal });
                }
            }
            (Message::Renew { .. }, None) => self.events.push_back(Event::Renewed),
            (Message::Renew { .. }, Some(refusal)) => {
                self.events.push_back(Event::RenewRefused(refusal));
            }
            _ => {}
        }
    }
}
