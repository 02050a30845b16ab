//! The TURN client (RFC 8489, RFC 8656) as a pure state machine: one 5-tuple, one allocation.
//!
//! Packets and the time go in, packets and events come out; sockets, clocks and randomness belong
//! to the caller. The same machine drives a UDP socket, a TLS stream and a simulation.
//!
//! ```text
//! client.allocate(now, options)          what the owner wants:
//! client.permit(now, &[ip])                each starts one request
//! client.bind_channel(now, peer)
//! client.connect(now, peer)                where TCP is relayed (RFC 6062)
//! client.bind_connection(now, id)          on a connection of its own
//!
//! client.handle_packet(now, packet)      -> Received   data is returned where it lies
//! client.handle_timeout(now)                           repetitions, upkeep, expiry
//! client.poll_timeout()                  -> Option<Instant>
//! client.poll_transmit()                 -> Option<&[u8]>
//! client.poll_event()                    -> Option<Event>
//!
//! client.channel_prefix(number, len)     -> Prefix     hot: what stands before the payload
//! client.indication_prefix(peer, len)    -> Prefix
//! ```
//!
//! After any call that takes `now`, drain [`TurnClient::poll_transmit`] and
//! [`TurnClient::poll_event`], then read [`TurnClient::poll_timeout`].
//!
//! Requests are repeated by RFC 8489 §6.2.1; the first 401 teaches the client realm, nonce and
//! password algorithm, and a 438 a new nonce; both repeat the request at once. Allocation, permissions and channels are
//! refreshed before they end, for as long as `handle_timeout` is called.

mod answers;
mod auth;
mod config;
mod connections;
mod data;
mod event;
pub mod limits;
mod mobility;
mod redirect;
mod request;
mod timeouts;
mod transaction;
mod upkeep;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sterna_stun::attr::AddressFamily;
use sterna_stun::demux::{self, Kind};
use sterna_stun::message::{Class, TransactionId};
use sterna_stun::writer::{Full, MessageWriter};

pub use config::{
    AccessGrant, AllocateOptions, ClientConfig, Credentials, FamilyWish, Link, PortWish, Relayed,
    Timers,
};
pub use data::Prefix;
pub use event::{Allocated, Carrier, ClientError, EndReason, Event, Ignored, Received, Redirect};
pub use mobility::Ticket;
pub use request::Request;

use auth::{Auth, Challenge};
use limits::{PEERS_PER_REQUEST_MAX, PENDING_REQUESTS_MAX, REQUEST_BYTES_MAX};
use redirect::Redirection;
use transaction::{Schedule, Transaction};
use upkeep::{Allocation, Upkeep};

/// One client of one server over one 5-tuple.
#[derive(Debug)]
pub struct TurnClient {
    config: ClientConfig,
    rng: ChaCha8Rng,
    auth: Auth,
    pending: Vec<Transaction>,
    /// What [`TurnClient::poll_transmit`] has not given out yet: ids, since a transaction may be
    /// answered before its bytes are asked for.
    to_send: VecDeque<TransactionId>,
    events: VecDeque<Event>,
    allocation: Option<Allocation>,
    /// The server is to learn by data that the client has moved.
    arrived: bool,
    redirection: Redirection,
    /// The earliest of all deadlines, so that reading it costs nothing.
    deadline: Option<Instant>,
}

impl TurnClient {
    /// A client that has not sent anything. `seed` must come from a good random source: transaction
    /// ids are what keeps a stranger from forging answers (RFC 8489 §5).
    #[must_use]
    pub fn new(config: ClientConfig, seed: [u8; 32]) -> Self {
        Self {
            auth: Auth::new(config.credentials.clone(), config.grant.clone()),
            config,
            rng: ChaCha8Rng::from_seed(seed),
            pending: Vec::new(),
            to_send: VecDeque::new(),
            events: VecDeque::new(),
            allocation: None,
            arrived: false,
            redirection: Redirection::default(),
            deadline: None,
        }
    }

    /// Asks for the client's own address as the server sees it; answered by [`Event::Mapped`].
    pub fn binding(&mut self, now: Instant) -> Result<(), ClientError> {
        self.start(now, Request::Binding)
    }

    /// Asks for an allocation; answered by [`Event::Allocated`].
    pub fn allocate(&mut self, now: Instant, options: AllocateOptions) -> Result<(), ClientError> {
        let is_asked =
            |transaction: &Transaction| matches!(transaction.request, Request::Allocate(_));
        if self.allocation.is_some() || self.pending.iter().any(is_asked) {
            return Err(ClientError::AlreadyAllocated);
        }
        if options.family == FamilyWish::Both && options.port == PortWish::EvenAndNext {
            return Err(ClientError::PortOfBothFamilies);
        }
        self.redirection.note(now, self.config.server);
        self.start(now, Request::Allocate(options))
    }

