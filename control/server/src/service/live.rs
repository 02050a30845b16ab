//! The nodes as they are now: what the store keeps of them, and what they said since.
//!
//! Heartbeats end here and go to the store once a second, all of them in one transaction.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use sterna_control_api::NodeId;
use sterna_control_api::node::{Heartbeat, NodeStatus};

use crate::domain::{HeartbeatRecord, NodeRecord};

/// The table.
pub(crate) struct Live {
    interval_s: u32,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    nodes: HashMap<NodeId, NodeRecord>,
    /// Nodes whose last heartbeat the store has not been told of.
    unsaved: HashSet<NodeId>,
    /// Changes that were made here so far.
    changes: u64,
    /// The last one of each node since the store was read last.
    changed: HashMap<NodeId, u64>,
}

impl Table {
    fn note_change(&mut self, id: NodeId) {
        self.changes += 1;
        self.changed.insert(id, self.changes);
    }
}

impl Live {
    pub(crate) fn new(interval_s: u32) -> Self {
        Self {
            interval_s,
            table: Mutex::default(),
        }
    }

    pub(crate) fn knows(&self, id: &NodeId) -> bool {
        self.table().nodes.contains_key(id)
    }

    /// One node, as it is now.
    pub(crate) fn node(&self, id: &NodeId) -> Option<NodeRecord> {
        self.table().nodes.get(id).cloned()
    }

    /// How many changes were made here so far: before the store is read, for [`Live::replace`].
    pub(crate) fn changes(&self) -> u64 {
        self.table().changes
    }

    /// Takes all nodes from the store, with what was heard of them since. The store was read after so
    /// many changes; what has changed here since then may not be in what it said.
    pub(crate) fn replace(&self, nodes: Vec<NodeRecord>, after: u64) {
        let mut table = self.table();
        table.changed.retain(|_, change| *change > after);
        let mut before = std::mem::take(&mut table.nodes);
        let mut now: HashMap<_, _> = nodes
            .into_iter()
            .filter(|node| !table.changed.contains_key(&node.id))
            .map(|node| (node.id, newest(node, &before)))
            .collect();
        let kept = table.changed.keys();
        now.extend(kept.filter_map(|id| before.remove_entry(id)));
        table.unsaved.retain(|id| now.contains_key(id));
        table.nodes = now;
    }

    /// Takes one node.
    pub(crate) fn put(&self, node: NodeRecord) {
        let mut table = self.table();
        let node = newest(node, &table.nodes);
        table.note_change(node.id);
        table.nodes.insert(node.id, node);
    }

    /// Forgets a node.
    pub(crate) fn remove(&self, id: &NodeId) {
        let mut table = self.table();
        table.nodes.remove(id);
        table.unsaved.remove(id);
        table.note_change(*id);
    }

    /// The version of a node's own orders.
    pub(crate) fn orders(&self, id: &NodeId) -> Option<u64> {
        self.table().nodes.get(id).map(|node| node.orders)
    }

    /// Takes a heartbeat; whether the node is now something else in the eyes of the fleet. None where
    /// nobody knows the node.
    pub(crate) fn beat(
        &self,
        now: u64,
        id: &NodeId,
        counter: u64,
        report: Heartbeat,
    ) -> Option<bool> {
        let mut table = self.table();
        let Table { nodes, unsaved, .. } = &mut *table;
        let node = nodes.get_mut(id)?;
        let before = node.status(now, self.interval_s);
        node.heartbeat = Some(HeartbeatRecord {
            node: *id,
            at: now,
            counter,
            report,
        });
        unsaved.insert(*id);
        Some(node.status(now, self.interval_s) != before)
    }

    /// Takes heartbeats that came through other replicas.
    pub(crate) fn heard_elsewhere(&self, heartbeats: Vec<HeartbeatRecord>) {
        let mut table = self.table();
        for heartbeat in heartbeats {
            if let Some(node) = table.nodes.get_mut(&heartbeat.node)
                && is_newer(&heartbeat, node.heartbeat.as_ref())
            {
                node.heartbeat = Some(heartbeat);
            }
        }
    }

    /// The heartbeats that the store has not been told of.
    pub(crate) fn take_unsaved(&self) -> Vec<HeartbeatRecord> {
        let mut table = self.table();
        let Table { nodes, unsaved, .. } = &mut *table;
        unsaved
            .drain()
            .filter_map(|id| nodes.get(&id)?.heartbeat.clone())
            .collect()
    }

    /// Those that could not be told.
    pub(crate) fn still_unsaved(&self, heartbeats: &[HeartbeatRecord]) {
        let ids = heartbeats.iter().map(|heartbeat| heartbeat.node);
        self.table().unsaved.extend(ids);
    }

    /// All nodes with their status, in the order of their names.
    pub(crate) fn all(&self, now: u64) -> Vec<(NodeRecord, NodeStatus)> {
        let mut all: Vec<_> = self
            .table()
            .nodes
            .values()
            .map(|node| (node.clone(), node.status(now, self.interval_s)))
            .collect();
        all.sort_unstable_by(|(a, _), (b, _)| a.name.cmp(&b.name));
        all
    }

