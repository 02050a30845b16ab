//! A node of two workers, four clients with credentials, and a driver with imaginary sockets.

mod checks;
mod clients;
mod driver;
mod peers;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use sterna_stun::{
    credentials::{long_term_key_md5, long_term_key_sha256},
    integrity::{KeyedSha1, KeyedSha256},
    nonce::{NonceKey, NonceKeys},
};
use sterna_turn::{
    Client, Discovery, DiscoverySocket, Epoch, Limits, PeerConnection, Policy, PolicyConfig,
    Registry, RelayPort, Revoke, Rules, Server, ServerConfig, UserRules, Users, Verdict, WorkerId,
};

use self::clients::worker_of;

const REALM: &str = "sterna.test";
const UNIX_S: u64 = 1_800_000_000;

/// The node and its clients.
pub struct Node {
    servers: Vec<Server>,
    registry: Arc<Registry>,
    config: ServerConfig,
    now: Instant,
    start: Instant,
    /// Open relay sockets: their worker and address.
    pub ports: BTreeMap<RelayPort, (usize, SocketAddr)>,
    held: BTreeSet<SocketAddr>,
    /// TCP listeners: their worker and address.
    pub listening: BTreeMap<RelayPort, (usize, SocketAddr)>,
    /// Connections to peers: their listener, and whether a client has them.
    peers: BTreeMap<PeerConnection, (RelayPort, bool)>,
    /// The last id that a client was told.
    connection_id: u32,
    next_port: u32,
    pub replies: Vec<(Client, Vec<u8>)>,
    nonces: [Option<(u64, Vec<u8>)>; 4],
    macs: [(KeyedSha1, KeyedSha256); 2],
    token: [u8; 8],
    /// The newest ticket of each user, and the one before it.
    tickets: [(Vec<u8>, Vec<u8>); 2],
    transactions: u64,
    denied: bool,
}

impl Node {
    #[allow(clippy::disallowed_methods)] // the one moment that all virtual time is counted from
    pub fn new() -> Self {
        let now = Instant::now();
        let listeners: Vec<SocketAddr> = ["198.51.100.1:3478", "[2620:5::1]:3478"]
            .map(|addr| addr.parse().expect("ok"))
            .into();
        let nonce_keys = NonceKeys::new(NonceKey::new(1, &[7; 32]), None);
        let epoch = Epoch {
            instant: now,
            unix_s: UNIX_S,
        };
        let config = ServerConfig {
            software: "Sterna".into(),
            discovery: discovery(),
            relay_ports: 50_000..=50_009,
            session_max_s: 7200,
            tcp_allocations: true,
            users: Arc::new(Users::new(REALM, [("alice", "a"), ("bob", "b")])),
            secrets: vec!["secret".into()],
            policy: Arc::new(policy(&listeners, false, false)),
            rules: rules(&listeners, false),
            limits: Limits {
                permissions_per_allocation_max: 5,
                channels_per_allocation_max: 3,
                allocations_per_user_max: 3,
                unauthenticated_replies_per_prefix_per_s: 0,
                failed_credentials_per_client_per_s: 0,
                tcp_peer_connections_per_allocation_max: 2,
                ..Limits::default()
            },
            listeners,
            ..ServerConfig::new(REALM, nonce_keys, epoch)
        };
        let registry = Arc::new(Registry::new());
        let server = |worker: u8| {
            let (config, registry) = (Arc::new(config.clone()), Arc::clone(&registry));
            Server::new(now, WorkerId(worker), config, registry, [worker; 32])
        };
        Self {
            servers: (0..2).map(server).collect(),
            registry,
            now,
            start: now,
            ports: BTreeMap::new(),
            held: BTreeSet::new(),
            listening: BTreeMap::new(),
            peers: BTreeMap::new(),
            connection_id: 0,
            next_port: 0,
            replies: Vec::new(),
            nonces: Default::default(),
            macs: ["alice", "bob"].map(|name| {
                let password = &name[..1];
                (
                    long_term_key_md5(name, REALM, password).sha1(),
                    long_term_key_sha256(name, REALM, password).sha256(),
                )
            }),
            token: [0; 8],
            tickets: Default::default(),
            transactions: 0,
            denied: false,
            config,
        }
    }

