//! Which node and which rung: the race at the start, the way back up, the spare node, and what
//! happens when a path falls silent.
//!
//! Peers are reached by one link, the *primary*, at the home node. The spare node has a link of its
//! own, so that losing the home costs no handshake. When the primary is in doubt, the next rungs are
//! tried at once, packets go over the spare as well, and whoever answers first is it. A node that
//! goes away is left in its own time (`leaving`).

mod leaving;
mod nodes;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use sterna_control_api::relay_map::Node;
use sterna_control_api::{DeviceKey, NodeId};
use sterna_flow::Rung;
use sterna_flow::device;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep_until;
use tracing::{debug, info};

use super::carrier;
use super::limits::{OLD_LINK_LIFE, REPORTS_MAX, RETRY_FIRST, RETRY_MAX, Timing, head_start};
use super::link::{self, Command, Inbound, LinkId, Report};
use super::{Config, Event, Packet, Path, Reason};
use leaving::Leaving;

/// Nodes that a device always has a link to: its home and its spare. Further ones are alternates.
const HOMES: usize = 2;

/// What the user tells the keeper.
#[derive(Debug)]
pub(super) enum Order {
    Open(DeviceKey),
    Renew(Vec<u8>),
    Nodes(Vec<Node>),
    AddressChanged,
}

/// Where packets go now.
#[derive(Clone, Debug, Default)]
pub(super) struct Paths {
    primary: Option<(Path, mpsc::Sender<Command>)>,
    /// The second way, while the first is in doubt.
    second: Option<mpsc::Sender<Command>>,
}

impl Paths {
    pub(super) fn links(&self) -> impl Iterator<Item = &mpsc::Sender<Command>> {
        let primary = self.primary.as_ref().map(|(_, link)| link);
        primary.into_iter().chain(&self.second)
    }

    pub(super) fn path(&self) -> Option<Path> {
        self.primary.as_ref().map(|(path, _)| *path)
    }
}

/// A link, as its keeper knows it.
#[derive(Debug)]
struct Known {
    /// The place of its node in the configuration: 0 is home, 1 the spare, others are alternates, and
    /// [`GONE`] is not there any more.
    place: usize,
    node: NodeId,
    rung: Rung,
    commands: mpsc::Sender<Command>,
    /// A frame of useful length has crossed both ways.
    up: bool,
    suspect: bool,
    /// Its node has said that it goes away.
    leaving: Option<Leaving>,
    /// It was replaced; it goes on for a moment, for what is on its way.
    until: Option<Instant>,
}

/// The place of a node that is not in the configuration any more: behind every other.
const GONE: usize = usize::MAX;

/// What is to be done later.
#[derive(Debug, Default)]
struct Later {
    /// Nodes that one that goes away has named, to be tried when it is left.
    alternates: Vec<NodeId>,
    climb: Option<Instant>,
    /// By place: when a node of which every rung has failed is tried again, and after what pause.
    retry: BTreeMap<usize, (Instant, Duration)>,
}

/// How much a race is worth.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Start {
    /// The better rungs have their head starts.
    Staggered,
    /// The device has no path that it trusts: all at once.
    Urgent,
}

pub(super) struct Keeper {
    config: Config,
    timing: Timing,
    inbound: Inbound,
    events: mpsc::Sender<Event>,
    paths: watch::Sender<Paths>,
    reports: mpsc::Sender<(LinkId, Report)>,
    reports_out: mpsc::Receiver<(LinkId, Report)>,
    links: BTreeMap<LinkId, Known>,
    next_id: u64,
    primary: Option<LinkId>,
    peers: BTreeSet<DeviceKey>,
    /// The rung that has won before, by the address that the device had.
    winners: HashMap<IpAddr, Rung>,
    later: Later,
}

impl Keeper {
    pub(super) fn new(
        config: Config,
        timing: Timing,
        packets: mpsc::Sender<Packet>,
        events: mpsc::Sender<Event>,
        paths: watch::Sender<Paths>,
        dropped: Arc<AtomicU64>,
    ) -> Self {
        let (reports, reports_out) = mpsc::channel(REPORTS_MAX);
        Self {
            config,
            timing,
            inbound: Inbound { packets, dropped },
            events,
            paths,
            reports,
            reports_out,
            links: BTreeMap::new(),
            next_id: 0,
            primary: None,
            peers: BTreeSet::new(),
            winners: HashMap::new(),
            later: Later::default(),
        }
    }

