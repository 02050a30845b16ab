//! Heartbeats whose answers wait for something to say, so that what is ordered reaches nodes at once.
//!
//! A node has one place here, and asks again when it was answered: at rest as often as it would report
//! anyway. When a change concerns many of them they are answered one after the other, for each comes
//! back at once to say what it follows.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sterna_control_api::NodeId;
use tokio::sync::oneshot;

/// Between the answers to two nodes: half of a core makes, signs and hears 5,000 orders a second.
const APART: Duration = Duration::from_micros(100);
/// The time over which all answers are spread, however many: what is revoked ends within a second.
const SPREAD_MAX: Duration = Duration::from_millis(500);

/// The heartbeats that are held.
#[derive(Default)]
pub(crate) struct Held {
    table: Mutex<HashMap<NodeId, Holding>>,
    taken: AtomicU64,
}

struct Holding {
    number: u64,
    /// The version of the orders that the node follows.
    follows: u64,
    ring: oneshot::Sender<Duration>,
}

/// A heartbeat's place; given back when this is dropped.
pub(crate) struct Place<'a> {
    held: &'a Held,
    node: NodeId,
    number: u64,
    rung: oneshot::Receiver<Duration>,
}

impl Held {
    /// Takes the node's place; a heartbeat that it has held is answered.
    pub(crate) fn take(&self, node: NodeId, follows: u64) -> Place<'_> {
        let number = self.taken.fetch_add(1, Ordering::Relaxed);
        let (ring, rung) = oneshot::channel();
        let holding = Holding {
            number,
            follows,
            ring,
        };
        self.table().insert(node, holding);
        Place {
            held: self,
            node,
            number,
            rung,
        }
    }

    /// Rings those for whom there is something; `has_news` is given the node and what it follows.
    pub(crate) fn ring(&self, has_news: impl Fn(&NodeId, u64) -> bool) {
        let rung: Vec<_> = self
            .table()
            .extract_if(|node, holding| has_news(node, holding.follows))
            .collect();
        let count = u32::try_from(rung.len()).unwrap_or(u32::MAX).max(1);
        let apart = APART.min(SPREAD_MAX / count);
        let mut after = Duration::ZERO;
        for (_, holding) in rung {
            // Who has gone meanwhile asks again.
            let _ = holding.ring.send(after);
            after += apart;
        }
    }

    /// Heartbeats that are held now.
    pub(crate) fn len(&self) -> usize {
        self.table().len()
    }

    fn table(&self) -> MutexGuard<'_, HashMap<NodeId, Holding>> {
        // Each entry is whole.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place<'_> {
    /// Waits until there is something to say, and until it is this node's turn.
    pub(crate) async fn rung(&mut self) {
        // An error: a newer heartbeat of the node has the place.
        if let Ok(after) = (&mut self.rung).await
            && !after.is_zero()
        {
            tokio::time::sleep(after).await;
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut table = self.held.table();
        if table
            .get(&self.node)
            .is_some_and(|holding| holding.number == self.number)
        {
            table.remove(&self.node);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot::error::TryRecvError;

    use super::*;

    fn node(number: u16) -> NodeId {
        let mut id = [0; 32];
        id[..2].copy_from_slice(&number.to_be_bytes());
        NodeId(id)
    }

    #[test]
    fn only_those_are_rung_for_whom_there_is_something() {
        let held = Held::default();
        let mut behind = held.take(node(1), 4);
        let mut current = held.take(node(2), 5);
        held.ring(|_, follows| follows < 5);
        assert_eq!(behind.rung.try_recv(), Ok(Duration::ZERO));
        assert_eq!(current.rung.try_recv(), Err(TryRecvError::Empty));
        assert_eq!(held.len(), 1);
        drop(current);
        assert_eq!(held.len(), 0, "a node that goes leaves its place");
    }

    #[test]
    fn a_newer_heartbeat_takes_the_place_of_an_older_one() {
        let held = Held::default();
        let mut older = held.take(node(1), 4);
        let newer = held.take(node(1), 4);
        assert_eq!(older.rung.try_recv(), Err(TryRecvError::Closed));
        drop(older);
        assert_eq!(held.len(), 1, "the newer one is still there");
        drop(newer);
        assert_eq!(held.len(), 0);
    }

    #[test]
    fn a_change_for_a_large_fleet_is_told_one_after_the_other_and_within_a_second() {
        let held = Held::default();
        let mut places: Vec<_> = (0..10_000)
            .map(|number| held.take(node(number), 1))
            .collect();
        held.ring(|_, _| true);
        let mut delays: Vec<_> = places
            .iter_mut()
            .filter_map(|place| place.rung.try_recv().ok())
            .collect();
        delays.sort();
        assert_eq!(delays.len(), 10_000);
        assert!(delays[9_999] < Duration::from_secs(1));
        assert!(delays.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
