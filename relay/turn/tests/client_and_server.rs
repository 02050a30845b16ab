//! The client against the server, each the shipped machine, over a seeded link that loses, repeats
//! and reorders packets, under virtual time.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sterna_stun::access_token::{SessionToken, TOKEN_BYTES_MAX, TokenAlgorithm, TokenKey};
use sterna_stun::integrity::Key;
use sterna_stun::nonce::{NonceKey, NonceKeys};
use sterna_turn::client::{
    AccessGrant, AllocateOptions, ClientConfig, ClientError, Credentials, EndReason, Event, Link,
    Received, TurnClient,
};
use sterna_turn::{
    Client, Command, Epoch, OAuth, OAuthKey, Policy, PolicyConfig, Registry, RelayPort, Server,
    ServerConfig, Transport, Users, Verdict, WorkerId,
};

const SERVER: &str = "198.51.100.1:3478";
const CLIENT: &str = "192.0.2.7:5000";
const SERVER_NAME: &str = "turn.sterna.test";
const PEER: &str = "192.0.2.9:9000";

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// What the link does to packets, in percent.
#[derive(Clone, Copy)]
struct Weather {
    lost: u32,
    repeated: u32,
    late_ms_max: u64,
}

const GOOD: Weather = Weather {
    lost: 0,
    repeated: 0,
    late_ms_max: 1,
};
const BAD: Weather = Weather {
    lost: 15,
    repeated: 10,
    late_ms_max: 300,
};

/// Both machines and the link between them.
struct World {
    now: Instant,
    rng: ChaCha8Rng,
    weather: Weather,
    client: TurnClient,
    server: Server,
    /// Packets on their way, by arrival and number.
    flying: BTreeMap<(Instant, u64), (bool, Vec<u8>)>,
    sent: u64,
    ports: u32,
    events: Vec<Event>,
    /// What reached the peer, and what of the peer's reached the client.
    at_peer: Vec<Vec<u8>>,
    at_client: Vec<Vec<u8>>,
    /// Where the client is.
    home: SocketAddr,
}

impl World {
    fn new(seed: u64, weather: Weather, password: &str) -> Self {
        #[expect(clippy::disallowed_methods, reason = "virtual time starts anywhere")]
        let now = Instant::now();
        let rng = ChaCha8Rng::seed_from_u64(seed);
        let credentials = Credentials {
            username: "alice".into(),
            password: password.into(),
        };
        let client_config = ClientConfig::new(Link::Datagram, Some(credentials));
        Self::with(now, rng, weather, client_config)
    }

    fn with(
        now: Instant,
        mut rng: ChaCha8Rng,
        weather: Weather,
        client_config: ClientConfig,
    ) -> Self {
        Self {
            now,
            weather,
            client: TurnClient::new(client_config, rng.random()),
            server: Server::new(
                now,
                WorkerId(0),
                Arc::new(server_config(now)),
                Arc::new(Registry::new()),
                rng.random(),
            ),
            rng,
            flying: BTreeMap::new(),
            sent: 0,
            ports: 0,
            events: Vec::new(),
            at_peer: Vec::new(),
            at_client: Vec::new(),
            home: addr(CLIENT),
        }
    }

    fn launch(&mut self, to_server: bool, packet: &[u8]) {
        let copies = 1 + u32::from(self.rng.random_range(0..100) < self.weather.repeated);
        for _ in 0..copies {
            if self.rng.random_range(0..100) < self.weather.lost {
                continue;
            }
            let late = self.rng.random_range(1..=self.weather.late_ms_max);
            self.sent += 1;
            let at = self.now + Duration::from_millis(late);
            self.flying
                .insert((at, self.sent), (to_server, packet.to_vec()));
        }
    }

    /// Lets both machines say what they have to say.
    fn settle(&mut self) {
        while let Some(packet) = self.client.poll_transmit().map(<[u8]>::to_vec) {
            self.launch(true, &packet);
        }
        while let Some(event) = self.client.poll_event() {
            self.events.push(event);
        }
        let mut out = [0; 2048];
        while let Some(command) = self.server.poll_command(&mut out) {
            match command {
                Command::Reply { len, .. } => self.launch(false, &out[..len]),
                Command::BindPort { token, .. } => {
                    self.ports += 1;
                    self.server
                        .handle_port(self.now, token, Ok(RelayPort(self.ports)));
                }
                _ => {}
            }
        }
    }