    /// Runs until the user has dropped his end.
    pub(super) async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        for place in 0..self.config.nodes.len().min(HOMES) {
            self.race(place, None, Start::Staggered);
        }
        loop {
            let due = self.due();
            tokio::select! {
                order = orders.recv() => match order {
                    Some(order) => self.obey(order),
                    None => return,
                },
                Some((id, report)) = self.reports_out.recv() => self.hear(id, report),
                () = sleep_until(due.into()) => self.act(Instant::now()),
            }
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Open(peer) => {
                // At the spare as well: a node that is lost costs no packet for want of a flow.
                self.peers.insert(peer);
                self.tell_all(|| Command::Open(peer));
            }
            Order::Renew(ticket) => {
                self.config.ticket.clone_from(&ticket);
                self.tell_all(|| Command::Renew(ticket.clone()));
            }
            Order::Nodes(nodes) => self.settle_at(nodes),
            Order::AddressChanged => self.tell_all(|| Command::AddressChanged),
        }
    }

    fn hear(&mut self, id: LinkId, report: Report) {
        if !self.links.contains_key(&id) {
            return; // A link that was given up has its last word unheard.
        }
        match report {
            Report::Event(event) => self.hear_event(id, event),
            Report::Down(error) => {
                debug!(?id, %error, "a link is down");
                self.miss(id, &error.to_string());
                self.lose(id);
            }
        }
    }

    fn hear_event(&mut self, id: LinkId, event: device::Event) {
        use device::Event as E;
        match event {
            E::Probed { .. } => self.stands(id),
            E::Suspect => self.doubt(id),
            E::Alive { .. } => self.trust(id),
            E::Flow {
                peer,
                state,
                payload_max,
                ..
            } if self.primary == Some(id) => {
                self.meet(peer);
                self.say(Event::Peer {
                    peer,
                    state,
                    payload_max,
                });
            }
            E::Flow { peer, .. } => self.meet(peer),
            E::Refused {
                refusal,
                sealed,
                text,
            } => {
                let known = &self.links[&id];
                let (node, rung) = (known.node, known.rung);
                self.say(Event::Refused {
                    node,
                    rung,
                    refusal,
                    sealed,
                    text,
                });
                self.lose(id);
            }
            E::Restarting(restarting) => self.leave(id, &restarting),
            E::Failed => {
                self.miss(id, "no answer");
                self.lose(id);
            }
            E::Closed { .. } => self.lose(id),
            E::Up(_)
            | E::OpenRefused { .. }
            | E::Standing { .. }
            | E::Stats(_)
            | E::Rebound { .. }
            | E::Renewed
            | E::RenewRefused(_) => {}
        }
    }

    /// A peer that has a flow at one node has one at the other, too.
    fn meet(&mut self, peer: DeviceKey) {
        if self.peers.insert(peer) {
            self.tell_all(|| Command::Open(peer));
        }
    }

    /// Tries every rung of a node that is better than `than`, or all.
    fn race(&mut self, place: usize, than: Option<Rung>, how: Start) {
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

    /// A link has shown that it carries useful frames.
    fn stands(&mut self, id: LinkId) {
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
    fn duplicate_at(&self, id: LinkId) -> bool {
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
    fn promote(&mut self, id: LinkId, reason: Reason) {
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
    fn doubt(&mut self, id: LinkId) {
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
    fn trust(&mut self, id: LinkId) {
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
    fn stand_in(&self, instead_of: LinkId) -> Option<LinkId> {
        let stands = self.links.iter().filter(|(id, known)| {
            **id != instead_of && known.up && !known.suspect && known.until.is_none()
        });
        let best =
            stands.min_by_key(|(_, known)| (known.leaving.is_some(), known.place, known.rung));
        best.map(|(id, _)| *id)
    }

    /// Says that a rung was not to be had, of a link that has never stood.
    fn miss(&self, id: LinkId, error: &str) {
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
    fn lose(&mut self, id: LinkId) {
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

    /// When something is to be done.
    fn due(&self) -> Instant {
        let ends = self.links.values().filter_map(|known| known.until);
        let leaves = self.links.values().filter_map(Known::leaves_at);
        let retries = self
            .later
            .retry
            .iter()
            .filter(|(place, _)| !self.is_tried(**place))
            .map(|(_, (at, _))| *at);
        let next = ends.chain(leaves).chain(retries);
        let next = next.chain(self.later.climb).min();
        next.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600))
    }

    fn is_tried(&self, place: usize) -> bool {
        self.links
            .values()
            .any(|known| known.place == place && known.until.is_none())
    }

    /// Does what is due.
    fn act(&mut self, now: Instant) {
        self.links
            .retain(|_, known| known.until.is_none_or(|until| until > now));
        self.move_on(now);
        let due: Vec<_> = self
            .later
            .retry
            .iter()
            .filter(|(place, (at, _))| *at <= now && !self.is_tried(**place))
            .map(|(place, _)| *place)
            .collect();
        for place in due {
            // An alternate is of use only while there is nothing better.
            if place < HOMES || self.needs_alternate() {
                self.race(place, None, Start::Staggered);
            } else {
                self.later.retry.remove(&place);
            }
        }
        for place in 0..self.config.nodes.len().min(HOMES) {
            // Its last link was one that others had replaced.
            if !self.is_tried(place) && !self.later.retry.contains_key(&place) {
                self.race(place, None, Start::Staggered);
            }
        }
        if self.later.climb.is_some_and(|at| at <= now) {
            self.later.climb = Some(now + self.timing.climb_every);
            let primary = self.primary.and_then(|id| self.links.get(&id));
            if let Some((place, rung)) = primary.map(|known| (known.place, known.rung)) {
                self.race(place, Some(rung), Start::Staggered);
            }
        }
    }

    fn tell_all(&self, command: impl Fn() -> Command) {
        for known in self.links.values() {
            // A link that is too busy is not one that waits for words.
            let _ = known.commands.try_send(command());
        }
    }

    /// Lets the user's packets take the links of this moment.
    fn publish(&self) {
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

    fn say(&self, event: Event) {
        // Who does not fetch events does not want them.
        let _ = self.events.try_send(event);
    }

    /// The device's address towards a node, which tells networks apart.
    fn here(&self, place: usize) -> Option<IpAddr> {
        let node = self.config.nodes.get(place)?;
        let addr = node.udp.iter().chain(&node.quic).chain(&node.wss).next()?;
        carrier::local_towards(*addr)
    }
}
