//! A worker: one thread that owns its sockets, its allocations and its buffers.
//!
//! The loop has one shape under every back end: wait, hand each packet to the machine, route it by
//! the verdict, then do the cold work that the machine named. The data path takes no lock, shares
//! no counter and does not allocate; what crosses to another worker or to a TCP client goes through
//! the bounded queues of [`crate::mailbox`].

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use sterna_io::limits::SOCKET_BUFFER_BYTES;
use sterna_io::{Engine, ListenerId, OpenError, Packet, Port, RelaySlot, sockets};
use sterna_turn::{
    BindToken, Client, Command, Event, Header, PeerAddr, PortError, RelayPort, Server, Transport,
    Verdict, WorkerId,
};
use tracing::{debug, warn};

use crate::held_ports::HeldPorts;
use crate::limits::{LETTERS_PER_TURN_MAX, REPLY_BYTES_MAX};
use crate::mailbox::{Control, Inbox, Mailboxes, Relayed, RelayedPayload, StreamLetter};
use crate::metrics::{WorkerCounters, WorkerSnapshot};
use crate::stream::StreamOut;

/// One worker of the node.
#[derive(Debug)]
pub struct Worker<E> {
    id: WorkerId,
    engine: E,
    server: Server,
    inbox: Inbox,
    workers: Mailboxes,
    held: Arc<HeldPorts>,
    /// The local address of each UDP listener, by [`ListenerId`].
    listeners: Vec<SocketAddr>,
    /// The way out to each TCP and TLS client of this worker, by [`Client::route`].
    streams: HashMap<u32, StreamOut>,
    counters: WorkerCounters,
    reply: Box<[u8; REPLY_BYTES_MAX]>,
    ended: bool,
}

/// Where the bytes of a packet lie on their way through the worker.
enum Payload {
    /// In a receive buffer of this worker.
    Received(Packet),
    /// In a buffer of another worker, or in a stream's frame.
    Relayed(RelayedPayload),
}

impl<E: Engine> Worker<E> {
    /// Puts a worker together. `listeners` are sockets that are already bound, each member of its
    /// address's SO_REUSEPORT group.
    ///
    /// # Errors
    /// What the back end says when it cannot take a listener on.
    pub fn new(
        id: WorkerId,
        mut engine: E,
        server: Server,
        inbox: Inbox,
        workers: Mailboxes,
        held: Arc<HeldPorts>,
        listeners: Vec<UdpSocket>,
    ) -> std::io::Result<Self> {
        let mut addrs = Vec::with_capacity(listeners.len());
        for socket in listeners {
            addrs.push(socket.local_addr()?);
            engine.add_listener(socket)?;
        }
        Ok(Self {
            id,
            engine,
            server,
            inbox,
            workers,
            held,
            listeners: addrs,
            streams: HashMap::new(),
            counters: WorkerCounters::default(),
            reply: Box::new([0; REPLY_BYTES_MAX]),
            ended: false,
        })
    }

    /// Runs until [`Control::Shutdown`].
    ///
    /// # Errors
    /// What the back end says when it cannot wait for packets any more.
    pub fn run(&mut self) -> std::io::Result<()> {
        while !self.ended {
            self.step()?;
        }
        Ok(())
    }

    /// Goes round the loop once: waits, then handles everything that has come.
    ///
    /// # Errors
    /// What the back end says when it cannot wait for packets any more.
    pub fn step(&mut self) -> std::io::Result<()> {
        let deadline = if self.inbox.is_empty() {
            self.server.poll_timeout()
        } else {
            Some(self.engine.now())
        };
        self.engine.turn(deadline)?;
        let now = self.engine.now();
        self.counters.turns += 1;
        while let Some(train) = self.engine.next_train() {
            for packet in train.segments() {
                match train.port {
                    Port::Listener(listener) => self.on_listener(now, listener, train.from, packet),
                    Port::Relay(slot) => self.on_relay(now, slot, train.from, packet),
                }
            }
        }
        self.read_relayed(now);
        self.read_streams(now);
        self.read_control(now);
        if self
            .server
            .poll_timeout()
            .is_some_and(|deadline| deadline <= now)
        {
            self.server.handle_timeout(now);
            self.obey_commands(now);
        }
        Ok(())
    }

    /// The back end, for those that drive it by hand (the simulation, the forwarding benchmark).
    pub fn engine_mut(&mut self) -> &mut E {
        &mut self.engine
    }

    fn on_listener(
        &mut self,
        now: Instant,
        listener: ListenerId,
        from: SocketAddr,
        packet: Packet,
    ) {
        let Some(&server) = self.listeners.get(usize::from(listener.0)) else {
            return;
        };
        let client = Client {
            transport: Transport::Udp,
            route: u32::from(listener.0),
            addr: from,
            server,
        };
        let verdict = self
            .server
            .handle_client(now, client, self.engine.bytes(packet));
        self.route(now, verdict, Payload::Received(packet));
    }

