//! Mobility tickets: with which a client takes its allocation along to another address (RFC 8016).
//!
//! A ticket is a random handle under a MAC; what it stands for is here, for all workers, since a
//! client that comes from another address comes to any of them. The key is drawn when the first
//! ticket is made and lives as long as the node does, as every allocation.

use std::sync::{Mutex, OnceLock};

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use sterna_stun::{
    attr::MobilityTicket,
    ticket::{SealedTicket, TicketKey},
};

use super::lock;
use crate::AllocationId;

/// Shards of the map: more than workers that meet, few enough to walk.
const SHARDS: usize = 16;

/// The node's name for a ticket. Random, so that it tells nothing.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TicketId(u64);

/// The tickets of the node: an allocation has at most
/// [`TICKETS_PER_ALLOCATION_MAX`](crate::limits::TICKETS_PER_ALLOCATION_MAX), so the quotas of
/// allocations bound them.
#[derive(Debug, Default)]
pub(crate) struct Tickets {
    key: OnceLock<TicketKey>,
    shards: [Mutex<HashMap<TicketId, AllocationId, FixedState>>; SHARDS],
}

/// What a ticket is worth.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Worth {
    /// It stands for this allocation, which names its worker.
    Allocation(TicketId, AllocationId),
    /// It was given out here, and what it stood for is over.
    Over,
    /// It was never given out here.
    Forged,
}

impl Tickets {
    /// Makes a ticket for an allocation.
    pub(crate) fn issue(
        &self,
        allocation: AllocationId,
        mut random: impl FnMut(&mut [u8]),
    ) -> TicketId {
        self.key.get_or_init(|| {
            let mut key = [0; 32];
            random(&mut key);
            TicketKey::new(&key)
        });
        loop {
            let mut handle = [0; 8];
            random(&mut handle);
            let id = TicketId(u64::from_be_bytes(handle));
            let mut shard = lock(self.shard(id));
            // Chance does not draw the same twice; if it does, it draws again.
            if !shard.contains_key(&id) {
                shard.insert(id, allocation);
                return id;
            }
        }
    }

    /// The text of a ticket. None before any was made.
    pub(crate) fn seal(&self, TicketId(handle): TicketId) -> Option<SealedTicket> {
        self.key.get().map(|key| key.seal(handle))
    }

    /// Finds out what a ticket stands for.
    pub(crate) fn judge(&self, ticket: MobilityTicket<'_>) -> Worth {
        let Some(handle) = self.key.get().and_then(|key| key.open(ticket)) else {
            return Worth::Forged;
        };
        let id = TicketId(handle);
        match lock(self.shard(id)).get(&id) {
            Some(allocation) => Worth::Allocation(id, *allocation),
            None => Worth::Over,
        }
    }

    /// Forgets a ticket.
    pub(crate) fn revoke(&self, id: TicketId) {
        let known = lock(self.shard(id)).remove(&id);
        debug_assert!(known.is_some(), "a ticket is forgotten once");
    }

    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    fn shard(
        &self,
        TicketId(handle): TicketId,
    ) -> &Mutex<HashMap<TicketId, AllocationId, FixedState>> {
        // Random, and nobody but this node makes them.
        &self.shards[usize::from(handle.to_be_bytes()[0]) % SHARDS]
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::WorkerId;

    fn counting() -> impl FnMut(&mut [u8]) {
        let mut next = 0;
        move |bytes| {
            next += 1;
            bytes.fill(next);
        }
    }

    #[test]
    fn a_ticket_stands_for_its_allocation_until_it_is_revoked() {
        let tickets = Tickets::default();
        assert_eq!(tickets.judge(MobilityTicket(b"")), Worth::Forged);
        let allocation = AllocationId::new(WorkerId(2), 7, 3);
        let mut random = counting();
        let one = tickets.issue(allocation, &mut random);
        let two = tickets.issue(allocation, &mut random);
        assert_ne!(one, two);
        let text = tickets.seal(one).unwrap();
        let worth = tickets.judge(text.attribute());
        assert_eq!(worth, Worth::Allocation(one, allocation));
        assert_eq!(tickets.len(), 2);
        tickets.revoke(one);
        assert_eq!(tickets.judge(text.attribute()), Worth::Over);
        tickets.revoke(two);
        assert_eq!(tickets.len(), 0);
    }

    #[test]
    fn a_handle_that_is_drawn_twice_is_drawn_again() {
        let tickets = Tickets::default();
        let allocation = AllocationId::new(WorkerId(0), 1, 0);
        let mut draws = [9, 1, 1, 2].into_iter();
        let mut random = |bytes: &mut [u8]| bytes.fill(draws.next().unwrap());
        let one = tickets.issue(allocation, &mut random);
        let two = tickets.issue(allocation, &mut random);
        assert_ne!(one, two);
    }

    #[test]
    fn another_nodes_ticket_is_as_good_as_a_forged_one() {
        let (here, there) = (Tickets::default(), Tickets::default());
        let allocation = AllocationId::new(WorkerId(0), 1, 0);
        let mut random = counting();
        here.issue(allocation, &mut random);
        let id = there.issue(allocation, &mut random);
        let text = there.seal(id).unwrap();
        assert_eq!(here.judge(text.attribute()), Worth::Forged);
    }
}
