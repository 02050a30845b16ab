//! When the next burst may leave.

/// How much time's worth of bursts an open loop makes up for after the generator was held up.
const CATCH_UP_NS: u64 = 20_000_000;

/// The rule by which bursts leave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Pace {
    /// So many bursts are on their way at any time.
    Closed {
        /// Bursts that may leave now.
        credit: u32,
    },
    /// So many bursts leave each second.
    Open {
        /// Time between two bursts, in 2^-16 ns: exact enough for three days at any rate.
        interval: u64,
        /// When the next one leaves, in the same unit.
        next: u64,
    },
}

const FRACTION_BITS: u32 = 16;

impl Pace {
    /// `outstanding` packets in bursts of `burst`; at least one burst.
    pub(crate) fn closed(outstanding: u32, burst: u32) -> Self {
        Self::Closed {
            credit: (outstanding / burst).max(1),
        }
    }

    /// `rate` packets a second in bursts of `burst`, from `now_ns` on.
    pub(crate) fn open(rate: u64, burst: u32, now_ns: u64) -> Self {
        let interval = (1_000_000_000 << FRACTION_BITS) / rate.max(1) * u64::from(burst);
        Self::Open {
            interval,
            next: now_ns << FRACTION_BITS,
        }
    }

    /// Takes leave for one burst.
    pub(crate) fn take(&mut self, now_ns: u64) -> bool {
        match self {
            Self::Closed { credit: 0 } => false,
            Self::Closed { credit } => {
                *credit -= 1;
                true
            }
            Self::Open { interval, next } => {
                let now = now_ns << FRACTION_BITS;
                if *next > now {
                    return false;
                }
                *next = (*next).max(now.saturating_sub(CATCH_UP_NS << FRACTION_BITS)) + *interval;
                true
            }
        }
    }

    /// Notes that bursts have arrived, or were given up.
    pub(crate) fn returned(&mut self, bursts: u32) {
        if let Self::Closed { credit } = self {
            *credit += bursts;
        }
    }

    /// When the next burst leaves by itself.
    pub(crate) fn next_ns(&self) -> Option<u64> {
        match self {
            Self::Closed { .. } => None,
            Self::Open { next, .. } => Some(*next >> FRACTION_BITS),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_loop_sends_what_has_returned() {
        let mut pace = Pace::closed(20, 8);
        assert_eq!(
            [pace.take(0), pace.take(0), pace.take(0)],
            [true, true, false]
        );
        pace.returned(1);
        assert_eq!([pace.take(0), pace.take(0)], [true, false]);
        assert_eq!(Pace::closed(1, 8), Pace::Closed { credit: 1 });
    }

    #[test]
    fn an_open_loop_sends_by_the_clock() {
        let mut pace = Pace::open(1_000_000, 4, 0);
        let mut sent = 0;
        for now_ns in (0..=1_000_000).step_by(500) {
            while pace.take(now_ns) {
                sent += 4;
            }
        }
        assert_eq!(sent, 1004);
    }

    #[test]
    fn an_open_loop_makes_up_for_a_short_pause_only() {
        let mut pace = Pace::open(1_000_000, 1, 0);
        let late = 1_000_000_000;
        let sent = std::iter::repeat_with(|| pace.take(late))
            .take_while(|left| *left)
            .count();
        assert_eq!(sent, 20_001);
    }
}
