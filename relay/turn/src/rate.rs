//! Token buckets in one word each.
//!
//! A bucket stores the moment at which it will be full again (the generic cell rate algorithm of
//! ITU-T I.371): taking a token moves that moment on by a token's worth, and a bucket whose moment
//! lies a second ahead is empty. Every bucket therefore holds one second of its rate.

use std::{hash::Hasher, net::SocketAddr};

use siphasher::sip::SipHasher13;

use crate::{
    limits::{RATE_BUCKET_BYTES, RATE_BUCKETS},
    registry::quota::SourcePrefix,
    tick::Tick,
};

const SECOND_NS: u64 = 1_000_000_000;

/// A bucket that holds one second of its rate.
#[derive(Copy, Clone, Debug, Default)]
pub(crate) struct Bucket {
    full_at: u64,
}

const _: () = assert!(size_of::<Bucket>() == RATE_BUCKET_BYTES);

impl Bucket {
    /// Takes `tokens` at `rate` a second, if the bucket is not empty. The last taker may overdraw
    /// it, so that a packet larger than a second's worth is late, not lost for ever.
    pub(crate) fn take(&mut self, now: Tick, tokens: u64, rate: u64) -> bool {
        if self.is_empty(now) {
            return false;
        }
        let full_at = self.full_at.max(now.as_nanos());
        self.full_at = full_at + tokens.saturating_mul(SECOND_NS).div_ceil(rate.max(1));
        true
    }

    fn is_empty(self, now: Tick) -> bool {
        self.full_at.saturating_sub(now.as_nanos()) >= SECOND_NS
    }
}

/// A fixed array of buckets, indexed by a keyed hash, so that no flood of forged sources grows
/// memory and no one can aim at another's bucket.
pub(crate) struct HashedBuckets {
    buckets: Box<[Bucket]>,
    keys: (u64, u64),
}

impl HashedBuckets {
    pub(crate) fn new(keys: (u64, u64)) -> Self {
        Self {
            buckets: vec![Bucket::default(); RATE_BUCKETS].into(),
            keys,
        }
    }

    /// Tells whether the source's prefix has a token; a rate of 0 is no limit.
    pub(crate) fn has_prefix(&self, now: Tick, source: SocketAddr, rate: u32) -> bool {
        let index = self.index(SourcePrefix::of(source.ip()).bits(), 0);
        rate == 0 || !self.buckets[index].is_empty(now)
    }

    /// Takes a token of the source's prefix; a rate of 0 is no limit.
    pub(crate) fn take_prefix(&mut self, now: Tick, source: SocketAddr, rate: u32) -> bool {
        self.take(now, SourcePrefix::of(source.ip()).bits(), 0, rate)
    }

    /// Takes a token of the source's exact address and port; a rate of 0 is no limit.
    pub(crate) fn take_exact(&mut self, now: Tick, source: SocketAddr, rate: u32) -> bool {
        let (high, low) = match source {
            SocketAddr::V4(v4) => (u64::from(v4.ip().to_bits()), u64::from(v4.port())),
            SocketAddr::V6(v6) => {
                let [a, b, c, d, e, f, g, h, rest @ ..] = v6.ip().octets();
                let high = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
                (
                    high,
                    u64::from_be_bytes(rest).rotate_left(16) ^ u64::from(v6.port()),
                )
            }
        };
        self.take(now, high, low, rate)
    }

    fn take(&mut self, now: Tick, high: u64, low: u64, rate: u32) -> bool {
        let index = self.index(high, low);
        rate == 0 || self.buckets[index].take(now, 1, rate.into())
    }

    fn index(&self, high: u64, low: u64) -> usize {
        let mut hasher = SipHasher13::new_with_keys(self.keys.0, self.keys.1);
        hasher.write_u64(high);
        hasher.write_u64(low);
        usize::try_from(hasher.finish() % RATE_BUCKETS as u64).unwrap_or(0)
    }
}

impl std::fmt::Debug for HashedBuckets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HashedBuckets({})", self.buckets.len())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn at_ms(ms: u64) -> Tick {
        Tick::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn a_bucket_holds_one_second_and_fills_at_its_rate() {
        let mut bucket = Bucket::default();
        let taken = (0..1000).filter(|_| bucket.take(at_ms(0), 1, 50)).count();
        assert_eq!(taken, 50);
        assert!(!bucket.take(at_ms(0), 1, 50));
        assert!(bucket.take(at_ms(20), 1, 50));
        assert!(!bucket.take(at_ms(20), 1, 50));
        assert_eq!(
            (0..1000)
                .filter(|_| bucket.take(at_ms(9_000), 1, 50))
                .count(),
            50
        );
    }

    #[test]
    fn a_packet_beyond_the_rate_is_late_and_not_lost() {
        let mut bucket = Bucket::default();
        assert!(bucket.take(at_ms(0), 3_000, 1_000));
        assert!(!bucket.take(at_ms(2_000), 1, 1_000));
        assert!(bucket.take(at_ms(2_001), 1, 1_000));
    }

    #[test]
    fn neighbours_share_a_prefix_bucket_and_not_an_exact_one() {
        let (one, neighbour): (SocketAddr, SocketAddr) = (
            "198.51.100.1:1000".parse().unwrap(),
            "198.51.100.2:1000".parse().unwrap(),
        );
        let mut prefixes = HashedBuckets::new((1, 2));
        assert!(prefixes.take_prefix(at_ms(0), one, 1));
        assert!(!prefixes.take_prefix(at_ms(0), neighbour, 1));
        assert!(
            prefixes.take_prefix(at_ms(0), neighbour, 0),
            "0 is no limit"
        );
        let mut exact = HashedBuckets::new((1, 2));
        assert!(exact.take_exact(at_ms(0), one, 1));
        assert!(exact.take_exact(at_ms(0), neighbour, 1));
        assert!(exact.take_exact(at_ms(0), "198.51.100.1:1001".parse().unwrap(), 1));
        assert!(!exact.take_exact(at_ms(0), one, 1));
    }
}
