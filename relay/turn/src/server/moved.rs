//! Clients whose packets come to this worker and whose allocation is another's.
//!
//! An allocation stays on its worker; the socket that the packets of a moved client's new 5-tuple
//! come to is chosen by the kernel, and its connection by turns. So the worker that they come to
//! hands them on, and the owner answers from its own socket of the same listener. Only packets of
//! 5-tuples that are not known here are looked up in this table.
//!
//! A worker enters a 5-tuple when its client has shown credentials and a ticket of the node, and
//! sends a [`Lease`] along with that request. The owner keeps the lease for as long as it serves the
//! 5-tuple; when it lets go of it, or the request never arrives, the entry is void at once, and
//! nobody needs to be told.

use std::sync::{Arc, Weak};

use hashbrown::HashMap;

use super::Server;
use crate::{
    Client, Command, DropReason, Verdict, WorkerId, addr::ClientKey, limits::MOVED_CLIENTS_MAX,
    tick::Tick,
};

/// Entries below which the table is never swept.
const SWEEP_MIN: usize = 64;

/// Says, as long as somebody has it, that a 5-tuple of one worker is served by another.
#[derive(Clone, Debug, Default)]
pub struct Lease(Arc<()>);

impl PartialEq for Lease {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Lease {}

/// The table.
#[derive(Debug)]
pub(super) struct Moved {
    owners: HashMap<ClientKey, (WorkerId, Weak<()>)>,
    /// How many entries call for a sweep: twice what the last one left.
    sweep_at: usize,
}

impl Default for Moved {
    fn default() -> Self {
        Self {
            owners: HashMap::new(),
            sweep_at: SWEEP_MIN,
        }
    }
}

impl Moved {
    /// The worker that has a client's allocation.
    fn owner(&mut self, client: &Client) -> Option<WorkerId> {
        if self.owners.is_empty() {
            return None;
        }
        let key = client.key();
        let (worker, lease) = self.owners.get(&key)?;
        if lease.strong_count() == 0 {
            self.owners.remove(&key);
            return None;
        }
        Some(*worker)
    }

    /// Enters a client, or finds it entered for the same worker.
    fn enter(&mut self, client: &Client, worker: WorkerId) -> Option<Lease> {
        let key = client.key();
        if let Some((owner, lease)) = self.owners.get(&key)
            && *owner == worker
            && let Some(lease) = lease.upgrade()
        {
            return Some(Lease(lease));
        }
        if self.owners.len() >= self.sweep_at.min(MOVED_CLIENTS_MAX) {
            self.sweep();
        }
        if self.owners.len() >= MOVED_CLIENTS_MAX {
            return None;
        }
        let lease = Lease::default();
        self.owners.insert(key, (worker, Arc::downgrade(&lease.0)));
        Some(lease)
    }

    /// Drops what is void; the table never holds more than twice what is not, so that this is paid
    /// for by the entries.
    fn sweep(&mut self) {
        self.owners.retain(|_, (_, lease)| lease.strong_count() > 0);
        self.sweep_at = (2 * self.owners.len()).max(SWEEP_MIN);
    }
}

impl Server {
    /// How many 5-tuples this worker hands on to others.
    #[must_use]
    pub fn moved_count(&self) -> usize {
        let live = |(_, lease): &&(WorkerId, Weak<()>)| lease.strong_count() > 0;
        self.moved.owners.values().filter(live).count()
    }

    /// Where a packet of a 5-tuple goes that has no allocation here.
    #[cold]
    pub(super) fn by_owner(&mut self, client: &Client) -> Option<Verdict> {
        let worker = self.moved.owner(client)?;
        Some(self.send_to_owner(worker, *client, None))
    }

    /// Hands a packet to the worker that has its client's allocation.
    pub(super) fn send_to_owner(
        &mut self,
        worker: WorkerId,
        client: Client,
        lease: Option<Lease>,
    ) -> Verdict {
        self.counters.moved_to_workers += 1;
        Verdict::ToOwner {
            worker,
            client,
            lease,
        }
    }

    /// The worker that has the allocation of a 5-tuple of this one.
    pub(super) fn owner_elsewhere(&mut self, client: &Client) -> Option<WorkerId> {
        self.moved.owner(client)
    }

    /// Enters a client that has shown a ticket of another worker's allocation.
    pub(super) fn hand_on(
        &mut self,
        client: &Client,
        worker: WorkerId,
    ) -> Result<Lease, DropReason> {
        self.moved
            .enter(client, worker)
            .ok_or(DropReason::MovedClientsFull)
    }

    /// A packet that another worker has handed on.
    pub(super) fn moved_packet(
        &mut self,
        now: Tick,
        client: Client,
        packet: &[u8],
        lease: Option<Lease>,
    ) -> Result<Verdict, DropReason> {
        let asks = lease.is_some();
        // Without the wish to move nothing is made for it here: what came too late is dropped, and
        // the next one finds the entry void.
        if !asks && self.find(&client, now).is_none() {
            return Err(DropReason::NoAllocation);
        }
        self.lease = lease;
        let outcome = self.client_packet(now, client, packet);
        self.lease = None;
        if asks && client.transport.is_stream() && self.find(&client, now).is_none() {
            self.outbox.detach(client);
        }
        match outcome {
            // Nothing is handed on twice.
            Ok(Verdict::ToOwner { .. }) => Err(DropReason::NoAllocation),
            outcome => outcome,
        }
    }

    /// A connection is gone whose allocation may be elsewhere; true if it is.
    pub(super) fn tell_closed(&mut self, client: &Client) -> bool {
        let Some(worker) = self.moved.owner(client) else {
            return false;
        };
        self.moved.owners.remove(&client.key());
        self.outbox.push(Command::TellClosed {
            worker,
            client: *client,
        });
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Transport;

    fn client(port: u16) -> Client {
        Client {
            transport: Transport::Udp,
            route: 0,
            addr: ([203, 0, 113, 1], port).into(),
            server: ([198, 51, 100, 1], 3478).into(),
        }
    }

    #[test]
    fn an_entry_lasts_as_long_as_its_lease() {
        let mut moved = Moved::default();
        let lease = moved.enter(&client(1), WorkerId(2)).expect("room");
        assert_eq!(moved.owner(&client(1)), Some(WorkerId(2)));
        assert_eq!(moved.owner(&client(2)), None);
        let again = moved.enter(&client(1), WorkerId(2));
        assert_eq!(again.as_ref(), Some(&lease), "the same one");
        drop((lease, again));
        assert_eq!(moved.owner(&client(1)), None);
        assert!(moved.owners.is_empty());
    }

    #[test]
    fn void_entries_do_not_pile_up() {
        let mut moved = Moved::default();
        let _kept = moved.enter(&client(1), WorkerId(1));
        for port in 2..10_000 {
            drop(moved.enter(&client(port), WorkerId(1)));
            assert!(moved.owners.len() <= SWEEP_MIN);
        }
        assert_eq!(moved.owner(&client(1)), Some(WorkerId(1)));
    }

    #[test]
    fn a_full_table_takes_nobody_in_until_one_leaves() {
        let mut moved = Moved::default();
        let mut leases: Vec<_> = (0..MOVED_CLIENTS_MAX)
            .map(|n| {
                let mut client = client(1);
                client.route = u32::try_from(n).expect("small");
                moved.enter(&client, WorkerId(1)).expect("room")
            })
            .collect();
        let one_more = client(2);
        assert_eq!(moved.enter(&one_more, WorkerId(1)), None);
        leases.pop();
        assert!(moved.enter(&one_more, WorkerId(1)).is_some());
    }
}
