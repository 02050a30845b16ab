//! The TURN server: packets in, verdicts and commands out.
//!
//! | what | where |
//! |---|---|
//! | who may ask | `authenticate` |
//! | Allocate, opening its sockets, what comes of it | `allocate`, `bind_port`, `begin` |
//! | sending a client elsewhere | `redirect` |
//! | Refresh, CreatePermission, ChannelBind, Binding | a file each |
//! | Binding where NAT behaviour discovery is served | `discover` |
//! | TCP connections to peers | `connect`, `connection_attempt`, `connection_bind`, `peer_connections` |
//! | Send indications | `indication` |
//! | which peers an allocation may reach | `judge` |
//! | data both ways, also from client to client | `forward` |
//! | ICMP errors about what was sent | `icmp` |
//! | tokens of third parties | `third_party` |
//! | answers, and what they offer | `respond`, `offer` |
//! | a client that moves to another 5-tuple | `mobility`; to one of another worker: `moved` |
//! | lifetimes, revocation, configuration | `timeout`, `revoke`, `reconfigure` |

mod allocate;
pub(crate) mod authenticate;
mod begin;
mod bind_port;
mod binding;
mod candidates;
mod channel_bind;
mod connect;
mod connection_attempt;
mod connection_bind;
mod create_permission;
mod discover;
mod end;
mod forward;
mod icmp;
mod indication;
mod judge;
mod known;
pub(crate) mod mobility;
mod moved;
mod offer;
pub(crate) mod peer_connections;
mod reconfigure;
mod redirect;
mod refresh;
pub(crate) mod respond;
mod revoke;
pub(crate) mod third_party;
mod timeout;

use std::{
    collections::VecDeque,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Instant,
};

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha12Rng;
use slab::Slab;
use sterna_stun::{
    attr::AttributeType,
    demux::{Kind, classify},
    fingerprint::{self, Fingerprint},
    message::{Class, Message, Method as StunMethod},
};

pub use self::moved::Lease;
use self::{
    authenticate::{Authenticated, Failure},
    bind_port::Pending,
    mobility::WAITING,
    moved::Moved,
    peer_connections::PeerConnections,
    respond::{Outbox, Refusal, Request},
};
use crate::{
    BindToken, Client, Command, Counters, DropReason, Method, NotConnected, Outcome, PeerAddr,
    PeerConnection, PortError, Registry, RelayPort, Revoke, ServerConfig, Verdict, WorkerId,
    addr::ClientKey,
    allocation::{Allocation, AllocationView},
    rate::HashedBuckets,
    registry::{owners::PortTable, reservation::Token},
    tick::{Clock, Tick},
    timers::Timers,
};

/// No allocation has this relay port.
const NOBODY: u32 = u32::MAX;

/// The TURN server of one worker.
///
/// After any `handle_*` call, drain [`Server::poll_command`], then read [`Server::poll_timeout`].
#[derive(Debug)]
pub struct Server {
    clock: Clock,
    worker: WorkerId,
    config: Arc<ServerConfig>,
    registry: Arc<Registry>,
    relays: Vec<RelayAddress>,
    rng: ChaCha12Rng,

    allocations: Slab<Allocation>,
    /// Moves on with each allocation, so that no name is given twice.
    generation: u32,
    /// Places in `allocations`; of 5-tuples that were moved to and not used, marked `WAITING`.
    clients: HashMap<ClientKey, u32, FixedState>,
    /// Clients that other workers have the allocations of.
    moved: Moved,
    /// What another worker sent along with the packet that is being handled.
    lease: Option<Lease>,
    /// Places in `allocations` by relay port.
    by_port: Vec<u32>,
    timers: Timers,
    pending: Slab<Pending>,
    /// Reservations of this worker; all last equally long, so the first ends first.
    reservations: VecDeque<(Tick, Token)>,
    peers: PeerConnections,

    unproved: HashedBuckets,
    failed: HashedBuckets,
    outbox: Outbox,
    counters: Counters,
    draining: bool,
}

/// One of the addresses that relay sockets are opened on.
#[derive(Clone, Debug)]
struct RelayAddress {
    internal: IpAddr,
    external: IpAddr,
    table: Arc<PortTable>,
}

