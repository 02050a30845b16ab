//! What a relay counts: plain integers of one shard, read by whoever runs it.

use crate::{CloseReason, DropReason, Refusal, Rung};

/// Packets and payload bytes.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// How many packets.
    pub packets: u64,
    /// How many bytes of payload, without heads.
    pub bytes: u64,
}

impl Traffic {
    #[inline]
    pub(crate) const fn add(&mut self, bytes: usize) {
        self.packets += 1;
        self.bytes += bytes as u64;
    }
}

/// What one relay has counted since it was made.
#[derive(Clone, Debug)]
pub struct Counters {
    drops: [u64; DropReason::COUNT],
    refusals: [u64; Refusal::COUNT],
    ends: [u64; CloseReason::COUNT],
    /// Data taken from devices of each rung and sent on.
    pub received: [Traffic; Rung::ALL.len()],
    /// Data sent to devices of each rung from this shard.
    pub sent: [Traffic; Rung::ALL.len()],
    /// Data handed to another shard.
    pub to_shards: u64,
    /// Packets that another shard was to handle, for want of steering.
    pub passed_on: u64,
    /// HELLOs answered.
    pub cookies: u64,
    /// Handshakes answered by WELCOME with a new session.
    pub welcomes: u64,
    /// INITs that were answered by the WELCOME that they had got before.
    pub welcomes_repeated: u64,
    /// Sessions that have spoken under their keys, by rung.
    pub sessions_begun: [u64; Rung::ALL.len()],
    /// Sessions that moved to another address.
    pub rebound: u64,
    /// Sessions that became passive, because their device has a newer one.
    pub displaced: u64,
    /// Passive sessions that became active again.
    pub promoted: u64,
    /// Flow ends made.
    pub flows_opened: u64,
    /// Requests for a flow beyond a session's cap.
    pub flows_refused: u64,
    /// Messages to devices that were repeated.
    pub notices_repeated: u64,
    /// Messages to devices that gave way to newer ones, or were given up.
    pub notices_lost: u64,
    /// Letters to other shards.
    pub letters: u64,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            drops: [0; DropReason::COUNT],
            refusals: [0; Refusal::COUNT],
            ends: [0; CloseReason::COUNT],
            received: Default::default(),
            sent: Default::default(),
            to_shards: 0,
            passed_on: 0,
            cookies: 0,
            welcomes: 0,
            welcomes_repeated: 0,
            sessions_begun: [0; Rung::ALL.len()],
            rebound: 0,
            displaced: 0,
            promoted: 0,
            flows_opened: 0,
            flows_refused: 0,
            notices_repeated: 0,
            notices_lost: 0,
            letters: 0,
        }
    }
}

impl Counters {
    /// Frames dropped, by reason.
    pub fn drops(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL.iter().copied().zip(self.drops)
    }

    /// Frames dropped for one reason.
    #[must_use]
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize]
    }

    /// Handshakes and requests refused, by code.
    pub fn refusals(&self) -> impl Iterator<Item = (Refusal, u64)> + '_ {
        Refusal::ALL.iter().copied().zip(self.refusals)
    }

    /// Handshakes and requests refused with one code.
    #[must_use]
    pub fn refused(&self, refusal: Refusal) -> u64 {
        self.refusals[refusal as usize]
    }

    /// Sessions ended, by reason.
    pub fn ends(&self) -> impl Iterator<Item = (CloseReason, u64)> + '_ {
        CloseReason::ALL.iter().copied().zip(self.ends)
    }

    pub(crate) fn count_drop(&mut self, reason: DropReason) {
        self.drops[reason as usize] += 1;
    }

    pub(crate) fn count_drops(&mut self, reason: DropReason, packets: u64) {
        self.drops[reason as usize] += packets;
    }

    pub(crate) fn count_refusal(&mut self, refusal: Refusal) {
        self.refusals[refusal as usize] += 1;
    }

    pub(crate) fn count_end(&mut self, reason: CloseReason) {
        self.ends[reason as usize] += 1;
    }
}
