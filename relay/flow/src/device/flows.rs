//! A device's flows: opening them, and how packets cross them.

use std::ops::Range;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use slab::Slab;
use sterna_control_api::DeviceKey;

use super::{Event, SendError, Session, State};
use crate::fragment::{Reassembly, Split, split};
use crate::message::Message;
use crate::time::Tick;
use crate::{FlowNumber, Head, Mark, PeerState};

/// A flow of one session.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowId(pub(super) u32);

/// What is known of a flow.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct FlowInfo {
    /// The peer.
    pub peer: DeviceKey,
    /// Its state.
    pub state: PeerState,
    /// Whether the node has given the flow a number.
    pub open: bool,
    /// The longest payload of one frame to it.
    pub payload_max: u16,
}

/// How a packet is sent: the head and the range of each frame.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Frames {
    first: (Head, usize, usize),
    second: Option<(Head, usize, usize)>,
}

impl Frames {
    /// Each frame: what stands before the payload, and the payload as a range of the packet.
    pub fn iter(&self) -> impl Iterator<Item = (Head, Range<usize>)> {
        let parts = [Some(self.first), self.second];
        parts
            .into_iter()
            .flatten()
            .map(|(head, from, to)| (head, from..to))
    }

    /// Tells whether the packet goes in two halves.
    #[must_use]
    pub const fn is_split(&self) -> bool {
        self.second.is_some()
    }
}

#[derive(Debug)]
pub(super) struct Flow {
    pub(super) peer: DeviceKey,
    pub(super) number: FlowNumber,
    pub(super) state: PeerState,
    pub(super) payload_max: u16,
    /// Whether this device wants it, or its peer has opened it.
    pub(super) asked: bool,
    /// The node has answered OPEN, or has announced the flow.
    pub(super) answered: bool,
    message: u16,
    pub(super) halves: Reassembly,
}

/// All flows of a session.
#[derive(Debug)]
pub(super) struct Flows {
    pub(super) all: Slab<Flow>,
    by_key: HashMap<DeviceKey, u32, FixedState>,
    by_number: HashMap<FlowNumber, u32, FixedState>,
    lost_before: u64,
}

impl Flows {
    pub(super) fn new(seed: u64) -> Self {
        let hash = FixedState::with_seed(seed);
        Self {
            all: Slab::new(),
            by_key: HashMap::with_hasher(hash.clone()),
            by_number: HashMap::with_hasher(hash),
            lost_before: 0,
        }
    }

    pub(super) fn info(&self, flow: FlowId) -> Option<FlowInfo> {
        let flow = self.all.get(flow.0 as usize)?;
        Some(FlowInfo {
            peer: flow.peer,
            state: flow.state,
            open: flow.number != FlowNumber::NONE,
            payload_max: flow.payload_max,
        })
    }

    pub(super) fn to(&self, peer: &DeviceKey) -> Option<FlowId> {
        self.by_key.get(peer).copied().map(FlowId)
    }

    pub(super) fn numbered(&self, number: FlowNumber) -> Option<FlowId> {
        self.by_number.get(&number).copied().map(FlowId)
    }

    /// Gets or makes the flow to a peer.
    pub(super) fn get_or_insert(&mut self, peer: DeviceKey, asked: bool) -> FlowId {
        if let Some(flow) = self.to(&peer) {
            self.all[flow.0 as usize].asked |= asked;
            return flow;
        }
        let place = self.all.insert(Flow {
            peer,
            number: FlowNumber::NONE,
            state: PeerState::Unknown,
            payload_max: 0,
            asked,
            answered: false,
            message: 0,
            halves: Reassembly::default(),
        });
        let place = u32::try_from(place).expect("invariant: fewer flows than 2^24");
        self.by_key.insert(peer, place);
        FlowId(place)
    }

    /// Gives a flow the number that the node says.
    pub(super) fn number(&mut self, flow: FlowId, number: FlowNumber) {
        let held = &mut self.all[flow.0 as usize];
        if held.number != number {
            self.by_number.remove(&held.number);
            held.number = number;
            self.by_number.insert(number, flow.0);
        }
    }

