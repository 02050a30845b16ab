//! The node's side: the sessions and flow ends of one shard.
//!
//! | what | where |
//! |---|---|
//! | HELLO and INIT: who may come in | `accept` |
//! | sealed control: opening, dispatch, answers | `sealed` |
//! | a flow's two ends finding each other | `connect` |
//! | data | `forward` |
//! | another address | `rebind` |
//! | active and passive sessions of one device | `standing`, `watch` |
//! | ends of sessions, timers, revocation, drain | `end`, `timeout` |

mod accept;
mod connect;
mod end;
mod ends;
mod forward;
mod notices;
mod outbox;
mod rebind;
mod sealed;
mod session;
mod standing;
mod timeout;
mod view;
mod watch;

use std::{
    collections::{BTreeSet, VecDeque},
    net::SocketAddr,
    sync::Arc,
    time::Instant,
};

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha12Rng;
use slab::Slab;
use sterna_control_api::DeviceKey;

use self::{ends::Ends, outbox::Outbox, session::Session};
use crate::{
    CloseReason, Command, Counters, Directory, DropReason, Letter, Link, RelayConfig, Revoke, Rung,
    SessionId, ShardId, StreamId, Target, Verdict,
    frame::{Frame, NONCE_BYTES},
    message::Restarting,
    queue::QueueCounters,
    time::{Clock, PrefixBuckets, Tick},
};
pub use view::{FlowView, SessionView};

/// A connection, as its handshake sees it.
#[derive(Copy, Clone, Debug)]
struct Stream {
    rung: Rung,
    addr: SocketAddr,
    exporter: [u8; 32],
    payload_max: u16,
    /// The session that it carries, once there is one.
    session: Option<u32>,
}

/// The relay of one shard: a worker, or a thread that serves QUIC and WebSocket.
///
/// After any `handle_*` call, drain [`Relay::poll_command`], then read [`Relay::poll_timeout`].
#[derive(Debug)]
pub struct Relay {
    clock: Clock,
    shard: ShardId,
    config: Arc<RelayConfig>,
    directory: Arc<Directory>,
    rng: ChaCha12Rng,

    sessions: Slab<Session>,
    by_id: HashMap<SessionId, u32, FixedState>,
    /// Sessions that have spoken, by the way to them: what KEYED frames are found by.
    by_link: HashMap<Link, u32, FixedState>,
    /// Sessions whose WELCOME is kept, by the client's nonce.
    by_nonce: HashMap<[u8; NONCE_BYTES], u32, FixedState>,
    streams: HashMap<StreamId, Stream, FixedState>,
    /// How many sessions of a device have been welcomed and have not spoken.
    embryos: HashMap<DeviceKey, usize, FixedState>,
    ends: Ends,
    timers: BTreeSet<(Tick, u32)>,

    hellos: PrefixBuckets,
    handshakes: PrefixBuckets,
    handshakes_all: crate::time::Bucket,
    outbox: Outbox,
    /// Letters of this shard to itself.
    own_letters: VecDeque<Letter>,
    counters: Counters,
    draining: Option<Restarting>,
    cordoned: bool,
}

impl Relay {
    /// Makes the relay of one shard. Equal seeds and equal calls give equal answers.
    #[must_use]
    pub fn new(
        now: Instant,
        shard: ShardId,
        config: Arc<RelayConfig>,
        directory: Arc<Directory>,
        seed: [u8; 32],
    ) -> Self {
        let mut rng = ChaCha12Rng::from_seed(seed);
        let (hellos, handshakes) = {
            let mut keys = || (rng.next_u64(), rng.next_u64());
            (PrefixBuckets::new(keys()), PrefixBuckets::new(keys()))
        };
        let hash = FixedState::with_seed(rng.next_u64());
        Self {
            clock: Clock::new(now),
            shard,
            ends: Ends::new(config.layout, shard),
            config,
            directory,
            rng,
            sessions: Slab::new(),
            by_id: HashMap::with_hasher(hash.clone()),
            by_link: HashMap::with_hasher(hash.clone()),
            by_nonce: HashMap::with_hasher(hash.clone()),
            streams: HashMap::with_hasher(hash.clone()),
            embryos: HashMap::with_hasher(hash.clone()),
            timers: BTreeSet::new(),
            hellos,
            handshakes,
            handshakes_all: crate::time::Bucket::default(),
            outbox: Outbox::default(),
            own_letters: VecDeque::new(),
            counters: Counters::default(),
            draining: None,
            cordoned: false,
        }
    }