    /// Refreshes the allocation now, rather than when it is due; answered by [`Event::Refreshed`].
    pub fn refresh(&mut self, now: Instant) -> Result<(), ClientError> {
        let allocation = self.living()?;
        allocation.upkeep = Upkeep::Asked;
        let lifetime = allocation.options.lifetime;
        let family = None;
        self.start(now, Request::Refresh { lifetime, family })
    }

    /// Ends the allocation (Refresh with lifetime 0); answered by [`Event::Ended`].
    pub fn release(&mut self, now: Instant) -> Result<(), ClientError> {
        self.living()?.releasing = true;
        let lifetime = Some(Duration::ZERO);
        let family = None;
        self.start(now, Request::Refresh { lifetime, family })
    }

    /// Ends the relayed address of one family (Refresh with lifetime 0 and
    /// REQUESTED-ADDRESS-FAMILY, RFC 8656 §8.1) with its permissions and channels; answered by
    /// [`Event::HalfEnded`]. Where it is the only one, this is [`TurnClient::release`].
    pub fn release_half(&mut self, now: Instant, family: AddressFamily) -> Result<(), ClientError> {
        let allocation = self.living()?;
        if allocation.relayed_of(family).is_none() {
            return Err(ClientError::NoSuchFamily);
        }
        if allocation.relayed_second.is_none() {
            return self.release(now);
        }
        let lifetime = Some(Duration::ZERO);
        let family = Some(family);
        self.start(now, Request::Refresh { lifetime, family })
    }

    /// Permits up to [`PEERS_PER_REQUEST_MAX`] peers by one CreatePermission and keeps them
    /// permitted; answered by [`Event::Permitted`]. A server refuses such a set as a whole.
    pub fn permit(&mut self, now: Instant, peers: &[IpAddr]) -> Result<(), ClientError> {
        if peers.len() > PEERS_PER_REQUEST_MAX || self.living()?.permissions.is_full() {
            return Err(ClientError::Busy);
        }
        let peers = peers.into();
        self.start(now, Request::CreatePermission { peers })
    }

    /// Binds a channel to a peer and keeps it; answered by [`Event::ChannelBound`]. Returns its
    /// number, which must not be used before that event.
    pub fn bind_channel(&mut self, now: Instant, peer: SocketAddr) -> Result<u16, ClientError> {
        let channels = &mut self.living()?.channels;
        let number = channels.reserve(peer).ok_or(ClientError::Busy)?;
        if let Some(channel) = channels.find(number) {
            channel.upkeep = Upkeep::Asked;
        }
        self.start(now, Request::ChannelBind { number, peer })?;
        Ok(number)
    }

    /// Takes another access token (RFC 7635 §9): the next Refresh brings it, and once that is granted,
    /// requests are signed with its key. Of no effect on a client that has a password.
    pub fn renew(&mut self, grant: AccessGrant) {
        if self.config.grant.is_some() {
            self.auth.renew(grant);
        }
    }

    /// The living allocation's relayed address, of a dual allocation the first one.
    #[must_use]
    pub fn relayed_addr(&self) -> Option<SocketAddr> {
        self.allocation
            .as_ref()
            .map(|allocation| allocation.relayed)
    }

    /// The living allocation's relayed address of one family: where peers of it send to.
    #[must_use]
    pub fn relayed_addr_of(&self, family: AddressFamily) -> Option<SocketAddr> {
        self.allocation.as_ref()?.relayed_of(family)
    }

    /// What stands before `len` bytes to the peer of a bound channel. One index, no allocation.
    pub fn channel_prefix(&self, number: u16, len: usize) -> Result<Prefix, ClientError> {
        let allocation = self.allocation.as_ref().ok_or(ClientError::NoAllocation)?;
        if allocation.channels.peer_of(number).is_none() {
            return Err(ClientError::NotPermitted);
        }
        data::channel_prefix(number, len, self.config.link)
    }

    /// What stands before `len` bytes to a permitted peer in a Send indication. One look-up, no
    /// allocation.
    pub fn indication_prefix(
        &mut self,
        peer: SocketAddr,
        len: usize,
    ) -> Result<Prefix, ClientError> {
        let allocation = self.allocation.as_ref().ok_or(ClientError::NoAllocation)?;
        if !allocation.is_permitted(peer.ip()) {
            return Err(ClientError::NotPermitted);
        }
        data::indication_prefix(TransactionId(self.rng.random()), peer, len, false)
    }

