//! A thread of connections: one machine, and the QUIC and WebSocket sessions that live on it.
//!
//! Everything here runs on one thread and is shared by its tasks without a lock. A reader hands each
//! frame to the machine and routes it by the verdict; a writer sends what waits in its link.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sterna_flow::limits::CONTROL_FRAME_BYTES_MAX;
use sterna_flow::queue::QueueCounters;
use sterna_flow::{CloseReason, Command, Link, Relay, Rung, ShardId, StreamId, Verdict};
use tokio::sync::Notify;
use tokio::time::sleep_until;
use tracing::debug;

use super::link::FlowLink;
use super::mailbox::{FlowControl, FlowInbox, FlowMailboxes, FlowPacket, into_bytes};
use super::snapshot::{FlowSnapshot, FlowViews, LinkCounters};
use super::udp::log;
use crate::limits::{FLOW_QUEUE_LOOK, LETTERS_PER_TURN_MAX};
use crate::mailbox::RelayedPayload;

/// What the tasks of one thread share.
#[derive(Debug)]
pub(super) struct Shard {
    id: ShardId,
    relay: RefCell<Relay>,
    links: RefCell<HashMap<StreamId, Rc<FlowLink>>>,
    shards: FlowMailboxes,
    next_link: Cell<u32>,
    draining: Cell<bool>,
    cordoned: Cell<bool>,
    pub(super) counters: RefCell<LinkCounters>,
    /// What the queues of ended links have done.
    past_queues: RefCell<QueueCounters>,
    /// The machine's next deadline may have become earlier.
    rearm: Notify,
}

impl Shard {
    pub(super) fn new(relay: Relay, id: ShardId, shards: FlowMailboxes) -> Self {
        Self {
            id,
            relay: RefCell::new(relay),
            links: RefCell::default(),
            shards,
            next_link: Cell::new(0),
            draining: Cell::new(false),
            cordoned: Cell::new(false),
            counters: RefCell::default(),
            past_queues: RefCell::default(),
            rearm: Notify::new(),
        }
    }

    /// Whether new devices are turned away.
    pub(super) fn is_draining(&self) -> bool {
        self.draining.get() || self.cordoned.get()
    }

    /// Takes a connection on, before its first frame.
    pub(super) fn open(
        &self,
        rung: Rung,
        addr: SocketAddr,
        exporter: [u8; 32],
        payload_max: u16,
    ) -> Rc<FlowLink> {
        let now = Instant::now();
        let mut links = self.links.borrow_mut();
        let id = loop {
            let id = StreamId(self.next_link.get());
            self.next_link.set(id.0.wrapping_add(1));
            if !links.contains_key(&id) {
                break id;
            }
        };
        let link = Rc::new(FlowLink::new(now, id, rung));
        links.insert(id, Rc::clone(&link));
        drop(links);
        self.count(rung, 1);
        self.relay
            .borrow_mut()
            .handle_stream_opened(now, id, rung, addr, exporter, payload_max);
        link
    }

    /// Takes note that a connection is gone.
    pub(super) fn closed(&self, link: &FlowLink) {
        let now = Instant::now();
        self.links.borrow_mut().remove(&link.id);
        self.count(link.rung, -1);
        self.note_queue(link);
        self.past_queues.borrow_mut().add(&link.queue_counters());
        self.relay.borrow_mut().handle_stream_closed(now, link.id);
        self.obey();
    }

    /// Takes a frame of a connection.
    pub(super) fn frame(&self, link: &FlowLink, frame: &Bytes) {
        let now = Instant::now();
        let verdict = self
            .relay
            .borrow_mut()
            .handle_packet(now, Link::Stream(link.id), frame);
        self.route(now, verdict, frame);
    }

    /// Takes note that one message of a connection carries other payloads than before.
    pub(super) fn payload_max(&self, link: &FlowLink, payload_max: u16) {
        let now = Instant::now();
        self.relay
            .borrow_mut()
            .handle_stream_payload_max(now, link.id, payload_max);
        self.obey();
    }

    /// Takes note of another address of a connection.
    pub(super) fn moved(&self, link: &FlowLink, addr: SocketAddr) {
        self.relay
            .borrow_mut()
            .handle_stream_moved(Instant::now(), link.id, addr);
    }

    /// Runs the machine until the node says that it ends.
    pub(super) async fn run(&self, mut inbox: FlowInbox, bell: Arc<Notify>) {
        let mut look = tokio::time::interval(FLOW_QUEUE_LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let due = self.relay.borrow().poll_timeout();
            let due = due.unwrap_or_else(|| Instant::now() + Duration::from_secs(60));
            tokio::select! {
                () = bell.notified() => {}
                () = self.rearm.notified() => {}
                () = sleep_until(due.into()) => {
                    self.relay.borrow_mut().handle_timeout(Instant::now());
                    self.obey();
                }
                _ = look.tick() => self.note_queues(),
            }
            self.read_mail(&mut inbox);
            while let Ok(word) = inbox.control.try_recv() {
                if let FlowControl::Shutdown(done) = word {
                    self.relay
                        .borrow_mut()
                        .close_all(Instant::now(), CloseReason::Restarting);
                    self.obey();
                    self.drained().await;
                    let _ = done.send(());
                    return;
                }
                self.obey_control(word);
            }
            if !inbox.is_empty() {
                // More than one turn's worth: the connections have their turn first.
                bell.notify_one();
                tokio::task::yield_now().await;
            }
        }
    }

