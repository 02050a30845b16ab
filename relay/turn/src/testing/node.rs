//! The driver's side: workers, a clock, imaginary sockets. Its TCP side is in `tcp`.

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
    BindToken, Client, Command, DropReason, Epoch, Event, Meter, PeerConnection, Policy,
    PolicyConfig, PortError, Registry, RelayPort, Server, ServerConfig, Users, Verdict, WorkerId,
    limits::REPLY_BYTES_MAX,
};

/// A connect that was asked for.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Connecting {
    pub(crate) worker: usize,
    pub(crate) token: BindToken,
    pub(crate) port: RelayPort,
    pub(crate) peer: SocketAddr,
}

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
    /// Open TCP listeners.
    pub(crate) listening: BTreeMap<RelayPort, SocketAddr>,
    /// What they measure; of those that are closed, too.
    pub(crate) meters: BTreeMap<RelayPort, Meter>,
    /// Connects that the driver is asked for and that nobody has answered.
    pub(crate) connecting: Vec<Connecting>,
    /// TCP connections to peers, with their listener.
    pub(crate) peers: BTreeMap<PeerConnection, RelayPort>,
    /// Connections that were joined, in order.
    pub(crate) joined: Vec<(Client, PeerConnection)>,
    /// Sockets held for a token.
    pub(crate) held: BTreeSet<SocketAddr>,
    /// Addresses that somebody else holds.
    pub(crate) foreign: BTreeSet<SocketAddr>,
    /// The driver's answer to the next question, if it is not to be the truth.
    pub(crate) refuse_next: Option<PortError>,
    pub(crate) answers: VecDeque<Answer>,
    pub(crate) events: Vec<Event>,
    pub(crate) closed_streams: Vec<Client>,
    pub(crate) detached: Vec<Client>,
    /// Every address that the driver was asked to open or hold, in order.
    pub(crate) asked: Vec<SocketAddr>,
    next_port: u32,
    pub(super) next_peer: u32,
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
    let nonce_keys = NonceKeys::new(NonceKey::new(1, &[7; 32]), None);
    let epoch = Epoch {
        instant: Instant::now(),
        unix_s: START_UNIX_S,
    };
    ServerConfig {
        software: "Sterna".into(),
        listeners,
        users: Arc::new(Users::new(realm, [("alice", "alice's"), ("bob", "bob's")])),
        secrets: vec!["north".into(), "south".into()],
        policy: Arc::new(Policy::new(&policy)),
        ..ServerConfig::new(realm, nonce_keys, epoch)
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
            listening: BTreeMap::new(),
            meters: BTreeMap::new(),
            connecting: Vec::new(),
            peers: BTreeMap::new(),
            joined: Vec::new(),
            held: BTreeSet::new(),
            foreign: BTreeSet::new(),
            refuse_next: None,
            answers: VecDeque::new(),
            events: Vec::new(),
            closed_streams: Vec::new(),
            detached: Vec::new(),
            asked: Vec::new(),
            next_port: 0,
            next_peer: 0,
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

    /// Hands a packet in and does what it calls for; what is another worker's business goes there.
    pub(crate) fn receive(&mut self, worker: usize, client: Client, packet: &[u8]) -> Verdict {
        let verdict = self.receive_here(worker, client, packet);
        self.hand_on(verdict, packet)
    }

    /// Hands a packet in at one worker.
    pub(crate) fn receive_here(&mut self, worker: usize, client: Client, packet: &[u8]) -> Verdict {
        let verdict = self.servers[worker].handle_client(self.now, client, packet);
        self.settle(worker);
        verdict
    }

    /// Delivers a packet to the worker that a verdict names.
    pub(crate) fn hand_on(&mut self, verdict: Verdict, packet: &[u8]) -> Verdict {
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
        assert!(
            !matches!(verdict, Verdict::ToOwner { .. }),
            "a packet goes in circles"
        );
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
        assert!(self.listening.is_empty(), "{:?}", self.listening);
        assert!(self.peers.is_empty(), "{:?}", self.peers);
        assert!(self.held.is_empty(), "{:?}", self.held);
        for server in &self.servers {
            assert_eq!(server.allocation_count(), 0);
            assert_eq!(server.poll_timeout(), None);
            assert_eq!(server.moved_count(), 0);
        }
    }

    /// Does what a worker's commands say until there are none.
    pub(crate) fn settle(&mut self, worker: usize) {
        let mut out = [0; REPLY_BYTES_MAX];
        let mut let_go = Vec::new();
        while let Some(command) = self.servers[worker].poll_command(&mut out) {
            match command {
                Command::Reply { client, len } => {
                    assert!(!let_go.contains(&client), "no way out any more: {client:?}");
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
                Command::ListenRelay { token, addr, meter } => {
                    let result = self.try_bind(addr).map(|()| self.listen(addr, meter));
                    self.servers[worker].handle_port(self.now, token, result);
                }
                Command::CloseListener { port } => {
                    assert!(
                        self.listening.remove(&port).is_some(),
                        "closed twice: {port:?}"
                    );
                    self.connecting.retain(|connecting| connecting.port != port);
                    self.peers.retain(|_, listener| *listener != port);
                }
                Command::ConnectPeer { token, port, peer } => {
                    assert!(self.listening.contains_key(&port), "from where?");
                    self.connecting.push(Connecting {
                        worker,
                        token,
                        port,
                        peer,
                    });
                }
                Command::JoinConnections { client, connection } => {
                    self.joined.push((client, connection));
                }
                Command::CloseConnection { connection } => {
                    assert!(
                        self.peers.remove(&connection).is_some(),
                        "closed twice: {connection:?}"
                    );
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
                Command::Detach { client } => {
                    let_go.push(client);
                    self.detached.push(client);
                }
                Command::TellClosed { worker, client } => {
                    let worker = usize::from(worker.0);
                    self.servers[worker].handle_stream_closed(self.now, client);
                    self.settle(worker);
                }
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
            !self.listening.values().any(|open| *open == addr),
            "the table said free: {addr}"
        );
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

    fn listen(&mut self, addr: SocketAddr, meter: Meter) -> RelayPort {
        // Beyond every index of a socket, as handles of listeners may be.
        let port = RelayPort(3_000_000_000 + self.next_port);
        self.next_port += 1;
        self.listening.insert(port, addr);
        self.meters.insert(port, meter);
        port
    }

    fn register(&mut self, addr: SocketAddr) -> RelayPort {
        let port = RelayPort(self.next_port);
        self.next_port += 1;
        self.open.insert(port, addr);
        port
    }
}
