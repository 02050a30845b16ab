//! What happens when the relay map names other nodes.

use std::time::Instant;

use sterna_control_api::NodeId;
use sterna_control_api::relay_map::Node;

use super::{GONE, Keeper, Start};
use crate::relay::Reason;
use crate::relay::limits::OLD_LINK_LIFE;

impl Keeper {
    /// Takes over other nodes. Links to those that stay stay; a node that is not among them is left
    /// once another one stands.
    pub(super) fn settle_at(&mut self, nodes: Vec<Node>) {
        if nodes.is_empty() || nodes == self.config.nodes {
            return;
        }
        let identities: Vec<_> = nodes.iter().take(2).map(|node| node.identity).collect();
        let place_of = |node: NodeId| identities.iter().position(|known| *known == node);
        let now = Instant::now();
        let primary = self.primary;
        self.links.retain(|id, known| {
            known.place = place_of(known.node).unwrap_or(GONE);
            if known.place == GONE && primary != Some(*id) {
                known.until.get_or_insert(now + OLD_LINK_LIFE);
            }
            known.place != GONE || known.up
        });
        let before = std::mem::replace(&mut self.config.nodes, nodes);
        self.later.retry = std::mem::take(&mut self.later.retry)
            .into_iter()
            .filter_map(|(place, retry)| Some((place_of(before.get(place)?.identity)?, retry)))
            .collect();
        for place in 0..self.config.nodes.len().min(2) {
            if !self.is_tried(place) && !self.later.retry.contains_key(&place) {
                self.race(place, None, Start::Staggered);
            }
        }
        let leaves =
            primary.filter(|id| self.links.get(id).is_some_and(|known| known.place == GONE));
        if let Some(other) = leaves.and_then(|id| self.stand_in(id)) {
            self.promote(other, Reason::Restarting);
        }
    }
}