    fn on_relay(&mut self, now: Instant, slot: RelaySlot, from: SocketAddr, packet: Packet) {
        let verdict = self
            .server
            .handle_peer(now, RelayPort(slot.0), from, packet.len());
        self.route(now, verdict, Payload::Received(packet));
    }

    fn route(&mut self, now: Instant, verdict: Verdict, payload: Payload) {
        match verdict {
            Verdict::ToPeer {
                port,
                peer,
                payload: range,
            } => {
                self.send(Port::Relay(RelaySlot(port.0)), peer, None, payload, range);
            }
            Verdict::ToClient {
                client,
                header,
                payload: range,
            } => match client.transport {
                Transport::Udp => self.send(
                    listener_of(client),
                    client.addr,
                    Some(&header),
                    payload,
                    range,
                ),
                Transport::Tcp | Transport::Tls => self.push(client, &header, &payload, range),
            },
            Verdict::ToWorker {
                worker,
                to,
                from,
                payload: range,
            } => self.post(worker, to, from, payload, range),
            Verdict::Handled => self.obey_commands(now),
            Verdict::Drop(_reason) => {} // The machine has counted it.
        }
    }

    /// Sends a datagram; its payload is not copied unless it came over a stream.
    fn send(
        &mut self,
        via: Port,
        to: SocketAddr,
        header: Option<&Header>,
        payload: Payload,
        range: Range<usize>,
    ) {
        let (head, tail) = header.map_or((&[][..], 0), |header| (header.bytes(), header.tail()));
        match payload {
            Payload::Received(packet) => self.engine.send(via, to, head, packet.slice(range), tail),
            Payload::Relayed(RelayedPayload::Shared(packet)) => {
                self.engine
                    .send_shared(via, to, head, packet.slice(range), tail);
            }
            Payload::Relayed(RelayedPayload::Frame(frame)) => {
                self.engine.send_copy(via, to, head, &frame[range], tail);
            }
        }
    }

    /// Hands a packet to the queue of a TCP or TLS client.
    fn push(&mut self, client: Client, header: &Header, payload: &Payload, range: Range<usize>) {
        let Some(out) = self.streams.get(&client.route) else {
            self.counters.stream_gone += 1;
            return;
        };
        let bytes = match payload {
            Payload::Received(packet) => self.engine.bytes(*packet),
            Payload::Relayed(payload) => payload,
        };
        out.push(header.bytes(), &bytes[range], header.tail());
    }

    /// Hands a packet to the worker that owns the allocation which it is for.
    fn post(
        &mut self,
        worker: WorkerId,
        to: PeerAddr,
        from: PeerAddr,
        payload: Payload,
        range: Range<usize>,
    ) {
        let payload = match payload {
            Payload::Received(packet) => match self.engine.share(packet) {
                Some(shared) => RelayedPayload::Shared(shared.slice(range)),
                None => return, // Too many buffers are away; the back end has counted it.
            },
            Payload::Relayed(RelayedPayload::Shared(shared)) => {
                RelayedPayload::Shared(shared.slice(range))
            }
            Payload::Relayed(RelayedPayload::Frame(frame)) => {
                RelayedPayload::Frame(frame.slice(range))
            }
        };
        let posted = self
            .workers
            .of(worker)
            .is_some_and(|mailbox| mailbox.post_relayed(Relayed { to, from, payload }));
        if !posted {
            self.counters.mailbox_full += 1;
        }
    }

    fn read_relayed(&mut self, now: Instant) {
        for _ in 0..LETTERS_PER_TURN_MAX {
            let Some(letter) = self.inbox.relayed.pop() else {
                return;
            };
            let verdict =
                self.server
                    .handle_relayed(now, letter.to, letter.from, letter.payload.len());
            self.route(now, verdict, Payload::Relayed(letter.payload));
        }
    }

    fn read_streams(&mut self, now: Instant) {
        for _ in 0..LETTERS_PER_TURN_MAX {
            match self.inbox.streams.try_recv() {
                Ok(StreamLetter::Opened(client, out)) => {
                    self.streams.insert(client.route, out);
                }
                Ok(StreamLetter::Frame(client, frame)) => self.on_frame(now, client, frame),
                Ok(StreamLetter::Closed(client)) => {
                    self.streams.remove(&client.route);
                    self.server.handle_stream_closed(now, client);
                    self.obey_commands(now);
                }
                Err(_) => return,
            }
        }
    }

    fn on_frame(&mut self, now: Instant, client: Client, frame: Bytes) {
        let verdict = self.server.handle_client(now, client, &frame);
        self.route(now, verdict, Payload::Relayed(RelayedPayload::Frame(frame)));
    }

