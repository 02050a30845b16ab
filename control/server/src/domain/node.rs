//! Nodes, and what each one is at a moment.

use serde_json::{Value, json};
use sterna_control_api::node::{
    Capacity, DesiredState, Heartbeat, NodeLimits, NodeStatus, RegisterNode, ReportedState,
    Services,
};
use sterna_control_api::{NodeId, RelayKey};

/// Heartbeats that a node may miss before it leaves the map.
pub const HEARTBEATS_MISSED_MAX: u64 = 3;

/// A node, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRecord {
    /// Its Ed25519 identity.
    pub id: NodeId,
    /// The static key of its flow handshakes.
    pub noise_key: RelayKey,
    /// Its name, unique within the fleet.
    pub name: String,
    /// The code of its region.
    pub region: String,
    /// The version that it runs.
    pub version: String,
    /// Where it is reached.
    pub services: Services,
    /// What it can carry.
    pub capacity: Capacity,
    /// What the operator wants of it.
    pub desired: DesiredState,
    /// Caps of the operator.
    pub limits: NodeLimits,
    /// The version of the orders at the last change that concerned this node alone. Its orders have
    /// the greater of this and of [`Snapshot::orders`](crate::store::Snapshot::orders).
    pub orders: u64,
    /// When it registered first, in seconds since 1970.
    pub registered: u64,
    /// When its registration changed last, in seconds since 1970.
    pub updated: u64,
    /// What it said of itself last, as far as the store has been told.
    pub heartbeat: Option<HeartbeatRecord>,
}

/// What a node says of itself as it registers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRegistration {
    /// What it sent.
    pub node: RegisterNode,
    /// The id of the join token that it showed, whose secret has been checked. Needed the first
    /// time and to change the region; not used up where neither is the case.
    pub token: Option<String>,
}

/// A node's last heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeartbeatRecord {
    /// Whose.
    pub node: NodeId,
    /// When it came, in seconds since 1970.
    pub at: u64,
    /// The counter that its request was signed with.
    pub counter: u64,
    /// What it said.
    pub report: Heartbeat,
}

impl NodeRecord {
    /// What the node is at `now`, where heartbeats are due every `interval_s` seconds.
    ///
    /// A node is counted from its registration on, so that one which never sends a heartbeat is
    /// lost too. What the operator wants counts before the node has confirmed it: a node that is to
    /// be drained leaves the map at once.
    #[must_use]
    pub fn status(&self, now: u64, interval_s: u32) -> NodeStatus {
        let heard = self.heartbeat.as_ref().map_or(0, |heartbeat| heartbeat.at);
        let silence_s = now.saturating_sub(heard.max(self.updated));
        if silence_s > HEARTBEATS_MISSED_MAX * u64::from(interval_s) {
            return NodeStatus::Lost;
        }
        let report = self.heartbeat.as_ref().map(|heartbeat| &heartbeat.report);
        let reported = report.map_or(ReportedState::Ready, |report| report.state);
        match (self.desired, reported) {
            (DesiredState::Draining, _) | (_, ReportedState::Draining) => NodeStatus::Draining,
            (DesiredState::Cordoned, _) | (_, ReportedState::Cordoned) => NodeStatus::Cordoned,
            (DesiredState::Ready, ReportedState::Ready) => {
                if report.is_some_and(|report| report.reachable) {
                    NodeStatus::Ready
                } else {
                    NodeStatus::Unproved
                }
            }
        }
    }

    /// Until when the node is not lost although nothing is heard of it, in seconds since 1970.
    #[must_use]
    pub fn deadline(&self, interval_s: u32) -> u64 {
        let heard = self.heartbeat.as_ref().map_or(0, |heartbeat| heartbeat.at);
        heard.max(self.updated) + HEARTBEATS_MISSED_MAX * u64::from(interval_s)
    }

    /// What the audit log says of it.
    #[must_use]
    pub fn described(&self) -> Value {
        json!({
            "name": self.name,
            "region": self.region,
            "version": self.version,
            "noise_key": self.noise_key,
            "services": self.services,
            "capacity": self.capacity,
            "state": self.desired,
            "limits": self.limits,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000;

    fn node(heartbeat: Option<HeartbeatRecord>) -> NodeRecord {
        NodeRecord {
            id: NodeId([1; 32]),
            noise_key: RelayKey([2; 32]),
            name: "eu-1".to_owned(),
            region: "eu".to_owned(),
            version: "1".to_owned(),
            services: Services::default(),
            capacity: Capacity::default(),
            desired: DesiredState::Ready,
            limits: NodeLimits::default(),
            orders: 1,
            registered: NOW,
            updated: NOW,
            heartbeat,
        }
    }

    fn heard(at: u64, state: ReportedState, reachable: bool) -> NodeRecord {
        node(Some(HeartbeatRecord {
            node: NodeId([1; 32]),
            at,
            counter: at,
            report: Heartbeat {
                orders: 1,
                state,
                reachable,
                load: 0,
                allocations: 0,
                sessions: 0,
                dropped: 0,
                relayed_bytes: 0,
            },
        }))
    }

    #[test]
    fn a_node_is_lost_when_three_heartbeats_are_missing_and_back_with_the_next() {
        let at = NOW + 100;
        let node = heard(at, ReportedState::Ready, true);
        assert_eq!(node.deadline(5), at + 15);
        for (silence_s, status) in [
            (0, NodeStatus::Ready),
            (15, NodeStatus::Ready),
            (16, NodeStatus::Lost),
            (3600, NodeStatus::Lost),
        ] {
            assert_eq!(node.status(at + silence_s, 5), status, "{silence_s} s");
        }
        let back = heard(at + 3600, ReportedState::Ready, true);
        assert_eq!(back.status(at + 3600, 5), NodeStatus::Ready);
        // Clocks of two replicas differ.
        assert_eq!(node.status(at - 2, 5), NodeStatus::Ready);
    }

    #[test]
    fn a_node_that_only_registered_is_unproved_and_then_lost() {
        assert_eq!(node(None).status(NOW + 15, 5), NodeStatus::Unproved);
        assert_eq!(node(None).status(NOW + 16, 5), NodeStatus::Lost);
    }

    #[test]
    fn a_node_is_ready_when_it_is_wanted_says_so_and_was_reached() {
        use ReportedState::{Cordoned, Draining, Ready};
        let cases = [
            (DesiredState::Ready, Ready, true, NodeStatus::Ready),
            (DesiredState::Ready, Ready, false, NodeStatus::Unproved),
            (DesiredState::Ready, Cordoned, true, NodeStatus::Cordoned),
            (DesiredState::Ready, Draining, true, NodeStatus::Draining),
            (DesiredState::Cordoned, Ready, true, NodeStatus::Cordoned),
            (DesiredState::Cordoned, Draining, true, NodeStatus::Draining),
            (DesiredState::Draining, Ready, true, NodeStatus::Draining),
            (DesiredState::Draining, Cordoned, true, NodeStatus::Draining),
        ];
        for (desired, reported, reachable, status) in cases {
            let mut node = heard(NOW, reported, reachable);
            node.desired = desired;
            assert_eq!(node.status(NOW, 5), status, "{desired:?}, {reported:?}");
        }
    }
}
