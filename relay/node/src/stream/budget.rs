//! The memory of what waits for TCP and TLS clients: a bound for each connection and one for all.
//!
//! A reader that is stuck holds its queue until it is cut off; many of them must not take the
//! node's memory, nor starve those that read. Beyond the bound of the node a buffer grows to
//! [`SHARE_FREE_BYTES`] and no further, and whoever wants more loses its own oldest frames.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::StreamLimits;

/// What a buffer may always take, so that a client that reads is served while others have used the
/// budget up: 16 KiB of frames and what it takes to tell them apart.
pub(super) const SHARE_FREE_BYTES: usize = 24 * 1024;

/// What all buffers together may take, and do.
#[derive(Debug)]
pub(super) struct QueueBudget {
    queue_bytes_max: AtomicUsize,
    queues_bytes_max: AtomicUsize,
    taken: AtomicUsize,
    frames_dropped: AtomicU64,
    frames_refused: AtomicU64,
}

/// What one buffer takes of the budget; given back when dropped.
#[derive(Debug)]
pub(super) struct Share {
    budget: Arc<QueueBudget>,
    bytes: usize,
}

impl QueueBudget {
    pub(super) fn new(limits: &StreamLimits) -> Self {
        let budget = Self {
            queue_bytes_max: AtomicUsize::new(0),
            queues_bytes_max: AtomicUsize::new(0),
            taken: AtomicUsize::new(0),
            frames_dropped: AtomicU64::new(0),
            frames_refused: AtomicU64::new(0),
        };
        budget.reconfigure(limits);
        budget
    }

    /// Applies new bounds, also to what waits already: at its next frame.
    pub(super) fn reconfigure(&self, limits: &StreamLimits) {
        let bytes = |max: u64| usize::try_from(max).unwrap_or(usize::MAX);
        let (one, all) = (limits.queue_bytes_max.into(), limits.queues_bytes_max);
        self.queue_bytes_max.store(bytes(one), Ordering::Relaxed);
        self.queues_bytes_max.store(bytes(all), Ordering::Relaxed);
    }

    /// Bytes of frames that may wait for one connection's client.
    pub(super) fn queue_bytes_max(&self) -> usize {
        self.queue_bytes_max.load(Ordering::Relaxed)
    }

    /// Bytes that all buffers take now.
    pub(super) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// Frames that were dropped because their client was behind.
    pub(super) fn frames_dropped(&self) -> u64 {
        self.frames_dropped.load(Ordering::Relaxed)
    }

    pub(super) fn drop_frames(&self, count: u64) {
        self.frames_dropped.fetch_add(count, Ordering::Relaxed);
    }

    /// Those of them that were dropped because the node's bound was reached.
    pub(super) fn frames_refused(&self) -> u64 {
        self.frames_refused.load(Ordering::Relaxed)
    }

    pub(super) fn refuse_frame(&self) {
        self.frames_refused.fetch_add(1, Ordering::Relaxed);
    }
}

impl Share {
    pub(super) fn of(budget: &Arc<QueueBudget>) -> Self {
        Self {
            budget: Arc::clone(budget),
            bytes: 0,
        }
    }

    pub(super) fn budget(&self) -> &Arc<QueueBudget> {
        &self.budget
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes what is missing to `bytes`, unless the node's bound forbids it.
    pub(super) fn try_grow(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        let taken = self.budget.taken.fetch_add(more, Ordering::Relaxed) + more;
        let max = self.budget.queues_bytes_max.load(Ordering::Relaxed);
        let granted = bytes <= SHARE_FREE_BYTES || taken <= max;
        if granted {
            self.bytes += more;
        } else {
            self.budget.taken.fetch_sub(more, Ordering::Relaxed);
        }
        granted
    }

    /// Counts a buffer that bounds itself.
    pub(super) fn set(&mut self, bytes: usize) {
        if bytes > self.bytes {
            let more = bytes - self.bytes;
            self.budget.taken.fetch_add(more, Ordering::Relaxed);
        } else if bytes < self.bytes {
            let less = self.bytes - bytes;
            self.budget.taken.fetch_sub(less, Ordering::Relaxed);
        }
        self.bytes = bytes;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::test_limits;

    #[test]
    fn beyond_the_node_s_bound_a_buffer_grows_to_its_free_share_and_no_further() {
        let budget = Arc::new(QueueBudget::new(&StreamLimits {
            queues_bytes_max: 100_000,
            ..test_limits()
        }));
        let (mut first, mut second) = (Share::of(&budget), Share::of(&budget));
        assert!(first.try_grow(100_000));
        assert!(!first.try_grow(100_001));
        assert!(second.try_grow(SHARE_FREE_BYTES));
        assert!(!second.try_grow(SHARE_FREE_BYTES + 1));
        assert_eq!(budget.taken(), 100_000 + SHARE_FREE_BYTES);
        drop(first);
        assert!(second.try_grow(SHARE_FREE_BYTES + 1));
        drop(second);
        assert_eq!(budget.taken(), 0);
    }

    #[test]
    fn a_buffer_that_bounds_itself_is_counted_up_and_down() {
        let budget = Arc::new(QueueBudget::new(&test_limits()));
        let mut share = Share::of(&budget);
        share.set(10);
        share.set(7);
        assert_eq!(budget.taken(), 7);
        drop(share);
        assert_eq!(budget.taken(), 0);
    }
}