    /// The nodes and statuses, without copying what is not asked for.
    pub(crate) fn each(&self, now: u64, mut f: impl FnMut(&NodeRecord, NodeStatus)) {
        for node in self.table().nodes.values() {
            f(node, node.status(now, self.interval_s));
        }
    }

    /// The oldest orders that a node which is there follows; with how many are there and how many
    /// follow `version`. `u64::MAX` without nodes.
    pub(crate) fn followed(&self, now: u64, version: u64) -> Followed {
        let mut followed = Followed {
            oldest: u64::MAX,
            nodes: 0,
            by: 0,
        };
        self.each(now, |node, status| {
            if status == NodeStatus::Lost {
                return;
            }
            let orders = node.heartbeat.as_ref().map_or(0, |last| last.report.orders);
            followed.oldest = followed.oldest.min(orders);
            followed.nodes += 1;
            followed.by += u32::from(orders >= version);
        });
        followed
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Each entry is whole.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which orders nodes follow.
pub(crate) struct Followed {
    /// The oldest.
    pub(crate) oldest: u64,
    /// Nodes that are there.
    pub(crate) nodes: u32,
    /// Those that follow the version asked for.
    pub(crate) by: u32,
}

/// The store's word on a node, with the heartbeat that was heard last.
fn newest(mut node: NodeRecord, before: &HashMap<NodeId, NodeRecord>) -> NodeRecord {
    let heard = before
        .get(&node.id)
        .and_then(|node| node.heartbeat.as_ref());
    if let Some(heard) = heard
        && is_newer(heard, node.heartbeat.as_ref())
    {
        node.heartbeat = Some(heard.clone());
    }
    node
}

fn is_newer(heartbeat: &HeartbeatRecord, than: Option<&HeartbeatRecord>) -> bool {
    than.is_none_or(|than| (heartbeat.at, heartbeat.counter) > (than.at, than.counter))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use sterna_control_api::RelayKey;
    use sterna_control_api::node::{Capacity, DesiredState, NodeLimits, ReportedState, Services};

    use super::*;

    const ID: NodeId = NodeId([1; 32]);

    fn node() -> NodeRecord {
        NodeRecord {
            id: ID,
            noise_key: RelayKey([2; 32]),
            name: "eu-1".to_owned(),
            region: "eu".to_owned(),
            version: "1".to_owned(),
            services: Services::default(),
            capacity: Capacity::default(),
            desired: DesiredState::Ready,
            limits: NodeLimits::default(),
            orders: 3,
            registered: 100,
            updated: 100,
            heartbeat: None,
        }
    }

    fn report(orders: u64, reachable: bool) -> Heartbeat {
        Heartbeat {
            orders,
            state: ReportedState::Ready,
            reachable,
            load: 0,
            allocations: 0,
            sessions: 0,
            dropped: 0,
            relayed_bytes: 0,
        }
    }

    #[test]
    fn a_heartbeat_is_saved_once_and_survives_a_reload_from_the_store() {
        let live = Live::new(5);
        live.put(node());
        assert_eq!(live.beat(101, &ID, 1, report(3, false)), Some(false));
        assert_eq!(live.beat(102, &ID, 2, report(3, true)), Some(true));
        let unsaved = live.take_unsaved();
        assert_eq!(unsaved.len(), 1);
        assert_eq!(unsaved[0].counter, 2);
        assert!(live.take_unsaved().is_empty());
        live.replace(vec![node()], live.changes());
        assert_eq!(live.node(&ID).unwrap().heartbeat.unwrap().counter, 2);
        live.replace(Vec::new(), live.changes());
        assert!(live.beat(103, &ID, 3, report(3, true)).is_none());
    }

    #[test]
    fn what_has_changed_while_the_store_was_read_stays() {
        let live = Live::new(5);
        let other = NodeRecord {
            id: NodeId([2; 32]),
            ..node()
        };
        live.put(node());
        live.put(other.clone());
        let read_after = live.changes();
        let drained = NodeRecord {
            desired: DesiredState::Draining,
            orders: 4,
            ..node()
        };
        live.put(drained);
        live.remove(&other.id);
        let new = NodeRecord {
            id: NodeId([3; 32]),
            ..node()
        };
        live.put(new.clone());
        live.replace(vec![node(), other.clone()], read_after);
        assert_eq!(live.orders(&ID), Some(4));
        assert!(!live.knows(&other.id) && live.knows(&new.id));
        // What is read afterwards counts.
        live.replace(vec![node(), other.clone()], live.changes());
        assert_eq!(live.orders(&ID), Some(3));
        assert!(live.knows(&other.id) && !live.knows(&new.id));
    }

    #[test]
    fn a_node_that_missed_three_heartbeats_is_lost_and_asked_no_more() {
        let live = Live::new(5);
        live.put(node());
        live.beat(100, &ID, 1, report(3, true)).unwrap();
        let there = live.followed(115, 4);
        assert_eq!((there.oldest, there.nodes, there.by), (3, 1, 0));
        let gone = live.followed(116, 4);
        assert_eq!((gone.oldest, gone.nodes), (u64::MAX, 0));
        assert_eq!(live.all(116)[0].1, NodeStatus::Lost);
    }
}