impl Server {
    /// Makes the server of one worker. Equal seeds and equal calls give equal answers.
    #[must_use]
    pub fn new(
        now: Instant,
        worker: WorkerId,
        config: Arc<ServerConfig>,
        registry: Arc<Registry>,
        seed: [u8; 32],
    ) -> Self {
        let mut rng = ChaCha12Rng::from_seed(seed);
        let mut keys = || (rng.next_u64(), rng.next_u64());
        let (unproved, failed) = (HashedBuckets::new(keys()), HashedBuckets::new(keys()));
        let clients = HashMap::with_hasher(FixedState::with_seed(rng.next_u64()));
        let mut server = Self {
            clock: Clock::new(now),
            worker,
            config,
            registry,
            relays: Vec::new(),
            rng,
            allocations: Slab::new(),
            generation: 0,
            clients,
            moved: Moved::default(),
            lease: None,
            by_port: Vec::new(),
            timers: Timers::default(),
            pending: Slab::new(),
            reservations: VecDeque::new(),
            peers: PeerConnections::default(),
            unproved,
            failed,
            outbox: Outbox::default(),
            counters: Counters::default(),
            draining: false,
        };
        server.learn_relays();
        server
    }

    /// Takes a datagram or a frame from a client.
    pub fn handle_client(&mut self, now: Instant, client: Client, packet: &[u8]) -> Verdict {
        let now = self.clock.tick(now);
        let client = client.unmapped();
        let outcome = self.client_packet(now, client, packet);
        self.verdict(outcome)
    }

    /// Takes a datagram of `len` bytes from a peer.
    pub fn handle_peer(
        &mut self,
        now: Instant,
        port: RelayPort,
        from: SocketAddr,
        len: usize,
    ) -> Verdict {
        let now = self.clock.tick(now);
        let outcome = self.peer_packet(now, port, from, len);
        self.verdict(outcome)
    }

    /// Takes what another worker's `Verdict::ToWorker` carried, `len` bytes of payload.
    pub fn handle_relayed(
        &mut self,
        now: Instant,
        to: PeerAddr,
        from: PeerAddr,
        len: usize,
    ) -> Verdict {
        let now = self.clock.tick(now);
        let outcome = self.relayed_packet(now, to, from, len);
        self.verdict(outcome)
    }

    /// Takes what another worker's `Verdict::ToOwner` carried: a packet of a client that has moved.
    pub fn handle_moved(
        &mut self,
        now: Instant,
        client: Client,
        packet: &[u8],
        lease: Option<Lease>,
    ) -> Verdict {
        let now = self.clock.tick(now);
        let outcome = self.moved_packet(now, client.unmapped(), packet, lease);
        self.verdict(outcome)
    }

    /// Takes the answer to `BindPort`, `HoldPort`, `AdoptPort` or `ListenRelay`.
    pub fn handle_port(
        &mut self,
        now: Instant,
        token: BindToken,
        result: Result<RelayPort, PortError>,
    ) {
        let tick = self.clock.tick(now);
        self.port_answer(tick, token, result);
    }

    /// Takes the answer to `ConnectPeer`.
    pub fn handle_connected(
        &mut self,
        now: Instant,
        token: BindToken,
        result: Result<PeerConnection, NotConnected>,
    ) {
        let now = self.clock.tick(now);
        self.connect_answer(now, token, result);
    }

    /// Takes a TCP connection that a peer made to a listener.
    pub fn handle_peer_connection(
        &mut self,
        now: Instant,
        port: RelayPort,
        from: SocketAddr,
        connection: PeerConnection,
    ) {
        let now = self.clock.tick(now);
        self.connection_attempt(now, port, from, connection);
    }

    /// Takes note that a connection to a peer has ended, bound or not, by whichever side.
    pub fn handle_connection_closed(&mut self, _now: Instant, connection: PeerConnection) {
        self.connection_ended(connection);
    }

    /// Takes note that a client's connection is gone, and its allocation with it, unless it has
    /// another 5-tuple or a ticket to come back with.
    pub fn handle_stream_closed(&mut self, now: Instant, client: Client) {
        let now = self.clock.tick(now);
        self.stream_closed(now, &client.unmapped());
    }

    /// Ends what has reached its end, a batch at a time.
    pub fn handle_timeout(&mut self, now: Instant) {
        let now = self.clock.tick(now);
        self.expire(now);
    }

