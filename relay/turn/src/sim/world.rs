//! The network, its clients, and the comparison of machine and model.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    net::SocketAddr,
    time::{Duration, Instant},
};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha12Rng;
use sterna_stun::{
    attr::{
        AddressFamily, ChannelNumber, Data, EvenPort, Lifetime, Nonce, RequestedAddressFamily,
        RequestedTransport, ReservationToken, XorPeerAddress, XorRelayedAddress,
    },
    credentials::long_term_key_md5,
    data_indication::DataIndication,
    message::Method,
};

use super::model::{
    Ask, Datum, FOREIGN, Model, PORTS, RELAY_V4, Route, Signature, Tuple, USER_MAX,
};
use crate::{
    Client, PeerAddr, Revoke, Transport, Verdict, WorkerId,
    testing::{Answer, Caller, Node, START_UNIX_S, edited},
};

/// Client steps of one run.
const STEPS: usize = 500;

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
        worker: usize,
        ask: Ask,
        by: Signature,
        bytes: Vec<u8>,
    },
    Datum {
        from: Client,
        worker: usize,
        datum: Datum,
        bytes: Vec<u8>,
    },
    FromPeer {
        relayed: SocketAddr,
        peer: SocketAddr,
        len: usize,
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
    relayed: Option<SocketAddr>,
    token: Option<[u8; 8]>,
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
    tally: Tally,
}

