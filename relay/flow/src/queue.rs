//! The queue into one QUIC or WebSocket session: fair between flows, short, dropping the oldest.
//!
//! Deficit round robin over flows (RFC 8290 §4.2 without its list of new flows), a sojourn target
//! for each flow after CoDel (RFC 8289 §5), drops at the head, and a strict class for handshakes
//! that may use a tenth of the rate. What it holds is bounded in bytes; when it is full, the flow
//! that holds the most loses its oldest packet. A packet that can be marked (RFC 3168) is marked
//! where another would be dropped for its sojourn.

use std::collections::VecDeque;
use std::time::Instant;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::limits::{
    PRIORITY_SHARE, QUEUE_BYTES_MAX, QUEUE_INTERVAL, QUEUE_PACKET_OVERHEAD_BYTES,
    QUEUE_QUANTUM_BYTES, QUEUE_TARGET,
};
use crate::time::{Bucket, Clock, Tick};
use crate::{DropReason, FlowNumber, Head};

/// A packet that waits: its head, and whatever the driver keeps payloads in.
#[derive(Debug)]
struct Waiting<P> {
    since: Tick,
    head: Head,
    payload: P,
    bytes: usize,
}

/// The packets of one flow.
#[derive(Debug)]
struct Lane<P> {
    packets: VecDeque<Waiting<P>>,
    bytes: usize,
    deficit: usize,
    in_round: bool,
    codel: Codel,
}

impl<P> Default for Lane<P> {
    fn default() -> Self {
        Self {
            packets: VecDeque::new(),
            bytes: 0,
            deficit: 0,
            in_round: false,
            codel: Codel::default(),
        }
    }
}

/// The state of RFC 8289 §5 for one lane.
#[derive(Copy, Clone, Debug, Default)]
struct Codel {
    first_above: Option<Tick>,
    dropping: bool,
    drop_next: Tick,
    count: u32,
    last_count: u32,
}

/// What a queue has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueCounters {
    /// Packets that were queued.
    pub pushed: u64,
    /// Packets that were sent.
    pub popped: u64,
    /// Packets dropped because the queue was full.
    pub dropped_full: u64,
    /// Packets dropped because they and those before them had waited too long.
    pub dropped_sojourn: u64,
    /// Packets of the strict class beyond its tenth.
    pub dropped_priority: u64,
    /// Packets marked instead of dropped.
    pub marked: u64,
    /// Sojourns of sent packets: how many were below 2^i microseconds, and not below half of it.
    pub sojourn_us: [u64; 24],
}

impl QueueCounters {
    /// The sojourn, in microseconds, that so many per cent of the packets stayed below, rounded up
    /// to a power of two.
    #[must_use]
    pub fn sojourn_percentile_us(&self, percent: u64) -> u32 {
        let total: u64 = self.sojourn_us.iter().sum();
        let mut below = 0;
        for (power, count) in self.sojourn_us.iter().enumerate() {
            below += count;
            if below * 100 >= total * percent {
                return if total == 0 { 0 } else { 1 << power };
            }
        }
        0
    }

    /// What has been done since `earlier`, a former state of the same counters.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        self.with(earlier, |now, then| now - then)
    }

    /// Adds those of another queue.
    pub fn add(&mut self, other: &Self) {
        *self = self.with(other, |ours, theirs| ours + theirs);
    }

    fn with(&self, other: &Self, both: impl Fn(u64, u64) -> u64) -> Self {
        let mut sojourn_us = self.sojourn_us;
        for (ours, theirs) in sojourn_us.iter_mut().zip(other.sojourn_us) {
            *ours = both(*ours, theirs);
        }
        Self {
            pushed: both(self.pushed, other.pushed),
            popped: both(self.popped, other.popped),
            dropped_full: both(self.dropped_full, other.dropped_full),
            dropped_sojourn: both(self.dropped_sojourn, other.dropped_sojourn),
            dropped_priority: both(self.dropped_priority, other.dropped_priority),
            marked: both(self.marked, other.marked),
            sojourn_us,
        }
    }

    /// Packets dropped, by reason.
    pub fn drops(&self) -> impl Iterator<Item = (DropReason, u64)> {
        [
            (DropReason::QueueFull, self.dropped_full),
            (DropReason::QueueSojourn, self.dropped_sojourn),
            (DropReason::PriorityRate, self.dropped_priority),
        ]
        .into_iter()
    }
}

