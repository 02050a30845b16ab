//! The engine of the simulated network, and of none.

use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use super::network::Owner;
use super::{Datagram, Network};
use crate::core::{Core, Driver, Received, Source};
use crate::engine::{
    BudgetLine, Config, Description, Engine, EngineKind, ListenerId, OpenError, Port, RelaySlot,
};
use crate::limits::{
    GROUP_BYTES_MAX, GROUP_SEGMENTS_MAX, HEADROOM_BYTES, LISTENERS_MAX, RELAY_SOCKETS_MAX,
};
use crate::notice::{IcmpError, Notice};
use crate::slots::Slots;
use crate::waker::Waker;

/// An engine whose sockets are bound to a [`Network`], or to nothing.
pub struct SimEngine {
    core: Core,
    // None: detached.
    wire: Option<Wire>,
    listener_addrs: Vec<SocketAddr>,
    relay_addrs: Vec<SocketAddr>,
    discarded: Discarded,
}

struct Wire {
    network: Network,
    queue: usize,
}

/// What a detached engine was given to send.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Discarded {
    /// Through listeners, in datagrams.
    pub to_listeners: u64,
    /// Through relay ports, in datagrams.
    pub to_relays: u64,
}

impl SimEngine {
    pub(super) fn on(network: Network, config: Config) -> io::Result<Self> {
        let (queue, now) = {
            let mut inner = network.lock();
            (inner.new_queue(true), inner.now)
        };
        Self::with(Some(Wire { network, queue }), config, now)
    }

    /// An engine without a network, for measurements: see [`feed`](Self::feed).
    ///
    /// # Errors
    /// When its memory cannot be mapped.
    pub fn detached(config: Config) -> io::Result<Self> {
        Self::with(None, config, Instant::now())
    }

    fn with(wire: Option<Wire>, config: Config, now: Instant) -> io::Result<Self> {
        let relays = Slots::new(config.relay_sockets_max.min(RELAY_SOCKETS_MAX));
        Ok(Self {
            core: Core::new(config, relays, Waker::without_event(), now)?,
            wire,
            listener_addrs: Vec::new(),
            relay_addrs: Vec::new(),
            discarded: Discarded::default(),
        })
    }

    /// Listens at an address of the network; as [`Engine::add_listener`] without a real socket.
    ///
    /// # Errors
    /// When the address is taken.
    pub fn listen(&mut self, addr: SocketAddr) -> Result<ListenerId, OpenError> {
        self.serve_listener(Source::Addr(addr))
    }

    /// The address of a port, whose number may have been chosen by the network.
    #[must_use]
    pub fn addr(&self, port: Port) -> Option<SocketAddr> {
        match port {
            Port::Listener(id) => self.listener_addrs.get(usize::from(id.0)).copied(),
            Port::Relay(slot) => {
                self.core.relays.open_at(slot)?;
                self.relay_addrs.get(slot.0 as usize).copied()
            }
        }
    }

    fn bind(&self, addr: SocketAddr, port: Port, shareable: bool) -> Result<SocketAddr, OpenError> {
        match &self.wire {
            Some(wire) => {
                let owner = Owner::Engine(wire.queue, port);
                wire.network.lock().bind(addr, owner, shareable)
            }
            None => Ok(addr),
        }
    }

    /// Puts a packet into the batch that the next [`turn`](Engine::turn) hands out. `stride` as in
    /// a [`Train`]. `false`: there is no free buffer, or the bytes do not fit into one.
    ///
    /// One copy into a buffer, which is what the kernel does too, and no lock.
    pub fn feed(&mut self, port: Port, from: SocketAddr, bytes: &[u8], stride: usize) -> bool {
        if bytes.len() > self.core.config.payload_bytes() {
            return false;
        }
        let Some(buffer) = self.core.pool.take() else {
            self.core.counters.buffers_exhausted += 1;
            return false;
        };
        self.fill(buffer, 0, bytes);
        let received = Received {
            port,
            from,
            len: bytes.len(),
            stride,
            class: 0,
        };
        self.core.receive(buffer, HEADROOM_BYTES, received);
        true
    }

    /// Puts an ICMP error where the next [`turn`](Engine::turn) finds it, as a router would.
    pub fn feed_icmp(&mut self, error: IcmpError) {
        self.core.counters.icmp_errors += 1;
        self.core.notify(Notice::Icmp(error));
    }

    /// What a detached engine was given to send, by kind of port; the rest is in its counters.
    #[must_use]
    pub fn discarded(&self) -> Discarded {
        self.discarded
    }

    /// Moves the clock of a detached engine, which stands still otherwise.
    pub fn set_now(&mut self, now: Instant) {
        self.core.now = now;
    }

    fn fill(&mut self, buffer: u32, at: usize, bytes: &[u8]) {
        assert!(
            at + bytes.len() <= self.core.config.payload_bytes(),
            "invariant: asked before"
        );
        // SAFETY: the buffer was taken from the pool and is nobody else's, and the bytes fit behind
        // its head room, as just checked.
        unsafe {
            let start = self.core.pool.start(buffer).add(HEADROOM_BYTES + at);
            start.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        }
    }

    /// Sends everything queued into the network, or counts it.
    fn flush(&mut self, last: bool) {
        if self.core.outbox.is_empty() {
            return;
        }
        self.core.outbox.lay_out(&mut self.core.pool, last);
        for i in 0..self.core.outbox.layout().messages().len() {
            let message = self.core.outbox.layout().messages()[i];
            self.core.counters.send_handed_over(&message);
            match &self.wire {
                Some(wire) => self.transmit(wire, i, message.socket),
                None if message.socket < LISTENERS_MAX => {
                    self.discarded.to_listeners += u64::from(message.packets);
                }
                None => self.discarded.to_relays += u64::from(message.packets),
            }
        }
        self.core.outbox.reset(&mut self.core.pool);
    }

