//! The device's side: one [`Session`] for each connection to a node, over one rung.
//!
//! | what | where |
//! |---|---|
//! | the handshake | `handshake` |
//! | flows: opening, sending, receiving | `flows` |
//! | what the node says | `inbound` |
//! | pings, suspicion, another address | `liveness` |
//! | how long a frame the path carries | `probe` |
//! | requests that are repeated until they are answered | `requests` |
//!
//! Which node, which rung, and when to change either is the caller's decision; a session says what
//! that decision needs to know ([`Event`]). After any call, drain [`Session::poll_transmit`] and
//! [`Session::poll_event`], then read [`Session::poll_timeout`].

mod event;
mod flows;
mod handshake;
mod inbound;
mod liveness;
mod probe;
mod requests;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha12Rng;
use sterna_control_api::{DeviceKey, RelayKey};

pub use self::event::{Event, SendError};
use self::flows::Flows;
pub use self::flows::{FlowId, FlowInfo, Frames};
use self::handshake::Handshake;
use self::liveness::Liveness;
use self::probe::Probe;
use self::requests::Requests;
use crate::message::{Message, Welcome};
use crate::noise::Keys;
use crate::time::{Clock, Tick};
use crate::{CloseReason, DropReason, Mark, Rung, Secret};

/// What a device shows a node.
#[derive(Clone, Debug)]
pub struct Config {
    /// The node's Noise key, from the signed relay map.
    pub node_key: RelayKey,
    /// The private half of the device's relay key.
    pub secret: Secret,
    /// The relay ticket.
    pub ticket: Vec<u8>,
}

/// What a frame from the node was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// A packet of a peer: a range of the frame.
    Data {
        /// The flow.
        flow: FlowId,
        /// The peer.
        peer: DeviceKey,
        /// ECN and priority of the packet.
        mark: Mark,
        /// The packet.
        payload: Range<usize>,
    },
    /// A packet of a peer that came in two halves.
    Whole {
        /// The flow.
        flow: FlowId,
        /// The peer.
        peer: DeviceKey,
        /// ECN and priority of the packet.
        mark: Mark,
        /// The packet.
        message: Vec<u8>,
    },
    /// Nothing but what the other calls say.
    Handled,
    /// It goes nowhere.
    Drop(DropReason),
}

/// How far a session has come.
#[derive(Debug)]
enum State {
    Handshake(Box<Handshake>),
    Up(Box<Up>),
    Ended,
}

/// A session that stands.
#[derive(Debug)]
struct Up {
    welcome: Welcome,
    keys: Keys,
}

/// One connection to a node.
#[derive(Debug)]
pub struct Session {
    clock: Clock,
    config: Config,
    rung: Rung,
    rng: ChaCha12Rng,
    state: State,
    /// The longest payload that one frame carries, as far as is known.
    payload_max: u16,
    flows: Flows,
    requests: Requests,
    liveness: Liveness,
    probe: Probe,
    out: VecDeque<Vec<u8>>,
    events: VecDeque<Event>,
    active: bool,
}

impl Session {
    /// Begins a handshake.
    ///
    /// `exporter` is [`crate::frame::EXPORTER_LABEL`]'s of the TLS below on `quic` and `wss`, and
    /// none on `udp`. `payload_max` is what one frame is known to carry: on `udp`
    /// [`crate::limits::PAYLOAD_BYTES_INITIAL`] until the session's probes show more.
    ///
    /// # Panics
    /// Where an exporter is given on `udp`, or none on another rung.
    #[must_use]
    pub fn new(
        now: Instant,
        config: Config,
        rung: Rung,
        exporter: Option<[u8; 32]>,
        payload_max: u16,
        seed: [u8; 32],
    ) -> Self {
        assert_eq!(
            exporter.is_some(),
            rung != Rung::Udp,
            "an exporter binds to TLS"
        );
        let clock = Clock::new(now);
        let mut rng = ChaCha12Rng::from_seed(seed);
        let handshake = Handshake::new(clock.tick(now), &mut rng, exporter);
        let flows = Flows::new(rng.next_u64());
        let mut session = Self {
            clock,
            config,
            rung,
            rng,
            state: State::Handshake(Box::new(handshake)),
            payload_max,
            flows,
            requests: Requests::new(rung),
            liveness: Liveness::default(),
            probe: Probe::new(rung),
            out: VecDeque::new(),
            events: VecDeque::new(),
            active: false,
        };
        session.begin(clock.tick(now));
        session
    }

    /// Takes a frame from the node. On `udp`, the caller lets only datagrams from the node's address
    /// pass.
    pub fn handle_packet(&mut self, now: Instant, packet: &[u8]) -> Received {
        let now = self.clock.tick(now);
        self.inbound(now, packet).unwrap_or_else(Received::Drop)
    }

    /// A frame to send to the node: its length in `out`. Give it
    /// [`crate::limits::CONTROL_FRAME_BYTES_MAX`].
    pub fn poll_transmit(&mut self, out: &mut [u8]) -> Option<usize> {
        let frame = self.out.pop_front()?;
        let Some(place) = out.get_mut(..frame.len()) else {
            debug_assert!(
                false,
                "a frame of {} bytes, and no room for it",
                frame.len()
            );
            return None;
        };
        place.copy_from_slice(&frame);
        Some(frame.len())
    }

