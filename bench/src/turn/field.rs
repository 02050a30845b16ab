//! The sockets and allocations of a UDP run, and what passes between them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::time::Instant;

use sterna_io::{Engine, ListenerId, Packet, Port, RelaySlot};
use sterna_turn::client::{ClientError, Credentials, Event, Received};

use super::flow::{Flow, Phase};
use super::pace::Pace;
use super::{Method, Mode, Preinstalled};
use crate::BenchError;
use crate::engine::bind_udp;
use crate::ledger::{Arrival, Ledger};
use crate::limits::{BURSTS_PER_TURN_MAX, MOVES_MAX, SETUP_WINDOW};
use crate::packet::filling;
use crate::session::name_of;

/// What is to be built up.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    pub(super) server: SocketAddr,
    pub(super) peer: SocketAddr,
    pub(super) allocations: u32,
    pub(super) mode: Mode,
    pub(super) method: Method,
    pub(super) packet_size: u16,
    pub(super) burst: u8,
    pub(super) credentials: Option<Credentials>,
    pub(super) preinstalled: Option<Preinstalled>,
}

/// Everything of one run over UDP.
pub(super) struct Field {
    pub(super) engine: Box<dyn Engine>,
    pub(super) ledger: Ledger,
    wish: Wish,
    epoch: Instant,
    /// The peer's own address.
    peer: SocketAddr,
    flows: Vec<Flow>,
    /// Flow of each relay slot.
    by_slot: Vec<u32>,
    alarms: BinaryHeap<Reverse<(Instant, u32)>>,
    cursor: Cursor,
    /// Flows that have started and are not ready, or are closing.
    busy: usize,
    ready: usize,
    closed: usize,
    /// Flows that had to begin again from another port.
    moves: usize,
    packet: Vec<u8>,
}

/// The next flow that starts, sends, or closes.
#[derive(Debug, Default)]
struct Cursor {
    start: usize,
    send: usize,
    close: usize,
}

/// The peer's socket is the engine's only listener.
const PEER: Port = Port::Listener(ListenerId(0));

impl Field {
    /// Opens all sockets; sends nothing.
    pub(super) fn new(
        mut engine: Box<dyn Engine>,
        wish: Wish,
        run: u32,
    ) -> Result<Self, BenchError> {
        let socket = bind_udp(wish.peer)?;
        let peer = socket.local_addr().map_err(BenchError::Socket)?;
        engine.add_listener(socket).map_err(BenchError::Socket)?;
        let allocations = wish.allocations as usize;
        let mut field = Self {
            engine,
            ledger: Ledger::new(run, allocations),
            epoch: Instant::now(),
            peer,
            flows: Vec::with_capacity(allocations),
            by_slot: Vec::new(),
            alarms: BinaryHeap::new(),
            cursor: Cursor::default(),
            busy: 0,
            ready: 0,
            closed: 0,
            moves: 0,
            packet: filling(usize::from(wish.packet_size)),
            wish,
        };
        for index in 0..field.wish.allocations {
            field.add_flow(index)?;
        }
        Ok(field)
    }

    fn add_flow(&mut self, index: u32) -> Result<(), BenchError> {
        let installed = self
            .wish
            .preinstalled
            .map(|ports| ports.of(index))
            .transpose()?;
        let port = installed.map_or(0, |(client_port, _)| client_port);
        let slot = self.open_socket(index, port)?;
        let mut flow = Flow::new(slot, self.wish.credentials.clone());
        if let Some((_, relay_port)) = installed {
            let relayed = SocketAddr::new(self.wish.server.ip(), relay_port);
            flow.install(relayed, self.peer, self.wish.packet_size);
            self.ready += 1;
        }
        self.flows.push(flow);
        Ok(())
    }

    fn open_socket(&mut self, index: u32, port: u16) -> Result<RelaySlot, BenchError> {
        let socket = bind_udp(SocketAddr::new(self.peer.ip(), port))?;
        let slot = self.engine.adopt_relay(socket)?;
        let number = slot.0 as usize;
        self.by_slot
            .resize(self.by_slot.len().max(number + 1), u32::MAX);
        self.by_slot[number] = index;
        Ok(slot)
    }

    /// Begins a flow again from another port.
    fn move_flow(&mut self, index: usize, now: Instant) -> Result<(), BenchError> {
        self.engine.close_relay(self.flows[index].slot);
        let slot = self.open_socket(u32::try_from(index).unwrap_or(u32::MAX), 0)?;
        self.flows[index] = Flow::new(slot, self.wish.credentials.clone());
        self.flows[index].allocate(now)
    }

