//! When to try again: full jitter, so that a fleet that lost its control service does not come back
//! all at once.

use std::time::Duration;

use rand::{Rng, RngExt};

/// The waits between attempts: each random between nothing and a bound that doubles up to a cap.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    cap: Duration,
    bound: Duration,
}

impl Backoff {
    /// The first wait is up to `first`, none is longer than `cap` unless the service asks for it.
    #[must_use]
    pub fn new(first: Duration, cap: Duration) -> Self {
        Self {
            first,
            cap,
            bound: first.min(cap),
        }
    }

    /// How long to wait before the next attempt. What the service has asked for (`retry_after`) is
    /// waited in full, with the jitter on top.
    pub fn next(&mut self, rng: &mut impl Rng, retry_after: Option<Duration>) -> Duration {
        let jitter = rng.random_range(Duration::ZERO..=self.bound);
        self.bound = self.bound.saturating_mul(2).min(self.cap);
        retry_after.unwrap_or_default() + jitter
    }

    /// After a success: the next wait is a first one.
    pub fn reset(&mut self) {
        self.bound = self.first.min(self.cap);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn waits_spread_over_a_bound_that_doubles_up_to_the_cap() {
        let mut rng = SmallRng::seed_from_u64(1);
        let mut longest = [Duration::ZERO; 6];
        for _ in 0..1000 {
            let mut backoff = Backoff::new(S, 8 * S);
            for longest in &mut longest {
                *longest = backoff.next(&mut rng, None).max(*longest);
            }
        }
        for (longest, bound) in longest.into_iter().zip([1, 2, 4, 8, 8, 8]) {
            assert!(
                longest <= bound * S && longest > bound * S * 9 / 10,
                "{longest:?} of {bound} s"
            );
        }
    }

    #[test]
    fn a_success_begins_again_and_what_the_service_asks_for_is_waited() {
        let mut rng = SmallRng::seed_from_u64(1);
        let mut backoff = Backoff::new(S, 8 * S);
        for _ in 0..5 {
            backoff.next(&mut rng, None);
        }
        backoff.reset();
        assert!(backoff.next(&mut rng, None) <= S);
        let asked = backoff.next(&mut rng, Some(30 * S));
        assert!(asked >= 30 * S && asked <= 32 * S);
    }
}
