//! The driver's side: workers, a clock, imaginary sockets.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use sterna_stun::{
    attr::{ChannelNumber, Lifetime, Nonce, RequestedTransport, XorPeerAddress, XorRelayedAddress},
    message::Method,
    nonce::{NonceKey, NonceKeys},
    writer::{Full, MessageWriter},
};

use super::{Answer, Caller};
use crate::{
    Client, Command, DropReason, Epoch, Event, Limits, Policy, PolicyConfig, PortError, Registry,
    RelayPort, Server, ServerConfig, Users, Verdict, WorkerId, limits::REPLY_BYTES_MAX,
};

/// What the world's clock says when a test begins.
pub(crate) const START_UNIX_S: u64 = 1_800_000_000;

/// Workers that share a registry, and the driver that serves them.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) servers: Vec<Server>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) config: ServerConfig,
    pub(crate) now: Instant,
    /// Open relay sockets.
    pub(crate) open: BTreeMap<RelayPort, SocketAddr>,
    /// Sockets held for a token.
    pub(crate) held: BTreeSet<SocketAddr>,
    /// Addresses that somebody else holds.
    pub(crate) foreign: BTreeSet<SocketAddr>,
    /// The driver's answer to the next question, if it is not to be the truth.
    pub(crate) refuse_next: Option<PortError>,
    pub(crate) answers: VecDeque<Answer>,
    pub(crate) events: Vec<Event>,
    pub(crate) closed_streams: Vec<Client>,
    /// Every address that the driver was asked to open or hold, in order.
    pub(crate) asked: Vec<SocketAddr>,
    next_port: u32,
}

/// A configuration as a test wants it: IPv4 and IPv6, two users, a secret.
#[allow(clippy::disallowed_methods)] // the one moment that all virtual time is counted from
pub(crate) fn config() -> ServerConfig {
    let listeners: Vec<SocketAddr> = ["198.51.100.1:3478", "[2620:5::1]:3478"]
        .map(|addr| addr.parse().expect("ok"))
        .into();
    let realm = "sterna.test";
    let policy = PolicyConfig {
        own_pairs: listeners.clone(),
        relay_addresses: listeners.iter().map(SocketAddr::ip).collect(),
        ..PolicyConfig::default()
    };
    ServerConfig {
        realm: realm.into(),
        software: "Sterna".into(),
        listeners,
        discovery: Vec::new(),
        relay_addresses: Vec::new(),
        external_addresses: Vec::new(),
        relay_ports: 49_152..=65_535,
        lifetime_max_s: 3600,
        session_max_s: 0,
        users: Arc::new(Users::new(realm, [("alice", "alice's"), ("bob", "bob's")])),
        secrets: vec!["north".into(), "south".into()],
        password_algorithms: true,
        open_relay: false,
        rfc5766_channels: false,
        nonce_keys: NonceKeys::new(NonceKey::new(1, &[7; 32]), None),
        epoch: Epoch {
            instant: Instant::now(),
            unix_s: START_UNIX_S,
        },
        policy: Arc::new(Policy::new(&policy)),
        limits: Limits::default(),
    }
}

/// The usual configuration, but for what `edit` changes.
pub(crate) fn edited(edit: impl FnOnce(&mut ServerConfig)) -> ServerConfig {
    let mut config = config();
    edit(&mut config);
    config
}

impl Default for Node {
    fn default() -> Self {
        Self::new(1, config())
    }
}

impl Node {
    pub(crate) fn new(workers: u8, config: ServerConfig) -> Self {
        Self::seeded(workers, config, 0)
    }

    pub(crate) fn seeded(workers: u8, config: ServerConfig, seed: u64) -> Self {
        let registry = Arc::new(Registry::new());
        let now = config.epoch.instant;
        let shared = Arc::new(config.clone());
        let server = |worker: u8| {
            let mut bytes = [worker; 32];
            bytes[..8].copy_from_slice(&seed.to_be_bytes());
            let (config, registry) = (Arc::clone(&shared), Arc::clone(&registry));
            Server::new(now, WorkerId(worker), config, registry, bytes)
        };
        Self {
            servers: (0..workers).map(server).collect(),
            registry,
            config,
            now,
            open: BTreeMap::new(),
            held: BTreeSet::new(),
            foreign: BTreeSet::new(),
            refuse_next: None,
            answers: VecDeque::new(),
            events: Vec::new(),
            closed_streams: Vec::new(),
            asked: Vec::new(),
            next_port: 0,
        }
    }

    pub(crate) fn server(&self) -> &Server {
        &self.servers[0]
    }