    fn read_mail(&self, inbox: &mut FlowInbox) {
        let now = Instant::now();
        for _ in 0..LETTERS_PER_TURN_MAX {
            let Some(letter) = inbox.letters.pop() else {
                break;
            };
            self.relay.borrow_mut().handle_letter(now, letter);
            self.obey();
        }
        for _ in 0..LETTERS_PER_TURN_MAX {
            match inbox.packets.pop() {
                Some(FlowPacket::Payload(target, payload)) => {
                    let payload = into_bytes(payload);
                    let verdict =
                        self.relay
                            .borrow_mut()
                            .handle_relayed(now, target, payload.len());
                    self.route(now, verdict, &payload);
                }
                // Datagrams are for workers.
                Some(FlowPacket::Datagram(..)) => {}
                None => break,
            }
        }
    }

    fn route(&self, now: Instant, verdict: Verdict, payload: &Bytes) {
        match verdict {
            Verdict::ToStream {
                stream,
                flow,
                head,
                payload: range,
            } => {
                if let Some(link) = self.link(stream) {
                    link.push(now, flow, head, payload.slice(range));
                }
            }
            Verdict::ToShard {
                shard,
                target,
                payload: range,
            } => {
                let payload = RelayedPayload::Frame(payload.slice(range));
                let packet = FlowPacket::Payload(target, payload);
                if !self.shards.post_packet(shard, packet) {
                    self.relay.borrow_mut().note_mailbox_full();
                }
            }
            Verdict::Handled => self.obey(),
            // Sessions of the `udp` rung live on workers.
            Verdict::ToUdp { .. } | Verdict::PassOn { .. } | Verdict::Drop(_) => {}
        }
    }

    fn obey(&self) {
        let mut frame = [0; CONTROL_FRAME_BYTES_MAX];
        loop {
            let command = self.relay.borrow_mut().poll_command(&mut frame);
            match command {
                Some(Command::Send {
                    link: Link::Stream(stream),
                    len,
                }) => self.send_control(stream, Bytes::copy_from_slice(&frame[..len])),
                Some(Command::Post { shard, letter }) => self.shards.post_letter(shard, letter),
                Some(Command::CloseStream { stream }) => {
                    if let Some(link) = self.link(stream) {
                        link.close();
                    }
                }
                Some(Command::Event(event)) => log(&event),
                Some(Command::Send { .. }) => {}
                None => break,
            }
        }
        self.rearm.notify_one();
    }

    fn send_control(&self, stream: StreamId, frame: Bytes) {
        let Some(link) = self.link(stream) else {
            return;
        };
        // A session's rate is known with WELCOME, and changes with a renewed ticket.
        link.set_bytes_per_s(self.relay.borrow().stream_bytes_per_s(stream));
        if !link.push_control(frame) {
            debug!(
                shard = self.id.0,
                "a device takes no control frames: cut off"
            );
            self.counters.borrow_mut().cut += 1;
            link.close();
        }
    }

    fn obey_control(&self, word: FlowControl) {
        let now = Instant::now();
        let mut relay = self.relay.borrow_mut();
        match word {
            FlowControl::Reconfigure(config, done) => {
                relay.reconfigure(now, config);
                let _ = done.send(());
            }
            FlowControl::Revoke(what, answer) => {
                // Whoever asked may have stopped waiting; the revocation stands all the same.
                let _ = answer.send(relay.revoke(now, &what));
            }
            FlowControl::Drain(restarting) => {
                self.draining.set(restarting.is_some());
                relay.drain(now, restarting);
            }
            FlowControl::Cordon(on) => {
                self.cordoned.set(on);
                relay.cordon(on);
            }
            FlowControl::Views(answer) => {
                let _ = answer.send(FlowViews {
                    sessions: relay.sessions(now).collect(),
                    flows: relay.flows().collect(),
                });
            }
            FlowControl::Snapshot(answer) => {
                let _ = answer.send(FlowSnapshot {
                    counters: relay.counters().clone(),
                    sessions: relay.session_count(),
                    flows: relay.flow_count(),
                    queues: self.queues(),
                    links: *self.counters.borrow(),
                });
            }
            FlowControl::Shutdown(_) => unreachable!("invariant: `run` takes it"),
        }
        drop(relay);
        self.obey();
    }

    /// Waits until the last words to the devices have been sent, for a moment at most.
    async fn drained(&self) {
        let deadline = Instant::now() + crate::limits::FLOW_FAREWELL_MAX;
        while !self.links.borrow().is_empty() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn link(&self, stream: StreamId) -> Option<Rc<FlowLink>> {
        self.links.borrow().get(&stream).cloned()
    }

    /// Tells the machine what the queues have done, for the devices' STATS.
    fn note_queues(&self) {
        let links: Vec<_> = self.links.borrow().values().cloned().collect();
        for link in links {
            self.note_queue(&link);
        }
    }

    fn note_queue(&self, link: &FlowLink) {
        if let Some(done) = link.queue_news() {
            self.relay.borrow_mut().note_queue(link.id, &done);
        }
    }

    fn queues(&self) -> QueueCounters {
        let mut sum = self.past_queues.borrow().clone();
        for link in self.links.borrow().values() {
            sum.add(&link.queue_counters());
        }
        sum
    }

    fn count(&self, rung: Rung, by: i64) {
        let mut counters = self.counters.borrow_mut();
        let open = match rung {
            Rung::Quic => &mut counters.quic_open,
            Rung::Udp | Rung::Wss => &mut counters.wss_open,
        };
        *open = open.saturating_add_signed(by);
    }
}
