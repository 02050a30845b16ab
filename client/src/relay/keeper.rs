//! Which node and which rung: the race at the start, the way back up, the spare node, and what
//! happens when a path falls silent.
//!
//! Peers are reached by one link, the *primary*, at the home node. The spare node has a link of its
//! own, so that losing the home costs no handshake. When the primary is in doubt, the next rungs are
//! tried at once, packets go over the spare as well, and whoever answers first is it. A node that
//! goes away is left in its own time (`leaving`). What is tried is in `race`, who is chosen in
//! `primary`.

mod leaving;
mod nodes;
mod primary;
mod race;
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
use tracing::debug;

use super::limits::{REPORTS_MAX, Timing};
use super::link::{Command, Inbound, LinkId, Report};
use super::{Config, Event, Packet, Path};
use leaving::Leaving;
use race::Start;

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

    fn say(&self, event: Event) {
        // Who does not fetch events does not want them.
        let _ = self.events.try_send(event);
    }
}
