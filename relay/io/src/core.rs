//! What all engines have in common: buffers, the outgoing queue, the batch, the counts.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::Instant;

use crate::counters::Counters;
use crate::engine::{BudgetLine, Config, ListenerId, OpenError, Port, RelaySlot};
use crate::limits;
use crate::memory::table;
use crate::notice::Notice;
use crate::outbox::{Outbox, Payload, Pushed};
use crate::packet::{Packet, Train};
use crate::pool::{Pool, SharedPacket};
use crate::rest::Resting;
use crate::slots::{Slot, Slots, overflow_since};
use crate::sockets;
use crate::waker::Waker;

/// The number of a socket within its engine: listeners first, then relay slots.
pub(crate) fn socket_of(port: Port) -> u32 {
    match port {
        Port::Listener(listener) => u32::from(listener.0),
        Port::Relay(slot) => limits::LISTENERS_MAX.saturating_add(slot.0),
    }
}

/// The port of such a number.
pub(crate) fn port_of(socket: u32) -> Port {
    match socket.checked_sub(limits::LISTENERS_MAX) {
        None => Port::Listener(ListenerId(u16::try_from(socket).unwrap_or(u16::MAX))),
        Some(slot) => Port::Relay(RelaySlot(slot)),
    }
}

/// What a port is to be made of.
#[allow(unreachable_pub)] // of a method of a supertrait of a public trait
#[derive(Debug)]
pub enum Source {
    /// A socket to bind to this address.
    Addr(SocketAddr),
    /// A socket that is bound already.
    Socket(UdpSocket),
}

impl Source {
    /// The socket, bound, and ready for an engine of the kernel.
    pub(crate) fn socket(self, port: Port, config: &Config) -> Result<UdpSocket, OpenError> {
        let socket = match self {
            Self::Addr(addr) => sockets::bind_relay(addr, config.socket_buffer_bytes)?,
            Self::Socket(socket) => socket,
        };
        sockets::prepare(&socket, port, config)?;
        Ok(socket)
    }
}

/// What an engine adds to the [`Core`] that all of them have. Only this crate can name it, so that
/// only this crate makes engines.
#[allow(unreachable_pub)] // a supertrait of a public trait has to be public itself
pub trait Driver {
    /// The common part.
    fn core(&self) -> &Core;

    /// The common part, to change it.
    fn core_mut(&mut self) -> &mut Core;

    /// Makes a port and begins to receive from it. Its slot is there already; what is to be known
    /// of it is set in it here.
    fn attach(&mut self, port: Port, source: Source) -> Result<(), OpenError>;

    /// Whether a port is open.
    #[inline]
    fn is_open(&self, port: Port) -> bool {
        self.core().is_open(port)
    }

    /// Makes a listener.
    fn serve_listener(&mut self, source: Source) -> Result<ListenerId, OpenError> {
        let id = u16::try_from(self.core().listeners.len()).unwrap_or(u16::MAX);
        if u32::from(id) >= limits::LISTENERS_MAX {
            return Err(OpenError::TableFull);
        }
        self.core_mut().listeners.push(Slot::new(None));
        match self.attach(Port::Listener(ListenerId(id)), source) {
            Ok(()) => Ok(ListenerId(id)),
            Err(error) => {
                self.core_mut().listeners.pop();
                Err(error)
            }
        }
    }

    /// Makes a relay port.
    fn serve_relay(&mut self, source: Source) -> Result<RelaySlot, OpenError> {
        let slot = self.core_mut().relays.open(None)?;
        if let Err(error) = self.attach(Port::Relay(slot), source) {
            self.core_mut().relays.close(slot);
            self.core_mut().relays.free(slot);
            return Err(error);
        }
        Ok(slot)
    }

    /// Sends what is queued in the middle of a batch, since the queue is full.
    fn make_room(&mut self);
}

/// Queues one datagram of an engine.
#[inline]
pub(crate) fn queue<E: Driver + ?Sized>(
    engine: &mut E,
    via: Port,
    to: SocketAddr,
    header: &[u8],
    mut payload: Payload<'_>,
    tail: usize,
    whole: bool,
) {
    let socket = engine.is_open(via).then(|| socket_of(via));
    while !engine
        .core_mut()
        .queue(socket, to, header, &mut payload, tail, whole)
    {
        engine.make_room();
    }
}

/// The common part of an engine.
#[allow(unreachable_pub)] // as above
pub struct Core {
    pub(crate) config: Config,
    pub(crate) pool: Pool,
    pub(crate) outbox: Outbox,
    pub(crate) counters: Counters,
    pub(crate) waker: Waker,
    pub(crate) now: Instant,
    pub(crate) listeners: Vec<Slot>,
    pub(crate) relays: Slots,
    // Relay ports that the next turn closes.
    pub(crate) closing: Vec<RelaySlot>,
    pub(crate) notices: VecDeque<Notice>,
    // See `crate::rest` and `crate::whole`.
    pub(crate) resting: Vec<Resting>,
    pub(crate) interrupted: Vec<u32>,
    // The batch being handled, and how far.
    trains: Vec<Train>,
    handled: usize,
    // The batch being received.
    incoming: Vec<Train>,
}

impl Core {
    pub(crate) fn new(
        config: Config,
        relays: Slots,
        waker: Waker,
        now: Instant,
    ) -> io::Result<Self> {
        let pool = Pool::new(config.buffer_count(), config.payload_bytes())?;
        Ok(Self {
            outbox: Outbox::new(&config),
            counters: Counters::default(),
            waker,
            now,
            listeners: Vec::new(),
            relays,
            closing: Vec::new(),
            notices: VecDeque::with_capacity(limits::NOTICES_MAX),
            resting: Vec::new(),
            interrupted: Vec::new(),
            trains: table(pool.count()),
            handled: 0,
            incoming: table(pool.count()),
            pool,
            config,
        })
    }

