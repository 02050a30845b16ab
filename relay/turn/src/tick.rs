//! Time inside the machine: nanoseconds since it was made, in one word.
//!
//! `Instant` takes two words and its comparison two steps. A tick is what permissions, channels
//! and timers store, and what the data path compares.

use std::time::{Duration, Instant};

/// A point in time, in nanoseconds since the machine's start.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tick(u64);

impl Tick {
    /// The tick `seconds` later; far beyond any lifetime it stays at the end of time.
    pub(crate) const fn plus_s(self, seconds: u32) -> Self {
        Self(self.0.saturating_add(seconds as u64 * 1_000_000_000))
    }

    /// The time from `earlier` to this tick, zero if it is not later.
    pub(crate) const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    pub(crate) const fn as_nanos(self) -> u64 {
        self.0
    }

    #[cfg(test)]
    pub(crate) const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }
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
        // 584 years of uptime fit.
        Tick(since.as_secs().wrapping_mul(1_000_000_000) + u64::from(since.subsec_nanos()))
    }

    /// The instant of a tick.
    pub(crate) fn instant(&self, tick: Tick) -> Instant {
        self.start + Duration::from_nanos(tick.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::disallowed_methods)] // any instant will do
    fn ticks_and_instants_agree() {
        let start = Instant::now();
        let clock = Clock::new(start);
        let later = start + Duration::from_millis(1_234_567);
        assert_eq!(clock.instant(clock.tick(later)), later);
        assert_eq!(clock.tick(start), Tick::default());
        assert_eq!(
            clock.tick(start).plus_s(3),
            clock.tick(start + Duration::from_secs(3))
        );
        assert_eq!(
            Tick::default().plus_s(3).since(Tick::default()),
            Duration::from_secs(3)
        );
        assert_eq!(
            Tick::default().since(Tick::default().plus_s(3)),
            Duration::ZERO
        );
    }
}