    pub(super) fn remove(&mut self, flow: FlowId) -> Option<Flow> {
        let removed = self.all.try_remove(flow.0 as usize)?;
        self.by_key.remove(&removed.peer);
        self.by_number.remove(&removed.number);
        self.lost_before += removed.halves.lost;
        Some(removed)
    }

    pub(super) fn expire(&mut self, now: Tick) {
        for (_, flow) in &mut self.all {
            flow.halves.expire(now);
        }
    }

    pub(super) fn halves_lost(&self) -> u64 {
        self.all
            .iter()
            .map(|(_, flow)| flow.halves.lost)
            .sum::<u64>()
            + self.lost_before
    }
}

impl Session {
    pub(super) fn open_flow(&mut self, now: Tick, peer: DeviceKey) -> FlowId {
        let known = self.flows.to(&peer).is_some_and(|flow| {
            let flow = &self.flows.all[flow.0 as usize];
            flow.asked && (flow.state == PeerState::Online || !flow.answered)
        });
        let flow = self.flows.get_or_insert(peer, true);
        if self.is_up() && !known {
            self.request(now, move |request| Message::Open { request, peer });
        }
        flow
    }

    /// Asks for all flows that were wanted before the session was up.
    pub(super) fn open_all(&mut self, now: Tick) {
        let wanted: Vec<DeviceKey> = self.flows.all.iter().map(|(_, flow)| flow.peer).collect();
        for peer in wanted {
            self.request(now, move |request| Message::Open { request, peer });
        }
    }

    pub(super) fn give_up_flow(&mut self, now: Tick, flow: FlowId) {
        let Some(flow) = self.flows.remove(flow) else {
            return;
        };
        self.requests.forget_open(&flow.peer);
        if flow.number != FlowNumber::NONE && self.is_up() {
            let number = flow.number;
            self.request(now, move |request| Message::CloseFlow {
                request,
                flow: number,
            });
        }
    }

    /// How a packet crosses.
    pub(super) fn frames(
        &mut self,
        flow: FlowId,
        mark: Mark,
        len: usize,
    ) -> Result<Frames, SendError> {
        let State::Up(up) = &self.state else {
            return Err(SendError::NotUp);
        };
        let flow = self
            .flows
            .all
            .get_mut(flow.0 as usize)
            .ok_or(SendError::NoFlow)?;
        if len == 0 {
            return Err(SendError::Empty);
        }
        if flow.state != PeerState::Online {
            if flow.answered {
                return Err(SendError::PeerAbsent);
            }
            // The first packets need not wait for OPENED.
            if len + 32 > usize::from(self.payload_max) {
                return Err(SendError::NotOpen);
            }
            let head = Head::keyed(mark, Some(up.welcome.session), &flow.peer);
            return Ok(Frames {
                first: (head, 0, len),
                second: None,
            });
        }
        let max = flow.payload_max.min(self.payload_max);
        match split(len, max) {
            Split::Whole => {
                let head = Head::data(mark, flow.number);
                Ok(Frames {
                    first: (head, 0, len),
                    second: None,
                })
            }
            Split::Halves(at) => {
                flow.message = flow.message.wrapping_add(1);
                let half = |index| Head::fragment(mark, flow.number, flow.message, index);
                Ok(Frames {
                    first: (half(0), 0, at),
                    second: Some((half(1), at, len)),
                })
            }
            Split::TooLong => Err(SendError::TooLong),
        }
    }

    /// The node has said what a flow is.
    pub(super) fn flow_opened(
        &mut self,
        peer: DeviceKey,
        number: FlowNumber,
        state: PeerState,
        payload_max: u16,
    ) {
        let flow = self.flows.get_or_insert(peer, false);
        self.flows.number(flow, number);
        self.flow_changed(flow, state, payload_max);
    }

    pub(super) fn flow_changed(&mut self, flow: FlowId, state: PeerState, payload_max: u16) {
        let held = &mut self.flows.all[flow.0 as usize];
        let is_news = !held.answered || held.state != state || held.payload_max != payload_max;
        held.state = state;
        held.payload_max = payload_max;
        held.answered = true;
        let (peer, asked) = (held.peer, held.asked);
        if is_news {
            self.events.push_back(Event::Flow {
                flow,
                peer,
                state,
                payload_max,
                asked,
            });
        }
    }
}
