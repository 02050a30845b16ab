//! What all engines have in common: buffers, the outgoing queue, the batch, the counts.

use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use crate::counters::Counters;
use crate::engine::{BudgetLine, Config, Port};
use crate::limits;
use crate::memory::table;
use crate::outbox::{Outbox, Payload, Pushed};
use crate::packet::{Packet, Train};
use crate::pool::{Pool, SharedPacket};
use crate::waker::Waker;

/// The number of a socket within its engine: listeners first, then relay slots.
pub(crate) fn socket_of(port: Port) -> u32 {
    match port {
        Port::Listener(listener) => u32::from(listener.0),
        Port::Relay(slot) => limits::LISTENERS_MAX.saturating_add(slot.0),
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

    /// Whether a port is open.
    fn is_open(&self, port: Port) -> bool;

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
) {
    let socket = engine.is_open(via).then(|| socket_of(via));
    while !engine
        .core_mut()
        .queue(socket, to, header, &mut payload, tail)
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
    // The batch being handled, and how far.
    trains: Vec<Train>,
    handled: usize,
    // The batch being received.
    incoming: Vec<Train>,
}

impl Core {
    pub(crate) fn new(config: Config, waker: Waker, now: Instant) -> io::Result<Self> {
        let pool = Pool::new(config.buffer_count(), config.payload_bytes())?;
        Ok(Self {
            outbox: Outbox::new(&config),
            counters: Counters::default(),
            waker,
            now,
            trains: table(pool.count()),
            handled: 0,
            incoming: table(pool.count()),
            pool,
            config,
        })
    }

    /// Adds a filled buffer to the batch being received.
    pub(crate) fn receive(&mut self, buffer: u32, offset: usize, received: Received) {
        let Received {
            port,
            from,
            len,
            stride,
            ecn,
        } = received;
        let packet = self.pool.deliver(buffer, offset, len, ecn);
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
            ecn,
        });
    }

    /// Whether something was received for the next batch already.
    pub(crate) fn has_incoming(&self) -> bool {
        !self.incoming.is_empty()
    }

    /// Drops what was received already for ports that are closed since; the buffers stay with the
    /// batch.
    pub(crate) fn drop_incoming(&mut self, keep: impl Fn(Port) -> bool) {
        self.incoming.retain(|train| keep(train.port));
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
    ) -> bool {
        let Some(socket) = socket else {
            self.counters.send_stale += 1;
            return true;
        };
        match self
            .outbox
            .push(&mut self.pool, socket, to, header, payload, tail)
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
    pub(crate) ecn: u8,
}
