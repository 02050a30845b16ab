//! A network in memory, on a virtual clock, replayed exactly by its seed.
//!
//! A [`Network`] connects engines and plain [`Endpoint`]s. Nothing in it waits: datagrams arrive
//! when their virtual time has come, [`Engine::turn`](crate::Engine::turn) returns at once with
//! what has arrived, and the clock stands still until [`Network::advance`] or [`Network::step`]
//! moves it. A simulation is a loop: turn every engine and handle its trains, look at the
//! endpoints, step; when nothing is left to happen, [`Network::step`] says so.
//!
//! Engines of one host share listening addresses as sockets with SO_REUSEPORT do: the source and
//! the destination of a datagram decide which one gets it.
//!
//! [`SimEngine::detached`] has no network at all: packets are put into its buffers by
//! [`SimEngine::feed`], and what it sends is laid out as for the kernel, counted and forgotten. It
//! is there to measure what is built on an engine.

mod engine;
mod network;
mod random;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use engine::{Discarded, SimEngine};

use crate::engine::Config;
use network::{Inner, Owner};

/// What happens to datagrams on their way. Probabilities are between 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Faults {
    /// How many are lost.
    pub loss: f64,
    /// How many arrive twice.
    pub duplication: f64,
    /// How many are delayed by [`reorder_delay`](Self::reorder_delay), so that later ones overtake
    /// them.
    pub reorder: f64,
    /// The delay of those.
    pub reorder_delay: Duration,
    /// The delay of all.
    pub delay: Duration,
    /// Up to how much the delay varies; with it alone, datagrams overtake each other.
    pub jitter: Duration,
}

impl Faults {
    /// A network that delivers everything, in order and at once.
    pub const NONE: Self = Self {
        loss: 0.0,
        duplication: 0.0,
        reorder: 0.0,
        reorder_delay: Duration::from_millis(20),
        delay: Duration::ZERO,
        jitter: Duration::ZERO,
    };
}

/// What became of the datagrams of a network.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Tally {
    /// Sent by engines and endpoints.
    pub sent: u64,
    /// Lost on the way, as asked for.
    pub lost: u64,
    /// Arrived a second time, as asked for.
    pub duplicated: u64,
    /// Handed to an engine or an endpoint.
    pub delivered: u64,
    /// Longer than the path allows.
    pub too_big: u64,
    /// Arrived where nobody listened; an engine's relay port gets an ICMP error for it.
    pub unreachable: u64,
    /// Arrived at a full queue.
    pub overflowed: u64,
}

/// A network. Its clones are the same network.
#[derive(Clone)]
pub struct Network {
    inner: Arc<Mutex<Inner>>,
}

impl Network {
    /// A network without faults, whose randomness is `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            inner: Arc::new(Mutex::new(Inner::new(seed))),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panicking test has failed already; what it left is still a network.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets what happens to datagrams sent from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.lock().faults = faults;
    }

    /// Sets the longest IP packet that arrives in one piece. One that is longer and must not be
    /// fragmented is answered by an ICMP error, if an engine's relay port has sent it.
    pub fn set_path_mtu(&self, bytes: u32) {
        self.lock().path_mtu = bytes;
    }

    /// Sets the addresses of the host on which all engines run; relay ports can be opened on no
    /// others. Without this, on any.
    pub fn set_local_addresses(&self, addresses: &[IpAddr]) {
        self.lock().local = Some(addresses.to_vec());
    }

    /// An engine without sockets on this network.
    ///
    /// # Errors
    /// When its memory cannot be mapped.
    pub fn engine(&self, config: Config) -> std::io::Result<SimEngine> {
        SimEngine::on(self.clone(), config)
    }

    /// A socket that is no engine's: a client or a peer. Port 0 takes a free one.
    ///
    /// # Panics
    /// When the address is taken: the test is wrong.
    #[must_use]
    pub fn endpoint(&self, addr: SocketAddr) -> Endpoint {
        let mut inner = self.lock();
        let id = inner.new_queue(false);
        let addr = inner
            .bind(addr, Owner::Endpoint(id), false)
            .expect("a free address");
        Endpoint {
            network: self.clone(),
            id,
            addr,
        }
    }

    /// The virtual time.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.lock().now
    }

    /// Lets time pass and delivers what is due.
    pub fn advance(&self, time: Duration) {
        let mut inner = self.lock();
        let now = inner.now + time;
        inner.deliver_until(now);
    }

    /// When the next thing happens: an arrival, or a deadline of an engine's last turn.
    #[must_use]
    pub fn next_event(&self) -> Option<Instant> {
        self.lock().next_event()
    }

    /// Moves the clock to the next event and delivers what is due. `false`: nothing will happen any
    /// more.
    #[must_use]
    pub fn step(&self) -> bool {
        let mut inner = self.lock();
        let Some(next) = inner.next_event() else {
            return false;
        };
        let now = next.max(inner.now);
        inner.deliver_until(now);
        true
    }

    /// What became of all datagrams so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.lock().tally
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network")
            .field("tally", &self.tally())
            .finish_non_exhaustive()
    }
}

/// A datagram as an endpoint sees it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Datagram {
    /// Who sent it.
    pub from: SocketAddr,
    /// Its payload.
    pub bytes: Vec<u8>,
    /// Its traffic class: six bits of DSCP, two of ECN.
    pub class: u8,
    /// Whether it must not be fragmented.
    pub whole: bool,
}

/// A plain socket of the network: a client or a peer. Dropping it closes it.
#[derive(Debug)]
pub struct Endpoint {
    network: Network,
    id: usize,
    addr: SocketAddr,
}

impl Endpoint {
    /// Its address.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Sends one datagram.
    pub fn send(&self, to: SocketAddr, bytes: &[u8]) {
        self.send_marked(to, bytes, 0);
    }

    /// Sends one datagram with a traffic class.
    pub fn send_marked(&self, to: SocketAddr, bytes: &[u8], class: u8) {
        let datagram = Datagram {
            from: self.addr,
            bytes: bytes.to_vec(),
            class,
            whole: false,
        };
        self.network.lock().transmit(to, datagram);
    }

    /// Takes the next datagram that has arrived.
    #[must_use]
    pub fn receive(&self) -> Option<Datagram> {
        let mut inner = self.network.lock();
        inner.deliver_due();
        inner.pop(self.id).map(|(_, datagram)| datagram)
    }

    /// Moves to another address, as the endpoint of a client does whose NAT forgot it. Port 0
    /// takes a free one.
    ///
    /// # Panics
    /// When the address is taken: the test is wrong.
    pub fn rebind(&mut self, addr: SocketAddr) {
        let mut inner = self.network.lock();
        inner.unbind(self.addr, Owner::Endpoint(self.id));
        self.addr = inner
            .bind(addr, Owner::Endpoint(self.id), false)
            .expect("a free address");
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        let mut inner = self.network.lock();
        inner.unbind(self.addr, Owner::Endpoint(self.id));
        inner.discard(self.id);
    }
}
