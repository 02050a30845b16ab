//! A node that goes away: left at a moment of the device's own, for its spare or for an alternate.
//!
//! RESTARTING reaches all devices of a node at the same moment. Each moves at a random time within
//! the spread that the node names, so that they do not arrive elsewhere all at once: to the spare
//! where its link stands, else to one of the alternates that the device knows, and to nothing at all
//! where there is neither: better a node that ends in a while than none. The old link stays until the
//! spread is over and a moment longer, for peers that move later.

use std::time::{Duration, Instant};

use sterna_flow::message::Restarting;

use super::super::Reason;
use super::super::limits::{OLD_LINK_LIFE, RETRY_FIRST, RETRY_MAX, SPREAD_MAX};
use super::super::link::LinkId;
use super::{GONE, Keeper, Known, Start};

/// How a node is left.
#[derive(Copy, Clone, Debug)]
pub(super) struct Leaving {
    /// When this device moves.
    at: Instant,
    /// How long its link stays for others.
    pub(super) until: Instant,
    /// What the node has named.
    spread: Duration,
    /// The time has come.
    pub(super) has_come: bool,
}

impl Known {
    /// When the node is to be left.
    pub(super) fn leaves_at(&self) -> Option<Instant> {
        let leaving = self.leaving.filter(|leaving| !leaving.has_come);
        leaving.map(|leaving| leaving.at)
    }

    /// The node is to be left as soon as there is another.
    pub(super) fn has_left(&self) -> bool {
        self.leaving.is_some_and(|leaving| leaving.has_come)
    }
}

impl Keeper {
    /// A node says that it goes away.
    pub(super) fn leave(&mut self, id: LinkId, restarting: &Restarting) {
        let Some(place) = self.links.get(&id).map(|known| known.place) else {
            return;
        };
        let now = Instant::now();
        let spread = Duration::from_millis(restarting.spread_ms.into()).min(SPREAD_MAX);
        let leaving = Leaving {
            at: now + spread.mul_f64(rand::random_range(0.0..=1.0)),
            until: now + spread + OLD_LINK_LIFE,
            spread,
            has_come: false,
        };
        for known in self.links.values_mut() {
            if known.place == place {
                known.leaving.get_or_insert(leaving);
            }
        }
        self.later.alternates.clone_from(&restarting.alternates);
        let away = Duration::from_millis(restarting.reconnect_in_ms.into());
        let away = away.clamp(RETRY_FIRST, RETRY_MAX);
        if place != GONE {
            let back = (leaving.at + away, RETRY_MAX);
            self.later.retry.insert(place, back);
        }
    }

    /// Leaves the nodes whose time has come.
    pub(super) fn move_on(&mut self, now: Instant) {
        let due: Vec<_> = self
            .links
            .iter()
            .filter(|(_, known)| known.leaves_at().is_some_and(|at| at <= now))
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            let Some(known) = self.links.get_mut(&id) else {
                continue;
            };
            if let Some(leaving) = &mut known.leaving {
                leaving.has_come = true;
                if self.primary != Some(id) {
                    known.until.get_or_insert(leaving.until);
                    continue;
                }
            }
            let elsewhere = self.stand_in(id).filter(|other| {
                let other = &self.links[other];
                other.leaving.is_none()
            });
            match elsewhere {
                Some(other) => self.promote(other, Reason::Restarting),
                None => self.try_alternates(),
            }
        }
    }

    /// Those that the map knows; the node itself is among them only by mistake, and stands already.
    fn try_alternates(&mut self) {
        for id in std::mem::take(&mut self.later.alternates) {
            let place = self
                .config
                .nodes
                .iter()
                .position(|node| node.identity == id);
            if let Some(place) = place.filter(|place| !self.is_tried(*place)) {
                self.race(place, None, Start::Staggered);
            }
        }
    }

    /// A node that was not left has ended: its devices do not come back all at once.
    pub(super) fn spread_retry(&mut self, ended: &Known) {
        let retry = self.later.retry.get_mut(&ended.place);
        if let Some(((at, _), leaving)) = retry.zip(ended.leaving) {
            let later = leaving.spread.mul_f64(rand::random_range(0.0..=1.0));
            *at = (*at).max(Instant::now() + later);
        }
    }

    /// Whether peers are reached by a node that goes away, or by none.
    pub(super) fn needs_alternate(&self) -> bool {
        let primary = self.primary.and_then(|id| self.links.get(&id));
        primary.is_none_or(|known| known.leaving.is_some())
    }
}
