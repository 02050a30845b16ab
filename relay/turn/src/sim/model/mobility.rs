//! What RFC 8016 says of a client that moves.

use std::time::Instant;

use super::{Alloc, Expected, Model, Signature, Told, Tuple, seconds};

/// What a client moves with.
#[derive(Clone, Debug)]
pub(super) struct Tickets {
    current: Vec<u8>,
    /// The one that it moved with last, to where, and until when that may be repeated.
    former: Option<(Vec<u8>, Tuple, Instant)>,
}

impl Tickets {
    pub(super) fn new(current: Vec<u8>) -> Self {
        Self {
            current,
            former: None,
        }
    }

    pub(super) fn current(&self) -> &[u8] {
        &self.current
    }

    fn former(&self, ticket: &[u8]) -> Option<(Tuple, Instant)> {
        let (former, to, until) = self.former.as_ref()?;
        (former == ticket).then_some((*to, *until))
    }
}

/// A Refresh with a ticket.
#[derive(Copy, Clone, Debug)]
pub(super) struct Claim<'a> {
    pub(super) ticket: &'a [u8],
    pub(super) v6: Option<bool>,
    pub(super) lifetime_s: u32,
}

impl Alloc {
    /// Whether a 5-tuple is its client's, in use or moved to.
    pub(in crate::sim) fn is_at(&self, tuple: Tuple) -> bool {
        !self.away && self.home == tuple || self.waiting.contains(&tuple)
    }

    /// Data has come from a 5-tuple: if it was moved to, it takes the place of all before it.
    fn arrive(&mut self, tuple: Tuple) -> bool {
        let Some(place) = self.waiting.iter().position(|waiting| *waiting == tuple) else {
            return false;
        };
        self.waiting.drain(..=place);
        self.home = tuple;
        self.away = false;
        true
    }

    fn move_to(&mut self, now: Instant, tuple: Tuple) {
        if let Some(tickets) = &mut self.tickets {
            // The answer tells the new one.
            let used = std::mem::take(&mut tickets.current);
            tickets.former = Some((used, tuple, now + seconds(40)));
        }
        if !self.away && self.home == tuple {
            self.waiting.clear();
            return;
        }
        self.waiting.retain(|waiting| *waiting != tuple);
        self.waiting.push(tuple);
        if self.waiting.len() > 3 {
            self.waiting.remove(0);
        }
        if self.away {
            self.arrive(tuple);
        }
    }
}

impl Model {
    /// The answer to a Refresh with a ticket that comes to a worker.
    pub(super) fn claimed(
        &mut self,
        now: Instant,
        tuple: Tuple,
        worker: usize,
        claim: Claim<'_>,
        by: &Signature,
    ) -> Expected {
        let Claim {
            ticket,
            v6,
            lifetime_s,
        } = claim;
        if self.forbids_mobility {
            return 405.into();
        }
        let shown =
            |tickets: &Tickets| tickets.current == ticket || tickets.former(ticket).is_some();
        let meant = |alloc: &Alloc| alloc.tickets.as_ref().is_some_and(shown);
        let Some(index) = self.allocs.iter().position(meant) else {
            // One that was never given is made up, any other one is over.
            return if self.given.contains(ticket) {
                437
            } else {
                400
            }
            .into();
        };
        let alloc = &self.allocs[index];
        let mut others = self.allocs.iter().enumerate();
        let other = others.find(|(other, alloc)| *other != index && alloc.is_at(tuple));
        let other = other.map(|(_, other)| other.worker);
        // Whoever is asked on the way knows nothing but whether the 5-tuple is free.
        if worker != alloc.worker && other.is_some_and(|other| other != alloc.worker) {
            return 437.into();
        }
        let former = alloc.tickets.as_ref();
        let former = former.and_then(|tickets| tickets.former(ticket));
        match former {
            Some((to, until)) => {
                if to != tuple || until <= now || !alloc.is_at(tuple) {
                    return 400.into();
                }
            }
            None => {
                let newest = alloc.waiting.last().unwrap_or(&alloc.home);
                if !alloc.away && *newest == tuple {
                    return 400.into();
                }
            }
        }
        if alloc.name != by.name {
            return 441.into();
        }
        if former.is_none() && other.is_some() {
            return 437.into();
        }
        if v6.is_some_and(|v6| alloc.half(v6).is_none()) {
            return 443.into();
        }
        let is_deleted = lifetime_s == 0 && (v6.is_none() || alloc.halves.len() == 1);
        let told = match &alloc.tickets {
            _ if is_deleted => Told::Nothing,
            Some(tickets) if former.is_some() => Told::Again(tickets.current.clone()),
            _ => Told::New,
        };
        let alloc = &mut self.allocs[index];
        if told == Told::New {
            alloc.move_to(now, tuple);
        }
        alloc.refresh(now, v6, lifetime_s);
        self.at(now, self.minute);
        Expected { code: 0, told }
    }

    /// Holds what an answer says of tickets against what it should say.
    pub(in crate::sim) fn told(&mut self, tuple: Tuple, expected: &Told, told: Option<Vec<u8>>) {
        match expected {
            Told::Nothing => assert_eq!(told, None),
            Told::Again(ticket) => assert_eq!(told.as_ref(), Some(ticket)),
            Told::New => {
                let ticket = told.expect("a new ticket");
                assert!(self.given.insert(ticket.clone()), "given twice");
                let mut allocs = self.allocs.iter_mut();
                let alloc = allocs.find(|alloc| alloc.is_at(tuple));
                let tickets = alloc.and_then(|alloc| alloc.tickets.as_mut());
                tickets.expect("its client moves").current = ticket;
            }
        }
    }

    /// Data has come from a 5-tuple; tells whether that made the break.
    pub(in crate::sim) fn data_from(&mut self, tuple: Tuple) -> bool {
        let mut allocs = self.allocs.iter_mut();
        let alloc = allocs.find(|alloc| alloc.is_at(tuple));
        alloc.is_some_and(|alloc| alloc.arrive(tuple))
    }

    /// A connection is gone.
    pub(in crate::sim) fn stream_closed(&mut self, now: Instant, tuple: Tuple) {
        let Some(index) = self.allocs.iter().position(|alloc| alloc.is_at(tuple)) else {
            return;
        };
        let forbids_mobility = self.forbids_mobility;
        let alloc = &mut self.allocs[index];
        if alloc.tickets.is_none() {
            self.allocs.remove(index);
        } else if alloc.home != tuple {
            alloc.waiting.retain(|waiting| *waiting != tuple);
        } else if let Some(next) = alloc.waiting.first().copied() {
            alloc.arrive(next);
        } else if forbids_mobility {
            self.allocs.remove(index);
        } else {
            alloc.away = true;
            for (_, end) in &mut alloc.halves {
                *end = (*end).min(now + seconds(120));
            }
        }
    }
}