    /// When `handle_timeout` wants to be called. O(1).
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.next_deadline().map(|tick| self.clock.instant(tick))
    }

    /// Hands out what is to be done, one command a call, in order.
    ///
    /// `out` receives the bytes of a reply; give it [`crate::limits::REPLY_BYTES_MAX`].
    pub fn poll_command(&mut self, out: &mut [u8]) -> Option<Command> {
        self.outbox.pop(out)
    }

    /// Changes policy, users, secrets and limits, and ends what is no longer permitted.
    pub fn reconfigure(&mut self, _now: Instant, config: Arc<ServerConfig>) {
        self.apply(config);
    }

    /// Ends allocations at the operator's word; returns how many.
    pub fn revoke(&mut self, _now: Instant, revoke: &Revoke) -> usize {
        self.revoke_matching(revoke)
    }

    /// Refuses new allocations (300 where there is an alternate server, else 508) while true. Living
    /// ones go on.
    pub fn drain(&mut self, draining: bool) {
        self.draining = draining;
    }

    /// The living allocations, for whoever wants to see them.
    pub fn allocations(&self, now: Instant) -> impl Iterator<Item = AllocationView> + '_ {
        let now = self.clock.tick(now);
        self.allocations
            .iter()
            .map(move |(_, allocation)| AllocationView::of(allocation, now))
    }

    /// How many allocations live.
    #[must_use]
    pub fn allocation_count(&self) -> usize {
        self.allocations.len()
    }

    /// What has been counted so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Settles the question of a packet: a drop is counted where it becomes one.
    #[inline]
    fn verdict(&mut self, outcome: Result<Verdict, DropReason>) -> Verdict {
        outcome.unwrap_or_else(|reason| {
            self.counters.count_drop(reason);
            Verdict::Drop(reason)
        })
    }

    #[inline]
    fn client_packet(
        &mut self,
        now: Tick,
        client: Client,
        packet: &[u8],
    ) -> Result<Verdict, DropReason> {
        if client.addr.port() == 0 {
            return Err(DropReason::SourcePortZero);
        }
        let first_byte = *packet.first().ok_or(DropReason::Malformed)?;
        match classify(first_byte) {
            Kind::ChannelData => self.channel_data(now, &client, packet),
            Kind::Stun => self.stun(now, client, packet),
            _ => Err(DropReason::NotStun),
        }
    }

    fn stun(&mut self, now: Tick, client: Client, packet: &[u8]) -> Result<Verdict, DropReason> {
        let message = Message::parse(packet).map_err(|_| DropReason::Malformed)?;
        let fingerprint = fingerprint::check(&message);
        if fingerprint == Fingerprint::Invalid {
            return Err(DropReason::FingerprintMismatch);
        }
        let request = Request::new(client, &message, fingerprint == Fingerprint::Valid);
        let method = match (message.class(), message.method()) {
            (Class::Indication, StunMethod::SEND) => Method::Send,
            (Class::Request | Class::Indication, StunMethod::BINDING) => Method::Binding,
            (Class::Request, StunMethod::ALLOCATE) => Method::Allocate,
            (Class::Request, StunMethod::REFRESH) => Method::Refresh,
            (Class::Request, StunMethod::CREATE_PERMISSION) => Method::CreatePermission,
            (Class::Request, StunMethod::CHANNEL_BIND) => Method::ChannelBind,
            (Class::Request, StunMethod::CONNECT) if self.config.tcp_allocations => Method::Connect,
            (Class::Request, StunMethod::CONNECTION_BIND) if self.config.tcp_allocations => {
                Method::ConnectionBind
            }
            (Class::Request, _) => return Err(DropReason::UnknownMethod),
            _ => return Err(DropReason::UnexpectedClass),
        };
        let outcome = match method {
            Method::Send => self.send_indication(now, &client, &message),
            Method::Binding => self.binding(now, &request, &message),
            _ => self.privileged(now, &request, &message, method),
        };
        match &outcome {
            Err(_) => self.counters.count_message(method, Outcome::Dropped),
            Ok(Verdict::Handled) => {}        // counted with its answer
            Ok(Verdict::ToOwner { .. }) => {} // counted there
            Ok(_) => self.counters.count_message(method, Outcome::Success),
        }
        outcome
    }

    /// Requests for which credentials are needed.
    fn privileged(
        &mut self,
        now: Tick,
        request: &Request,
        message: &Message<'_>,
        method: Method,
    ) -> Result<Verdict, DropReason> {
        // Whoever moves shows credentials here first; what it moved already is the owner's.
        let moves = mobility::asks_to_move(request.method, message);
        if !moves
            && self.find(&request.client, now).is_none()
            && let Some(verdict) = self.by_owner(&request.client)
        {
            return Ok(verdict);
        }
        let takes_tokens = !self.config.oauth.is_empty();
        let authenticated = match self.authenticate(now, request, message) {
            Ok(authenticated) => authenticated,
            // RFC 7635 §7: a token that nobody asked for is an unknown attribute.
            Err(failure @ Failure::Unauthenticated { .. })
                if !takes_tokens && message.has(AttributeType::ACCESS_TOKEN) =>
            {
                self.may_answer(now, request, failure.is_proved())?;
                let unknown =
                    message.unknown_required(|type_| known::is_known(request.method, type_));
                self.refuse(request, None, &Refusal::Unknown(unknown));
                return Ok(Verdict::Handled);
            }
            Err(failure) => return self.reject(now, request, message, failure),
        };
        // RFC 8489 §6.3: what must be understood is asked after authentication.
        let unknown = message.unknown_required(|type_| {
            known::is_known(request.method, type_)
                || takes_tokens && type_ == AttributeType::ACCESS_TOKEN
        });
        let outcome = if unknown.is_empty() {
            self.dispatch(now, request, message, &authenticated, method)
        } else {
            Err(Refusal::Unknown(unknown))
        };
        match outcome {
            Ok(()) => Ok(Verdict::Handled),
            Err(Refusal::Silent(reason)) => Err(reason),
            Err(Refusal::HandOn(worker, lease)) => {
                Ok(self.send_to_owner(worker, request.client, Some(lease)))
            }
            Err(refusal) => {
                self.refuse(request, authenticated.credentials(), &refusal);
                Ok(Verdict::Handled)
            }
        }
    }

    fn dispatch(
        &mut self,
        now: Tick,
        request: &Request,
        message: &Message<'_>,
        authenticated: &Authenticated,
        method: Method,
    ) -> Result<(), Refusal> {
        match method {
            Method::Allocate => self.allocate(now, request, message, authenticated),
            Method::Refresh => self.refresh(now, request, message, authenticated),
            Method::CreatePermission => {
                self.create_permission(now, request, message, authenticated)
            }
            Method::Connect => self.connect(now, request, message, authenticated),
            Method::ConnectionBind => self.connection_bind(request, message, authenticated),
            _ => self.channel_bind(now, request, message, authenticated),
        }
    }

    /// The place of a client's living allocation.
    #[inline]
    fn find(&self, client: &Client, now: Tick) -> Option<usize> {
        let index = (*self.clients.get(&client.key())? & !WAITING) as usize;
        (self.allocations[index].expires > now).then_some(index)
    }

    /// The place of the living allocation that a request is about, if it is its maker who asks.
    fn find_own(
        &mut self,
        now: Tick,
        request: &Request,
        authenticated: &Authenticated,
    ) -> Result<usize, Refusal> {
        // RFC 8656 §5: 437 without an allocation, 441 with somebody else's credentials.
        let index = self
            .find(&request.client, now)
            .ok_or(Refusal::ALLOCATION_MISMATCH)?;
        if authenticated.is_maker_of(&self.allocations[index], request) {
            Ok(index)
        } else {
            Err(Refusal::WRONG_CREDENTIALS)
        }
    }

    /// Seconds since 1970.
    fn unix_s(&self, now: Tick) -> u64 {
        self.config.epoch.unix_s(self.clock.instant(now))
    }

    /// Learns on which addresses relay sockets are opened. Tables outlive their configuration.
    fn learn_relays(&mut self) {
        let ips = self.config.relay_ips();
        let relay = |internal| RelayAddress {
            internal,
            external: self.config.external(internal),
            table: self.registry.table(internal),
        };
        self.relays = ips.into_iter().map(relay).collect();
    }
}