    /// Takes a frame from a device: a datagram, or one message of a connection.
    // Data: one look-up by index, no allocation, no lock.
    pub fn handle_packet(&mut self, now: Instant, link: Link, packet: &[u8]) -> Verdict {
        let tick = self.clock.tick(now);
        let link = link.unmapped();
        let outcome = self.frame(now, tick, link, packet);
        self.settle(tick);
        self.verdict(outcome)
    }

    /// Takes the payload, of `len` bytes, that another shard's `Verdict::ToShard` carried.
    pub fn handle_relayed(&mut self, now: Instant, target: Target, len: usize) -> Verdict {
        let tick = self.clock.tick(now);
        let outcome = self.relayed(tick, target, len);
        self.verdict(outcome)
    }

    /// Takes a letter of another shard.
    pub fn handle_letter(&mut self, now: Instant, letter: Letter) {
        let tick = self.clock.tick(now);
        self.own_letters.push_back(letter);
        self.settle(tick);
    }

    /// Takes note of a new connection, before its first frame.
    ///
    /// `exporter` is [`crate::frame::EXPORTER_LABEL`]'s of its TLS; `payload_max` the longest payload
    /// that one message of it carries.
    pub fn handle_stream_opened(
        &mut self,
        _now: Instant,
        stream: StreamId,
        rung: Rung,
        addr: SocketAddr,
        exporter: [u8; 32],
        payload_max: u16,
    ) {
        let known = Stream {
            rung,
            addr,
            exporter,
            payload_max,
            session: None,
        };
        self.streams.insert(stream, known);
    }

    /// Takes note that a connection carries other payloads than before (QUIC's path MTU).
    pub fn handle_stream_payload_max(&mut self, now: Instant, stream: StreamId, payload_max: u16) {
        let tick = self.clock.tick(now);
        self.stream_payload_max(tick, stream, payload_max);
        self.settle(tick);
    }

    /// Takes note of another address of a connection (QUIC migrates by itself).
    pub fn handle_stream_moved(&mut self, _now: Instant, stream: StreamId, addr: SocketAddr) {
        if let Some(known) = self.streams.get_mut(&stream) {
            known.addr = addr;
        }
    }

    /// Takes note that a connection is gone, and its session with it.
    pub fn handle_stream_closed(&mut self, now: Instant, stream: StreamId) {
        let tick = self.clock.tick(now);
        if let Some(slot) = self.streams.remove(&stream).and_then(|known| known.session) {
            self.end_session(tick, slot as usize, CloseReason::LinkGone);
        }
        self.settle(tick);
    }

    /// Takes over what a connection's queue has done since the last call, for its device's STATS.
    pub fn note_queue(&mut self, stream: StreamId, since_last: &QueueCounters) {
        let slot = self.streams.get(&stream).and_then(|known| known.session);
        let session = slot.and_then(|slot| self.sessions.get_mut(slot as usize));
        for (reason, packets) in since_last.drops().filter(|(_, packets)| *packets > 0) {
            self.counters.count_drops(reason, packets);
        }
        let Some(session) = session else { return };
        session.sojourn_p95_us = since_last.sojourn_percentile_us(95);
        for (reason, packets) in since_last.drops().filter(|(_, packets)| *packets > 0) {
            session.drops.add(reason, packets);
        }
    }

    /// Takes note that a payload could not be handed to another shard (its mailbox was full).
    pub fn note_mailbox_full(&mut self) {
        self.counters.count_drop(DropReason::MailboxFull);
    }

    /// Ends what has reached its end and repeats what was not heard, a batch at a time.
    pub fn handle_timeout(&mut self, now: Instant) {
        let tick = self.clock.tick(now);
        self.timeout(now, tick);
        self.settle(tick);
    }