    fn deliver(&mut self, to_server: bool, packet: &[u8]) {
        if !to_server {
            if let Received::Data { payload, .. } = self.client.handle_packet(self.now, packet) {
                self.at_client.push(packet[payload].to_vec());
            }
            return;
        }
        let client = Client {
            transport: Transport::Udp,
            route: 0,
            addr: self.home,
            server: addr(SERVER),
        };
        if let Verdict::ToPeer { payload, .. } = self.server.handle_client(self.now, client, packet)
        {
            self.at_peer.push(packet[payload].to_vec());
        }
    }

    /// Lets so much time pass, event by event.
    fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.settle();
            let arrival = self.flying.first_key_value().map(|((at, _), _)| *at);
            let timers = [
                self.client.poll_timeout(),
                self.server.poll_timeout(),
                arrival,
            ];
            let Some(next) = timers
                .into_iter()
                .flatten()
                .min()
                .filter(|next| *next <= end)
            else {
                break;
            };
            self.now = self.now.max(next);
            self.client.handle_timeout(self.now);
            self.server.handle_timeout(self.now);
            while let Some(entry) = self.flying.first_entry() {
                if entry.key().0 > self.now {
                    break;
                }
                let (to_server, packet) = entry.remove();
                self.deliver(to_server, &packet);
                self.settle();
            }
        }
        self.now = end;
    }

    fn happened(&self, what: impl Fn(&Event) -> bool) -> usize {
        self.events.iter().filter(|event| what(event)).count()
    }
}

fn server_config(now: Instant) -> ServerConfig {
    let listeners = vec![addr(SERVER)];
    let policy = PolicyConfig {
        allow: vec!["192.0.2.0/24".parse().unwrap()],
        own_pairs: listeners.clone(),
        relay_addresses: vec![addr(SERVER).ip()],
        ..PolicyConfig::default()
    };
    let nonce_keys = NonceKeys::new(NonceKey::new(1, &[3; 32]), None);
    let epoch = Epoch {
        instant: now,
        unix_s: 1_800_000_000,
    };
    ServerConfig {
        listeners,
        users: Arc::new(Users::new("sterna.test", [("alice", "secret")])),
        oauth: Arc::new(OAuth::new(SERVER_NAME, "sterna.test", [oauth_key()])),
        policy: Arc::new(Policy::new(&policy)),
        ..ServerConfig::new("sterna.test", nonce_keys, epoch)
    }
}

#[test]
fn a_bad_link_keeps_nobody_from_an_allocation_a_channel_and_an_hour_of_upkeep() {
    for seed in 0..40 {
        let mut world = World::new(seed, BAD, "secret");
        world
            .client
            .allocate(world.now, AllocateOptions::default())
            .unwrap();
        world.run_for(Duration::from_secs(80));
        let allocated = world.happened(|event| matches!(event, Event::Allocated(_)));
        assert_eq!(allocated, 1, "seed {seed}: {:?}", world.events);

        world.client.bind_channel(world.now, addr(PEER)).unwrap();
        world
            .client
            .permit(world.now, &[addr("192.0.2.77:1").ip()])
            .unwrap();
        world.run_for(Duration::from_secs(3600));
        let count = |what: fn(&Event) -> bool| world.happened(what);
        assert_eq!(
            count(|event| matches!(event, Event::ChannelBound { .. })),
            1,
            "seed {seed}"
        );
        assert_eq!(
            count(|event| matches!(event, Event::Permitted { .. })),
            1,
            "seed {seed}"
        );
        assert!(
            count(|event| matches!(event, Event::Refreshed { .. })) >= 6,
            "seed {seed}"
        );
        assert_eq!(
            count(|event| matches!(event, Event::Ended(_))),
            0,
            "seed {seed}"
        );
        assert_eq!(world.server.allocation_count(), 1, "seed {seed}");

        world.client.release(world.now).unwrap();
        world.run_for(Duration::from_secs(80));
        let released = |event: &Event| *event == Event::Ended(EndReason::Released);
        assert_eq!(
            world.happened(released),
            1,
            "seed {seed}: {:?}",
            world.events
        );
        assert_eq!(world.server.allocation_count(), 0, "seed {seed}");
    }
}

