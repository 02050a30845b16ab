//! Which of the fleet's nodes a device is at home on.
//!
//! Devices meet at a node that both have a session with, so those of a tenant must choose alike without
//! asking each other: each scores every node by a hash of tenant and node, and takes the highest (a
//! rendezvous). A fleet's tenants spread evenly, and when a node leaves, only its own tenants move, each
//! to the node that was its spare.

use std::hash::Hasher as _;

use siphasher::sip::SipHasher24;
use sterna_control_api::relay_map::{Node, NodeState};
use sterna_control_api::{NodeId, RelayMap, TenantId};

/// The ready nodes, home first, then the spare.
pub(super) fn nodes_of(map: &RelayMap, tenant: TenantId) -> Vec<Node> {
    let all = map.regions.iter().flat_map(|region| &region.nodes);
    let mut ready: Vec<_> = all
        .filter(|node| node.state == NodeState::Ready && serves_flows(node))
        .cloned()
        .collect();
    ready.sort_by_cached_key(|node| {
        (
            std::cmp::Reverse(score(tenant, node.identity)),
            node.identity,
        )
    });
    ready
}

fn serves_flows(node: &Node) -> bool {
    !(node.udp.is_empty() && node.quic.is_empty() && node.wss.is_empty())
}

/// The same on every device.
fn score(tenant: TenantId, node: NodeId) -> u64 {
    let mut hasher = SipHasher24::new();
    hasher.write(&tenant.0.to_be_bytes());
    hasher.write(node.as_bytes());
    hasher.finish()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use sterna_control_api::relay_map::Region;
    use sterna_control_api::{Fleet, RelayKey};

    use super::*;

    fn map(nodes: &[u8]) -> RelayMap {
        let node = |number: &u8| Node {
            name: format!("n{number}"),
            identity: NodeId([*number; 32]),
            noise_key: RelayKey([*number; 32]),
            state: NodeState::Ready,
            load: 0,
            stun: Vec::new(),
            udp: vec!["192.0.2.1:3478".parse().unwrap()],
            quic: Vec::new(),
            wss: Vec::new(),
            host: String::new(),
            pins: Vec::new(),
        };
        RelayMap {
            format: 1,
            version: 1,
            fleet: Fleet::new("example").unwrap(),
            issued: 0,
            expires: 1,
            regions: vec![Region {
                name: "eu".to_owned(),
                nodes: nodes.iter().map(node).collect(),
            }],
        }
    }

    fn homes(map: &RelayMap) -> Vec<u8> {
        let home = |tenant| nodes_of(map, TenantId(tenant))[0].identity.0[0];
        (0..1000).map(home).collect()
    }

    #[test]
    fn tenants_spread_over_the_nodes_whatever_order_the_map_has() {
        let homes_one = homes(&map(&[1, 2, 3, 4]));
        assert_eq!(homes_one, homes(&map(&[3, 1, 4, 2])));
        let mut counts = BTreeMap::new();
        for home in homes_one {
            *counts.entry(home).or_insert(0) += 1;
        }
        assert!(
            counts.values().all(|count| (200..300).contains(count)),
            "{counts:?}"
        );
    }

    #[test]
    fn only_the_tenants_of_a_node_that_leaves_move_each_to_its_spare() {
        let (before, after) = (map(&[1, 2, 3]), map(&[1, 3]));
        for tenant in (0..1000).map(TenantId) {
            let [home, spare, ..] = &nodes_of(&before, tenant)[..] else {
                panic!("three nodes");
            };
            let now = &nodes_of(&after, tenant)[0];
            let expected = if home.identity.0[0] == 2 { spare } else { home };
            assert_eq!(now.identity, expected.identity);
        }
    }

    #[test]
    fn nodes_that_go_away_or_serve_no_flows_are_nobodys_home() {
        let mut map = map(&[1, 2, 3]);
        map.regions[0].nodes[0].state = NodeState::Draining;
        map.regions[0].nodes[1].udp.clear();
        let chosen: Vec<_> = nodes_of(&map, TenantId(1))
            .iter()
            .map(|node| node.identity.0[0])
            .collect();
        assert_eq!(chosen, [3]);
    }
}