    /// When `handle_timeout` wants to be called. O(log n).
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers
            .first()
            .map(|(tick, _)| self.clock.instant(*tick))
    }

    /// Hands out what is to be done, one command a call, in order.
    ///
    /// `out` receives the bytes of a frame; give it [`crate::limits::CONTROL_FRAME_BYTES_MAX`].
    pub fn poll_command(&mut self, out: &mut [u8]) -> Option<Command> {
        self.outbox.pop(out)
    }

    /// Takes over keys, limits and the clock. Living sessions keep the rates that they were told.
    pub fn reconfigure(&mut self, _now: Instant, config: Arc<RelayConfig>) {
        debug_assert_eq!(
            self.config.layout, config.layout,
            "shards are fixed at the start"
        );
        self.config = config;
    }

    /// Ends sessions at the control service's or an operator's word; returns how many.
    pub fn revoke(&mut self, now: Instant, revoke: &Revoke) -> usize {
        let tick = self.clock.tick(now);
        let ended = self.revoke_matching(tick, revoke);
        self.settle(tick);
        ended
    }

    /// Refuses new sessions and tells living ones to go elsewhere; None takes new ones again.
    pub fn drain(&mut self, now: Instant, restarting: Option<Restarting>) {
        let tick = self.clock.tick(now);
        self.set_draining(tick, restarting);
        self.settle(tick);
    }

    /// Refuses new sessions, and leaves living ones alone; or takes new ones again, unless it drains.
    pub fn cordon(&mut self, on: bool) {
        self.cordoned = on;
    }

    /// Ends every session of this shard: the node's last word before it exits.
    pub fn close_all(&mut self, now: Instant, reason: CloseReason) {
        let tick = self.clock.tick(now);
        let all: Vec<usize> = self.sessions.iter().map(|(slot, _)| slot).collect();
        for slot in all {
            self.close_session(tick, slot, reason);
        }
        self.settle(tick);
    }

    /// The sessions of this shard, for whoever wants to see them.
    pub fn sessions(&self, now: Instant) -> impl Iterator<Item = SessionView> + '_ {
        let now = self.clock.tick(now);
        self.sessions
            .iter()
            .map(move |(_, session)| Self::view_session(session, now))
    }

    /// The flow ends of this shard, for whoever wants to see them.
    pub fn flows(&self) -> impl Iterator<Item = FlowView> + '_ {
        self.view_flows()
    }

    /// How many sessions this shard has, those that have not spoken included.
    #[must_use]
    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// How many flow ends this shard has.
    #[must_use]
    pub fn flow_count(&self) -> usize {
        self.ends.len()
    }

    /// The rate that a connection's session may receive at, for its queue: 0 for no limit.
    #[must_use]
    pub fn stream_bytes_per_s(&self, stream: StreamId) -> u64 {
        let slot = self.streams.get(&stream).and_then(|known| known.session);
        let session = slot.and_then(|slot| self.sessions.get(slot as usize));
        session.map_or(0, |session| session.rates.bytes_per_s)
    }

    /// What has been counted so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    #[inline]
    fn frame(
        &mut self,
        instant: Instant,
        now: Tick,
        link: Link,
        packet: &[u8],
    ) -> Result<Verdict, DropReason> {
        match Frame::parse(packet)? {
            Frame::Data {
                mark,
                flow,
                payload,
            } => self.data(now, link, mark, flow, payload.len()),
            Frame::Keyed {
                mark, key, payload, ..
            } => self.keyed(now, link, mark, key, payload.len()),
            Frame::Sealed {
                session,
                counter,
                ciphertext,
            } => self.sealed(instant, now, link, session, counter, ciphertext),
            Frame::Hello { nonce } => self.hello(instant, now, link, &nonce),
            Frame::Init {
                rung,
                nonce,
                cookie,
                noise,
            } => self.init(instant, now, link, (rung, nonce, cookie), noise),
            Frame::Cookie { .. } | Frame::Welcome { .. } | Frame::Refused { .. } => {
                Err(DropReason::Unexpected)
            }
        }
    }

    /// Settles the question of a frame: a drop is counted where it becomes one.
    #[inline]
    fn verdict(&mut self, outcome: Result<Verdict, DropReason>) -> Verdict {
        outcome.unwrap_or_else(|reason| {
            self.counters.count_drop(reason);
            Verdict::Drop(reason)
        })
    }

    /// Reads the letters of this shard to itself.
    fn settle(&mut self, now: Tick) {
        while let Some(letter) = self.own_letters.pop_front() {
            self.letter(now, letter);
        }
    }

    /// Sends a letter; one to this very shard takes the shorter way.
    fn post(&mut self, shard: ShardId, letter: Letter) {
        if shard == self.shard {
            self.own_letters.push_back(letter);
        } else {
            self.counters.letters += 1;
            self.outbox.post(shard, letter);
        }
    }

    fn is_worker(&self) -> bool {
        self.shard.0 < self.config.workers
    }
}