    fn read_control(&mut self, now: Instant) {
        while let Ok(letter) = self.inbox.control.try_recv() {
            match letter {
                Control::Reconfigure(config) => self.server.reconfigure(now, config),
                Control::Revoke(what, answer) => {
                    let ended = self.server.revoke(now, &what);
                    // Whoever asked may have stopped waiting; the revocation stands all the same.
                    let _ = answer.send(ended);
                }
                Control::Drain(on) => self.server.drain(on),
                Control::Allocations(answer) => {
                    let _ = answer.send(self.server.allocations(now).collect());
                }
                Control::Snapshot(answer) => {
                    let _ = answer.send(self.snapshot());
                }
                Control::AddListener(socket) => self.add_listener(socket),
                Control::Shutdown => self.ended = true,
            }
            self.obey_commands(now);
        }
    }

    fn add_listener(&mut self, socket: UdpSocket) {
        let added = socket
            .local_addr()
            .and_then(|addr| self.engine.add_listener(socket).map(|_id| addr));
        match added {
            Ok(addr) => self.listeners.push(addr),
            Err(error) => {
                warn!(worker = self.id.0, %error, "cannot listen on a new address of the host");
            }
        }
    }

    fn snapshot(&self) -> WorkerSnapshot {
        WorkerSnapshot {
            worker: self.id,
            turn: self.server.counters().clone(),
            io: self.engine.counters(),
            buffers_free: self.engine.buffers_free(),
            own: self.counters,
            allocations: self.server.allocation_count(),
            streams: self.streams.len(),
        }
    }

    /// Does the cold work that the machine named since the last call.
    fn obey_commands(&mut self, now: Instant) {
        while let Some(command) = self.server.poll_command(&mut self.reply[..]) {
            match command {
                Command::Reply { client, len } => self.reply_to(client, len),
                Command::BindPort { token, addr } => {
                    let opened = self.engine.open_relay(addr);
                    self.answer_port(now, token, opened);
                }
                Command::HoldPort { token, addr } => self.hold_port(now, token, addr),
                Command::AdoptPort { token, addr } => {
                    let adopted = match self.held.take(addr) {
                        Some(socket) => self.engine.adopt_relay(socket),
                        None => Err(OpenError::InUse),
                    };
                    self.answer_port(now, token, adopted);
                }
                Command::DropHeldPort { addr } => drop(self.held.take(addr)),
                Command::ReleasePort { port } => self.engine.close_relay(RelaySlot(port.0)),
                Command::CloseStream { client } => {
                    if let Some(out) = self.streams.get(&client.route) {
                        out.close();
                    }
                }
                Command::Event(event) => self.note(&event),
            }
        }
    }

    /// Logs a step in an allocation's life, and tells its stream whether it has one.
    fn note(&self, event: &Event) {
        let (client, alive) = match event {
            Event::Allocated { client, .. } => (client, true),
            Event::Ended { client, .. } => (client, false),
            Event::Refreshed { .. } => {
                debug!(worker = self.id.0, ?event, "allocation refreshed");
                return;
            }
        };
        debug!(
            worker = self.id.0,
            ?event,
            "{}",
            if alive {
                "allocation made"
            } else {
                "allocation ended"
            }
        );
        if client.transport.is_stream()
            && let Some(out) = self.streams.get(&client.route)
        {
            out.set_session(alive);
        }
    }

    fn reply_to(&mut self, client: Client, len: usize) {
        match client.transport {
            Transport::Udp => {
                self.engine
                    .send_copy(listener_of(client), client.addr, &[], &self.reply[..len], 0);
            }
            Transport::Tcp | Transport::Tls => match self.streams.get(&client.route) {
                Some(out) => out.push(&[], &self.reply[..len], 0),
                None => self.counters.stream_gone += 1,
            },
        }
    }

    fn hold_port(&mut self, now: Instant, token: BindToken, addr: SocketAddr) {
        let answer = match sockets::bind_relay(addr, SOCKET_BUFFER_BYTES).map_err(OpenError::from) {
            Ok(socket) => {
                self.held.hold(addr, socket);
                Ok(NO_PORT)
            }
            Err(error) => Err(self.port_error(error)),
        };
        self.server.handle_port(now, token, answer);
    }

    fn answer_port(
        &mut self,
        now: Instant,
        token: BindToken,
        opened: Result<RelaySlot, OpenError>,
    ) {
        let answer = match opened {
            Ok(slot) => Ok(RelayPort(slot.0)),
            Err(error) => Err(self.port_error(error)),
        };
        self.server.handle_port(now, token, answer);
    }

    fn port_error(&mut self, error: OpenError) -> PortError {
        match error {
            OpenError::InUse => {
                self.counters.ports_held_elsewhere += 1;
                PortError::InUse
            }
            OpenError::OutOfDescriptors | OpenError::TableFull => {
                self.counters.ports_exhausted += 1;
                PortError::Exhausted
            }
            error => {
                warn!(worker = self.id.0, %error, "cannot open a relay port");
                PortError::Other
            }
        }
    }
}

/// The machine asks for no handle of a port that is held and not open.
const NO_PORT: RelayPort = RelayPort(u32::MAX);

fn listener_of(client: Client) -> Port {
    let id = u16::try_from(client.route)
        .expect("invariant: a UDP client's route is the id of a listener");
    Port::Listener(ListenerId(id))
}
