//! What a relay knows of one session.

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use sterna_control_api::{DeviceKey, Groups, Ticket};

use super::notices::Notices;
use super::watch::Watch;
use crate::counters::Traffic;
use crate::directory::{Route, SessionRef};
use crate::frame::NONCE_BYTES;
use crate::limits::{BURST, PRIORITY_SHARE};
use crate::noise::Keys;
use crate::time::{Bucket, Tick, nanos};
use crate::{DropReason, Limits, Link, Rung, ShardId};

/// How far a session has come.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Welcomed; its device has not spoken under the new keys.
    Embryo,
    /// Its device's newest: peers reach the device through it.
    Active,
    /// Its device has a newer one.
    Passive,
}

/// The WELCOME that an INIT got, for the INIT's repetition.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) nonce: [u8; NONCE_BYTES],
    pub(crate) noise: Vec<u8>,
    pub(crate) welcome: Vec<u8>,
    pub(crate) until: Tick,
}

/// An address that has yet to prove itself.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Challenge {
    pub(crate) link: Link,
    pub(crate) token: [u8; 16],
    pub(crate) until: Tick,
}

/// One session.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) me: SessionRef,
    pub(crate) link: Link,
    pub(crate) rung: Rung,
    pub(crate) keys: Keys,
    pub(crate) ticket: Ticket,
    pub(crate) stage: Stage,
    /// A frame of useful length has crossed to the device.
    pub(crate) is_ready: bool,
    /// Whether it answers, where its device has others.
    pub(crate) watch: Watch,
    /// The order of its activation.
    pub(crate) order: u64,
    pub(crate) began: Tick,
    pub(crate) last_valid: Tick,
    /// The longest payload that one frame carries to the device: what it says, and what the node
    /// knows of the way there.
    pub(crate) payload_max: u16,
    /// What the device says.
    pub(crate) device_payload_max: u16,
    pub(crate) rates: Rates,
    /// Places of flow ends, by the peer's key.
    pub(crate) ends: HashMap<DeviceKey, u32, FixedState>,
    pub(crate) notices: Notices,
    pub(crate) challenge: Option<Challenge>,
    pub(crate) stored: Option<Box<Stored>>,
    pub(crate) traffic: Traffic,
    pub(crate) drops: Drops,
    pub(crate) sojourn_p95_us: u32,
    /// When the session's timer is armed for.
    pub(crate) deadline: Tick,
}

/// What was dropped of and for one session; made with it, so that a drop allocates nothing.
#[derive(Clone, Debug)]
pub(crate) struct Drops {
    counts: Box<[u64; DropReason::COUNT]>,
    /// Whether something was dropped since the last STATS.
    pub(crate) is_news: bool,
}

impl Default for Drops {
    fn default() -> Self {
        Self {
            counts: Box::new([0; DropReason::COUNT]),
            is_news: false,
        }
    }
}

impl Drops {
    #[inline]
    pub(crate) fn add(&mut self, reason: DropReason, packets: u64) {
        self.is_news = true;
        self.counts[reason as usize] += packets;
    }

    /// Packets dropped for one of these reasons.
    pub(crate) fn of(&self, reasons: &[DropReason]) -> u64 {
        reasons
            .iter()
            .map(|reason| self.counts[*reason as usize])
            .sum()
    }

    /// The reasons that the session has met, with their counts.
    pub(crate) fn met(&self) -> Vec<(DropReason, u64)> {
        let all = DropReason::ALL.iter().copied().zip(*self.counts);
        all.filter(|(_, packets)| *packets > 0).collect()
    }
}

/// What a session may use, and has used.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rates {
    pub(crate) bytes_per_s: u64,
    pub(crate) packets_per_s: u32,
    pub(crate) flows_max: u32,
    bytes: Bucket,
    packets: Bucket,
    priority: Bucket,
    pub(crate) control: Bucket,
    pub(crate) keyed: Bucket,
    /// The quarter of a second that `active` is about, and flows that sent in it and the one before.
    quarter: u64,
    active: u32,
    active_before: u32,
}