    /// As [`indication_prefix`](Self::indication_prefix) for what must reach the peer in one piece
    /// (DONT-FRAGMENT, RFC 8656 §11.1). Where it is too long for the path, the answer is
    /// [`Received::Icmp`] with the MTU, or silence.
    pub fn whole_prefix(&mut self, peer: SocketAddr, len: usize) -> Result<Prefix, ClientError> {
        let allocation = self.allocation.as_ref().ok_or(ClientError::NoAllocation)?;
        if !allocation.is_permitted(peer.ip()) {
            return Err(ClientError::NotPermitted);
        }
        data::indication_prefix(TransactionId(self.rng.random()), peer, len, true)
    }

    /// What stands before `len` bytes to `peer` by the shortest way there is.
    pub fn prefix(&mut self, peer: SocketAddr, len: usize) -> Result<Prefix, ClientError> {
        let allocation = self.allocation.as_ref().ok_or(ClientError::NoAllocation)?;
        match allocation.channels.number_of(peer) {
            Some(number) => data::channel_prefix(number, len, self.config.link),
            None => self.indication_prefix(peer, len),
        }
    }

    /// Takes in what the server sent: one datagram, or one frame of a stream.
    pub fn handle_packet(&mut self, now: Instant, packet: &[u8]) -> Received {
        match packet.first().map(|first| demux::classify(*first)) {
            Some(Kind::ChannelData) => data::receive_channel_data(packet, self.allocation.as_ref()),
            Some(Kind::Stun) => self.handle_message(now, packet),
            _ => Received::Ignored(Ignored::Malformed),
        }
    }

    /// Repeats, refreshes and expires what has become due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.expire_transactions(now);
        self.expire_allocation(now);
        self.keep_up(now);
        self.settle();
    }

    /// When [`TurnClient::handle_timeout`] wants to be called. Costs nothing.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadline
    }

    /// The next message for the server.
    pub fn poll_transmit(&mut self) -> Option<&[u8]> {
        if std::mem::take(&mut self.arrived) {
            return Some(&mobility::ARRIVED);
        }
        loop {
            let id = self.to_send.pop_front()?;
            if let Some(index) = self.pending.iter().position(|waiting| waiting.id == id) {
                return Some(&self.pending[index].bytes);
            }
        }
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }
}

// Requests on their way out.
impl TurnClient {
    fn living(&mut self) -> Result<&mut Allocation, ClientError> {
        let living = self.living_or_moving()?;
        if living.moving {
            return Err(ClientError::Moving);
        }
        Ok(living)
    }

    fn living_or_moving(&mut self) -> Result<&mut Allocation, ClientError> {
        let living = self
            .allocation
            .as_mut()
            .filter(|allocation| !allocation.releasing);
        living.ok_or(ClientError::NoAllocation)
    }

    fn start(&mut self, now: Instant, request: Request) -> Result<(), ClientError> {
        let started = self.send(now, request, 0);
        self.settle();
        started
    }

    fn send(
        &mut self,
        now: Instant,
        request: Request,
        stale_nonces: u8,
    ) -> Result<(), ClientError> {
        if self.pending.len() >= PENDING_REQUESTS_MAX {
            return Err(ClientError::Busy);
        }
        let id = TransactionId(self.rng.random());
        let challenge = self.auth.challenge(request.method());
        let signed = challenge.filter(|_| request.is_authenticated());
        let bytes = encode(id, &request, signed.as_deref())?;
        let link = match request {
            Request::Move { link, .. } => link,
            _ => self.config.link,
        };
        let schedule = Schedule::new(now, link, &self.config.timers);
        self.pending.push(Transaction::new(
            id,
            request,
            bytes,
            signed,
            stale_nonces,
            schedule,
        ));
        self.to_send.push_back(id);
        Ok(())
    }

    fn settle(&mut self) {
        let allocation = self.allocation.as_ref().map(Allocation::deadline);
        let requests = self.pending.iter().map(Transaction::deadline);
        self.deadline = requests.chain(allocation).min();
    }
}

fn encode(
    id: TransactionId,
    request: &Request,
    challenge: Option<&Challenge>,
) -> Result<Box<[u8]>, ClientError> {
    let mut bytes = [0; REQUEST_BYTES_MAX];
    let written = write(id, request, challenge, &mut bytes);
    let len = written.map_err(|Full| ClientError::TooLong)?;
    Ok(bytes[..len].into())
}

fn write(
    id: TransactionId,
    request: &Request,
    challenge: Option<&Challenge>,
    out: &mut [u8],
) -> Result<usize, Full> {
    let mut writer = MessageWriter::new(out, Class::Request, request.method(), id)?;
    request.write(&mut writer)?;
    if let Some(challenge) = challenge {
        challenge.sign(&mut writer)?;
    }
    Ok(writer.finish())
}
