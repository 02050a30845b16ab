//! The ends of flows that a shard's sessions have, by slot.

use rand::RngExt;
use rand_chacha::ChaCha12Rng;
use sterna_control_api::DeviceKey;

use super::session::Share;
use crate::counters::Traffic;
use crate::directory::PeerRef;
use crate::limits::{GENERATION_BITS, SLOTS_AT_A_TIME};
use crate::{FlowNumber, Link, NumberLayout, PeerState, ShardId};

/// Where the frames of an end go.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Path {
    /// The peer is not here.
    Nowhere,
    /// From this worker's socket straight to the peer.
    Udp(Link, FlowNumber),
    /// To an end of this very shard.
    Local(FlowNumber),
    /// To an end of another shard.
    Shard(ShardId, FlowNumber),
}

/// One end of a flow. What a data frame needs stands first.
#[derive(Clone, Debug)]
pub(crate) struct End {
    /// None where the slot is free.
    pub(crate) number: FlowNumber,
    /// Whose end it is.
    pub(crate) session: u32,
    pub(crate) path: Path,
    pub(crate) share: Share,
    pub(crate) traffic: Traffic,
    pub(crate) key: DeviceKey,
    pub(crate) peer: Option<PeerRef>,
    pub(crate) state: PeerState,
    /// What the device was last told that a frame of this flow can carry.
    pub(crate) payload_max: u16,
    /// An OPEN that waits for the peer's shard.
    pub(crate) request: Option<u32>,
    generation: u32,
}

/// Every end of a shard.
#[derive(Debug)]
pub(crate) struct Ends {
    layout: NumberLayout,
    shard: ShardId,
    slots: Vec<End>,
    free: Vec<u32>,
}

impl Ends {
    pub(crate) fn new(layout: NumberLayout, shard: ShardId) -> Self {
        Self {
            layout,
            shard,
            slots: Vec::new(),
            free: Vec::new(),
        }
    }

    /// The place of a living end.
    #[inline]
    pub(crate) fn find(&self, number: FlowNumber) -> Option<usize> {
        let slot = self.layout.slot(number) as usize;
        let end = self.slots.get(slot)?;
        (end.number == number && number != FlowNumber::NONE).then_some(slot)
    }

    #[inline]
    pub(crate) fn at(&mut self, place: usize) -> &mut End {
        &mut self.slots[place]
    }

    /// Makes an end; none where every slot is taken.
    pub(crate) fn insert(
        &mut self,
        rng: &mut ChaCha12Rng,
        session: u32,
        key: DeviceKey,
    ) -> Option<usize> {
        self.grow();
        if self.free.is_empty() {
            return None;
        }
        // Any free one, so that numbers tell nothing of how many flows there are.
        let slot = self.free.swap_remove(rng.random_range(0..self.free.len()));
        let place = slot as usize;
        let generation = self.slots[place].generation % ((1 << GENERATION_BITS) - 1) + 1;
        self.slots[place] = End {
            number: self.layout.number(self.shard, slot, generation),
            session,
            key,
            generation,
            ..End::free()
        };
        Some(place)
    }

    /// Frees an end's slot.
    pub(crate) fn remove(&mut self, place: usize) -> End {
        let generation = self.slots[place].generation;
        let free = End {
            generation,
            ..End::free()
        };
        let end = std::mem::replace(&mut self.slots[place], free);
        self.free.push(self.layout.slot(end.number));
        end
    }

    /// The living ends.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &End> {
        self.slots
            .iter()
            .filter(|end| end.number != FlowNumber::NONE)
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Keeps a quarter of the slots free, so that the choice among them is one.
    fn grow(&mut self) {
        let made = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
        if self.free.len() * 4 > self.slots.len() {
            return;
        }
        let more = SLOTS_AT_A_TIME
            .max(made / 2)
            .min(self.layout.slots() - made);
        self.free.extend(made..made + more);
        self.slots.resize((made + more) as usize, End::free());
    }
}

impl End {
    const fn free() -> Self {
        Self {
            number: FlowNumber::NONE,
            session: u32::MAX,
            path: Path::Nowhere,
            share: Share::NEW,
            traffic: Traffic {
                packets: 0,
                bytes: 0,
            },
            key: DeviceKey([0; 32]),
            peer: None,
            state: PeerState::Unknown,
            payload_max: 0,
            request: None,
            generation: 0,
        }
    }
}
