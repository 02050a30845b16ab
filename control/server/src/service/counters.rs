//! Counters of signed reads and heartbeats: each key's grows, in the memory of this replica.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::refusal::Refusal;
use crate::limits::COUNTERS_MAX;

/// The last counter of each key.
///
/// A key that is not remembered (this replica is new, or has forgotten it) may begin anywhere, but
/// not with a request that was signed before this replica began to remember: that one may have been
/// answered before.
pub(crate) struct Counters {
    seen: Mutex<Seen>,
}

struct Seen {
    /// Two generations: when the younger is full, the older is forgotten.
    young: HashMap<[u8; 32], u64>,
    old: HashMap<[u8; 32], u64>,
    /// Since when what is not here has not been seen, in seconds since 1970.
    since: u64,
    /// Since when that holds of the younger generation alone.
    young_since: u64,
}

impl Counters {
    /// Begins at `now` with what the store knows.
    pub(crate) fn new(now: u64, known: impl IntoIterator<Item = ([u8; 32], u64)>) -> Self {
        Self {
            seen: Mutex::new(Seen {
                young: known.into_iter().collect(),
                old: HashMap::new(),
                since: now,
                young_since: now,
            }),
        }
    }

    /// Takes a request of a key.
    pub(crate) fn take(
        &self,
        now: u64,
        key: [u8; 32],
        created: u64,
        counter: u64,
    ) -> Result<(), Refusal> {
        // Each entry is whole.
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let last = seen.young.get(&key).or_else(|| seen.old.get(&key)).copied();
        match last {
            Some(last) if counter <= last => return Err(Refusal::replayed()),
            None if created < seen.since => return Err(Refusal::stale()),
            _ => {}
        }
        if seen.young.len() >= COUNTERS_MAX / 2 && !seen.young.contains_key(&key) {
            seen.old = std::mem::take(&mut seen.young);
            seen.since = seen.young_since;
            seen.young_since = now;
        }
        seen.young.insert(key, counter);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_counter_grows_and_is_taken_once() {
        let counters = Counters::new(100, [([1; 32], 7)]);
        assert!(
            counters.take(100, [1; 32], 50, 7).is_err(),
            "the store knew it"
        );
        counters.take(100, [1; 32], 50, 8).unwrap();
        counters.take(100, [2; 32], 100, 0).unwrap();
        assert!(counters.take(100, [2; 32], 100, 0).is_err());
        counters.take(100, [2; 32], 100, 5).unwrap();
        assert!(counters.take(100, [2; 32], 100, 4).is_err());
    }

    #[test]
    fn a_request_from_before_the_memory_of_its_key_is_stale() {
        let counters = Counters::new(100, []);
        let refusal = counters.take(101, [1; 32], 99, 1).unwrap_err();
        assert_eq!(refusal.proof, Some(super::super::refusal::Proof::Stale));
    }
}