/// What a flow has used of its session's rate.
#[derive(Copy, Clone, Debug, Default)]
pub(crate) struct Share {
    bytes: Bucket,
    quarter: u64,
}

impl Share {
    pub(crate) const NEW: Self = Self {
        bytes: Bucket::NEW,
        quarter: 0,
    };
}

const QUARTER_NS: u64 = nanos(BURST);

impl Rates {
    /// The ticket's class within the node's caps; 0 is no cap.
    pub(crate) fn new(ticket: &Ticket, limits: &Limits) -> Self {
        let mut rates = Self::default();
        rates.reclass(ticket, limits);
        rates
    }

    /// Takes another class over; what was used stays used.
    pub(crate) fn reclass(&mut self, ticket: &Ticket, limits: &Limits) {
        let class = ticket.rate;
        self.bytes_per_s = least(class.bytes_per_s, limits.session_bytes_per_s);
        let packets = least(
            class.packets_per_s.into(),
            limits.session_packets_per_s.into(),
        );
        self.packets_per_s = u32::try_from(packets).unwrap_or(u32::MAX);
        let flows = least(class.flows.into(), limits.flows_per_session_max.into());
        self.flows_max = u32::try_from(flows).unwrap_or(u32::MAX);
    }

    /// Polices a data frame: the device first, then the flow.
    // No allocation, no look-up.
    #[inline]
    pub(crate) fn police(
        &mut self,
        now: Tick,
        share: &mut Share,
        bytes: usize,
        is_priority: bool,
    ) -> Result<(), DropReason> {
        if self.bytes_per_s == 0 && self.packets_per_s == 0 {
            return Ok(());
        }
        let bytes = bytes as u64;
        if is_priority && self.bytes_per_s != 0 {
            // The strict class has a tenth of its own: full buckets do not stop a handshake.
            let rate = (self.bytes_per_s / PRIORITY_SHARE).max(1);
            let passes = self.priority.police(now, bytes, rate);
            return if passes {
                Ok(())
            } else {
                Err(DropReason::PriorityRate)
            };
        }
        let active = self.count_active(now, share);
        let mut depth = BURST;
        if active > 1 && self.bytes_per_s != 0 {
            // A busy device's flows get even shares, so that one cannot starve the others; one that
            // stays within its own finds room when others have filled the bucket before it came.
            let rate = (self.bytes_per_s / u64::from(active)).max(1);
            let is_busy = self.bytes.fill_ns(now) > nanos(BURST) / 2;
            let is_within = share.bytes.police(now, bytes, rate);
            if is_busy && !is_within {
                return Err(DropReason::FlowShare);
            }
            if share.bytes.fill_ns(now) < nanos(BURST) / 2 {
                depth = 2 * BURST;
            }
        }
        if !self.bytes.take(now, bytes, self.bytes_per_s, depth) {
            return Err(DropReason::ByteRate);
        }
        if !self.packets.police(now, 1, self.packets_per_s.into()) {
            return Err(DropReason::PacketRate);
        }
        Ok(())
    }

    /// How many flows of the session have sent of late.
    fn count_active(&mut self, now: Tick, share: &mut Share) -> u32 {
        // From one, so that a share that was never used is not of this quarter.
        let quarter = now.0 / QUARTER_NS + 1;
        if quarter != self.quarter {
            let follows = quarter == self.quarter + 1;
            self.active_before = if follows { self.active } else { 0 };
            (self.quarter, self.active) = (quarter, 0);
        }
        if share.quarter != quarter {
            share.quarter = quarter;
            self.active += 1;
        }
        self.active.max(self.active_before)
    }
}

/// The lesser of two caps, of which 0 is none.
fn least(a: u64, b: u64) -> u64 {
    match (a, b) {
        (0, cap) | (cap, 0) => cap,
        (a, b) => a.min(b),
    }
}

impl Session {
    /// How others reach the device.
    pub(crate) fn route(&self, shard: ShardId) -> Route {
        match self.link {
            Link::Udp { .. } => Route::Udp(self.link),
            Link::Stream(_) => Route::Shard(shard),
        }
    }

    pub(crate) fn groups(&self) -> &Groups {
        &self.ticket.groups
    }
}
