//! A node of two workers, four clients with credentials, and a driver with imaginary sockets.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use sterna_stun::{
    attr::{
        AttributeType, ChannelNumber, ConnectionId, Data, EvenPort, Icmp, Lifetime, MobilityTicket,
        Nonce, PasswordAlgorithm, PasswordAlgorithms, Realm, RequestedTransport, ReservationToken,
        Username, XorPeerAddress, XorRelayedAddress,
    },
    credentials::{long_term_key_md5, long_term_key_sha256},
    integrity::{KeyedSha1, KeyedSha256},
    message::{Class, Message, Method, TransactionId},
    nonce::{NonceKey, NonceKeys},
    writer::{Full, MessageWriter},
};
use sterna_turn::{
    Client, Command, Discovery, DiscoverySocket, Epoch, Limits, NotConnected, PeerConnection,
    Policy, PolicyConfig, PortError, Registry, RelayPort, Revoke, Rules, Server, ServerConfig,
    Transport, UserRules, Users, Verdict, WorkerId, limits::REPLY_BYTES_MAX,
};

use super::forbidden::is_forbidden_to;

const REALM: &str = "sterna.test";
const UNIX_S: u64 = 1_800_000_000;

/// Peers that somebody might want to reach.
const PEERS: &[&str] = &[
    "8.8.8.8:5000",
    "8.8.8.8:5001",
    "8.8.4.4:5000",
    "8.8.8.8:53",
    "8.8.8.8:0",
    "10.0.0.1:5000",
    "127.0.0.1:5000",
    "0.0.0.0:5000",
    "169.254.169.254:8080",
    "198.51.100.1:3478",
    "198.51.100.1:50001",
    "192.168.1.1:5000",
    "100.64.0.1:5000",
    "255.255.255.255:5000",
    "[2606:4700::1]:5000",
    "[2606:4700::2]:5000",
    "[::1]:5000",
    "[::]:5000",
    "[::ffff:127.0.0.1]:5000",
    "[::127.0.0.1]:5000",
    "[64:ff9b::7f00:1]:5000",
    "[2002:7f00:1::1]:5000",
    "[2001:0:7f00:1::1]:5000",
    "[fe80::1]:5000",
    "[fc00::1]:5000",
    "[2606:4700::5efe:7f00:1]:5000",
    "[2606:4700::200:5efe:a00:1]:5000",
    "[2620:5::1]:3478",
    "[::ffff:8.8.8.8]:5000",
    "[64:ff9b::808:808]:5000",
    "[64:ff9b:1::1]:5000",
    "[ff02::1]:5000",
    "[2620:5::1]:50002",
    "[64:ff9b::c633:6401]:50001",
    "[::ffff:198.51.100.1]:50001",
    "[2606:4700::200:5efe:a00:1]:25",
];

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

    /// One of four clients: two of each worker, one of them on a stream.
    pub fn client(&self, argument: u8) -> Client {
        let argument = argument & 3;
        let transport = if argument == 3 {
            Transport::Tcp
        } else {
            Transport::Udp
        };
        let (addr, server) = if argument == 2 {
            ("[2620:99::9]:4000".to_owned(), "[2620:5::1]:3478")
        } else {
            (
                format!("203.0.113.{}:4000", 10 + argument),
                "198.51.100.1:3478",
            )
        };
        Client {
            transport,
            route: argument.into(),
            addr: addr.parse().expect("an address"),
            server: server.parse().expect("an address"),
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

    /// Signs a request with attributes from the script, and sends it.
    pub fn ask(&mut self, client: u8, method: u8, attributes: &[u8]) {
        let method = match method {
            32..48 => Method::CONNECT,
            48.. => Method::CONNECTION_BIND,
            _ => [
                Method::ALLOCATE,
                Method::REFRESH,
                Method::CREATE_PERMISSION,
                Method::CHANNEL_BIND,
            ][usize::from(method) % 4],
        };
        // A data connection is another one, and may be another worker's, of the same address.
        let mut from = self.client(client);
        if method == Method::CONNECTION_BIND && client % 2 == 1 {
            from.transport = Transport::Tcp;
            from.route = 100 + u32::from(client);
        }
        let nonce = self.nonce(client);
        let user = usize::from(client) % 2;
        let ((by_sha1, by_sha256), name) = (self.macs[user].clone(), ["alice", "bob"][user]);
        // Each user has a client that chooses SHA-256 and one that knows no choice.
        let chooses = worker_of(client) == 1;
        let packet = self.message(Class::Request, method, |node, writer| {
            if method == Method::CONNECTION_BIND {
                writer.attr(&ConnectionId(node.connection_id))?;
            }
            node.attributes(writer, attributes)?;
            writer.attr(&Username(name))?;
            writer.attr(&Realm(REALM))?;
            writer.attr(&Nonce(&nonce))?;
            if chooses {
                writer.attr(&PasswordAlgorithms::SHA256_MD5)?;
                writer.attr(&PasswordAlgorithm::SHA256)?;
                writer.integrity_sha256(&by_sha256)
            } else {
                writer.integrity_sha1(&by_sha1)
            }
        });
        let verdict = self.receive_from(from, worker_of(client), &packet);
        assert_eq!(verdict, Verdict::Handled, "a signed request is answered");
        assert_eq!(self.replies.len(), 1, "once");
        let (to, reply) = self.replies.pop().expect("counted");
        assert_eq!(to, from);
        let answer = Message::parse(&reply).expect("well formed");
        let signed = if chooses {
            by_sha256.verify(&answer)
        } else {
            by_sha1.verify(&answer)
        };
        assert!(
            signed.is_ok(),
            "and the answer is signed by what was chosen"
        );
        if let Ok(Some(ReservationToken(token))) = answer.find() {
            self.token = token;
        }
        if let Ok(Some(MobilityTicket(ticket))) = answer.find() {
            let used = std::mem::replace(&mut self.tickets[user].0, ticket.to_vec());
            self.tickets[user].1 = used;
        }
        for relayed in answer.find_all::<XorRelayedAddress>() {
            let XorRelayedAddress(relayed) = relayed.expect("well formed");
            let open = |(_, addr): &(usize, SocketAddr)| *addr == relayed;
            let mut all = self.ports.values().chain(self.listening.values());
            assert!(all.any(open), "told what is open");
        }
        if let Ok(Some(ConnectionId(id))) = answer.find() {
            self.connection_id = id;
        }
    }

    /// A peer connects, or a connection to one ends.
    pub fn tcp(&mut self, act: u8, peer: u8) {
        if act.is_multiple_of(2) {
            let listening = self.listening.iter();
            let Some((&port, &(worker, _))) = listening.cycle().nth(usize::from(act / 2)) else {
                return;
            };
            let connection = self.connection(port);
            self.servers[worker].handle_peer_connection(self.now, port, peer_at(peer), connection);
            self.settle(worker);
            if let Some((_, indication)) = self.replies.last()
                && let Ok(message) = Message::parse(indication)
                && let Ok(Some(ConnectionId(id))) = message.find()
            {
                self.connection_id = id;
            }
        } else if let Some((&connection, &(port, _))) = self
            .peers
            .iter()
            .nth(usize::from(act / 2) % self.peers.len().max(1))
        {
            let (worker, _) = self.listening[&port];
            self.peers.remove(&connection);
            self.servers[worker].handle_connection_closed(self.now, connection);
            self.settle(worker);
        }
    }

    fn connection(&mut self, port: RelayPort) -> PeerConnection {
        self.next_port += 1;
        let connection = PeerConnection(self.next_port);
        self.peers.insert(connection, (port, false));
        connection
    }

    /// Sends a Send indication with attributes from the script.
    pub fn send(&mut self, client: u8, attributes: &[u8]) {
        let packet = self.message(Class::Indication, Method::SEND, |node, writer| {
            node.attributes(writer, attributes)
        });
        let verdict = self.receive(client, &packet);
        self.check(&verdict, packet.len());
    }

    /// Lets a peer send to an open port.
    pub fn peer_sends(&mut self, port: u8, peer: u8, len: usize) {
        let Some((&port, &(worker, _))) = self
            .ports
            .iter()
            .nth(usize::from(port) % self.ports.len().max(1))
        else {
            return;
        };
        let verdict = self.servers[worker].handle_peer(self.now, port, peer_at(peer), len);
        self.check(&verdict, len);
        // And lets somebody say that what went there did not arrive.
        let icmp = Icmp {
            type_: peer & 0x7F,
            code: u16::try_from(len & 0x1FF).expect("nine bits"),
            data: [peer; 4],
        };
        let verdict = self.servers[worker].handle_icmp(self.now, port, peer_at(peer), icmp);
        assert!(matches!(verdict, Verdict::Handled | Verdict::Drop(_)));
        self.settle(worker);
    }

    /// Whose allocation has this relayed address.
    fn account_of(&self, relayed: SocketAddr) -> String {
        let mut living = self
            .servers
            .iter()
            .flat_map(|server| server.allocations(self.now));
        let view = living
            .find(|view| view.relayed == relayed || view.relayed_second == Some(relayed))
            .expect("what is open is somebody's");
        view.account.to_string()
    }

    /// Checks that a verdict is one that may be acted on.
    pub fn check(&mut self, verdict: &Verdict, len: usize) {
        match verdict {
            Verdict::ToPeer {
                port,
                peer,
                payload,
                ..
            } => {
                let open = self.ports.get(port).map(|(_, relayed)| *relayed);
                let relayed = open.expect("from a socket that is open");
                assert_eq!(
                    relayed.is_ipv4(),
                    peer.is_ipv4(),
                    "from the half of the peer's family"
                );
                let account = self.account_of(relayed);
                assert!(
                    !is_forbidden_to(&account, *peer),
                    "{peer} is forbidden to {account}"
                );
                assert!(!self.denied, "{peer} is denied");
                assert!(payload.end <= len);
            }
            Verdict::ToClient {
                client, payload, ..
            } => {
                let living = self
                    .servers
                    .iter()
                    .flat_map(|server| server.allocations(self.now));
                assert!(
                    living.into_iter().any(|view| view.client == *client),
                    "to nobody"
                );
                assert!(payload.end <= len);
            }
            Verdict::ToWorker {
                worker,
                to,
                from,
                payload,
            } => {
                let len = payload.len();
                let server = &mut self.servers[usize::from(worker.0)];
                let verdict = server.handle_relayed(self.now, *to, *from, len);
                assert!(
                    !matches!(verdict, Verdict::ToWorker { .. }),
                    "a packet goes in circles"
                );
                self.check(&verdict, len);
            }
            Verdict::ToOwner { .. } => panic!("a packet goes in circles"),
            Verdict::Handled | Verdict::Drop(_) => {}
        }
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

    /// Lets everything end.
    pub fn check_nothing_is_left(&mut self) {
        self.pass(Duration::from_secs(10_000));
        assert!(self.ports.is_empty() && self.held.is_empty());
        assert!(self.listening.is_empty() && self.peers.is_empty());
        assert_eq!(
            self.registry.usage(),
            sterna_turn::registry::Usage::default()
        );
        assert!(
            self.servers
                .iter()
                .all(|server| server.poll_timeout().is_none() && server.moved_count() == 0)
        );
    }

    /// A nonce that is still good.
    fn nonce(&mut self, client: u8) -> Vec<u8> {
        let minute = self.now.duration_since(self.start).as_secs() / 60;
        if let Some((issued, nonce)) = &self.nonces[usize::from(client)]
            && minute - issued < 60
        {
            return nonce.clone();
        }
        let packet = self.message(Class::Request, Method::ALLOCATE, |_, writer| {
            writer.attr(&RequestedTransport::UDP)
        });
        self.receive(client, &packet);
        let (_, reply) = self
            .replies
            .pop()
            .expect("a stranger is asked for credentials");
        let answer = Message::parse(&reply).expect("well formed");
        let nonce = answer
            .find::<Nonce<'_>>()
            .expect("ok")
            .expect("401 has a nonce")
            .0
            .to_vec();
        self.nonces[usize::from(client)] = Some((minute, nonce.clone()));
        nonce
    }

    fn message(
        &mut self,
        class: Class,
        method: Method,
        attributes: impl FnOnce(&Self, &mut MessageWriter<'_>) -> Result<(), Full>,
    ) -> Vec<u8> {
        self.transactions += 1;
        let mut id = [0; 12];
        id[4..].copy_from_slice(&self.transactions.to_be_bytes());
        let mut out = vec![0; 8192];
        let mut writer =
            MessageWriter::new(&mut out, class, method, TransactionId(id)).expect("fits");
        attributes(self, &mut writer).expect("fits");
        let len = writer.finish();
        out.truncate(len);
        out
    }

    /// Attributes as the script has them: `kind, argument`, and for unusual ones as many bytes.
    fn attributes(&self, writer: &mut MessageWriter<'_>, mut script: &[u8]) -> Result<(), Full> {
        while let [kind, argument, rest @ ..] = script {
            script = rest;
            let argument = *argument;
            match kind {
                0 => writer.attr(&XorPeerAddress(peer_at(argument)))?,
                1 => {
                    let relayed = self.ports.values().nth(usize::from(argument));
                    let relayed = relayed.map_or_else(|| peer_at(10), |(_, addr)| *addr);
                    writer.attr(&XorPeerAddress(relayed))?;
                }
                2 => writer.attr(&ChannelNumber(0x3fff + u16::from(argument)))?,
                3 => writer.attr(&Lifetime(u32::from(argument) * 20))?,
                4 => writer.attr(&RequestedTransport(if argument == 6 { 6 } else { 17 }))?,
                5 => writer.attr(&EvenPort {
                    reserve_next: argument % 2 == 1,
                })?,
                6 => writer.attr(&ReservationToken(self.token))?,
                7 => writer.raw(
                    AttributeType::REQUESTED_ADDRESS_FAMILY,
                    &[argument, 0, 0, 0],
                )?,
                8 => writer.raw(
                    AttributeType::ADDITIONAL_ADDRESS_FAMILY,
                    &[argument, 0, 0, 0],
                )?,
                9 => writer.attr(&Data(&vec![0; usize::from(argument)]))?,
                255 => {
                    let (newest, used) = &self.tickets[usize::from(argument >> 2) % 2];
                    let ticket: &[u8] = match argument % 4 {
                        0 => b"",
                        1 | 2 => newest,
                        _ => used,
                    };
                    writer.attr(&MobilityTicket(ticket))?;
                }
                _ => {
                    let len = usize::from(argument % 32).min(rest.len());
                    let type_ = AttributeType(u16::from(*kind) - 10);
                    // Those end the message.
                    let last = [
                        AttributeType::MESSAGE_INTEGRITY,
                        AttributeType::MESSAGE_INTEGRITY_SHA256,
                        AttributeType::PASSWORD_ALGORITHM,
                        AttributeType::USERNAME,
                        AttributeType::REALM,
                        AttributeType::NONCE,
                        AttributeType::USERHASH,
                    ];
                    if !last.contains(&type_) {
                        writer.raw(type_, &rest[..len])?;
                    }
                    script = &rest[len..];
                }
            }
        }
        Ok(())
    }

    fn settle(&mut self, worker: usize) {
        let mut out = [0; REPLY_BYTES_MAX];
        while let Some(command) = self.servers[worker].poll_command(&mut out) {
            match command {
                Command::Reply { client, len } => self.replies.push((client, out[..len].to_vec())),
                Command::BindPort { token, addr } => {
                    // Somebody else holds one of the ports.
                    let result = if addr.port() == 50_003 {
                        Err(PortError::InUse)
                    } else {
                        Ok(self.open(worker, addr))
                    };
                    self.servers[worker].handle_port(self.now, token, result);
                }
                Command::HoldPort { token, addr } => {
                    let result = if addr.port() == 50_003 {
                        Err(PortError::InUse)
                    } else {
                        assert!(self.held.insert(addr), "held twice");
                        Ok(RelayPort(0))
                    };
                    self.servers[worker].handle_port(self.now, token, result);
                }
                Command::AdoptPort { token, addr } => {
                    assert!(self.held.remove(&addr), "adopts what is held");
                    let port = self.open(worker, addr);
                    self.servers[worker].handle_port(self.now, token, Ok(port));
                }
                Command::ListenRelay { token, addr, .. } => {
                    let result = if addr.port() == 50_003 {
                        Err(PortError::InUse)
                    } else {
                        let port = self.open(worker, addr);
                        self.ports.remove(&port);
                        self.listening.insert(port, (worker, addr));
                        Ok(port)
                    };
                    self.servers[worker].handle_port(self.now, token, result);
                }
                Command::CloseListener { port } => {
                    assert!(self.listening.remove(&port).is_some());
                    self.peers.retain(|_, (listener, _)| *listener != port);
                }
                Command::ConnectPeer { token, port, peer } => {
                    let to_relay = self.listening.values().any(|(_, addr)| *addr == peer);
                    let account = self.account_of(self.listening[&port].1);
                    assert!(
                        to_relay || !is_forbidden_to(&account, peer),
                        "{peer} is forbidden to {account}"
                    );
                    assert!(!self.denied, "{peer} is denied");
                    assert_eq!(self.listening[&port].0, worker);
                    // One of the peers listens on every other port only.
                    let result = if peer.port() % 2 == 0 {
                        Ok(self.connection(port))
                    } else {
                        Err(NotConnected)
                    };
                    self.servers[worker].handle_connected(self.now, token, result);
                }
                Command::JoinConnections { client, connection } => {
                    assert!(client.transport.is_stream());
                    let (_, joined) = self.peers.get_mut(&connection).expect("lives");
                    assert!(!std::mem::replace(joined, true), "joined twice");
                }
                Command::CloseConnection { connection } => {
                    assert!(self.peers.remove(&connection).is_some(), "closed twice");
                }
                Command::DropHeldPort { addr } => assert!(self.held.remove(&addr)),
                Command::ReleasePort { port } => assert!(self.ports.remove(&port).is_some()),
                Command::CloseStream { client } | Command::Detach { client } => {
                    assert!(client.transport.is_stream());
                }
                Command::TellClosed { worker, client } => {
                    let worker = usize::from(worker.0);
                    self.servers[worker].handle_stream_closed(self.now, client);
                    self.settle(worker);
                }
                Command::Event(_) => {}
            }
        }
    }

    fn open(&mut self, worker: usize, addr: SocketAddr) -> RelayPort {
        assert!(!self.held.contains(&addr));
        assert!(
            self.ports
                .values()
                .chain(self.listening.values())
                .all(|(_, open)| *open != addr),
            "opened twice"
        );
        let port = RelayPort(self.next_port);
        self.next_port += 1;
        self.ports.insert(port, (worker, addr));
        port
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

fn worker_of(client: u8) -> usize {
    usize::from(client & 3) / 2
}

fn peer_at(place: u8) -> SocketAddr {
    PEERS[usize::from(place) % PEERS.len()]
        .parse()
        .expect("an address")
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