    /// Lets time pass, timers included.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let due = self.servers.iter().filter_map(Server::poll_timeout).min();
            let Some(due) = due.filter(|due| *due <= end) else {
                break;
            };
            self.now = self.now.max(due);
            for worker in 0..self.servers.len() {
                self.servers[worker].handle_timeout(self.now);
                self.settle(worker);
            }
        }
        self.now = end;
    }

    pub(crate) fn pass_s(&mut self, seconds: u64) {
        self.pass(Duration::from_secs(seconds));
    }

    /// Changes the configuration of all workers.
    pub(crate) fn reconfigure(&mut self, edit: impl FnOnce(&mut ServerConfig)) {
        edit(&mut self.config);
        let config = Arc::new(self.config.clone());
        for worker in 0..self.servers.len() {
            self.servers[worker].reconfigure(self.now, Arc::clone(&config));
            self.settle(worker);
        }
    }

    /// Changes the policy of all workers to the usual one, but for what `edit` changes.
    pub(crate) fn replace_policy(&mut self, edit: impl FnOnce(&mut PolicyConfig)) {
        let mut policy = PolicyConfig {
            own_pairs: self.config.listeners.clone(),
            relay_addresses: self
                .config
                .listeners
                .iter()
                .map(SocketAddr::ip)
                .collect::<Vec<IpAddr>>(),
            ..PolicyConfig::default()
        };
        edit(&mut policy);
        self.reconfigure(|config| config.policy = Arc::new(Policy::new(&policy)));
    }

    /// Hands a packet in and does what it calls for.
    pub(crate) fn receive(&mut self, worker: usize, client: Client, packet: &[u8]) -> Verdict {
        let verdict = self.servers[worker].handle_client(self.now, client, packet);
        self.settle(worker);
        verdict
    }

    /// Hands a caller's packet in.
    pub(crate) fn send(&mut self, caller: &Caller, packet: &[u8]) -> Verdict {
        self.receive(caller.worker, caller.client, packet)
    }

    /// Hands a caller's packet in and expects exactly one answer to it.
    pub(crate) fn answer(&mut self, caller: &Caller, packet: &[u8]) -> Answer {
        self.answers.clear();
        assert_eq!(self.send(caller, packet), Verdict::Handled);
        assert_eq!(self.answers.len(), 1, "one request, one answer");
        let answer = self.answers.pop_front().expect("counted");
        assert_eq!(answer.client, caller.client);
        answer
    }

    /// Hands a caller's packet in and expects it to go nowhere.
    pub(crate) fn dropped(&mut self, caller: &Caller, packet: &[u8]) -> DropReason {
        self.answers.clear();
        let before = self.servers[caller.worker].counters().clone();
        let Verdict::Drop(reason) = self.send(caller, packet) else {
            panic!("expected a drop");
        };
        assert!(self.answers.is_empty(), "a drop is silent");
        let after = self.servers[caller.worker].counters();
        assert_eq!(
            after.dropped(reason),
            before.dropped(reason) + 1,
            "a drop is counted"
        );
        reason
    }

    /// Sends a signed request, after fetching a nonce if the caller has none.
    pub(crate) fn ask(
        &mut self,
        caller: &mut Caller,
        method: Method,
        attributes: impl FnOnce(&mut MessageWriter<'_>) -> Result<(), Full>,
    ) -> Answer {
        if caller.nonce.is_empty() {
            self.challenge(caller);
        }
        let packet = caller.signed(method, attributes);
        self.answer(caller, &packet)
    }

    /// Fetches a nonce.
    pub(crate) fn challenge(&mut self, caller: &mut Caller) {
        let packet = caller.unsigned(Method::ALLOCATE, |writer| {
            writer.attr(&RequestedTransport::UDP)
        });
        let answer = self.answer(caller, &packet);
        assert_eq!(answer.code(), 401);
        caller.nonce = answer
            .find::<Nonce<'_>>()
            .expect("401 has a nonce")
            .0
            .to_vec();
    }

    /// Makes an ordinary allocation; returns the relayed address.
    pub(crate) fn allocate(&mut self, caller: &mut Caller) -> SocketAddr {
        self.allocate_with(caller, |_| Ok(()))
            .expect("an allocation")
    }

    /// Makes an allocation with more attributes; returns the relayed address or the error's code.
    pub(crate) fn allocate_with(
        &mut self,
        caller: &mut Caller,
        attributes: impl FnOnce(&mut MessageWriter<'_>) -> Result<(), Full>,
    ) -> Result<SocketAddr, u16> {
        let answer = self.ask(caller, Method::ALLOCATE, |writer| {
            writer.attr(&RequestedTransport::UDP)?;
            attributes(writer)
        });
        match answer.find::<XorRelayedAddress>() {
            Some(relayed) if answer.is_success() => Ok(relayed.0),
            _ => Err(answer.code()),
        }
    }

    /// Installs a permission; returns 0 or the error's code.
    pub(crate) fn permit(&mut self, caller: &mut Caller, peer: &str) -> u16 {
        let peer = XorPeerAddress(peer.parse().expect("an address"));
        self.ask(caller, Method::CREATE_PERMISSION, |writer| {
            writer.attr(&peer)
        })
        .code()
    }

    /// Binds a channel; returns 0 or the error's code.
    pub(crate) fn bind(&mut self, caller: &mut Caller, number: u16, peer: &str) -> u16 {
        let peer = XorPeerAddress(peer.parse().expect("an address"));
        let answer = self.ask(caller, Method::CHANNEL_BIND, |writer| {
            writer.attr(&ChannelNumber(number))?;
            writer.attr(&peer)
        });
        answer.code()
    }

    /// Refreshes; returns the granted lifetime or the error's code.
    pub(crate) fn refresh(&mut self, caller: &mut Caller, lifetime_s: u32) -> Result<u32, u16> {
        let answer = self.ask(caller, Method::REFRESH, |writer| {
            writer.attr(&Lifetime(lifetime_s))
        });
        match answer.find::<Lifetime>() {
            Some(Lifetime(granted_s)) if answer.is_success() => Ok(granted_s),
            _ => Err(answer.code()),
        }
    }

    /// Hands in a packet from a peer, at the relay socket on `relayed`.
    pub(crate) fn peer_sends(
        &mut self,
        worker: usize,
        relayed: SocketAddr,
        from: &str,
        len: usize,
    ) -> Verdict {
        let port = self.port_of(relayed);
        let from = from.parse().expect("an address");
        self.servers[worker].handle_peer(self.now, port, from, len)
    }

    /// The relay socket that is open on an internal address.
    pub(crate) fn port_of(&self, addr: SocketAddr) -> RelayPort {
        let mut open = self.open.iter();
        *open
            .find(|(_, open)| **open == addr)
            .expect("an open socket")
            .0
    }

    /// Checks that nobody holds anything any more.
    pub(crate) fn assert_nothing_is_left(&self) {
        assert_eq!(self.registry.usage(), crate::registry::Usage::default());
        assert!(self.open.is_empty(), "{:?}", self.open);
        assert!(self.held.is_empty(), "{:?}", self.held);
        for server in &self.servers {
            assert_eq!(server.allocation_count(), 0);
            assert_eq!(server.poll_timeout(), None);
        }
    }

    /// Does what a worker's commands say until there are none.
    pub(crate) fn settle(&mut self, worker: usize) {
        let mut out = [0; REPLY_BYTES_MAX];
        while let Some(command) = self.servers[worker].poll_command(&mut out) {
            match command {
                Command::Reply { client, len } => {
                    self.answers.push_back(Answer {
                        client,
                        bytes: out[..len].to_vec(),
                    });
                }
                Command::BindPort { token, addr } => {
                    let result = self.open_port(addr);
                    self.servers[worker].handle_port(self.now, token, result);
                }
                Command::HoldPort { token, addr } => {
                    let result = self.try_bind(addr);
                    if result.is_ok() {
                        self.held.insert(addr);
                    }
                    let result = result.map(|()| RelayPort(u32::MAX));
                    self.servers[worker].handle_port(self.now, token, result);
                }
                Command::AdoptPort { token, addr } => {
                    let result = match self.refuse_next.take() {
                        Some(error) => Err(error),
                        None => {
                            assert!(self.held.remove(&addr), "adopted what was not held: {addr}");
                            Ok(self.register(addr))
                        }
                    };
                    self.servers[worker].handle_port(self.now, token, result);
                }
                Command::DropHeldPort { addr } => {
                    assert!(self.held.remove(&addr), "dropped what was not held: {addr}");
                }
                Command::ReleasePort { port } => {
                    assert!(
                        self.open.remove(&port).is_some(),
                        "released twice: {port:?}"
                    );
                }
                Command::CloseStream { client } => self.closed_streams.push(client),
                Command::Event(event) => self.events.push(event),
            }
        }
    }

    fn open_port(&mut self, addr: SocketAddr) -> Result<RelayPort, PortError> {
        self.try_bind(addr)?;
        Ok(self.register(addr))
    }

    fn try_bind(&mut self, addr: SocketAddr) -> Result<(), PortError> {
        self.asked.push(addr);
        if let Some(error) = self.refuse_next.take() {
            return Err(error);
        }
        assert!(
            !self.held.contains(&addr),
            "the table said that it was free: {addr}"
        );
        assert!(
            !self.open.values().any(|open| *open == addr),
            "the table said free: {addr}"
        );
        if self.foreign.contains(&addr) {
            Err(PortError::InUse)
        } else {
            Ok(())
        }
    }

    fn register(&mut self, addr: SocketAddr) -> RelayPort {
        let port = RelayPort(self.next_port);
        self.next_port += 1;
        self.open.insert(port, addr);
        port
    }
}
