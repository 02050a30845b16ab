//! A worker: one thread that owns its sockets, its allocations and its buffers.
//!
//! The loop has one shape under every back end: wait, hand each packet to the machine, route it by
//! the verdict, then do the cold work that the machine named. The data path takes no lock, shares
//! no counter and does not allocate; what crosses to another worker or to a TCP client goes through
//! the bounded queues of [`crate::mailbox`].

use std::collections::VecDeque;
use std::net::{SocketAddr, UdpSocket};
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use sterna_io::{Engine, ListenerId, Notice, Packet, Port, RelaySlot};
use sterna_stun::attr::Icmp;
use sterna_turn::{
    Client, Header, PeerAddr, PeerConnection, RelayPort, Server, Transport, Verdict, WorkerId,
};
use tracing::warn;

use self::ways::Ways;
use crate::flow::{self, WorkerFlow};
use crate::held_ports::HeldPorts;
use crate::limits::{
    LETTERS_PER_TURN_MAX, RECEIVE_WARNING_PAUSE, REPLY_BYTES_MAX, TELL_CLOSED_RETRY,
};
use crate::mailbox::{Control, Inbox, Letter, Mailboxes, Relayed, RelayedPayload, StreamLetter};
use crate::metrics::{WorkerCounters, WorkerSnapshot};
use crate::stream::peer::Peers;

mod commands;
mod moved;
mod ways;

/// One worker of the node.
#[derive(Debug)]
pub struct Worker<E> {
    id: WorkerId,
    pub(crate) engine: E,
    server: Server,
    inbox: Inbox,
    workers: Mailboxes,
    held: Arc<HeldPorts>,
    /// The local address of each UDP listener, by [`ListenerId`].
    listeners: Vec<SocketAddr>,
    /// The ways out to TCP and TLS clients.
    streams: Ways,
    /// Ends of connections that other workers have to be told of: their inboxes were full.
    unsaid: VecDeque<(WorkerId, Client)>,
    /// The flow relay's `udp` rung, where it is on.
    pub(crate) flow: Option<WorkerFlow>,
    /// The driver of TCP allocations, where there is one.
    peers: Option<Peers>,
    /// What the last ConnectionBind was joined with.
    joined: Option<PeerConnection>,
    counters: WorkerCounters,
    reply: Box<[u8; REPLY_BYTES_MAX]>,
    /// When the log last had a line about a receive that failed.
    warned_at: Option<Instant>,
    ended: bool,
}

/// Where the bytes of a packet lie on their way through the worker.
pub(crate) enum Payload {
    /// In a receive buffer of this worker.
    Received(Packet),
    /// In a buffer of another worker, or in a stream's frame.
    Relayed(RelayedPayload),
}