/// The queue into one session. `P` is whatever the driver keeps payloads in (`Bytes`, say).
#[derive(Debug)]
pub struct SessionQueue<P> {
    clock: Clock,
    lanes: HashMap<FlowNumber, Lane<P>, FixedState>,
    round: VecDeque<FlowNumber>,
    first: VecDeque<Waiting<P>>,
    priority: Bucket,
    priority_bytes_per_s: u64,
    bytes: usize,
    counters: QueueCounters,
}

impl<P: AsRef<[u8]>> SessionQueue<P> {
    /// Makes an empty queue. `bytes_per_s` is the session's rate, of which the strict class gets a
    /// tenth; 0 for no limit. `seed` keeps flows from being aimed at one place of its table.
    #[must_use]
    pub fn new(now: Instant, bytes_per_s: u64, seed: u64) -> Self {
        Self {
            clock: Clock::new(now),
            lanes: HashMap::with_hasher(FixedState::with_seed(seed)),
            round: VecDeque::new(),
            first: VecDeque::new(),
            priority: Bucket::default(),
            priority_bytes_per_s: bytes_per_s / PRIORITY_SHARE,
            bytes: 0,
            counters: QueueCounters::default(),
        }
    }

    /// Takes another rate of the session over; 0 for no limit.
    pub fn set_bytes_per_s(&mut self, bytes_per_s: u64) {
        self.priority_bytes_per_s = bytes_per_s / PRIORITY_SHARE;
    }

    /// Queues a packet; what has to give way for it is dropped and counted.
    pub fn push(&mut self, now: Instant, flow: FlowNumber, head: Head, payload: P) {
        let since = self.clock.tick(now);
        let bytes = head.bytes().len() + payload.as_ref().len() + QUEUE_PACKET_OVERHEAD_BYTES;
        let waiting = Waiting {
            since,
            head,
            payload,
            bytes,
        };
        self.counters.pushed += 1;
        if bytes > QUEUE_BYTES_MAX {
            self.counters.dropped_full += 1;
            return;
        }
        if head.mark().is_priority() {
            if !self
                .priority
                .police(since, bytes as u64, self.priority_bytes_per_s)
            {
                self.counters.dropped_priority += 1;
                return;
            }
            self.first.push_back(waiting);
        } else {
            let lane = self.lanes.entry(flow).or_default();
            lane.packets.push_back(waiting);
            lane.bytes += bytes;
            if !lane.in_round {
                lane.in_round = true;
                lane.deficit = QUEUE_QUANTUM_BYTES;
                self.round.push_back(flow);
            }
        }
        self.bytes += bytes;
        while self.bytes > QUEUE_BYTES_MAX {
            self.drop_oldest_of_largest();
        }
    }

    /// Takes the next packet to send: its head and its payload.
    pub fn pop(&mut self, now: Instant) -> Option<(Head, P)> {
        let now = self.clock.tick(now);
        let waiting = match self.first.pop_front() {
            Some(waiting) => {
                self.bytes -= waiting.bytes;
                waiting
            }
            None => self.pop_fair(now)?,
        };
        let waited_us = now.since(waiting.since).as_micros();
        let power = (u128::BITS - waited_us.leading_zeros()) as usize;
        let places = self.counters.sojourn_us.len();
        self.counters.sojourn_us[power.min(places - 1)] += 1;
        self.counters.popped += 1;
        Some((waiting.head, waiting.payload))
    }

