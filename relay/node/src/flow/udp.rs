//! The `udp` rung: flow frames on a worker's listening sockets.
//!
//! A data frame between two devices of this rung is one look-up, four bytes rewritten and one send,
//! from whichever worker has received it: no lock, no copy, no allocation.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Instant;

use sterna_flow::limits::CONTROL_FRAME_BYTES_MAX;
use sterna_flow::{CloseReason, Command, Event, Link, Relay, ShardId, Verdict};
use sterna_io::{Engine, ListenerId, Packet, Port};
use tracing::debug;

use super::mailbox::{FlowControl, FlowInbox, FlowMailboxes, FlowPacket};
use super::snapshot::{FlowSnapshot, FlowViews, LinkCounters};
use crate::limits::LETTERS_PER_TURN_MAX;
use crate::worker::{Payload, Worker};

/// The first bytes of flow frames: clear of STUN, of TURN's channels and of QUIC.
pub(crate) const FIRST_BYTES: RangeInclusive<u8> = 0x80..=0xBF;

/// A worker's part of the flow relay.
#[derive(Debug)]
pub(crate) struct WorkerFlow {
    relay: Relay,
    inbox: FlowInbox,
    shards: FlowMailboxes,
    frame: Box<[u8; CONTROL_FRAME_BYTES_MAX]>,
}

impl WorkerFlow {
    pub(crate) fn new(relay: Relay, inbox: FlowInbox, shards: FlowMailboxes) -> Self {
        Self {
            relay,
            inbox,
            shards,
            frame: Box::new([0; CONTROL_FRAME_BYTES_MAX]),
        }
    }

    /// When the machine wants to be called, or `now` when something waits.
    pub(crate) fn deadline(&self, now: Instant) -> Option<Instant> {
        if self.inbox.is_empty() {
            self.relay.poll_timeout()
        } else {
            Some(now)
        }
    }
}

impl<E: Engine> Worker<E> {
    /// Takes a flow frame that a listener has received.
    pub(crate) fn on_flow_frame(
        &mut self,
        now: Instant,
        listener: ListenerId,
        from: SocketAddr,
        packet: Packet,
    ) {
        let link = Link::Udp {
            listener: listener.0,
            addr: from,
        };
        self.flow_packet(now, link, Payload::Received(packet));
    }

    /// Takes what other shards and the node have sent, and does what is due.
    pub(crate) fn turn_flow(&mut self, now: Instant) {
        if self.flow.is_none() {
            return;
        }
        for _ in 0..LETTERS_PER_TURN_MAX {
            let Some(flow) = &mut self.flow else { return };
            let Some(letter) = flow.inbox.letters.pop() else {
                break;
            };
            flow.relay.handle_letter(now, letter);
            self.obey_flow();
        }
        for _ in 0..LETTERS_PER_TURN_MAX {
            let Some(flow) = &mut self.flow else { return };
            match flow.inbox.packets.pop() {
                Some(FlowPacket::Payload(target, payload)) => {
                    let verdict = flow.relay.handle_relayed(now, target, payload.len());
                    self.route_flow(verdict, Payload::Relayed(payload));
                }
                Some(FlowPacket::Datagram(link, packet)) => {
                    self.flow_packet(now, link, Payload::Relayed(packet));
                }
                None => break,
            }
        }
        while let Some(word) = self
            .flow
            .as_mut()
            .and_then(|flow| flow.inbox.control.try_recv().ok())
        {
            self.obey_flow_control(now, word);
        }
        let Some(flow) = &mut self.flow else { return };
        if flow.relay.poll_timeout().is_some_and(|due| due <= now) {
            flow.relay.handle_timeout(now);
            self.obey_flow();
        }
    }

    fn flow_packet(&mut self, now: Instant, link: Link, payload: Payload) {
        let Some(flow) = &mut self.flow else { return };
        let bytes = match &payload {
            Payload::Received(packet) => self.engine.bytes(*packet),
            Payload::Relayed(payload) => payload,
        };
        match flow.relay.handle_packet(now, link, bytes) {
            Verdict::PassOn { shard } => self.pass_on(shard, link, payload),
            verdict => self.route_flow(verdict, payload),
        }
    }

