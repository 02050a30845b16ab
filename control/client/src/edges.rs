//! The clock and the random source: what a test takes into its own hands.

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rand::Rng;

type Clock = dyn Fn() -> u64 + Send + Sync;
type Fill = dyn Fn(&mut [u8]) + Send + Sync;

/// Where time and randomness come from.
#[derive(Clone)]
pub struct Edges {
    unix_us: Arc<Clock>,
    fill: Arc<Fill>,
}

impl Edges {
    /// Takes a clock, in microseconds since 1970, and a source of random bytes.
    pub fn new(
        unix_us: impl Fn() -> u64 + Send + Sync + 'static,
        fill: impl Fn(&mut [u8]) + Send + Sync + 'static,
    ) -> Self {
        Self {
            unix_us: Arc::new(unix_us),
            fill: Arc::new(fill),
        }
    }

    pub(crate) fn unix_us(&self) -> u64 {
        (self.unix_us)()
    }

    pub(crate) fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        (self.fill)(&mut bytes);
        bytes
    }
}

impl Default for Edges {
    /// The system's.
    fn default() -> Self {
        let unix_us = || {
            // A clock before 1970 makes signatures that are refused as stale, which says what is wrong.
            let since = SystemTime::now().duration_since(UNIX_EPOCH);
            since.map_or(0, |since| {
                u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
            })
        };
        Self::new(unix_us, |bytes| rand::rng().fill_bytes(bytes))
    }
}

impl fmt::Debug for Edges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Edges")
    }
}
