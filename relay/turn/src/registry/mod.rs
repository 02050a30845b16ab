//! What the workers of one node share, touched only when allocations come and go.
//!
//! - [`quota`]: how many allocations an account, a source prefix and the node have;
//! - [`reservation`]: ports held for the next Allocate (RESERVATION-TOKEN);
//! - [`mobility`]: tickets with which allocations are taken along to another address;
//! - [`owners`]: which worker has which relayed address. Its look-up is all that the data path
//!   does here: one atomic load, no lock;
//! - [`connections`]: TCP connections to peers that wait for ConnectionBind (RFC 6062).

pub(crate) mod connections;
pub(crate) mod mobility;
pub(crate) mod owners;
pub(crate) mod quota;
pub(crate) mod reservation;

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use self::{
    connections::Connections, mobility::Tickets, owners::PortTable, quota::Quotas,
    reservation::Reservations,
};

/// The node-wide registry. One for all workers.
#[derive(Debug, Default)]
pub struct Registry {
    pub(crate) quotas: Quotas,
    pub(crate) reservations: Reservations,
    pub(crate) tickets: Tickets,
    pub(crate) connections: Connections,
    tables: Mutex<Vec<Arc<PortTable>>>,
}

/// What the registry holds at a moment; all zero when nobody holds anything.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Allocations and reservations that count for quotas.
    pub allocations: u64,
    /// Accounts with at least one of them.
    pub users: usize,
    /// Source prefixes with at least one of them.
    pub prefixes: usize,
    /// Ports held for a token.
    pub reservations: usize,
    /// Mobility tickets that stand for an allocation.
    pub tickets: usize,
    /// Relay ports that are claimed, open or held.
    pub ports: usize,
    /// TCP connections to peers, being made or made.
    pub peer_connections: u64,
    /// Those of them that wait for a ConnectionBind.
    pub unbound_connections: usize,
}

impl Registry {
    /// Makes an empty registry.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes stock, under every lock in turn; for snapshots and tests, not for each packet.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let (allocations, users, prefixes) = self.quotas.usage();
        let (peer_connections, unbound_connections) = self.connections.usage();
        Usage {
            allocations,
            users,
            prefixes,
            reservations: self.reservations.len(),
            tickets: self.tickets.len(),
            ports: lock(&self.tables)
                .iter()
                .map(|table| table.ports_in_use())
                .sum(),
            peer_connections,
            unbound_connections,
        }
    }

    /// The table of one relay address, made when first asked for. Workers keep the `Arc`.
    pub(crate) fn table(&self, ip: IpAddr) -> Arc<PortTable> {
        let mut tables = lock(&self.tables);
        if let Some(table) = tables.iter().find(|table| table.ip() == ip) {
            return Arc::clone(table);
        }
        let table = Arc::new(PortTable::new(ip));
        tables.push(Arc::clone(&table));
        table
    }
}

/// Locks; a panic elsewhere leaves counts that are still worth more than none.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
