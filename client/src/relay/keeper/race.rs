//! Rungs that are tried: all of a node's, each with its head start, or only the better ones.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use sterna_flow::Rung;

use super::super::carrier;
use super::super::limits::head_start;
use super::super::link::{self, LinkId};
use super::{GONE, Keeper, Known};

/// How much a race is worth.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// The better rungs have their head starts.
    Staggered,
    /// The device has no path that it trusts: all at once.
    Urgent,
}

impl Keeper {
    /// Tries every rung of a node that is better than `than`, or all.
    pub(super) fn race(&mut self, place: usize, than: Option<Rung>, how: Start) {
        if place == GONE {
            return;
        }
        let tried: BTreeSet<_> = self
            .links
            .values()
            .filter(|known| known.place == place && known.until.is_none())
            .map(|known| known.rung)
            .collect();
        let winner = self
            .here(place)
            .and_then(|here| self.winners.get(&here).copied());
        let rungs: Vec<_> = self
            .config
            .rungs
            .iter()
            .copied()
            .filter(|rung| than.is_none_or(|than| *rung < than) && !tried.contains(rung))
            .collect();
        let best = self.config.rungs.iter().min().copied();
        let best = best.map_or(Duration::ZERO, head_start);
        for rung in rungs {
            let delay = if winner == Some(rung) || how == Start::Urgent {
                Duration::ZERO
            } else {
                // A rung that no better one is raced with need not wait for any.
                head_start(rung).saturating_sub(best)
            };
            self.start(place, rung, delay);
        }
    }

    fn start(&mut self, place: usize, rung: Rung, delay: Duration) {
        let id = LinkId(self.next_id);
        self.next_id += 1;
        let commands = link::start(
            id,
            self.config.nodes[place].clone(),
            rung,
            &self.config,
            delay,
            self.inbound.clone(),
            self.reports.clone(),
        );
        let known = Known {
            place,
            node: self.config.nodes[place].identity,
            rung,
            commands,
            up: false,
            suspect: false,
            leaving: None,
            until: None,
        };
        self.links.insert(id, known);
    }

    pub(super) fn is_tried(&self, place: usize) -> bool {
        self.links
            .values()
            .any(|known| known.place == place && known.until.is_none())
    }

    /// The device's address towards a node, which tells networks apart.
    pub(super) fn here(&self, place: usize) -> Option<IpAddr> {
        let node = self.config.nodes.get(place)?;
        let addr = node.udp.iter().chain(&node.quic).chain(&node.wss).next()?;
        carrier::local_towards(*addr)
    }
}
