//! The network and its clock; what is sent is in `acts`, who goes where in `moves`, what arrives in
//! `arrivals`.

mod acts;
mod arrivals;
mod moves;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    net::SocketAddr,
    time::{Duration, Instant},
};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha12Rng;
use sterna_stun::attr::Icmp;

use super::model::{Ask, Datum, FOREIGN, Model, PORTS, RELAY_V4, Signature, Tuple, USER_MAX};
use crate::{
    Client, Transport,
    testing::{Answer, Caller, Node, START_UNIX_S, edited},
};

/// Client steps of one run.
const STEPS: usize = 1000;

/// What happened, for whoever wants to know whether enough did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) codes: BTreeMap<u16, u64>,
    pub(super) verdicts: BTreeMap<&'static str, u64>,
}

impl Tally {
    pub(super) fn add(&mut self, other: &Self) {
        for (code, n) in &other.codes {
            *self.codes.entry(*code).or_default() += n;
        }
        for (verdict, n) in &other.verdicts {
            *self.verdicts.entry(verdict).or_default() += n;
        }
    }
}

/// Something under way.
#[derive(Clone, Debug)]
enum Parcel {
    Request {
        from: Client,
        ask: Ask,
        by: Signature,
        bytes: Vec<u8>,
    },
    Datum {
        from: Client,
        datum: Datum,
        bytes: Vec<u8>,
    },
    FromPeer {
        relayed: SocketAddr,
        peer: SocketAddr,
        len: usize,
    },
    Icmp {
        relayed: SocketAddr,
        peer: SocketAddr,
        icmp: Icmp,
    },
    Letter {
        worker: usize,
        to: SocketAddr,
        from: SocketAddr,
        len: usize,
    },
    Answer {
        client: usize,
        answer: Answer,
    },
}

/// A client and what it has learnt.
#[derive(Debug)]
struct Actor {
    caller: Caller,
    relayed: Vec<SocketAddr>,
    token: Option<[u8; 8]>,
    /// Every ticket that it was given, the newest last.
    tickets: Vec<Vec<u8>>,
    /// It has moved, and means to take its allocation along.
    has_moved: bool,
    /// Where it was, and may still be heard from; its connections there are open.
    earlier: Vec<Place>,
}

/// A client's end of a 5-tuple, and the nonce that goes with it.
#[derive(Clone, Debug)]
struct Place {
    client: Client,
    nonce: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct World {
    rng: ChaCha12Rng,
    node: Node,
    model: Model,
    start: Instant,
    actors: Vec<Actor>,
    under_way: BinaryHeap<Reverse<(Instant, usize)>>,
    parcels: BTreeMap<usize, Parcel>,
    sent: usize,
    /// Connections that were ever made.
    connections: u32,
    /// Connections that are gone, from which nothing more can come.
    closed: BTreeSet<Tuple>,
    tally: Tally,
}

impl World {
    pub(super) fn new(seed: u64, workers: u8) -> Self {
        let config = edited(|config| {
            config.relay_ports = PORTS;
            config.limits.allocations_per_user_max = u32::try_from(USER_MAX).expect("few");
            config.limits.icmp_per_allocation_per_s = 0;
            config.limits.unauthenticated_replies_per_prefix_per_s = 0;
            config.limits.failed_credentials_per_client_per_s = 0;
        });
        let mut node = Node::seeded(workers, config, seed);
        let relay = |port| SocketAddr::new(RELAY_V4.parse().expect("ok"), port);
        node.foreign = FOREIGN.into_iter().map(relay).collect();
        let actor = |index: usize| {
            let name = ["alice", "bob"][index % 2];
            let addr = format!("203.0.113.{}:{}", 10 + index, 4000 + index);
            let mut caller = Caller::new(&addr, name, &format!("{name}'s"));
            if index >= 5 {
                caller = caller.over(Transport::Tcp, u32::try_from(index).expect("few"));
            }
            // Alice and bob both have devices of either kind, which share quotas.
            caller.modern = index % 4 >= 2;
            Actor {
                caller,
                relayed: Vec::new(),
                token: None,
                tickets: Vec::new(),
                has_moved: false,
                earlier: Vec::new(),
            }
        };
        Self {
            rng: ChaCha12Rng::seed_from_u64(seed),
            start: node.now,
            node,
            model: Model::default(),
            actors: (0..7).map(actor).collect(),
            under_way: BinaryHeap::new(),
            parcels: BTreeMap::new(),
            sent: 0,
            connections: 100,
            closed: BTreeSet::new(),
            tally: Tally::default(),
        }
    }

    /// Lets everybody act, then everything end.
    pub(super) fn run(mut self) -> Tally {
        for _ in 0..STEPS {
            let pause = match self.below(100) {
                0 => 400_000,
                1..=2 => 70_000,
                3..=10 => 5_000,
                _ => 40,
            };
            let pause = Duration::from_millis(self.below(pause) as u64);
            self.deliver_until(self.node.now + pause);
            match self.below(100) {
                0..=1 => self.operate(),
                2..=21 => self.peer_sends(),
                _ => self.client_acts(),
            }
        }
        self.deliver_until(self.node.now + Duration::from_secs(10));
        self.node.pass_s(3600);
        self.node.assert_nothing_is_left();
        self.tally
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.rng.next_u64() % bound as u64).expect("small")
    }

    fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }

    /// The worker that a 5-tuple's packets come to, always the same one.
    fn worker_of(&self, client: &Client) -> usize {
        (usize::from(client.addr.port()) + client.route as usize) % self.node.servers.len()
    }

    fn count(&mut self, what: &'static str) {
        *self.tally.verdicts.entry(what).or_default() += 1;
    }

    /// Moves the world on, parcel by parcel.
    fn deliver_until(&mut self, end: Instant) {
        while let Some(Reverse((at, number))) = self.under_way.peek().copied() {
            if at > end {
                break;
            }
            self.under_way.pop();
            self.pass_until(at);
            let parcel = self.parcels.remove(&number).expect("under way");
            self.arrive(parcel);
        }
        self.pass_until(end);
    }

    fn pass_until(&mut self, at: Instant) {
        let time = at.saturating_duration_since(self.node.now);
        self.node.pass(time);
        let unix_s = START_UNIX_S + self.node.now.duration_since(self.start).as_secs();
        self.model.at(self.node.now, unix_s / 60);
    }

    /// Sends a parcel off: lost, late, twice, or all of it. Streams keep their promises.
    fn post(&mut self, parcel: Parcel, reliable: bool) {
        if reliable {
            self.post_after(Duration::from_millis(10), parcel);
            return;
        }
        let copies = match self.below(20) {
            0 | 1 => 0,
            2 | 3 => 2,
            _ => 1,
        };
        for _ in 0..copies {
            let longest = if self.one_in(10) { 2_000 } else { 60 };
            let delay = Duration::from_millis(1 + self.below(longest) as u64);
            self.post_after(delay, parcel.clone());
        }
    }

    fn post_after(&mut self, delay: Duration, parcel: Parcel) {
        self.sent += 1;
        self.parcels.insert(self.sent, parcel);
        self.under_way
            .push(Reverse((self.node.now + delay, self.sent)));
    }
}

fn tuple(client: &Client) -> Tuple {
    (client.transport, client.route, client.addr)
}