    fn route_flow(&mut self, verdict: Verdict, payload: Payload) {
        match verdict {
            Verdict::ToUdp {
                listener,
                to,
                head,
                payload: range,
            } => self.send(
                Port::Listener(ListenerId(listener)),
                to,
                (head.bytes(), 0),
                payload,
                range,
            ),
            Verdict::ToShard {
                shard,
                target,
                payload: range,
            } => {
                let Some(payload) = self.hand_over(payload, range) else {
                    return; // Too many buffers are away; the back end has counted it.
                };
                self.post_flow(shard, FlowPacket::Payload(target, payload));
            }
            // A worker has no connections, and only whole packets are passed on.
            Verdict::ToStream { .. } | Verdict::PassOn { .. } | Verdict::Drop(_) => {}
            Verdict::Handled => self.obey_flow(),
        }
    }

    /// Hands a whole packet to the worker whose session it is of.
    fn pass_on(&mut self, shard: ShardId, link: Link, packet: Payload) {
        let len = packet.len();
        if let Some(packet) = self.hand_over(packet, 0..len) {
            self.post_flow(shard, FlowPacket::Datagram(link, packet));
        }
    }

    fn post_flow(&mut self, shard: ShardId, packet: FlowPacket) {
        let Some(flow) = &mut self.flow else { return };
        if !flow.shards.post_packet(shard, packet) {
            flow.relay.note_mailbox_full();
        }
    }

    fn obey_flow(&mut self) {
        while let Some(flow) = &mut self.flow {
            let Some(command) = flow.relay.poll_command(&mut flow.frame[..]) else {
                return;
            };
            match command {
                Command::Send {
                    link: Link::Udp { listener, addr },
                    len,
                } => {
                    let via = Port::Listener(ListenerId(listener));
                    self.engine.send_copy(via, addr, &[], &flow.frame[..len], 0);
                }
                Command::Post { shard, letter } => flow.shards.post_letter(shard, letter),
                // A worker has no connections.
                Command::Send { .. } | Command::CloseStream { .. } => {}
                Command::Event(event) => log(&event),
            }
        }
    }

    fn obey_flow_control(&mut self, now: Instant, word: FlowControl) {
        let Some(flow) = &mut self.flow else { return };
        match word {
            FlowControl::Reconfigure(config, done) => {
                flow.relay.reconfigure(now, config);
                let _ = done.send(());
            }
            FlowControl::Revoke(what, answer) => {
                // Whoever asked may have stopped waiting; the revocation stands all the same.
                let _ = answer.send(flow.relay.revoke(now, &what));
            }
            FlowControl::Drain(restarting) => flow.relay.drain(now, restarting),
            FlowControl::Cordon(on) => flow.relay.cordon(on),
            FlowControl::Views(answer) => {
                let _ = answer.send(FlowViews {
                    sessions: flow.relay.sessions(now).collect(),
                    flows: flow.relay.flows().collect(),
                });
            }
            FlowControl::Snapshot(answer) => {
                let _ = answer.send(FlowSnapshot {
                    counters: flow.relay.counters().clone(),
                    sessions: flow.relay.session_count(),
                    flows: flow.relay.flow_count(),
                    queues: sterna_flow::queue::QueueCounters::default(),
                    links: LinkCounters::default(),
                });
            }
            FlowControl::Shutdown(done) => {
                flow.relay.close_all(now, CloseReason::Restarting);
                self.obey_flow();
                let _ = done.send(());
                return;
            }
        }
        self.obey_flow();
    }
}

/// Logs a step in a session's life.
pub(super) fn log(event: &Event) {
    match event {
        Event::Began { .. } => debug!(?event, "flow session began"),
        Event::Ended { .. } => debug!(?event, "flow session ended"),
        Event::Refused { .. } => debug!(?event, "flow handshake refused"),
        Event::Rebound { .. } => debug!(?event, "flow session moved"),
    }
}

/// The shard number of a worker.
pub(crate) fn shard_of(worker: sterna_turn::WorkerId) -> ShardId {
    ShardId(worker.0)
}

/// Makes a worker's machine.
pub(crate) fn relay(plan: &super::FlowPlan, now: Instant, shard: ShardId) -> Relay {
    Relay::new(
        now,
        shard,
        Arc::clone(&plan.config),
        Arc::clone(&plan.directory),
        rand::random(),
    )
}