    fn transmit(&self, wire: &Wire, message: usize, socket: u32) {
        let from = match socket.checked_sub(LISTENERS_MAX) {
            None => self.listener_addrs[socket as usize],
            Some(slot) => self.relay_addrs[slot as usize],
        };
        let group = &self.core.outbox.groups()[message];
        let mut inner = wire.network.lock();
        for bytes in self.core.outbox.datagrams(message) {
            inner.transmit(
                group.to,
                Datagram {
                    from,
                    bytes,
                    class: group.class,
                    whole: group.whole,
                },
            );
        }
    }

    fn close_sockets(&mut self) {
        while let Some(slot) = self.core.closing.pop() {
            if let Some(wire) = &self.wire {
                let owner = Owner::Engine(wire.queue, Port::Relay(slot));
                wire.network
                    .lock()
                    .unbind(self.relay_addrs[slot.0 as usize], owner);
            }
            self.core.relays.free(slot);
        }
    }

    /// Takes what has arrived into buffers, coalesced as the kernel does.
    fn receive(&mut self, deadline: Option<Instant>) {
        let Some(wire) = &self.wire else { return };
        let network = wire.network.clone();
        let mut inner = network.lock();
        let queue = wire.queue;
        inner.deliver_due();
        inner.set_deadline(queue, deadline);
        self.core.now = inner.now;
        for error in inner.take_errors(queue) {
            if self.is_open(Port::Relay(error.port)) {
                self.core.counters.icmp_errors += 1;
                self.core.notify(Notice::Icmp(error));
            }
        }
        while let Some(buffer) = self.core.pool.take() {
            let Some((owner, first)) = inner.pop(queue) else {
                self.core.pool.put_back(buffer);
                return;
            };
            let Owner::Engine(_, port) = owner else {
                continue;
            };
            if !self.is_open(port) {
                self.core.pool.put_back(buffer); // It arrived for a port that was closed since.
                continue;
            }
            let stride = first.bytes.len();
            if stride > self.core.config.payload_bytes() {
                self.core.counters.truncated += 1;
                self.core.pool.put_back(buffer);
                continue;
            }
            self.fill(buffer, 0, &first.bytes);
            let (mut len, mut segments, mut last) = (stride, 1, stride);
            while self.core.config.gro && stride > 0 && last == stride {
                let next = inner.pop_if(queue, |other, datagram| {
                    *other == owner
                        && datagram.from == first.from
                        && datagram.class == first.class
                        && !datagram.bytes.is_empty()
                        && datagram.bytes.len() <= stride
                        && len + datagram.bytes.len() <= GROUP_BYTES_MAX
                        && segments < GROUP_SEGMENTS_MAX
                });
                let Some(next) = next else { break };
                self.fill(buffer, len, &next.bytes);
                last = next.bytes.len();
                len += last;
                segments += 1;
            }
            let received = Received {
                port,
                from: first.from,
                len,
                stride,
                class: first.class,
            };
            self.core.receive(buffer, HEADROOM_BYTES, received);
        }
        self.core.counters.buffers_exhausted += 1;
    }
}

impl Driver for SimEngine {
    #[inline]
    fn core(&self) -> &Core {
        &self.core
    }

    #[inline]
    fn core_mut(&mut self) -> &mut Core {
        &mut self.core
    }

    /// Takes the address of a real socket, which is closed.
    fn attach(&mut self, port: Port, source: Source) -> Result<(), OpenError> {
        let addr = match source {
            Source::Addr(addr) => addr,
            Source::Socket(socket) => socket.local_addr()?,
        };
        let listener = matches!(port, Port::Listener(_));
        let addr = self.bind(addr, port, listener)?;
        let (addrs, index) = match port {
            Port::Listener(id) => (&mut self.listener_addrs, usize::from(id.0)),
            Port::Relay(slot) => (&mut self.relay_addrs, slot.0 as usize),
        };
        // Slots before it may have had no address yet.
        addrs.resize(addrs.len().max(index + 1), addr);
        addrs[index] = addr;
        Ok(())
    }

    fn make_room(&mut self) {
        self.flush(false);
    }
}

impl Engine for SimEngine {
    /// Does what the real ones do but for the waiting.
    fn turn(&mut self, deadline: Option<Instant>) -> io::Result<()> {
        self.core.counters.turns += 1;
        self.flush(true);
        self.close_sockets();
        self.core.pool.release_to_free();
        if self.core.waker.awake() {
            self.core.counters.wakes += 1;
        }
        self.receive(deadline);
        self.core.begin_batch();
        Ok(())
    }

    fn buffers_free(&self) -> usize {
        self.core.pool.free_count()
    }

    fn budget(&self) -> Vec<BudgetLine> {
        self.core.budget()
    }

    fn describe(&self) -> Description {
        let Config { gro, gso, .. } = self.core.config;
        let detail = if self.wire.is_some() {
            "virtual network"
        } else {
            "detached"
        };
        Description {
            engine: EngineKind::Sim,
            gro,
            gso,
            detail,
        }
    }
}

impl Drop for SimEngine {
    fn drop(&mut self) {
        self.flush(true);
        if let Some(wire) = &self.wire {
            let mut inner = wire.network.lock();
            inner.discard(wire.queue);
            for (id, addr) in (0..).map(ListenerId).zip(&self.listener_addrs) {
                inner.unbind(*addr, Owner::Engine(wire.queue, Port::Listener(id)));
            }
            for (slot, addr) in (0..).map(RelaySlot).zip(&self.relay_addrs) {
                inner.unbind(*addr, Owner::Engine(wire.queue, Port::Relay(slot)));
            }
        }
    }
}