#[test]
fn data_passes_both_ways_by_channel_and_by_indication() {
    let mut world = World::new(1, GOOD, "secret");
    world
        .client
        .allocate(world.now, AllocateOptions::default())
        .unwrap();
    world.run_for(Duration::from_secs(1));
    let (bound, other) = (addr(PEER), addr("192.0.2.10:9000"));
    world.client.bind_channel(world.now, bound).unwrap();
    world.client.permit(world.now, &[other.ip()]).unwrap();
    world.run_for(Duration::from_secs(1));

    for (peer, prefix_len) in [(bound, 4), (other, 36)] {
        let prefix = world.client.prefix(peer, 5).unwrap();
        assert_eq!(prefix.bytes().len(), prefix_len);
        let packet = [prefix.bytes(), b"hello", &[0; 3][..prefix.tail()]].concat();
        world.launch(true, &packet);
        world.run_for(Duration::from_millis(10));

        let verdict = world.server.handle_peer(world.now, RelayPort(1), peer, 5);
        let Verdict::ToClient { header, .. } = verdict else {
            panic!("{verdict:?}");
        };
        let packet = [header.bytes(), b"world", &[0; 3][..header.tail()]].concat();
        world.launch(false, &packet);
        world.run_for(Duration::from_millis(10));
    }
    assert_eq!(world.at_peer, [b"hello", b"hello"]);
    assert_eq!(world.at_client, [b"world", b"world"]);
}

#[test]
fn a_wrong_password_and_a_forbidden_peer_are_told_to_the_owner() {
    let mut world = World::new(2, GOOD, "wrong");
    world
        .client
        .allocate(world.now, AllocateOptions::default())
        .unwrap();
    world.run_for(Duration::from_secs(1));
    let unauthorized = |event: &Event| {
        matches!(
            event,
            Event::Failed {
                error: ClientError::Unauthorized,
                ..
            }
        )
    };
    assert_eq!(world.happened(unauthorized), 1);

    let mut world = World::new(3, GOOD, "secret");
    world
        .client
        .allocate(world.now, AllocateOptions::default())
        .unwrap();
    world.run_for(Duration::from_secs(1));
    let loopback: IpAddr = [127, 0, 0, 1].into();
    world.client.permit(world.now, &[loopback]).unwrap();
    world.run_for(Duration::from_secs(1));
    let forbidden = |event: &Event| {
        matches!(
            event,
            Event::Failed {
                error: ClientError::Refused(403),
                ..
            }
        )
    };
    assert_eq!(world.happened(forbidden), 1);
}

#[test]
fn a_nonce_that_has_grown_old_is_replaced_without_a_word_to_the_owner() {
    let mut world = World::new(4, GOOD, "secret");
    world
        .client
        .allocate(world.now, AllocateOptions::default())
        .unwrap();
    // A day: every nonce that the server has given is stale by then, many times over.
    world.run_for(Duration::from_secs(24 * 3600));
    assert_eq!(
        world.happened(|event| matches!(event, Event::Failed { .. })),
        0
    );
    assert_eq!(world.happened(|event| matches!(event, Event::Ended(_))), 0);
    assert_eq!(world.server.allocation_count(), 1);
}

fn oauth_key() -> OAuthKey {
    OAuthKey {
        kid: "north".into(),
        key: TokenKey::new(TokenAlgorithm::A256Gcm, &[5; 32]).unwrap(),
        not_before_unix_s: 0,
        not_after_unix_s: None,
    }
}

/// What an authorisation server would give out so many seconds after the start.
fn grant(session_key: u8, after_s: u64, lifetime_s: u32) -> AccessGrant {
    let key = Key::new(&[session_key; 20]);
    let token = SessionToken::new(&key, 1_800_000_000 + after_s, lifetime_s).unwrap();
    let mut out = [0; TOKEN_BYTES_MAX];
    let len = oauth_key()
        .key
        .seal(SERVER_NAME, &[session_key; 12], &token, &mut out);
    AccessGrant {
        kid: "north".into(),
        token: out[..len].to_vec(),
        key,
    }
}

#[test]
fn a_client_with_an_access_token_allocates_and_renews_it() {
    for (seed, weather) in [(5, GOOD), (6, BAD)] {
        #[expect(clippy::disallowed_methods, reason = "virtual time starts anywhere")]
        let now = Instant::now();
        let config = ClientConfig {
            grant: Some(grant(1, 0, 1000)),
            ..ClientConfig::new(Link::Datagram, None)
        };
        let rng = ChaCha8Rng::seed_from_u64(seed);
        let mut world = World::with(now, rng, weather, config);
        world
            .client
            .allocate(world.now, AllocateOptions::default())
            .unwrap();
        world.run_for(Duration::from_secs(60));
        world.client.bind_channel(world.now, addr(PEER)).unwrap();
        // Each token is replaced well before its end; permissions are refreshed in between.
        for renewal in 1..12 {
            world.run_for(Duration::from_secs(700));
            let after_s = world.now.duration_since(now).as_secs();
            let session_key = u8::try_from(renewal).unwrap() + 1;
            world.client.renew(grant(session_key, after_s, 1000));
        }
        let failed = world.happened(|event| matches!(event, Event::Failed { .. }));
        assert_eq!(failed, 0, "{:?}", world.events);
        assert_eq!(world.happened(|event| matches!(event, Event::Ended(_))), 0);
        assert!(world.server.counters().tokens_accepted > 11);
        // Without another one the allocation ends with its token.
        world.run_for(Duration::from_secs(1100));
        assert_eq!(world.server.allocation_count(), 0);
    }
}

