//! TCP connections to peers (RFC 6062): how many there are, and those that wait for ConnectionBind.
//!
//! A ConnectionBind comes over a connection of its own, so that another worker than the one of the
//! allocation may receive it. Whoever takes an id out of here has the connection: the worker that
//! joins it, or the one that ends it because nobody came.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::lock;
use crate::PeerConnection;

/// Shards of the map: more than workers that meet.
const SHARDS: usize = 16;

/// The connections of the node.
#[derive(Debug)]
pub(crate) struct Connections {
    waiting: [Mutex<HashMap<u32, Waiting, FixedState>>; SHARDS],
    total: AtomicU64,
}

/// A connection to a peer that no client has bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    /// The driver's handle.
    pub(crate) connection: PeerConnection,
    /// Who made the allocation, by name or by token; nobody on an open relay.
    pub(crate) maker: Option<Arc<str>>,
}

/// Why a connection id is of no use to whoever shows it.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum NotBound {
    /// Nothing waits under this id.
    Unknown,
    /// What waits under it is somebody else's.
    WrongMaker,
}

impl Default for Connections {
    fn default() -> Self {
        Self {
            waiting: std::array::from_fn(|_| Mutex::default()),
            total: AtomicU64::new(0),
        }
    }
}

impl Connections {
    /// Counts one more connection, unless the node has `max` of them; 0 is no cap.
    pub(crate) fn acquire(&self, max: u32) -> bool {
        let max = if max == 0 { u64::MAX } else { max.into() };
        let one_more = |total: u64| (total < max).then_some(total + 1);
        self.total
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
            .is_ok()
    }

    /// Gives back what `acquire` counted.
    pub(crate) fn release(&self) {
        let before = self.total.fetch_sub(1, Ordering::Relaxed);
        debug_assert!(before > 0, "released more than was acquired");
    }

    /// Files a connection; false if the id is taken.
    pub(crate) fn insert(&self, id: u32, waiting: Waiting) -> bool {
        let mut shard = lock(self.shard(id));
        let free = !shard.contains_key(&id);
        if free {
            shard.insert(id, waiting);
        }
        free
    }

    /// Takes the connection of `id` out, if it waits and `maker` is the one that it waits for.
    pub(crate) fn take(&self, id: u32, maker: Option<&str>) -> Result<PeerConnection, NotBound> {
        let mut shard = lock(self.shard(id));
        let waiting = shard.get(&id).ok_or(NotBound::Unknown)?;
        if waiting.maker.as_deref() != maker {
            return Err(NotBound::WrongMaker);
        }
        let connection = waiting.connection;
        shard.remove(&id);
        Ok(connection)
    }

    /// Takes the connection of `id` out because it ends; false if somebody has bound it.
    pub(crate) fn remove(&self, id: u32) -> bool {
        lock(self.shard(id)).remove(&id).is_some()
    }

    /// Connections in total, and those that wait.
    pub(super) fn usage(&self) -> (u64, usize) {
        let waiting = self.waiting.iter().map(|shard| lock(shard).len()).sum();
        (self.total.load(Ordering::Relaxed), waiting)
    }

    // Ids are random: their low bits are as good as any hash.
    fn shard(&self, id: u32) -> &Mutex<HashMap<u32, Waiting, FixedState>> {
        &self.waiting[id as usize % SHARDS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(handle: u32, maker: Option<&str>) -> Waiting {
        Waiting {
            connection: PeerConnection(handle),
            maker: maker.map(Into::into),
        }
    }

    #[test]
    fn an_id_serves_once_and_only_whoever_made_the_allocation() {
        let connections = Connections::default();
        assert!(connections.insert(7, waiting(1, Some("ann"))));
        assert!(!connections.insert(7, waiting(2, Some("ann"))));
        assert_eq!(connections.take(8, Some("ann")), Err(NotBound::Unknown));
        assert_eq!(connections.take(7, Some("ben")), Err(NotBound::WrongMaker));
        assert_eq!(connections.take(7, None), Err(NotBound::WrongMaker));
        assert_eq!(connections.take(7, Some("ann")), Ok(PeerConnection(1)));
        assert_eq!(connections.take(7, Some("ann")), Err(NotBound::Unknown));
        assert!(!connections.remove(7));
        assert!(connections.insert(23, waiting(3, None)));
        assert!(connections.remove(23));
        assert_eq!(connections.usage(), (0, 0));
    }

    #[test]
    fn the_node_s_cap_is_exact_and_zero_is_none() {
        let connections = Connections::default();
        assert!(connections.acquire(2) && connections.acquire(2));
        assert!(!connections.acquire(2));
        assert!(connections.acquire(0));
        connections.release();
        connections.release();
        assert!(connections.acquire(2));
        assert_eq!(connections.usage(), (2, 0));
    }
}