    /// Hands a client's packet to its worker.
    pub fn receive(&mut self, client: u8, packet: &[u8]) -> Verdict {
        self.receive_from(self.client(client), worker_of(client), packet)
    }

    fn receive_from(&mut self, from: Client, worker: usize, packet: &[u8]) -> Verdict {
        let verdict = self.servers[worker].handle_client(self.now, from, packet);
        self.settle(worker);
        let Verdict::ToOwner {
            worker,
            client,
            lease,
        } = verdict
        else {
            return verdict;
        };
        let worker = usize::from(worker.0);
        let verdict = self.servers[worker].handle_moved(self.now, client, packet, lease);
        self.settle(worker);
        verdict
    }

    pub fn pass(&mut self, time: Duration) {
        self.now += time;
        for worker in 0..self.servers.len() {
            self.servers[worker].handle_timeout(self.now);
            self.settle(worker);
            let due = self.servers[worker].poll_timeout();
            assert!(
                due.is_none_or(|due| due > self.now),
                "few enough for one batch"
            );
        }
    }

    pub fn close(&mut self, client: u8) {
        let worker = worker_of(client);
        let client = self.client(client);
        self.servers[worker].handle_stream_closed(self.now, client);
        self.settle(worker);
    }

    pub fn revoke(&mut self, client: u8) {
        let user = Revoke::User(["alice", "bob"][usize::from(client) % 2].into());
        for worker in 0..self.servers.len() {
            self.servers[worker].revoke(self.now, &user);
            self.settle(worker);
        }
    }

    pub fn deny(&mut self, all: bool) {
        self.denied = all;
        self.config.policy = Arc::new(policy(&self.config.listeners, all, false));
        self.config.rules = rules(&self.config.listeners, all);
        let config = Arc::new(self.config.clone());
        for worker in 0..self.servers.len() {
            self.servers[worker].reconfigure(self.now, Arc::clone(&config));
            self.settle(worker);
        }
        assert!(!all || self.peers.is_empty(), "connected to whom is denied");
    }

    pub fn drain(&mut self, draining: bool) {
        self.servers
            .iter_mut()
            .for_each(|server| server.drain(draining));
    }
}

/// Clients 1 and 2 have sent to a listener with behaviour discovery, client 0 has not.
fn discovery() -> Vec<Discovery> {
    let set = |primary: &str, alternate: &str, routes: [u32; 4]| {
        let addresses = Discovery::addresses(
            primary.parse().expect("an address"),
            alternate.parse().expect("an address"),
        );
        let mut sockets = routes.into_iter().zip(addresses);
        Discovery::new([(); 4].map(|()| {
            let (route, local) = sockets.next().expect("four");
            DiscoverySocket {
                route,
                local,
                public: local,
            }
        }))
    };
    vec![
        set("198.51.100.1:3478", "198.51.100.2:3479", [1, 11, 12, 13]),
        set("[2620:5::1]:3478", "[2620:5::2]:3479", [2, 21, 22, 23]),
    ]
}

/// Rules that only alice has: `forbidden.rs` says the same in another way.
fn rules(listeners: &[SocketAddr], deny_all: bool) -> Arc<Rules> {
    let alice = UserRules {
        policy: Some(Arc::new(policy(listeners, deny_all, true))),
        ..UserRules::default()
    };
    Arc::new(Rules::new([("alice", alice)]))
}

fn policy(listeners: &[SocketAddr], deny_all: bool, alice: bool) -> Policy {
    let nets = |nets: [&str; 2]| nets.map(|net| net.parse().expect("a prefix"));
    let own = |list| if alice { nets(list).into() } else { Vec::new() };
    let everything = ["0.0.0.0/0", "::/0"].map(|net| net.parse().expect("a prefix"));
    Policy::new(&PolicyConfig {
        deny: if deny_all {
            everything.into()
        } else {
            own(["8.8.4.4/32", "2606:4700::2/128"])
        },
        allow: own(["10.0.0.0/24", "2002::/16"]),
        own_pairs: listeners.to_vec(),
        relay_addresses: listeners.iter().map(SocketAddr::ip).collect(),
        ..PolicyConfig::default()
    })
}
