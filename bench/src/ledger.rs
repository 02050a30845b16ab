//! What was sent and what has arrived, to the packet.
//!
//! Packets leave in bursts of one flow, and each burst has an entry here until every packet of it
//! has arrived or [`GIVE_UP_AFTER`] has passed. So loss, duplicates, damage and lateness are counted
//! and not estimated, and a closed loop knows when it may send the next burst.

use std::collections::VecDeque;
use std::time::Duration;

use crate::packet::{BURST_MAX, Stamp};
use crate::report::{Latency, Totals};

/// A packet that has not arrived by then is lost.
pub(crate) const GIVE_UP_AFTER: Duration = Duration::from_millis(500);

const GIVE_UP_AFTER_NS: u64 = 500_000_000;
const _: () = assert!(GIVE_UP_AFTER.as_nanos() == GIVE_UP_AFTER_NS as u128);

/// The book of one run.
#[derive(Debug)]
pub(crate) struct Ledger {
    run: u32,
    /// By age: the first one has number `first_burst`.
    bursts: VecDeque<Burst>,
    first_burst: u64,
    flows: Vec<FlowBook>,
    in_flight: u64,
    counted_from_ns: u64,
    counted_to_ns: u64,
    totals: Totals,
    latency: Latency,
}

#[derive(Clone, Copy, Debug)]
struct Burst {
    flow: u32,
    /// Bits of the packets that are still on their way.
    missing: u64,
    sent_ns: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct FlowBook {
    next_sequence: u64,
    highest_arrived: u64,
}

/// A burst that may now be sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opened {
    first: Stamp,
}

impl Opened {
    /// The stamp of the packet at `place`.
    pub(crate) fn stamp(&self, place: u8) -> Stamp {
        let sequence = self.first.sequence + u64::from(place);
        Stamp {
            place,
            sequence,
            ..self.first
        }
    }
}

/// What became of an arriving packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// The first copy of a packet of this flow.
    First { flow: u32, is_last_of_burst: bool },
    /// Counted, and nothing follows from it.
    Noted,
}

impl Ledger {
    /// The book of run `run` (a random number) with so many flows.
    pub(crate) fn new(run: u32, flows: usize) -> Self {
        Self {
            run,
            bursts: VecDeque::new(),
            first_burst: 0,
            flows: vec![FlowBook::default(); flows],
            in_flight: 0,
            counted_from_ns: u64::MAX,
            counted_to_ns: u64::MAX,
            totals: Totals::default(),
            latency: Latency::default(),
        }
    }

    /// Starts the measured time: what was sent earlier was warm-up.
    pub(crate) fn start_counting(&mut self, now_ns: u64) {
        self.counted_from_ns = now_ns;
    }

    /// Ends the measured time.
    pub(crate) fn stop_counting(&mut self, now_ns: u64) {
        self.counted_to_ns = now_ns;
    }

    /// Packets on their way.
    pub(crate) fn in_flight(&self) -> u64 {
        self.in_flight
    }

    pub(crate) fn into_results(self) -> (Totals, Latency) {
        (self.totals, self.latency)
    }

    /// Enters a burst of `packets` (1 to [`BURST_MAX`]) that leaves now.
    pub(crate) fn open(&mut self, now_ns: u64, flow: u32, packets: u32) -> Opened {
        debug_assert!((1..=BURST_MAX).contains(&packets));
        let book = &mut self.flows[flow as usize];
        let sequence = book.next_sequence;
        book.next_sequence += u64::from(packets);
        let burst = self.first_burst + self.bursts.len() as u64;
        self.bursts.push_back(Burst {
            flow,
            missing: u64::MAX >> (BURST_MAX - packets),
            sent_ns: now_ns,
        });
        self.in_flight += u64::from(packets);
        if self.counts(now_ns) {
            self.totals.sent += u64::from(packets);
        }
        Opened {
            first: Stamp {
                run: self.run,
                flow,
                burst,
                place: 0,
                sequence,
                sent_ns: now_ns,
            },
        }
    }

    /// Enters an arrival; `is_at_home` tells whether it came in where packets of this flow belong.
    pub(crate) fn arrive(
        &mut self,
        now_ns: u64,
        packet: &[u8],
        is_at_home: impl FnOnce(u32) -> bool,
    ) -> Arrival {
        let stamp = Stamp::read(packet).filter(|stamp| is_at_home(stamp.flow));
        let Some(stamp) = stamp else {
            self.totals.corrupted += 1;
            return Arrival::Noted;
        };
        // A packet of an earlier run on the same port is none of ours.
        if stamp.run != self.run {
            return Arrival::Noted;
        }
        self.totals.arrived_in_time += u64::from(self.counts(now_ns));
        let is_counted = self.counts(stamp.sent_ns);
        let Some(burst) = self.find(&stamp) else {
            // Given up or complete: the first copy after its time, or a second one.
            self.totals.late += u64::from(is_counted);
            return Arrival::Noted;
        };
        let bit = 1 << stamp.place;
        if burst.missing & bit == 0 {
            self.totals.duplicated += u64::from(is_counted);
            return Arrival::Noted;
        }
        burst.missing &= !bit;
        let is_last_of_burst = burst.missing == 0;
        self.in_flight -= 1;
        if is_counted {
            self.note_first(now_ns, &stamp);
        }
        Arrival::First {
            flow: stamp.flow,
            is_last_of_burst,
        }
    }

