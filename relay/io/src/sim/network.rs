//! The wires: who is bound where, what is on its way, what has arrived.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::random::{Random, mix};
use super::{Datagram, Faults, Tally};
use crate::engine::{OpenError, Port, RelaySlot};
use crate::limits::SIM_QUEUE_MAX;
use crate::notice::IcmpError;

/// Who gets what arrives at an address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Owner {
    Endpoint(usize),
    Engine(usize, Port),
}

impl Owner {
    fn queue(self) -> usize {
        match self {
            Self::Endpoint(id) | Self::Engine(id, _) => id,
        }
    }
}

struct Binding {
    // More than one only where engines share a listening address.
    owners: Vec<Owner>,
    shareable: bool,
}

struct Flying {
    at: Instant,
    // Breaks ties in the order of sending.
    sequence: u64,
    to: SocketAddr,
    datagram: Datagram,
}

impl PartialEq for Flying {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.sequence) == (other.at, other.sequence)
    }
}

impl Eq for Flying {}

impl PartialOrd for Flying {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Flying {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}

#[derive(Default)]
struct Queue {
    arrived: VecDeque<(Owner, Datagram)>,
    errors: Vec<IcmpError>,
    // Whether an engine reads it; what endpoints leave unread is no event.
    engine: bool,
    // What an engine's last turn waits for.
    deadline: Option<Instant>,
}

pub(super) struct Inner {
    pub(super) now: Instant,
    pub(super) faults: Faults,
    pub(super) local: Option<Vec<IpAddr>>,
    pub(super) tally: Tally,
    pub(super) path_mtu: u32,
    random: Random,
    sequence: u64,
    flying: BinaryHeap<Reverse<Flying>>,
    bindings: BTreeMap<SocketAddr, Binding>,
    queues: Vec<Queue>,
    next_port: u16,
}

impl Inner {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            // Only differences are ever seen, so replays agree although this does not.
            now: Instant::now(),
            faults: Faults::NONE,
            local: None,
            tally: Tally::default(),
            path_mtu: u32::MAX,
            random: Random::new(seed),
            sequence: 0,
            flying: BinaryHeap::new(),
            bindings: BTreeMap::new(),
            queues: Vec::new(),
            next_port: 32_768,
        }
    }

    pub(super) fn new_queue(&mut self, engine: bool) -> usize {
        self.queues.push(Queue {
            engine,
            ..Queue::default()
        });
        self.queues.len() - 1
    }

    /// Binds an owner to an address; port 0 takes a free one.
    pub(super) fn bind(
        &mut self,
        mut addr: SocketAddr,
        owner: Owner,
        shareable: bool,
    ) -> Result<SocketAddr, OpenError> {
        let is_local = |local: &Vec<IpAddr>| local.contains(&addr.ip());
        if matches!(owner, Owner::Engine(..)) && !self.local.as_ref().is_none_or(is_local) {
            return Err(OpenError::AddressNotLocal);
        }
        if addr.port() == 0 {
            while addr.port() == 0 || self.bindings.contains_key(&addr) {
                self.next_port = self.next_port.wrapping_add(1).max(1_024);
                addr.set_port(self.next_port);
            }
        }
        let binding = self.bindings.entry(addr).or_insert(Binding {
            owners: Vec::new(),
            shareable,
        });
        let free = binding.owners.is_empty() || (binding.shareable && shareable);
        if !free {
            return Err(OpenError::InUse);
        }
        binding.owners.push(owner);
        Ok(addr)
    }

    pub(super) fn unbind(&mut self, addr: SocketAddr, owner: Owner) {
        if let Some(binding) = self.bindings.get_mut(&addr) {
            binding.owners.retain(|other| *other != owner);
            if binding.owners.is_empty() {
                self.bindings.remove(&addr);
            }
        }
    }

    /// Puts a datagram on its way, with its share of faults.
    pub(super) fn transmit(&mut self, to: SocketAddr, datagram: Datagram) {
        self.tally.sent += 1;
        let faults = self.faults;
        if self.random.chance(faults.loss) {
            self.tally.lost += 1;
            return;
        }
        if self.random.chance(faults.duplication) {
            self.tally.duplicated += 1;
            self.launch(to, datagram.clone());
        }
        self.launch(to, datagram);
    }

    fn launch(&mut self, to: SocketAddr, datagram: Datagram) {
        let faults = self.faults;
        let mut delay = faults.delay;
        if faults.jitter > Duration::ZERO {
            delay += faults.jitter.mul_f64(self.random.fraction());
        }
        if self.random.chance(faults.reorder) {
            delay += faults.reorder_delay;
        }
        self.sequence += 1;
        let at = self.now + delay;
        self.flying.push(Reverse(Flying {
            at,
            sequence: self.sequence,
            to,
            datagram,
        }));
    }

    pub(super) fn deliver_due(&mut self) {
        self.deliver_until(self.now);
    }

    pub(super) fn deliver_until(&mut self, now: Instant) {
        self.now = now;
        while self
            .flying
            .peek()
            .is_some_and(|Reverse(next)| next.at <= now)
        {
            let Some(Reverse(Flying { to, datagram, .. })) = self.flying.pop() else {
                return;
            };
            self.arrive(to, datagram);
        }
    }

    fn arrive(&mut self, to: SocketAddr, datagram: Datagram) {
        let headers = if to.is_ipv4() { 28 } else { 48 };
        if datagram.whole && datagram.bytes.len() + headers > self.path_mtu as usize {
            self.tally.too_big += 1;
            let mtu = self.path_mtu;
            self.bounce(datagram.from, |port| IcmpError::too_big(port, to, mtu));
            return;
        }
        let Some(binding) = self.bindings.get(&to) else {
            self.tally.unreachable += 1;
            self.bounce(datagram.from, |port| IcmpError::port_unreachable(port, to));
            return;
        };
        let owner = match binding.owners.as_slice() {
            [owner] => *owner,
            owners => owners[spread(datagram.from, to, owners.len())],
        };
        let queue = &mut self.queues[owner.queue()].arrived;
        if queue.len() >= SIM_QUEUE_MAX {
            self.tally.overflowed += 1;
            return;
        }
        self.tally.delivered += 1;
        queue.push_back((owner, datagram));
    }

    /// Tells whoever sent a datagram what became of it. Endpoints do not want to know.
    fn bounce(&mut self, from: SocketAddr, error: impl FnOnce(RelaySlot) -> IcmpError) {
        let owner = self.bindings.get(&from).and_then(|b| b.owners.first());
        if let Some(&Owner::Engine(queue, Port::Relay(slot))) = owner {
            self.queues[queue].errors.push(error(slot));
        }
    }

    pub(super) fn take_errors(&mut self, queue: usize) -> Vec<IcmpError> {
        std::mem::take(&mut self.queues[queue].errors)
    }

    pub(super) fn pop(&mut self, queue: usize) -> Option<(Owner, Datagram)> {
        self.queues[queue].arrived.pop_front()
    }

    /// The next datagram of a queue, when it passes for the next segment of a train.
    pub(super) fn pop_if(
        &mut self,
        queue: usize,
        continues: impl Fn(&Owner, &Datagram) -> bool,
    ) -> Option<Datagram> {
        let arrived = &mut self.queues[queue].arrived;
        let (owner, datagram) = arrived.front()?;
        if !continues(owner, datagram) {
            return None;
        }
        arrived.pop_front().map(|(_, datagram)| datagram)
    }

    /// Forgets what an owner that is gone did not read.
    pub(super) fn discard(&mut self, queue: usize) {
        self.queues[queue] = Queue::default();
    }

    pub(super) fn set_deadline(&mut self, queue: usize, deadline: Option<Instant>) {
        self.queues[queue].deadline = deadline;
    }

    pub(super) fn next_event(&self) -> Option<Instant> {
        let arrival = self.flying.peek().map(|Reverse(next)| next.at);
        let waiting = self
            .queues
            .iter()
            .any(|queue| queue.engine && !(queue.arrived.is_empty() && queue.errors.is_empty()));
        let deadline = self.queues.iter().filter_map(|queue| queue.deadline).min();
        let now = waiting.then_some(self.now);
        [arrival, now, deadline].into_iter().flatten().min()
    }
}

/// Which of so many sockets with SO_REUSEPORT gets a flow.
fn spread(from: SocketAddr, to: SocketAddr, owners: usize) -> usize {
    let mut hash = 0;
    for addr in [from, to] {
        let ip = match addr.ip() {
            IpAddr::V4(ip) => u128::from(u32::from(ip)),
            IpAddr::V6(ip) => u128::from(ip),
        };
        let octets = ip.to_be_bytes();
        let (high, low) = octets.split_at(8);
        for part in [high, low, &addr.port().to_be_bytes()] {
            hash = part
                .iter()
                .fold(hash, |hash, byte| mix(hash ^ u64::from(*byte)));
        }
    }
    usize::try_from(hash % owners as u64).unwrap_or(0)
}