    /// What has happened, in order.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        let now = self.clock.tick(now);
        self.handshake_timeout(now);
        self.requests_timeout(now);
        self.liveness_timeout(now);
        self.probe_timeout(now);
        self.flows.expire(now);
    }

    /// When `handle_timeout` wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let next = match &self.state {
            State::Handshake(handshake) => Some(handshake.next()),
            State::Up(_) => {
                let timers = [
                    self.requests.next(),
                    Some(self.liveness.next()),
                    self.probe.next(),
                ];
                timers.into_iter().flatten().min()
            }
            State::Ended => None,
        };
        next.map(|tick| self.clock.instant(tick))
    }

    /// Asks for a flow to a peer; [`Event::Flow`] says what became of it. Asking twice is asking
    /// once. May be called before the session is up.
    pub fn open(&mut self, now: Instant, peer: DeviceKey) -> FlowId {
        let now = self.clock.tick(now);
        self.open_flow(now, peer)
    }

    /// Gives a flow up.
    pub fn close_flow(&mut self, now: Instant, flow: FlowId) {
        let now = self.clock.tick(now);
        self.give_up_flow(now, flow);
    }

    /// Says how a packet of `len` bytes is sent on a flow: in one frame, or in two halves.
    ///
    /// # Errors
    /// See [`SendError`].
    // No allocation but what the answer is.
    pub fn send(
        &mut self,
        now: Instant,
        flow: FlowId,
        mark: Mark,
        len: usize,
    ) -> Result<Frames, SendError> {
        let now = self.clock.tick(now);
        let frames = self.frames(flow, mark, len)?;
        self.liveness.sent(now);
        Ok(frames)
    }

    /// Takes note that an answer is expected soon, so that silence means something.
    pub fn expect_data(&mut self, now: Instant) {
        let now = self.clock.tick(now);
        self.liveness.sent(now);
    }

    /// Asks the node at once whether it answers; [`Event::Alive`] says so.
    pub fn ping_now(&mut self, now: Instant) {
        let now = self.clock.tick(now);
        if self.is_up() {
            self.ping(now);
        }
    }

    /// Takes note that the device's own address may be another one (`udp`): the session moves there
    /// once the node has proved it.
    pub fn address_changed(&mut self, now: Instant) {
        let now = self.clock.tick(now);
        self.rebind(now);
    }

    /// Shows a newer ticket; [`Event::Renewed`] or [`Event::RenewRefused`] follows.
    pub fn renew(&mut self, now: Instant, ticket: Vec<u8>) {
        let now = self.clock.tick(now);
        self.config.ticket.clone_from(&ticket);
        self.request(now, move |request| Message::Renew { request, ticket });
    }

    /// Takes note of what one frame carries now (QUIC's path MTU), and tells the node.
    pub fn set_payload_max(&mut self, now: Instant, payload_max: u16) {
        let now = self.clock.tick(now);
        if self.payload_max != payload_max {
            self.limit(now, payload_max);
        }
    }

    /// Says goodbye. What [`Session::poll_transmit`] still has is the last of it.
    pub fn close(&mut self, _now: Instant) {
        if matches!(self.state, State::Up(_)) {
            self.tell(&Message::Close {
                reason: CloseReason::Done,
                text: String::new(),
            });
        }
        self.state = State::Ended;
    }

    /// Tells whether the node has welcomed the device.
    #[must_use]
    pub fn is_up(&self) -> bool {
        matches!(self.state, State::Up(_))
    }

    /// Tells whether peers reach the device through this session.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.active && self.is_up()
    }

    /// Tells whether the node has not answered three pings.
    #[must_use]
    pub fn is_suspect(&self) -> bool {
        self.liveness.is_suspect()
    }

    /// What carries the session.
    #[must_use]
    pub fn rung(&self) -> Rung {
        self.rung
    }

    /// What the node said when it let the device in.
    #[must_use]
    pub fn welcome(&self) -> Option<&Welcome> {
        match &self.state {
            State::Up(up) => Some(&up.welcome),
            _ => None,
        }
    }

    /// The device's address, as the node saw it when the session began.
    #[must_use]
    pub fn observed(&self) -> Option<SocketAddr> {
        self.welcome().map(|welcome| welcome.observed)
    }

    /// The last round trip.
    #[must_use]
    pub fn rtt(&self) -> Option<Duration> {
        self.liveness.rtt()
    }

    /// The longest payload that one frame carries on the device's own path.
    #[must_use]
    pub fn payload_max(&self) -> u16 {
        self.payload_max
    }

    /// What is known of a flow.
    #[must_use]
    pub fn flow(&self, flow: FlowId) -> Option<FlowInfo> {
        self.flows.info(flow)
    }

    /// The flow to a peer, if there is one.
    #[must_use]
    pub fn flow_to(&self, peer: &DeviceKey) -> Option<FlowId> {
        self.flows.to(peer)
    }

    /// Halves that came without their other half.
    #[must_use]
    pub fn halves_lost(&self) -> u64 {
        self.flows.halves_lost()
    }

    /// Says something to the node, once.
    fn tell(&mut self, message: &Message) {
        self.tell_bytes(&message.to_bytes());
    }

    fn tell_bytes(&mut self, message: &[u8]) {
        if let State::Up(up) = &mut self.state {
            self.out
                .push_back(up.keys.seal(up.welcome.session, message));
        }
    }

    /// Ends the session for a reason.
    fn end(&mut self, event: Event) {
        self.state = State::Ended;
        self.events.push_back(event);
    }

    /// Tells the node what this device takes.
    fn limit(&mut self, now: Tick, payload_max: u16) {
        self.payload_max = payload_max;
        self.request(now, move |request| Message::Limit {
            request,
            payload_max,
        });
    }
}