    fn note_first(&mut self, now_ns: u64, stamp: &Stamp) {
        self.totals.received += 1;
        self.latency.record_ns(now_ns.saturating_sub(stamp.sent_ns));
        let book = &mut self.flows[stamp.flow as usize];
        self.totals.reordered += u64::from(stamp.sequence < book.highest_arrived);
        book.highest_arrived = book.highest_arrived.max(stamp.sequence);
    }

    fn find(&mut self, stamp: &Stamp) -> Option<&mut Burst> {
        let index = usize::try_from(stamp.burst.checked_sub(self.first_burst)?).ok()?;
        self.bursts
            .get_mut(index)
            .filter(|burst| burst.flow == stamp.flow)
    }

    /// Clears the old end: complete bursts, and those whose time is up. Returns how many of the
    /// latter there were.
    pub(crate) fn sweep(&mut self, now_ns: u64) -> u32 {
        let mut given_up = 0;
        while let Some(burst) = self.bursts.front().copied() {
            if burst.missing != 0 {
                if now_ns < burst.sent_ns + GIVE_UP_AFTER_NS {
                    break;
                }
                given_up += 1;
                self.give_up(burst);
            }
            self.bursts.pop_front();
            self.first_burst += 1;
        }
        given_up
    }

    fn give_up(&mut self, burst: Burst) {
        let missing = u64::from(burst.missing.count_ones());
        self.in_flight -= missing;
        if self.counts(burst.sent_ns) {
            self.totals.lost += missing;
        }
    }

    fn counts(&self, at_ns: u64) -> bool {
        (self.counted_from_ns..self.counted_to_ns).contains(&at_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(stamp: Stamp) -> Vec<u8> {
        let mut packet = crate::packet::filling(64);
        stamp.write(&mut packet);
        packet
    }

    fn counting(flows: usize) -> Ledger {
        let mut ledger = Ledger::new(7, flows);
        ledger.start_counting(0);
        ledger
    }

    #[test]
    fn a_burst_is_complete_when_its_last_packet_has_arrived() {
        let mut ledger = counting(2);
        let burst = ledger.open(10, 1, 3);
        for place in [2, 0] {
            let arrival = ledger.arrive(20, &packet(burst.stamp(place)), |flow| flow == 1);
            assert_eq!(
                arrival,
                Arrival::First {
                    flow: 1,
                    is_last_of_burst: false
                }
            );
        }
        let arrival = ledger.arrive(30, &packet(burst.stamp(1)), |_| true);
        assert_eq!(
            arrival,
            Arrival::First {
                flow: 1,
                is_last_of_burst: true
            }
        );
        assert_eq!(ledger.sweep(30), 0);
        let (totals, _) = ledger.into_results();
        assert_eq!(
            (totals.sent, totals.received, totals.lost, totals.reordered),
            (3, 3, 0, 2)
        );
    }

    #[test]
    fn what_does_not_arrive_in_time_is_lost_and_then_late() {
        let mut ledger = counting(1);
        let burst = ledger.open(0, 0, 2);
        ledger.arrive(1, &packet(burst.stamp(0)), |_| true);
        ledger.arrive(1, &packet(burst.stamp(0)), |_| true);
        assert_eq!(
            (ledger.sweep(GIVE_UP_AFTER_NS - 1), ledger.in_flight()),
            (0, 1)
        );
        assert_eq!((ledger.sweep(GIVE_UP_AFTER_NS), ledger.in_flight()), (1, 0));
        assert_eq!(
            ledger.arrive(GIVE_UP_AFTER_NS, &packet(burst.stamp(1)), |_| true),
            Arrival::Noted
        );
        let (totals, _) = ledger.into_results();
        assert_eq!(
            (totals.received, totals.lost, totals.late, totals.duplicated),
            (1, 1, 1, 1)
        );
    }

    #[test]
    fn what_arrives_damaged_or_at_the_wrong_door_is_corrupted() {
        let mut ledger = counting(1);
        let burst = ledger.open(0, 0, 1);
        let mut bytes = packet(burst.stamp(0));
        ledger.arrive(1, &bytes, |_| false);
        bytes[40] ^= 1;
        ledger.arrive(1, &bytes, |_| true);
        assert_eq!(ledger.in_flight(), 1);
        assert_eq!(ledger.into_results().0.corrupted, 2);
    }

    #[test]
    fn warm_up_is_not_counted() {
        let mut ledger = Ledger::new(7, 1);
        let early = ledger.open(5, 0, 1);
        ledger.start_counting(10);
        ledger.arrive(12, &packet(early.stamp(0)), |_| true);
        ledger.open(15, 0, 1);
        ledger.stop_counting(20);
        let late = ledger.open(25, 0, 1);
        ledger.arrive(26, &packet(late.stamp(0)), |_| true);
        let (totals, _) = ledger.into_results();
        assert_eq!(
            (totals.sent, totals.received, totals.arrived_in_time),
            (1, 0, 1)
        );
    }
}