impl World {
    pub(super) fn new(seed: u64, workers: u8) -> Self {
        let config = edited(|config| {
            config.relay_ports = PORTS;
            config.limits.allocations_per_user_max = u32::try_from(USER_MAX).expect("few");
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
            caller.worker = index % usize::from(workers);
            Actor {
                caller,
                relayed: None,
                token: None,
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

    fn peer(&mut self) -> SocketAddr {
        // Mostly one that will do, so that there is something to relay.
        if self.one_in(2) {
            return "8.8.8.8:5000".parse().expect("an address");
        }
        let some = self.below(self.actors.len());
        if let (true, Some(relayed)) = (self.one_in(2), self.actors[some].relayed) {
            return relayed;
        }
        const PEERS: [&str; 16] = [
            "8.8.8.8:5000",
            "8.8.8.8:5000",
            "8.8.8.8:5000",
            "8.8.8.8:5001",
            "8.8.4.4:5000",
            "8.8.4.4:5000",
            "[2606:4700::1]:5000",
            "[2606:4700::1]:5000",
            "1.1.1.1:53",
            "10.0.0.1:5000",
            "127.0.0.1:5000",
            "198.51.100.1:50013",
            "198.51.100.1:3478",
            "[::1]:5000",
            "[64:ff9b::7f00:1]:5000",
            "[::ffff:8.8.8.8]:5000",
        ];
        PEERS[self.below(PEERS.len())].parse().expect("an address")
    }

    fn channel(&mut self) -> u16 {
        if self.one_in(2) {
            return 0x4000;
        }
        const NUMBERS: [u16; 8] = [
            0x4000, 0x4000, 0x4001, 0x4001, 0x4002, 0x4fff, 0x5000, 0x3fff,
        ];
        NUMBERS[self.below(NUMBERS.len())]
    }

    fn client_acts(&mut self) {
        let index = self.below(self.actors.len());
        match self.below(100) {
            0 => self.move_client(index),
            1..=60 => self.send_data(index),
            _ => self.send_request(index),
        }
    }

    /// A NAT gives the client another port, or its connection breaks and it dials again.
    fn move_client(&mut self, index: usize) {
        let port = 10_000 + u16::try_from(self.below(50_000)).expect("a port");
        let worker = self.below(self.node.servers.len());
        let caller = &mut self.actors[index].caller;
        let old = (caller.client, caller.worker);
        caller.client.addr.set_port(port);
        caller.worker = worker;
        if caller.client.transport.is_stream() {
            caller.client.route += 100;
            self.node.servers[old.1].handle_stream_closed(self.node.now, old.0);
            self.node.settle(old.1);
            self.model.allocs.remove(&tuple(&old.0));
        }
    }

    fn send_data(&mut self, index: usize) {
        let len = self.below(9);
        let peer = self.peer();
        let datum = if self.one_in(2) {
            // Numbers that are no channel's are not ChannelData, and are tested elsewhere.
            Datum::Channel(self.channel().clamp(0x4000, 0x4fff), len)
        } else {
            Datum::Send(peer, len)
        };
        let caller = &mut self.actors[index].caller;
        let payload = vec![0xAB; len];
        let bytes = match datum {
            Datum::Send(peer, _) => caller.indication(Method::SEND, |writer| {
                writer.attr(&XorPeerAddress(peer))?;
                writer.attr(&Data(&payload))
            }),
            Datum::Channel(number, _) => {
                let head = [
                    number.to_be_bytes(),
                    u16::try_from(len).expect("short").to_be_bytes(),
                ];
                [&head.concat()[..], &payload].concat()
            }
        };
        let (from, worker) = (caller.client, caller.worker);
        self.post(
            Parcel::Datum {
                from,
                worker,
                datum,
                bytes,
            },
            from.transport.is_stream(),
        );
    }

    fn send_request(&mut self, index: usize) {
        let ask = self.think_of(index);
        let (wrong_password, wrong_name) = (self.one_in(40), self.one_in(40));
        let mut caller = self.actors[index].caller.clone();
        if wrong_name {
            // Somebody who is known, but maybe not here.
            caller.name = "bob".into();
            caller.mac = long_term_key_md5("bob", &caller.realm, "bob's").sha1();
        }
        if wrong_password {
            caller.mac = long_term_key_md5("alice", &caller.realm, "guessed").sha1();
        }
        let bytes = encode(&mut caller, &ask);
        self.actors[index].caller.next_transaction = caller.next_transaction;
        let by = Signature {
            name: caller.name,
            right: !wrong_password,
            nonce: caller.nonce,
            transaction: caller.next_transaction,
        };
        let (from, worker) = (caller.client, caller.worker);
        self.post(
            Parcel::Request {
                from,
                worker,
                ask,
                by,
                bytes,
            },
            from.transport.is_stream(),
        );
    }

    fn think_of(&mut self, index: usize) -> Ask {
        let homeless = self.actors[index].relayed.is_none();
        let wants_a_home = homeless && !self.one_in(5);
        match self.below(if wants_a_home { 3 } else { 10 }) {
            0..=2 => {
                let token = self.actors[index]
                    .token
                    .or_else(|| self.actors[(index + 2) % 7].token);
                let shows_token = token.is_some() && self.one_in(3);
                Ask::Allocate {
                    v6: self.one_in(if shows_token { 9 } else { 6 }),
                    even: [None, None, Some(false), Some(true)][self.below(4)]
                        .filter(|_| !shows_token),
                    token: token.filter(|_| shows_token),
                    lifetime_s: [None, Some(0), Some(700), Some(9999)][self.below(4)],
                }
            }
            3 => Ask::Refresh {
                v6: [None, None, Some(false), Some(true)][self.below(4)],
                lifetime_s: [0, 1, 600, 600, 600, 1200, 9999][self.below(7)],
            },
            4..=6 => {
                let count = [0, 1, 1, 1, 1, 2, 3][self.below(7)];
                Ask::Permit((0..count).map(|_| self.peer()).collect())
            }
            _ => Ask::Bind(self.channel(), self.peer()),
        }
    }

    /// A peer sends to some relayed address, living or not.
    fn peer_sends(&mut self) {
        let open: Vec<SocketAddr> = self.node.open.values().copied().collect();
        if open.is_empty() {
            return;
        }
        let relayed = open[self.below(open.len())];
        let (mut peer, len) = (self.peer(), self.below(9));
        if self.one_in(2) {
            peer = "8.8.8.8:5000".parse().expect("an address");
        }
        if peer.ip() != relayed.ip() {
            self.post(Parcel::FromPeer { relayed, peer, len }, false);
        }
    }

    /// The operator changes the policy, drains, or throws somebody out.
    fn operate(&mut self) {
        match self.below(3) {
            0 => {
                let deny = !self.model.deny_dns;
                self.node.replace_policy(|policy| {
                    if deny {
                        let nets = ["8.8.4.0/24", "2606:4700::/32"];
                        policy.deny = nets.map(|net| net.parse().expect("ok")).into();
                    }
                });
                self.model.deny_dns(deny);
            }
            1 => {
                self.model.draining = !self.model.draining && self.one_in(4);
                for server in &mut self.node.servers {
                    server.drain(self.model.draining);
                }
            }
            _ => {
                let revoke = Revoke::User("bob".into());
                let mut revoked = 0;
                for worker in 0..self.node.servers.len() {
                    revoked += self.node.servers[worker].revoke(self.node.now, &revoke);
                    self.node.settle(worker);
                }
                assert_eq!(revoked, self.model.revoke("bob"));
            }
        }
    }

    fn arrive(&mut self, parcel: Parcel) {
        match parcel {
            Parcel::Request {
                from,
                worker,
                ask,
                by,
                bytes,
            } => {
                self.request_arrives(from, worker, &ask, &by, &bytes);
            }
            Parcel::Datum {
                from,
                worker,
                datum,
                bytes,
            } => {
                let expected = self.model.route_of(tuple(&from), datum);
                let verdict = self.node.receive(worker, from, &bytes);
                self.compare(&expected, &verdict);
            }
            Parcel::FromPeer { relayed, peer, len } => {
                let open = self.node.open.iter().find(|(_, open)| **open == relayed);
                let Some((&port, _)) = open else { return };
                let tuple = self
                    .model
                    .allocs
                    .values()
                    .find(|alloc| alloc.relayed == relayed);
                let worker = tuple.expect("open, so allocated").worker;
                let expected = self.model.to_client(relayed, peer, len);
                let verdict = self.node.servers[worker].handle_peer(self.node.now, port, peer, len);
                self.compare(&expected, &verdict);
            }
            Parcel::Letter {
                worker,
                to,
                from,
                len,
            } => {
                // The relayed address may be another worker's by now.
                let living = self.model.allocs.values().find(|alloc| alloc.relayed == to);
                let expected = if living.is_some_and(|alloc| alloc.worker == worker) {
                    self.model.to_client(to, from, len)
                } else {
                    Route::Drop(crate::DropReason::UnknownRelayedAddress)
                };
                let (to, from) = (PeerAddr(to), PeerAddr(from));
                let verdict =
                    self.node.servers[worker].handle_relayed(self.node.now, to, from, len);
                self.compare(&expected, &verdict);
            }
            Parcel::Answer { client, answer } => self.answer_arrives(client, &answer),
        }
    }

    fn request_arrives(
        &mut self,
        from: Client,
        worker: usize,
        ask: &Ask,
        by: &Signature,
        bytes: &[u8],
    ) {
        let tuple = tuple(&from);
        // A retransmission that comes late may find another worker, as it may on a real host; the
        // model has one table, so here a 5-tuple keeps its worker.
        let worker = self
            .model
            .allocs
            .get(&tuple)
            .map_or(worker, |alloc| alloc.worker);
        let expected = self.model.request(self.node.now, tuple, ask, by);
        self.node.answers.clear();
        let verdict = self.node.receive(worker, from, bytes);
        assert_eq!(verdict, Verdict::Handled, "{ask:?}");
        assert_eq!(self.node.answers.len(), 1);
        let answer = self.node.answers.pop_front().expect("counted");
        assert_eq!(
            (answer.code(), answer.client),
            (expected, from),
            "{ask:?} {by:?}"
        );
        *self.tally.codes.entry(expected).or_default() += 1;

        if let Some(nonce) = answer.find::<Nonce<'_>>() {
            self.model
                .nonces
                .insert(nonce.0.to_vec(), (from.addr, self.model.minute));
        }
        if let Some(XorRelayedAddress(relayed)) = answer.find() {
            let token = answer.find::<ReservationToken>().map(|token| token.0);
            self.model
                .granted(self.node.now, tuple, worker, ask, by, relayed, token);
            let lifetime_s = self.model.allocs[&tuple].lifetime_s;
            assert_eq!(answer.find(), Some(Lifetime(lifetime_s)));
        }
        let client = self
            .actors
            .iter()
            .position(|actor| actor.caller.client == from);
        if let Some(client) = client {
            self.post(
                Parcel::Answer { client, answer },
                from.transport.is_stream(),
            );
        }
    }

    fn answer_arrives(&mut self, client: usize, answer: &Answer) {
        let actor = &mut self.actors[client];
        if answer.client != actor.caller.client {
            return;
        }
        if let Some(nonce) = answer.find::<Nonce<'_>>() {
            actor.caller.nonce = nonce.0.to_vec();
        }
        if let Some(XorRelayedAddress(relayed)) = answer.find() {
            actor.relayed = Some(relayed);
        } else if answer.code() == 437 && answer.message().method() != Method::ALLOCATE {
            actor.relayed = None;
        }
        if let Some(ReservationToken(token)) = answer.find() {
            actor.token = Some(token);
        }
    }

    /// Holds the machine's verdict against the model's.
    fn compare(&mut self, expected: &Route, verdict: &Verdict) {
        let (actual, name) = match verdict {
            Verdict::ToPeer {
                port,
                peer,
                payload,
            } => {
                let relayed = self.node.open[port];
                (
                    Route::ToPeer {
                        relayed,
                        peer: *peer,
                        len: payload.len(),
                    },
                    "to_peer",
                )
            }
            Verdict::ToClient {
                client,
                header,
                payload,
            } => {
                let tuple = tuple(client);
                let len = payload.len();
                let wire = [header.bytes(), &vec![0; len + header.tail()]].concat();
                if header.bytes().len() == 4 {
                    let number = u16::from_be_bytes([wire[0], wire[1]]);
                    let padded = client.transport.is_stream() && len % 4 != 0;
                    assert_eq!(header.tail(), if padded { 4 - len % 4 } else { 0 });
                    assert_eq!(usize::from(wire[3]), len);
                    let Route::ToClient { from, .. } = *expected else {
                        panic!("{expected:?}, not {verdict:?}")
                    };
                    (
                        Route::ToClient {
                            tuple,
                            channel: Some(number),
                            from,
                            len,
                        },
                        "channel",
                    )
                } else {
                    let data = DataIndication::parse(&wire).expect("well formed");
                    assert_eq!(data.payload.map(|payload| payload.len()), Some(len));
                    let from = data.peer;
                    (
                        Route::ToClient {
                            tuple,
                            channel: None,
                            from,
                            len,
                        },
                        "data_indication",
                    )
                }
            }
            Verdict::ToWorker {
                worker: WorkerId(worker),
                to,
                from,
                payload,
            } => {
                let (worker, to, from) = (usize::from(*worker), to.0, from.0);
                let len = payload.len();
                self.post(
                    Parcel::Letter {
                        worker,
                        to,
                        from,
                        len,
                    },
                    false,
                );
                (
                    Route::ToWorker {
                        worker,
                        to,
                        from,
                        len,
                    },
                    "to_worker",
                )
            }
            Verdict::Drop(reason) => (Route::Drop(*reason), reason.as_str()),
            Verdict::Handled => panic!("data is never answered"),
        };
        assert_eq!(actual, *expected);
        *self.tally.verdicts.entry(name).or_default() += 1;
    }
}

fn tuple(client: &Client) -> Tuple {
    (client.transport, client.route, client.addr)
}

fn encode(caller: &mut Caller, ask: &Ask) -> Vec<u8> {
    let family = |v6| {
        RequestedAddressFamily(if v6 {
            AddressFamily::Ipv6
        } else {
            AddressFamily::Ipv4
        })
    };
    match ask {
        Ask::Allocate {
            v6,
            even,
            token,
            lifetime_s,
        } => caller.signed(Method::ALLOCATE, |writer| {
            writer.attr(&RequestedTransport::UDP)?;
            if *v6 {
                writer.attr(&family(true))?;
            }
            if let Some(reserve_next) = *even {
                writer.attr(&EvenPort { reserve_next })?;
            }
            if let Some(token) = *token {
                writer.attr(&ReservationToken(token))?;
            }
            lifetime_s.map_or(Ok(()), |lifetime_s| writer.attr(&Lifetime(lifetime_s)))
        }),
        Ask::Refresh { v6, lifetime_s } => caller.signed(Method::REFRESH, |writer| {
            if let Some(v6) = *v6 {
                writer.attr(&family(v6))?;
            }
            writer.attr(&Lifetime(*lifetime_s))
        }),
        Ask::Permit(peers) => caller.signed(Method::CREATE_PERMISSION, |writer| {
            peers
                .iter()
                .try_for_each(|peer| writer.attr(&XorPeerAddress(*peer)))
        }),
        Ask::Bind(number, peer) => caller.signed(Method::CHANNEL_BIND, |writer| {
            writer.attr(&ChannelNumber(*number))?;
            writer.attr(&XorPeerAddress(*peer))
        }),
    }
}