// RFC 7635 §6.1: the client "MUST ensure that third-party authorization takes precedence".
#[test]
fn a_client_with_both_goes_by_the_token_and_not_by_the_password() {
    #[expect(clippy::disallowed_methods, reason = "virtual time starts anywhere")]
    let now = Instant::now();
    let password = Credentials {
        username: "alice".to_owned(),
        password: "secret".to_owned(),
    };
    let config = ClientConfig {
        grant: Some(grant(1, 0, 1000)),
        ..ClientConfig::new(Link::Datagram, Some(password))
    };
    let mut world = World::with(now, ChaCha8Rng::seed_from_u64(7), GOOD, config);
    world
        .client
        .allocate(world.now, AllocateOptions::default())
        .unwrap();
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.server.allocation_count(), 1);
    assert_eq!(world.server.counters().tokens_accepted, 1);
}

/// A client with a ticket and a channel, and its relayed address.
fn mobile(world: &mut World) -> SocketAddr {
    let options = AllocateOptions {
        mobile: true,
        ..AllocateOptions::default()
    };
    world.client.allocate(world.now, options).unwrap();
    world.run_for(Duration::from_secs(80));
    world.client.bind_channel(world.now, addr(PEER)).unwrap();
    world.run_for(Duration::from_secs(80));
    world.client.relayed_addr().unwrap()
}

#[test]
fn a_client_that_moves_keeps_its_relayed_address_and_channels_on_a_bad_link() {
    for seed in 0..20 {
        let mut world = World::new(seed, BAD, "secret");
        let relayed = mobile(&mut world);
        for port in [6000, 6001, 5000] {
            world.home.set_port(port);
            world.client.moved(world.now, Link::Datagram).unwrap();
            assert_eq!(
                world.client.refresh(world.now),
                Err(ClientError::Moving),
                "nothing else until the server knows"
            );
            world.run_for(Duration::from_secs(80));
        }
        let moves = world.happened(|event| matches!(event, Event::Moved { .. }));
        assert_eq!(moves, 3, "seed {seed}: {:?}", world.events);
        assert_eq!(world.client.relayed_addr(), Some(relayed), "seed {seed}");
        world.run_for(Duration::from_secs(3600));
        assert_eq!(world.happened(|event| matches!(event, Event::Ended(_))), 0);
        assert_eq!(world.server.allocation_count(), 1, "seed {seed}");
        let channels = world.happened(|event| matches!(event, Event::ChannelBound { .. }));
        assert_eq!(channels, 1, "seed {seed}");
    }
}

#[test]
fn a_client_whose_move_is_refused_allocates_anew() {
    let mut world = World::new(1, GOOD, "secret");
    mobile(&mut world);
    let mut forbidding = server_config(world.now);
    forbidding.mobility = false;
    world.server.reconfigure(world.now, Arc::new(forbidding));
    world.home.set_port(6000);
    world.client.moved(world.now, Link::Datagram).unwrap();
    world.run_for(Duration::from_secs(80));
    let lost = |event: &Event| *event == Event::Ended(EndReason::Lost);
    assert_eq!(world.happened(lost), 1, "{:?}", world.events);
    let mobile = |mobile| move |event: &Event| matches!(event, Event::Allocated(made) if made.is_mobile == mobile);
    assert_eq!(world.happened(mobile(true)), 1);
    assert_eq!(world.happened(mobile(false)), 1, "{:?}", world.events);
}

#[test]
fn a_client_that_wants_a_ticket_from_a_server_that_forbids_it_does_without() {
    let mut world = World::new(2, GOOD, "secret");
    let mut forbidding = server_config(world.now);
    forbidding.mobility = false;
    world.server.reconfigure(world.now, Arc::new(forbidding));
    mobile(&mut world);
    let plain = |event: &Event| matches!(event, Event::Allocated(made) if !made.is_mobile);
    assert_eq!(world.happened(plain), 1, "{:?}", world.events);
    assert_eq!(
        world.happened(|event| matches!(event, Event::Failed { .. })),
        0
    );
}