    #[inline]
    pub(crate) fn is_open(&self, port: Port) -> bool {
        match port {
            Port::Listener(listener) => usize::from(listener.0) < self.listeners.len(),
            Port::Relay(slot) => self.relays.open_at(slot).is_some(),
        }
    }

    /// The slot of a socket, listener or relay port.
    #[inline]
    pub(crate) fn slot(&self, socket: u32) -> Option<&Slot> {
        match socket.checked_sub(limits::LISTENERS_MAX) {
            None => self.listeners.get(socket as usize),
            Some(slot) => self.relays.at(RelaySlot(slot)),
        }
    }

    /// The same, to change it.
    #[inline]
    pub(crate) fn slot_mut(&mut self, socket: u32) -> Option<&mut Slot> {
        match socket.checked_sub(limits::LISTENERS_MAX) {
            None => self.listeners.get_mut(socket as usize),
            Some(slot) => self.relays.at_mut(RelaySlot(slot)),
        }
    }

    /// Takes note of a message's control data in the slot of an open socket; `false`: it is not
    /// open, and what it brings is for nobody.
    #[inline]
    pub(crate) fn note_receive(
        &mut self,
        socket: u32,
        overflow: Option<u32>,
        truncated: bool,
    ) -> bool {
        let Some(slot) = self.slot_mut(socket).filter(|slot| slot.is_open()) else {
            return false;
        };
        slot.failures = 0;
        let lost = overflow_since(&mut slot.overflow, overflow);
        self.counters.receive_overflow += lost;
        self.counters.truncated += u64::from(truncated);
        true
    }

    /// Marks a relay port to be closed by the next turn.
    pub(crate) fn close_relay(&mut self, slot: RelaySlot) {
        if self.relays.close(slot) {
            self.closing.push(slot);
            self.forget_notices(slot);
        }
    }

    /// Adds a filled buffer to the batch being received.
    pub(crate) fn receive(&mut self, buffer: u32, offset: usize, received: Received) {
        let Received {
            port,
            from,
            len,
            stride,
            class,
        } = received;
        let packet = self.pool.deliver(buffer, offset, len, class);
        self.counters.trains_in += 1;
        self.counters.packets_in += if stride == 0 {
            1
        } else {
            len.div_ceil(stride) as u64
        };
        self.counters.bytes_in += len as u64;
        self.incoming.push(Train {
            port,
            from,
            packet,
            stride,
            class,
        });
    }

    /// Whether something was received for the next batch already.
    pub(crate) fn has_incoming(&self) -> bool {
        !self.incoming.is_empty()
    }

    /// Whether there is something to say already, for which no wait may be begun.
    pub(crate) fn has_notices(&self) -> bool {
        !self.notices.is_empty()
    }

    /// Drops what was received already for ports that are closed since; the buffers stay with the
    /// batch.
    pub(crate) fn drop_incoming(&mut self) {
        let mut incoming = std::mem::take(&mut self.incoming);
        incoming.retain(|train| self.is_open(train.port));
        self.incoming = incoming;
    }

    /// Makes what was received the batch to handle. The pool's last batch must have been released.
    pub(crate) fn begin_batch(&mut self) {
        self.pool.begin_batch();
        self.trains.clear();
        self.handled = 0;
        std::mem::swap(&mut self.trains, &mut self.incoming);
    }

    /// The next train of the batch.
    #[inline]
    pub(crate) fn next_train(&mut self) -> Option<Train> {
        let train = self.trains.get(self.handled).copied()?;
        self.handled += 1;
        Some(train)
    }

    #[inline]
    pub(crate) fn bytes(&self, packet: Packet) -> &[u8] {
        let bytes = self.pool.bytes(packet);
        debug_assert!(bytes.is_some(), "a packet of an earlier batch");
        bytes.unwrap_or_default()
    }

    pub(crate) fn share(&mut self, packet: Packet) -> Option<SharedPacket> {
        let shared = self.pool.share(packet);
        if shared.is_none() {
            if self.pool.is_held(packet) {
                self.counters.share_limit += 1;
            } else {
                self.counters.send_stale += 1;
            }
        }
        shared
    }

    /// Queues a datagram; `false`: the queue is full, flush it and try again.
    pub(crate) fn queue(
        &mut self,
        socket: Option<u32>,
        to: SocketAddr,
        header: &[u8],
        payload: &mut Payload<'_>,
        tail: usize,
        whole: bool,
    ) -> bool {
        let Some(socket) = socket else {
            self.counters.send_stale += 1;
            return true;
        };
        match self
            .outbox
            .push(&mut self.pool, socket, to, header, payload, tail, whole)
        {
            Pushed::Queued => true,
            Pushed::Stale => {
                self.counters.send_stale += 1;
                true
            }
            Pushed::Full => {
                self.counters.early_flushes += 1;
                false
            }
        }
    }

    pub(crate) fn budget(&self) -> Vec<BudgetLine> {
        let mut lines = Vec::from(self.pool.budget());
        lines.extend(self.outbox.budget());
        lines.push(BudgetLine {
            what: "trains of two batches",
            count: 2 * self.pool.count(),
            bytes_each: size_of::<Train>(),
        });
        lines
    }
}

/// What came in a buffer.
#[derive(Clone, Copy)]
pub(crate) struct Received {
    pub(crate) port: Port,
    pub(crate) from: SocketAddr,
    pub(crate) len: usize,
    pub(crate) stride: usize,
    pub(crate) class: u8,
}
