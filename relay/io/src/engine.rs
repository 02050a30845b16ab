//! The interface of all engines.
//!
//! It speaks of listeners and relay ports, not of sockets, so that ports can later share a socket
//! or be served below the sockets without a change above it.

use std::fmt;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::Instant;

use crate::core::{Driver, Source, queue};
use crate::counters::Counters;
use crate::limits;
use crate::notice::Notice;
use crate::outbox::Payload;
use crate::packet::{Packet, Train};
use crate::pool::SharedPacket;
use crate::waker::Waker;

/// A listening socket of an engine, numbered 0, 1, 2, … in the order of
/// [`Engine::add_listener`].
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ListenerId(pub u16);

/// A relay port of an engine. A slot is given out again only after everything that was received
/// for its last owner has been seen.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RelaySlot(pub u32);

/// Where a packet came in, and where one goes out.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Port {
    /// One of the node's own addresses.
    Listener(ListenerId),
    /// A relay port.
    Relay(RelaySlot),
}

/// Why a relay port could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another socket holds the port: try another one.
    #[error("the port is in use")]
    InUse,
    /// The address is not one of this host's: a fault of the configuration.
    #[error("the address is not one of this host's")]
    AddressNotLocal,
    /// The process or the system has no file descriptor left.
    #[error("no file descriptor is left; raise the limit of open files (RLIMIT_NOFILE)")]
    OutOfDescriptors,
    /// The engine serves as many relay ports as it was configured for.
    #[error("the table of relay ports is full")]
    TableFull,
    /// Anything else that the kernel answered.
    #[error(transparent)]
    Other(io::Error),
}

impl From<OpenError> for io::Error {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Other(error) => error,
            OpenError::InUse => Self::from_raw_os_error(libc::EADDRINUSE),
            OpenError::AddressNotLocal => Self::from_raw_os_error(libc::EADDRNOTAVAIL),
            OpenError::OutOfDescriptors => Self::from_raw_os_error(libc::EMFILE),
            OpenError::TableFull => Self::from_raw_os_error(libc::ENOSPC),
        }
    }
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EADDRINUSE) => Self::InUse,
            Some(libc::EADDRNOTAVAIL) => Self::AddressNotLocal,
            Some(libc::EMFILE | libc::ENFILE) => Self::OutOfDescriptors,
            _ => Self::Other(error),
        }
    }
}

/// Which engine runs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EngineKind {
    /// `io_uring`.
    Uring,
    /// `recvmmsg`, `sendmmsg` and `epoll`.
    Mmsg,
    /// The network in memory.
    Sim,
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Uring => "uring",
            Self::Mmsg => "mmsg",
            Self::Sim => "sim",
        })
    }
}

/// What an engine says of itself for the log.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Description {
    /// The engine.
    pub engine: EngineKind,
    /// Whether the kernel coalesces received packets into trains.
    pub gro: bool,
    /// Whether groups of packets are sent as one and segmented by the kernel.
    pub gso: bool,
    /// Setup flags and features that the kernel granted, for a bug report.
    pub detail: &'static str,
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let on_off = |on| if on { "on" } else { "off" };
        write!(
            f,
            "{}, gro {}, gso {}",
            self.engine,
            on_off(self.gro),
            on_off(self.gso)
        )?;
        if !self.detail.is_empty() {
            write!(f, " ({})", self.detail)?;
        }
        Ok(())
    }
}

/// One consumer of an engine's memory. All of it is touched at the start.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BudgetLine {
    /// What the memory is for.
    pub what: &'static str,
    /// How many of them.
    pub count: usize,
    /// The size of one, in bytes.
    pub bytes_each: usize,
}

impl BudgetLine {
    /// The size of all, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.count * self.bytes_each
    }
}

