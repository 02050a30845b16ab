//! Time inside the machines, in one word, and token buckets over it.

use std::hash::Hasher;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use siphasher::sip::SipHasher13;

use crate::limits::{BURST, RATE_BUCKETS};

/// A point in time: nanoseconds since the machine was made.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tick(pub(crate) u64);

impl Tick {
    pub(crate) fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanos(duration)))
    }

    /// The time from `earlier` to this tick, zero if it is not later.
    pub(crate) const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// A duration in nanoseconds: 584 years fit.
pub(crate) const fn nanos(duration: Duration) -> u64 {
    duration.as_secs() * SECOND_NS + duration.subsec_nanos() as u64
}

/// Turns instants into ticks and back.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    pub(crate) const fn new(start: Instant) -> Self {
        Self { start }
    }

    /// The tick of `now`; an instant before the start counts as the start.
    #[inline]
    pub(crate) fn tick(&self, now: Instant) -> Tick {
        let since = now.saturating_duration_since(self.start);
        Tick(since.as_secs().wrapping_mul(1_000_000_000) + u64::from(since.subsec_nanos()))
    }

    pub(crate) fn instant(&self, tick: Tick) -> Instant {
        self.start + Duration::from_nanos(tick.0)
    }
}

/// The wall clock, as an instant whose seconds since 1970 are known.
#[derive(Copy, Clone, Debug)]
pub struct Epoch {
    /// When the clock was read.
    pub instant: Instant,
    /// What it said: seconds since 1970.
    pub unix_s: u64,
}

impl Epoch {
    /// Seconds since 1970 at `now`.
    #[must_use]
    pub fn unix_s(&self, now: Instant) -> u64 {
        match now.checked_duration_since(self.instant) {
            Some(since) => self.unix_s.saturating_add(since.as_secs()),
            None => self
                .unix_s
                .saturating_sub(self.instant.duration_since(now).as_secs()),
        }
    }
}

const SECOND_NS: u64 = 1_000_000_000;

/// A token bucket in one word (the generic cell rate algorithm of ITU-T I.371): it stores when it
/// will be full again, and is empty when that lies its depth ahead.
#[derive(Copy, Clone, Debug, Default)]
pub(crate) struct Bucket {
    full_at: u64,
}

impl Bucket {
    pub(crate) const NEW: Self = Self { full_at: 0 };

    /// Takes `tokens` at `rate` a second from a bucket of `depth`, if it is not empty. The last
    /// taker may overdraw it, so that a large packet is late, not lost for ever. Rate 0: no limit.
    #[inline]
    pub(crate) fn take(&mut self, now: Tick, tokens: u64, rate: u64, depth: Duration) -> bool {
        if rate == 0 {
            return true;
        }
        if self.fill_ns(now) >= nanos(depth) {
            return false;
        }
        let cost = tokens.saturating_mul(SECOND_NS) / rate;
        self.full_at = self.full_at.max(now.0).saturating_add(cost);
        true
    }

    /// Takes from a policer's bucket.
    #[inline]
    pub(crate) fn police(&mut self, now: Tick, tokens: u64, rate: u64) -> bool {
        self.take(now, tokens, rate, BURST)
    }

    /// How much of the bucket is used, as time.
    #[inline]
    pub(crate) const fn fill_ns(self, now: Tick) -> u64 {
        self.full_at.saturating_sub(now.0)
    }
}

/// A fixed array of buckets of one second, indexed by a keyed hash of the source's prefix, so that
/// no flood of forged sources grows memory and no one can aim at another's bucket.
pub(crate) struct PrefixBuckets {
    buckets: Box<[Bucket]>,
    keys: (u64, u64),
}

impl PrefixBuckets {
    pub(crate) fn new(keys: (u64, u64)) -> Self {
        Self {
            buckets: vec![Bucket::default(); RATE_BUCKETS].into(),
            keys,
        }
    }

    /// Takes a token of the source's /24 or /56; a rate of 0 is no limit.
    pub(crate) fn take(&mut self, now: Tick, source: SocketAddr, rate: u32) -> bool {
        let prefix = match source.ip() {
            IpAddr::V4(v4) => u64::from(v4.to_bits() >> 8) | 1 << 63,
            IpAddr::V6(v6) => u64::try_from(v6.to_bits() >> 72).unwrap_or(0),
        };
        let mut hasher = SipHasher13::new_with_keys(self.keys.0, self.keys.1);
        hasher.write_u64(prefix);
        let index = usize::try_from(hasher.finish() % RATE_BUCKETS as u64).unwrap_or(0);
        self.buckets[index].take(now, 1, rate.into(), Duration::from_secs(1))
    }
}

impl std::fmt::Debug for PrefixBuckets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PrefixBuckets").finish_non_exhaustive()
    }
}