    /// Tells whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.first.is_empty() && self.round.is_empty()
    }

    /// Bytes that wait, with what they cost besides.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What the queue has done.
    #[must_use]
    pub fn counters(&self) -> &QueueCounters {
        &self.counters
    }

    fn pop_fair(&mut self, now: Tick) -> Option<Waiting<P>> {
        loop {
            let flow = *self.round.front()?;
            let Some(lane) = self.lanes.get_mut(&flow) else {
                self.round.pop_front();
                continue;
            };
            let Some(next) = lane.packets.front() else {
                // A flow with nothing to send has no turn, and no memory of its own.
                self.round.pop_front();
                self.lanes.remove(&flow);
                continue;
            };
            if lane.deficit < next.bytes {
                lane.deficit += QUEUE_QUANTUM_BYTES;
                self.round.rotate_left(1);
                continue;
            }
            let before = lane.bytes;
            let taken = lane.take(now, &mut self.counters);
            self.bytes -= before - lane.bytes;
            let Some(taken) = taken else { continue };
            lane.deficit -= taken.bytes.min(lane.deficit);
            if lane.packets.is_empty() {
                self.round.pop_front();
                self.lanes.remove(&flow);
            }
            return Some(taken);
        }
    }

    fn drop_oldest_of_largest(&mut self) {
        let largest = self
            .round
            .iter()
            .copied()
            .max_by_key(|flow| self.lanes.get(flow).map_or(0, |lane| lane.bytes));
        let lane = largest.and_then(|flow| self.lanes.get_mut(&flow));
        let dropped = match lane.filter(|lane| !lane.packets.is_empty()) {
            Some(lane) => {
                let dropped = lane.packets.pop_front();
                lane.bytes -= dropped.as_ref().map_or(0, |dropped| dropped.bytes);
                dropped
            }
            None => self.first.pop_front(),
        };
        self.bytes -= dropped.map_or(self.bytes, |dropped| dropped.bytes);
        self.counters.dropped_full += 1;
    }
}

impl<P> Lane<P> {
    /// Takes the oldest packet that CoDel lets pass.
    fn take(&mut self, now: Tick, counters: &mut QueueCounters) -> Option<Waiting<P>> {
        loop {
            let mut packet = self.packets.pop_front()?;
            self.bytes -= packet.bytes;
            let over = self.is_over(now, &packet);
            if !self.codel.is_to_drop(now, over) {
                return Some(packet);
            }
            if packet.head.mark_congestion() {
                counters.marked += 1;
                return Some(packet);
            }
            counters.dropped_sojourn += 1;
        }
    }

    /// RFC 8289 §5.6, `dodequeue`: above the target for a whole interval, with more behind it.
    fn is_over(&mut self, now: Tick, packet: &Waiting<P>) -> bool {
        if now.since(packet.since) < QUEUE_TARGET || self.bytes == 0 {
            self.codel.first_above = None;
            return false;
        }
        let first_above = *self
            .codel
            .first_above
            .get_or_insert(now.plus(QUEUE_INTERVAL));
        now >= first_above
    }
}

impl Codel {
    /// RFC 8289 §5.5, `dequeue`: when to drop, more often the longer it lasts.
    fn is_to_drop(&mut self, now: Tick, over: bool) -> bool {
        if !over {
            self.dropping = false;
            return false;
        }
        if self.dropping {
            if now < self.drop_next {
                return false;
            }
            self.count += 1;
            self.drop_next = self.next_after(self.drop_next);
            return true;
        }
        self.dropping = true;
        // Where dropping stopped a short while ago, its rate is taken up again.
        let recent = now.since(self.drop_next) < 16 * QUEUE_INTERVAL;
        let since_last = self.count.saturating_sub(self.last_count);
        self.count = if recent && since_last > 1 {
            since_last
        } else {
            1
        };
        self.last_count = self.count;
        self.drop_next = self.next_after(now);
        true
    }

    fn next_after(&self, from: Tick) -> Tick {
        from.plus(QUEUE_INTERVAL.div_f64(f64::from(self.count.max(1)).sqrt()))
    }
}

#[cfg(test)]
mod tests;