/// What an engine is made with.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Receive buffers; rounded up to a power of two. 0: [`limits::BUFFERS_GRO`] with `gro`, else
    /// [`limits::BUFFERS_PLAIN`].
    pub buffers: u32,
    /// Receive trains (`UDP_GRO`). Buffers are then 64 KiB each.
    pub gro: bool,
    /// Send groups (`UDP_SEGMENT`).
    pub gso: bool,
    /// Relay ports at one time, at most [`limits::RELAY_SOCKETS_MAX`].
    pub relay_sockets_max: u32,
    /// Send and receive buffer that is asked for on each relay socket, in bytes.
    pub socket_buffer_bytes: usize,
    /// The largest segment that leaves in a group, in bytes: the smallest MTU of the interfaces
    /// that the relay sends through, less 48.
    pub segment_bytes_max: usize,
    /// Whether a packet leaves with the ECN bits that it came with (RFC 8656 §14). What
    /// [`Engine::send_copy`] sends has none.
    pub ecn: bool,
    /// The DSCP that packets leave with.
    pub dscp: Dscp,
}

/// Where the differentiated services code point of an outgoing packet comes from (RFC 8656 §14).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Dscp {
    /// From the packet that it came with; what [`Engine::send_copy`] sends has 0, best effort.
    Kept,
    /// It is always this one, of six bits.
    Fixed(u8),
}

impl Default for Config {
    fn default() -> Self {
        Self {
            buffers: 0,
            gro: true,
            gso: true,
            relay_sockets_max: limits::RELAY_SOCKETS_MAX,
            socket_buffer_bytes: limits::SOCKET_BUFFER_BYTES,
            segment_bytes_max: limits::SEGMENT_BYTES_MAX,
            ecn: true,
            dscp: Dscp::Kept,
        }
    }
}

impl Config {
    /// Which bits of a received packet's traffic class it leaves with.
    pub(crate) fn class_kept(&self) -> u8 {
        let ecn = if self.ecn { 0b11 } else { 0 };
        match self.dscp {
            Dscp::Kept => 0b1111_1100 | ecn,
            Dscp::Fixed(_) => ecn,
        }
    }

    /// The traffic class of what leaves the sockets without a word about it.
    pub(crate) fn class_fixed(&self) -> u8 {
        match self.dscp {
            Dscp::Kept => 0,
            Dscp::Fixed(dscp) => (dscp & 0b11_1111) << 2,
        }
    }

    /// How many receive buffers this makes.
    #[must_use]
    pub fn buffer_count(&self) -> u32 {
        let wanted = match self.buffers {
            0 if self.gro => limits::BUFFERS_GRO,
            0 => limits::BUFFERS_PLAIN,
            n => n,
        };
        wanted.clamp(8, limits::BUFFERS_MAX).next_power_of_two()
    }

    /// The longest payload that one receive can carry.
    #[must_use]
    pub fn payload_bytes(&self) -> usize {
        if self.gro {
            limits::PAYLOAD_GRO_BYTES
        } else {
            limits::PAYLOAD_PLAIN_BYTES
        }
    }
}

/// A worker's way to the network.
///
/// The loop around it is always the same:
///
/// ```no_run
/// # use sterna_io::{Engine, Train};
/// # fn handle(engine: &mut dyn Engine, train: Train) {}
/// # fn run(engine: &mut dyn Engine) -> std::io::Result<()> {
/// loop {
///     engine.turn(None)?;
///     while let Some(train) = engine.next_train() {
///         for packet in train.segments() {
///             engine.send(train.port, train.from, &[], packet, 0); // an echo
///         }
///     }
/// }
/// # }
/// ```
pub trait Engine: Driver {
    /// The time at which the last [`turn`](Self::turn) ended its wait. It does not advance while a
    /// batch is handled. Virtual in the simulation.
    #[inline]
    fn now(&self) -> Instant {
        self.core().now
    }

    /// Serves `socket` as a listener and returns its number: 0, 1, 2, … in the order of the calls.
    fn add_listener(&mut self, socket: UdpSocket) -> io::Result<ListenerId> {
        Ok(self.serve_listener(Source::Socket(socket))?)
    }

    /// Binds a relay port to `local`.
    fn open_relay(&mut self, local: SocketAddr) -> Result<RelaySlot, OpenError> {
        self.serve_relay(Source::Addr(local))
    }