    /// Time since the run's start.
    pub(super) fn elapsed_ns(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    pub(super) fn is_ready(&self) -> bool {
        self.ready == self.flows.len()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed == self.flows.len()
    }

    /// Starts as many allocations as may be in the making.
    pub(super) fn start_allocations(&mut self) -> Result<(), BenchError> {
        let now = Instant::now();
        while self.busy < SETUP_WINDOW && self.cursor.start < self.flows.len() {
            let index = self.cursor.start;
            self.cursor.start += 1;
            if self.flows[index].phase == Phase::Idle {
                self.busy += 1;
                self.flows[index].allocate(now)?;
                self.serve(index, now)?;
            }
        }
        Ok(())
    }

    /// Gives back as many allocations as may be on their way out.
    pub(super) fn close_allocations(&mut self) -> Result<(), BenchError> {
        let now = Instant::now();
        while self.busy < SETUP_WINDOW && self.cursor.close < self.flows.len() {
            let index = self.cursor.close;
            self.cursor.close += 1;
            if self.flows[index].release(now) {
                self.busy += 1;
                self.serve(index, now)?;
            } else {
                self.flows[index].phase = Phase::Closed;
                self.closed += 1;
            }
        }
        Ok(())
    }

    /// Sends what may leave now, or a good part of it.
    pub(super) fn send_bursts(&mut self, pace: &mut Pace) -> Result<(), BenchError> {
        for _ in 0..BURSTS_PER_TURN_MAX {
            let now_ns = self.elapsed_ns();
            if !pace.take(now_ns) {
                break;
            }
            let flow = self.cursor.send;
            self.cursor.send = (flow + 1) % self.flows.len();
            self.send_burst(now_ns, flow)?;
        }
        Ok(())
    }

    fn send_burst(&mut self, now_ns: u64, index: usize) -> Result<(), BenchError> {
        let flow = &mut self.flows[index];
        let number = u32::try_from(index).unwrap_or(u32::MAX);
        let burst = self.ledger.open(now_ns, number, u32::from(self.wish.burst));
        for place in 0..self.wish.burst {
            burst.stamp(place).write(&mut self.packet);
            let (via, to) = match self.wish.mode {
                Mode::Receive => (PEER, flow.relayed),
                Mode::Send | Mode::Pair => (Port::Relay(flow.slot), Some(self.wish.server)),
            };
            let (Some(to), Some(peer)) = (to, flow.peer) else {
                continue;
            };
            match (self.wish.mode, self.wish.method) {
                (Mode::Receive, _) => self.engine.send_copy(via, to, &[], &self.packet, 0),
                (_, Method::Channel) => {
                    self.engine
                        .send_copy(via, to, &flow.channel_header, &self.packet, 0);
                }
                (_, Method::Indication) => {
                    let prefix = flow.client.indication_prefix(peer, self.packet.len());
                    let prefix = prefix.map_err(|error| BenchError::Refused {
                        what: "Send",
                        error,
                    })?;
                    self.engine
                        .send_copy(via, to, prefix.bytes(), &self.packet, prefix.tail());
                }
            }
        }
        Ok(())
    }

    /// Flushes, waits until `deadline` at most, and takes in what has come. Returns how many bursts
    /// have arrived whole or were given up.
    pub(super) fn turn(&mut self, deadline: Instant) -> Result<u32, BenchError> {
        let alarm = self.alarms.peek().map_or(deadline, |Reverse((at, _))| *at);
        self.engine
            .turn(Some(deadline.min(alarm)))
            .map_err(BenchError::Socket)?;
        let now = Instant::now();
        let now_ns = self.elapsed_ns();
        let mut returned = 0;
        while let Some(train) = self.engine.next_train() {
            for packet in train.segments() {
                let is_last = match train.port {
                    Port::Listener(_) => self.on_peer_packet(now_ns, train.from, packet),
                    Port::Relay(slot) => {
                        self.on_client_packet(now, now_ns, slot, train.from, packet)?
                    }
                };
                returned += u32::from(is_last);
            }
        }
        self.ring_alarms(now)?;
        Ok(returned + self.ledger.sweep(now_ns))
    }

    fn on_peer_packet(&mut self, now_ns: u64, from: SocketAddr, packet: Packet) -> bool {
        let (flows, bytes) = (&self.flows, self.engine.bytes(packet));
        let is_at_home = |flow| relayed_addr(flows, flow) == Some(from);
        is_last(self.ledger.arrive(now_ns, bytes, is_at_home))
    }

    fn on_client_packet(
        &mut self,
        now: Instant,
        now_ns: u64,
        slot: RelaySlot,
        from: SocketAddr,
        packet: Packet,
    ) -> Result<bool, BenchError> {
        let RelaySlot(number) = slot;
        let number = self
            .by_slot
            .get(number as usize)
            .copied()
            .unwrap_or(u32::MAX);
        let index = number as usize;
        if from != self.wish.server || index >= self.flows.len() {
            return Ok(false);
        }
        let bytes = self.engine.bytes(packet);
        match self.flows[index].client.handle_packet(now, bytes) {
            Received::Data { peer, payload, .. } => {
                let flows = &self.flows;
                let is_at_home = |sender| match self.wish.mode {
                    Mode::Send => false,
                    Mode::Receive => sender == number && peer == self.peer,
                    Mode::Pair => sender == number ^ 1 && relayed_addr(flows, sender) == Some(peer),
                };
                Ok(is_last(self.ledger.arrive(
                    now_ns,
                    &bytes[payload],
                    is_at_home,
                )))
            }
            Received::Answer | Received::Attempt => self.serve(index, now).map(|()| false),
            Received::Icmp { .. } | Received::Ignored(_) => Ok(false),
        }
    }

    fn ring_alarms(&mut self, now: Instant) -> Result<(), BenchError> {
        while let Some(Reverse((at, number))) = self.alarms.peek().copied() {
            if at > now {
                break;
            }
            self.alarms.pop();
            let index = number as usize;
            self.flows[index].alarm = None;
            self.flows[index].client.handle_timeout(now);
            self.serve(index, now)?;
        }
        Ok(())
    }

    /// Does what a client wants done after it was called.
    fn serve(&mut self, index: usize, now: Instant) -> Result<(), BenchError> {
        while let Some(event) = self.flows[index].client.poll_event() {
            self.on_event(index, now, event)?;
        }
        let flow = &mut self.flows[index];
        while let Some(bytes) = flow.client.poll_transmit() {
            self.engine
                .send_copy(Port::Relay(flow.slot), self.wish.server, &[], bytes, 0);
        }
        if let Some(at) = flow.client.poll_timeout()
            && flow.alarm.is_none_or(|alarm| at < alarm)
        {
            flow.alarm = Some(at);
            self.alarms
                .push(Reverse((at, u32::try_from(index).unwrap_or(u32::MAX))));
        }
        Ok(())
    }

    fn on_event(&mut self, index: usize, now: Instant, event: Event) -> Result<(), BenchError> {
        let phase = self.flows[index].phase;
        match event {
            Event::Allocated(allocated) => {
                self.flows[index].relayed = Some(allocated.relayed);
                self.flows[index].phase = Phase::Allocated;
                self.open_ways(index, now)
            }
            Event::Permitted { .. } | Event::ChannelBound { .. } => {
                self.flows[index].phase = Phase::Ready;
                self.ready += 1;
                self.busy -= 1;
                Ok(())
            }
            // A server that no longer knows the allocation has given it back as well.
            Event::Ended(_) | Event::Failed { .. } if phase == Phase::Closing => {
                self.flows[index].phase = Phase::Closed;
                self.closed += 1;
                self.busy -= 1;
                Ok(())
            }
            Event::Ended(_) if phase != Phase::Closed => Err(BenchError::AllocationLost),
            // The port had an allocation in an earlier life, and the server has not forgotten it.
            Event::Failed {
                error: ClientError::Refused(437),
                ..
            } if phase == Phase::Allocating && self.moves < MOVES_MAX => {
                self.moves += 1;
                self.move_flow(index, now)
            }
            Event::Failed { request, error } if phase != Phase::Closed => {
                Err(BenchError::Refused {
                    what: name_of(&request),
                    error,
                })
            }
            _ => Ok(()),
        }
    }

    /// Opens the way to the peer: at once, or for both of a pair when both have their address.
    fn open_ways(&mut self, index: usize, now: Instant) -> Result<(), BenchError> {
        let (method, packet_size) = (self.wish.method, self.wish.packet_size);
        if self.wish.mode != Mode::Pair {
            return self.flows[index].open(now, self.peer, method, packet_size);
        }
        let partner = index ^ 1;
        let (Some(ours), Some(theirs)) = (self.flows[index].relayed, self.flows[partner].relayed)
        else {
            return Ok(());
        };
        self.flows[index].open(now, theirs, method, packet_size)?;
        self.flows[partner].open(now, ours, method, packet_size)?;
        self.serve(partner, now)
    }
}

fn relayed_addr(flows: &[Flow], flow: u32) -> Option<SocketAddr> {
    flows.get(flow as usize)?.relayed
}

fn is_last(arrival: Arrival) -> bool {
    matches!(
        arrival,
        Arrival::First {
            is_last_of_burst: true,
            ..
        }
    )
}
