//! Which link peers are reached by, and what takes its place when it is in doubt or gone.

use std::time::Instant;

use tracing::info;

use super::super::limits::{OLD_LINK_LIFE, RETRY_FIRST, RETRY_MAX};
use super::super::link::{Command, LinkId};
use super::super::{Event, Path, Reason};
use super::{GONE, HOMES, Keeper, Paths, Start};

impl Keeper {
    /// A link has shown that it carries useful frames.
    pub(super) fn stands(&mut self, id: LinkId) {
        let Some(known) = self.links.get_mut(&id) else {
            return;
        };
        if known.up {
            return;
        }
        known.up = true;
        for peer in &self.peers {
            // A link that is too busy for this opens the flow with the first packet.
            let _ = known.commands.try_send(Command::Open(*peer));
        }
        let (place, rung) = (known.place, known.rung);
        self.later.retry.remove(&place);
        if let Some(here) = self.here(place) {
            self.winners.insert(here, rung);
        }
        // Slower ones of the same race have lost it; better ones may still come.
        let losers: Vec<_> = self
            .links
            .iter()
            .filter(|(_, other)| other.place == place && !other.up && other.rung > rung)
            .map(|(id, _)| *id)
            .collect();
        for loser in losers {
            self.links.remove(&loser);
        }
        let reason = match self.primary.and_then(|primary| self.links.get(&primary)) {
            None => Some(Reason::First),
            Some(now) if now.place == place && rung < now.rung => Some(Reason::Better),
            Some(now) if now.suspect => Some(Reason::Failed),
            Some(now) if now.has_left() => Some(Reason::Restarting),
            // Home is home: a spare that was stood in for gives way.
            Some(now) if place < now.place => Some(Reason::Better),
            Some(_) => None,
        };
        if let Some(reason) = reason {
            self.promote(id, reason);
        } else if place >= HOMES || self.duplicate_at(id) {
            self.links.remove(&id);
        }
    }

    /// Whether another link of the same node stands and is no worse.
    pub(super) fn duplicate_at(&self, id: LinkId) -> bool {
        let known = &self.links[&id];
        self.links.iter().any(|(other_id, other)| {
            *other_id != id
                && other.place == known.place
                && other.up
                && !other.suspect
                && other.until.is_none()
                && other.rung <= known.rung
        })
    }

    /// Makes a link the one that peers are reached by.
    pub(super) fn promote(&mut self, id: LinkId, reason: Reason) {
        let old = self.primary.replace(id);
        let Some(known) = self.links.get_mut(&id) else {
            return;
        };
        known.until = None;
        let (place, node, rung) = (known.place, known.node, known.rung);
        let now = Instant::now();
        if let Some(old) = old.and_then(|old| self.links.get_mut(&old)) {
            // The old link at another node becomes, or stays, the spare.
            if old.place == place || old.suspect || old.place >= HOMES {
                old.until = Some(now + OLD_LINK_LIFE);
            }
            if let Some(leaving) = old.leaving {
                old.until = Some(leaving.until);
            }
        }
        let best = self.config.rungs.iter().min().copied();
        self.later.climb = (best < Some(rung)).then(|| now + self.timing.climb_every);
        info!(%node, rung = rung.as_str(), ?reason, "peers are reached by this path");
        self.publish();
        self.say(Event::Path { node, rung, reason });
    }

    /// A link does not answer.
    pub(super) fn doubt(&mut self, id: LinkId) {
        let Some(known) = self.links.get_mut(&id) else {
            return;
        };
        known.suspect = true;
        let place = known.place;
        self.race(place, None, Start::Urgent);
        if self.primary == Some(id) {
            // What has silenced it may have silenced the spare, too, which expects nothing. Packets
            // go over both until one of them answers.
            self.tell_all(|| Command::Check);
        }
        self.publish();
    }

    /// A link answers.
    pub(super) fn trust(&mut self, id: LinkId) {
        let Some(known) = self.links.get_mut(&id) else {
            return;
        };
        let was_suspect = std::mem::take(&mut known.suspect);
        let (place, up, stays) = (known.place, known.up, known.leaving.is_none());
        let primary = self.primary.and_then(|primary| self.links.get(&primary));
        let primary = primary.map(|now| (now.place, now.suspect, now.has_left()));
        match primary {
            _ if !up || self.primary == Some(id) => {}
            None => return self.promote(id, Reason::First),
            Some((_, true, _)) => return self.promote(id, Reason::Failed),
            Some((_, _, true)) if stays => return self.promote(id, Reason::Restarting),
            // Its stand-in has not been needed.
            Some((stand_in, ..)) if was_suspect && stays && place < stand_in => {
                return self.promote(id, Reason::Better);
            }
            Some(_) => {}
        }
        if was_suspect {
            self.publish();
        }
    }

    /// A link that stands and is not in doubt, the nearest first; of a node that goes away, if there
    /// is no other.
    pub(super) fn stand_in(&self, instead_of: LinkId) -> Option<LinkId> {
        let stands = self.links.iter().filter(|(id, known)| {
            **id != instead_of && known.up && !known.suspect && known.until.is_none()
        });
        let best =
            stands.min_by_key(|(_, known)| (known.leaving.is_some(), known.place, known.rung));
        best.map(|(id, _)| *id)
    }

    /// Says that a rung was not to be had, of a link that has never stood.
    pub(super) fn miss(&self, id: LinkId, error: &str) {
        let known = &self.links[&id];
        if !known.up {
            self.say(Event::Unreachable {
                node: known.node,
                rung: known.rung,
                error: error.to_owned(),
            });
        }
    }

    /// A link is gone.
    pub(super) fn lose(&mut self, id: LinkId) {
        let Some(known) = self.links.remove(&id) else {
            return;
        };
        let was_primary = self.primary == Some(id);
        if was_primary {
            self.primary = None;
            match self.stand_in(id) {
                Some(other) => self.promote(other, Reason::Failed),
                None => {
                    self.publish();
                    self.say(Event::Lost);
                }
            }
        }
        let more = self
            .links
            .values()
            .any(|other| other.place == known.place && other.until.is_none());
        if more || known.place == GONE {
            return;
        }
        let now = Instant::now();
        let goes_away = self.later.retry.contains_key(&known.place);
        if known.up && !goes_away {
            let how = if was_primary {
                Start::Urgent
            } else {
                Start::Staggered
            };
            self.race(known.place, None, how);
            return;
        }
        if known.up {
            // It was told to go; the retry is set.
            self.spread_retry(&known);
            return;
        }
        let pause = match self.later.retry.get(&known.place) {
            Some((_, pause)) => (*pause * 2).min(RETRY_MAX),
            None => RETRY_FIRST,
        };
        // Devices that lost the same node at the same moment do not come back at the same moment.
        let jitter = pause.mul_f64(rand::random_range(0.5..1.0));
        self.later.retry.insert(known.place, (now + jitter, pause));
    }

    /// Lets the user's packets take the links of this moment.
    pub(super) fn publish(&self) {
        let primary = self.primary.and_then(|id| self.links.get(&id));
        let second = primary
            .filter(|known| known.suspect)
            .and_then(|_| self.stand_in(self.primary?))
            .and_then(|id| self.links.get(&id));
        let paths = Paths {
            primary: primary.map(|known| {
                let path = Path {
                    node: known.node,
                    rung: known.rung,
                };
                (path, known.commands.clone())
            }),
            second: second.map(|known| known.commands.clone()),
        };
        self.paths.send_replace(paths);
    }
}