impl Payload {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Received(packet) => packet.len(),
            Self::Relayed(payload) => payload.len(),
        }
    }
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
            streams: Ways::default(),
            unsaid: VecDeque::new(),
            flow: None,
            peers: None,
            joined: None,
            counters: WorkerCounters::default(),
            reply: Box::new([0; REPLY_BYTES_MAX]),
            warned_at: None,
            ended: false,
        })
    }

    /// Serves flow frames beside STUN and TURN.
    #[must_use]
    pub(crate) fn with_flow(mut self, flow: WorkerFlow) -> Self {
        self.flow = Some(flow);
        self
    }

    /// Serves TCP allocations too (RFC 6062), if the configuration wants them.
    #[must_use]
    pub fn with_peers(mut self, peers: Peers) -> Self {
        self.peers = Some(peers);
        self
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
        let deadline = self.deadline();
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
        while let Some(notice) = self.engine.next_notice() {
            self.on_notice(now, notice);
        }
        self.read_letters(now);
        self.read_streams(now);
        self.read_control(now);
        self.say_what_is_unsaid();
        self.turn_flow(now);
        if self
            .server
            .poll_timeout()
            .is_some_and(|deadline| deadline <= now)
        {
            self.server.handle_timeout(now);
        }
        // Also what data has called for: that of a client which has moved makes the break.
        self.obey_commands(now);
        Ok(())
    }

    /// How long nothing may happen until something is due.
    fn deadline(&self) -> Option<Instant> {
        if !self.inbox.is_empty() {
            return Some(self.engine.now());
        }
        let now = self.engine.now();
        let flow = self.flow.as_ref().and_then(|flow| flow.deadline(now));
        let retry = (!self.unsaid.is_empty()).then(|| now + TELL_CLOSED_RETRY);
        self.server
            .poll_timeout()
            .into_iter()
            .chain(flow)
            .chain(retry)
            .min()
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
        if self.flow.is_some() && self.is_flow_frame(packet) {
            self.on_flow_frame(now, listener, from, packet);
            return;
        }
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

    fn on_notice(&mut self, now: Instant, notice: Notice) {
        match notice {
            Notice::Icmp(error) => {
                let icmp = Icmp {
                    type_: error.kind,
                    code: error.code.into(),
                    data: error.mtu.to_be_bytes(),
                };
                let port = RelayPort(error.port.0);
                self.server.handle_icmp(now, port, error.peer, icmp);
                self.obey_commands(now);
            }
            Notice::ReceiveFailed { port, errno, rest } => {
                // They are all counted; one line of the log stands for those of a while.
                if self
                    .warned_at
                    .is_none_or(|at| now >= at + RECEIVE_WARNING_PAUSE)
                {
                    self.warned_at = Some(now);
                    let error = std::io::Error::from_raw_os_error(errno);
                    warn!(worker = self.id.0, ?port, %error, ?rest, "cannot receive from a socket; it is tried again later");
                }
            }
        }
    }

    fn route(&mut self, now: Instant, verdict: Verdict, payload: Payload) {
        match verdict {
            Verdict::ToPeer {
                port,
                peer,
                payload: range,
                dont_fragment,
            } => {
                let via = Port::Relay(RelaySlot(port.0));
                if dont_fragment {
                    self.send_whole(via, peer, &payload, range);
                } else {
                    self.send(via, peer, (&[], 0), payload, range);
                }
            }
            Verdict::ToClient {
                client,
                header,
                payload: range,
            } => match client.transport {
                Transport::Udp => self.send(
                    listener_of(client),
                    client.addr,
                    (header.bytes(), header.tail()),
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
            Verdict::ToOwner {
                worker,
                client,
                lease,
            } => self.hand_on(worker, client, lease, payload),
            Verdict::Handled => self.obey_commands(now),
            Verdict::Drop(_reason) => {} // The machine has counted it.
        }
    }

    fn is_flow_frame(&self, packet: Packet) -> bool {
        let first = self.engine.bytes(packet).first();
        first.is_some_and(|first| flow::FIRST_BYTES.contains(first))
    }

    /// Sends a datagram, `head` before the payload and `tail` zeros behind it; the payload is not
    /// copied unless it came over a stream.
    pub(crate) fn send(
        &mut self,
        via: Port,
        to: SocketAddr,
        (head, tail): (&[u8], usize),
        payload: Payload,
        range: Range<usize>,
    ) {
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

    /// Sends a datagram that must not be fragmented.
    fn send_whole(&mut self, via: Port, to: SocketAddr, payload: &Payload, range: Range<usize>) {
        match payload {
            Payload::Received(packet) => self.engine.send_whole(via, to, packet.slice(range)),
            // A stream's frame, or what another worker has received for us: seldom, so copied.
            Payload::Relayed(payload) => self.engine.send_whole_copy(via, to, &payload[range]),
        }
    }

    /// Hands a packet to the queue of a TCP or TLS client.
    fn push(&mut self, client: Client, header: &Header, payload: &Payload, range: Range<usize>) {
        let Some(out) = self.streams.get(client) else {
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
        let Some(payload) = self.hand_over(payload, range) else {
            return; // Too many buffers are away; the back end has counted it.
        };
        let posted = self
            .workers
            .of(worker)
            .is_some_and(|mailbox| mailbox.post(Letter::Relayed(Relayed { to, from, payload })));
        if !posted {
            self.counters.mailbox_full += 1;
        }
    }

    /// A payload as it can go to another thread, without a copy; none when too many are away.
    pub(crate) fn hand_over(
        &mut self,
        payload: Payload,
        range: Range<usize>,
    ) -> Option<RelayedPayload> {
        Some(match payload {
            Payload::Received(packet) => {
                RelayedPayload::Shared(self.engine.share(packet)?.slice(range))
            }
            Payload::Relayed(RelayedPayload::Shared(shared)) => {
                RelayedPayload::Shared(shared.slice(range))
            }
            Payload::Relayed(RelayedPayload::Frame(frame)) => {
                RelayedPayload::Frame(frame.slice(range))
            }
        })
    }

    fn read_letters(&mut self, now: Instant) {
        for _ in 0..LETTERS_PER_TURN_MAX {
            match self.inbox.letters.pop() {
                Some(Letter::Relayed(Relayed { to, from, payload })) => {
                    let verdict = self.server.handle_relayed(now, to, from, payload.len());
                    self.route(now, verdict, Payload::Relayed(payload));
                }
                Some(Letter::Moved(letter)) => self.on_moved(now, letter),
                Some(Letter::Closed(client)) => self.on_closed_elsewhere(now, client),
                None => return,
            }
        }
    }

    fn read_streams(&mut self, now: Instant) {
        for _ in 0..LETTERS_PER_TURN_MAX {
            match self.inbox.streams.try_recv() {
                Ok(StreamLetter::Opened(client, out)) => {
                    self.streams.open(client, out);
                }
                Ok(StreamLetter::Frame(client, frame)) => {
                    self.on_frame(now, client, frame);
                    // Nothing is bound behind the reader's back.
                    drop(self.bound());
                }
                Ok(StreamLetter::Bind(client, frame, answer)) => {
                    self.on_frame(now, client, frame);
                    // Where nobody waits, what was bound ends with the answer.
                    let _ = answer.send(self.bound());
                }
                Ok(StreamLetter::PeerAccepted {
                    port,
                    from,
                    connection,
                }) => {
                    self.server
                        .handle_peer_connection(now, port, from, connection);
                    self.obey_commands(now);
                }
                Ok(StreamLetter::PeerConnected { token, result }) => {
                    self.server.handle_connected(now, token, result);
                    self.obey_commands(now);
                }
                Ok(StreamLetter::PeerClosed(connection)) => {
                    self.server.handle_connection_closed(now, connection);
                    self.obey_commands(now);
                }
                Ok(StreamLetter::Closed(client)) => {
                    self.streams.close(client);
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
                Control::Reconfigure(config, done) => {
                    self.server.reconfigure(now, config);
                    self.obey_commands(now);
                    // Whoever asked may have stopped waiting.
                    let _ = done.send(());
                }
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
            moved: self.server.moved_count(),
        }
    }
}

fn listener_of(client: Client) -> Port {
    let id = u16::try_from(client.route)
        .expect("invariant: a UDP client's route is the id of a listener");
    Port::Listener(ListenerId(id))
}
