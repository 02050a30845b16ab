//! Bytes a second of one allocation, over all of its connections, both ways (`session_bytes_per_s` of the node or of its account).
//!
//! A stream loses nothing: whoever is too fast waits, and TCP slows its sender down.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// What an allocation may be ahead of its rate, so that bursts of a second pass unhindered.
const BURST: Duration = Duration::from_secs(1);

/// When the bytes that have passed would have passed at the rate.
#[derive(Debug, Default)]
pub(super) struct Pace(Mutex<Option<Instant>>);

impl Pace {
    /// Waits until `bytes` more may pass; at a rate of 0 they always may.
    pub(super) async fn pass(&self, bytes: usize, bytes_per_s: u64) {
        if let Some(at) = self.book(Instant::now(), bytes, bytes_per_s) {
            sleep_until(at).await;
        }
    }

    /// Books `bytes` and says when they may pass, if that is not now.
    fn book(&self, now: Instant, bytes: usize, bytes_per_s: u64) -> Option<Instant> {
        if bytes_per_s == 0 {
            return None;
        }
        let takes = Duration::from_secs_f64(bytes as f64 / bytes_per_s as f64);
        let mut paid = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let from = paid.map_or(now, |paid| paid.max(now));
        *paid = Some(from + takes);
        drop(paid);
        (from + takes > now + BURST).then(|| from + takes - BURST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_s_worth_passes_at_once_and_the_rest_at_the_rate() {
        let pace = Pace::default();
        let now = Instant::now();
        assert_eq!(pace.book(now, 1000, 1000), None);
        assert_eq!(
            pace.book(now, 500, 1000),
            Some(now + Duration::from_millis(500))
        );
        let later = now + Duration::from_secs(10);
        assert_eq!(pace.book(later, 1000, 1000), None, "nothing is saved up");
        assert!(pace.book(later, 1, 1000).is_some());
        assert_eq!(pace.book(later, 1 << 40, 0), None);
    }
}