    /// Serves an already bound socket as a relay port: one that was held for a reservation.
    fn adopt_relay(&mut self, socket: UdpSocket) -> Result<RelaySlot, OpenError> {
        self.serve_relay(Source::Socket(socket))
    }

    /// Closes a relay port after what is queued on it was sent. Its packets are no longer handed
    /// out; its port is free for others when the next [`turn`](Self::turn) has returned, at the
    /// latest.
    fn close_relay(&mut self, slot: RelaySlot) {
        self.core_mut().close_relay(slot);
    }

    /// A handle that makes [`turn`](Self::turn) return, from any thread.
    fn waker(&self) -> Waker {
        self.core().waker.clone()
    }

    /// Sends what was queued, takes back the buffers of the last batch, and waits for packets, a
    /// wake, or the deadline. It may return early and empty-handed.
    fn turn(&mut self, deadline: Option<Instant>) -> io::Result<()>;

    /// The next train of the batch; `None` means: call [`turn`](Self::turn).
    #[inline]
    fn next_train(&mut self) -> Option<Train> {
        loop {
            let train = self.core_mut().next_train()?;
            if self.is_open(train.port) {
                return Some(train);
            }
        }
    }

    /// What else has happened, oldest first: ICMP errors about what left relay ports, receives that
    /// failed. To be asked after the trains; what nobody takes is forgotten in the end.
    #[inline]
    fn next_notice(&mut self) -> Option<Notice> {
        self.core_mut().notices.pop_front()
    }

    /// The bytes of a packet of this batch; nothing of one of an earlier batch.
    #[inline]
    fn bytes(&self, packet: Packet) -> &[u8] {
        self.core().bytes(packet)
    }

    /// Queues `header`, `payload` and `tail` zero bytes as one datagram. The payload is not copied.
    /// The header has at most [`limits::HEADER_BYTES_MAX`] bytes, the tail at most
    /// [`limits::TAIL_BYTES_MAX`].
    #[inline]
    fn send(&mut self, via: Port, to: SocketAddr, header: &[u8], payload: Packet, tail: usize) {
        queue(self, via, to, header, Payload::Packet(payload), tail, false);
    }

    /// Queues a payload that must not be fragmented: IPv4's DF bit is set. One that is longer than
    /// the path allows is lost, and a [`Notice`] says so.
    fn send_whole(&mut self, via: Port, to: SocketAddr, payload: Packet) {
        queue(self, via, to, &[], Payload::Packet(payload), 0, true);
    }

    /// As [`send_whole`](Self::send_whole) from any memory.
    fn send_whole_copy(&mut self, via: Port, to: SocketAddr, payload: &[u8]) {
        queue(self, via, to, &[], Payload::Copy(payload), 0, true);
    }

    /// Queues a datagram from any memory: it is copied.
    fn send_copy(&mut self, via: Port, to: SocketAddr, header: &[u8], payload: &[u8], tail: usize) {
        queue(self, via, to, header, Payload::Copy(payload), tail, false);
    }

    /// Makes a packet of this batch outlive it, on any thread, without a copy. `None` when too many
    /// are out already: the packet is to be dropped, and this is counted.
    fn share(&mut self, packet: Packet) -> Option<SharedPacket> {
        self.core_mut().share(packet)
    }

    /// Queues a datagram whose payload came from any engine's [`share`](Self::share).
    fn send_shared(
        &mut self,
        via: Port,
        to: SocketAddr,
        header: &[u8],
        payload: SharedPacket,
        tail: usize,
    ) {
        queue(self, via, to, header, Payload::Shared(payload), tail, false);
    }

    /// Totals since the start.
    fn counters(&self) -> Counters {
        self.core().counters
    }

    /// Receive buffers that are free at the moment; few mean that the worker is behind.
    fn buffers_free(&self) -> usize;

    /// What the engine's memory is for, one line a consumer.
    fn budget(&self) -> Vec<BudgetLine>;

    /// Which engine this is and what the kernel granted it.
    fn describe(&self) -> Description;
}
