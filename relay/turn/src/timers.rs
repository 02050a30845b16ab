//! Deadlines: one an allocation, the next one in O(1).
//!
//! A binary heap that knows where each entry stands, so that a deadline can be moved or taken back
//! and nothing stale is ever left in it. Its size is that of the allocation table.

use crate::tick::Tick;

/// No entry of the heap belongs to this index.
const NOWHERE: u32 = u32::MAX;

/// The deadlines of an indexed table.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: Vec<(Tick, u32)>,
    /// Where each index stands in the heap.
    places: Vec<u32>,
}

impl Timers {
    /// The earliest deadline.
    pub(crate) fn next(&self) -> Option<Tick> {
        self.heap.first().map(|(deadline, _)| *deadline)
    }

    /// Sets or moves the deadline of `index`.
    pub(crate) fn set(&mut self, index: usize, deadline: Tick) {
        let id = narrow(index);
        if index >= self.places.len() {
            self.places.resize(index + 1, NOWHERE);
        }
        if self.places[index] == NOWHERE {
            self.places[index] = narrow(self.heap.len());
            self.heap.push((deadline, id));
        }
        let place = self.places[index] as usize;
        self.heap[place].0 = deadline;
        self.settle(place);
    }

    /// Takes the deadline of `index` back.
    pub(crate) fn cancel(&mut self, index: usize) {
        let Some(&place) = self.places.get(index).filter(|place| **place != NOWHERE) else {
            return;
        };
        let place = place as usize;
        self.heap.swap_remove(place);
        self.places[index] = NOWHERE;
        if let Some(&(_, moved)) = self.heap.get(place) {
            self.places[moved as usize] = narrow(place);
            self.settle(place);
        }
    }

    /// Takes out the index whose deadline is the earliest, if `now` has reached it.
    pub(crate) fn pop_due(&mut self, now: Tick) -> Option<usize> {
        let &(deadline, id) = self.heap.first()?;
        if deadline > now {
            return None;
        }
        self.cancel(id as usize);
        Some(id as usize)
    }

    fn settle(&mut self, mut place: usize) {
        while place > 0 && self.heap[place] < self.heap[(place - 1) / 2] {
            self.swap(place, (place - 1) / 2);
            place = (place - 1) / 2;
        }
        loop {
            let children = 2 * place + 1..(2 * place + 3).min(self.heap.len());
            let Some(least) = children.min_by_key(|child| self.heap[*child]) else {
                return;
            };
            if self.heap[place] <= self.heap[least] {
                return;
            }
            self.swap(place, least);
            place = least;
        }
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.heap.swap(a, b);
        for place in [a, b] {
            self.places[self.heap[place].1 as usize] = narrow(place);
        }
    }
}

fn narrow(index: usize) -> u32 {
    u32::try_from(index).expect("invariant: an allocation table has fewer than 2^32 places")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Set(usize, u64),
        Cancel(usize),
        Pop(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0_usize..20, 0_u64..100).prop_map(|(index, at)| Step::Set(index, at)),
            (0_usize..20).prop_map(Step::Cancel),
            (0_u64..100).prop_map(Step::Pop),
        ]
    }

    proptest! {
        #[test]
        fn the_heap_agrees_with_a_scan_of_a_map(steps in prop::collection::vec(step(), 0..200)) {
            let mut timers = Timers::default();
            let mut model = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Set(index, at) => {
                        timers.set(index, Tick::from_nanos(at));
                        model.insert(index, at);
                    }
                    Step::Cancel(index) => {
                        timers.cancel(index);
                        model.remove(&index);
                    }
                    Step::Pop(now) => {
                        let due = timers.pop_due(Tick::from_nanos(now));
                        let earliest = model.iter().map(|(index, at)| (*at, *index)).min();
                        let expected = earliest.filter(|(at, _)| *at <= now).map(|(_, index)| index);
                        prop_assert_eq!(due, expected);
                        if let Some(index) = due {
                            model.remove(&index);
                        }
                    }
                }
                let next = model.values().min().map(|at| Tick::from_nanos(*at));
                prop_assert_eq!(timers.next(), next);
                prop_assert_eq!(timers.heap.len(), model.len());
            }
        }
    }
}
