//! Whole frames that wait for one client, the oldest dropped when there are too many.
//!
//! They lie one behind the other in a ring, so that dropping one moves nothing, and what they take
//! is charged to the node's budget before it is allocated.

use std::collections::VecDeque;
use std::sync::Arc;

use super::budget::{QueueBudget, SHARE_FREE_BYTES, Share};

/// The first allocation, in bytes of frames and in frames.
const FIRST_BYTES: usize = 1024;
const FIRST_FRAMES: usize = 16;

/// What it takes to remember a frame's length.
const LEN_BYTES: usize = size_of::<u32>();

/// A queue of frames.
#[derive(Debug)]
pub(super) struct Frames {
    bytes: VecDeque<u8>,
    lens: VecDeque<u32>,
    share: Share,
}

impl Frames {
    pub(super) fn new(budget: &Arc<QueueBudget>) -> Self {
        Self {
            bytes: VecDeque::new(),
            lens: VecDeque::new(),
            share: Share::of(budget),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lens.is_empty()
    }

    /// Appends a frame: `header`, `payload`, and `tail` zero bytes. What is dropped for it is
    /// counted, itself included.
    pub(super) fn push(&mut self, header: &[u8], payload: &[u8], tail: usize) {
        let dropped = self.append(header, payload, tail);
        if dropped > 0 {
            self.share.budget().drop_frames(dropped);
        }
    }

    /// How many frames there are.
    pub(super) fn count(&self) -> usize {
        self.lens.len()
    }

    /// The frames in one piece, with the length of each.
    pub(super) fn contiguous(&mut self) -> (&[u8], impl Iterator<Item = usize>) {
        let lens = self.lens.iter().map(|len| *len as usize);
        (self.bytes.make_contiguous(), lens)
    }

    /// Forgets all frames, and gives their memory back if it is more than an idle connection should
    /// hold.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.lens.clear();
        if self.share.bytes() > SHARE_FREE_BYTES {
            self.bytes = VecDeque::new();
            self.lens = VecDeque::new();
            self.share.set(0);
        }
    }

    /// Says how many frames were dropped.
    fn append(&mut self, header: &[u8], payload: &[u8], tail: usize) -> u64 {
        let len = header.len() + payload.len() + tail;
        let bytes_max = self.share.budget().queue_bytes_max();
        let Some(len_u32) = u32::try_from(len).ok().filter(|_| len <= bytes_max) else {
            return 1;
        };
        let mut dropped = 0;
        while self.bytes.len() + len > bytes_max {
            dropped += self.drop_oldest();
        }
        while !self.make_room(len, bytes_max) {
            self.share.budget().refuse_frame();
            if self.is_empty() {
                return dropped + 1;
            }
            dropped += self.drop_oldest();
        }
        self.bytes.extend(header);
        self.bytes.extend(payload);
        self.bytes.extend(std::iter::repeat_n(0, tail));
        self.lens.push_back(len_u32);
        dropped
    }

    fn drop_oldest(&mut self) -> u64 {
        let Some(len) = self.lens.pop_front() else {
            return 0;
        };
        self.bytes.drain(..len as usize);
        1
    }

    /// Grows for one more frame if need be; `false` when the node's budget forbids it.
    fn make_room(&mut self, len: usize, bytes_max: usize) -> bool {
        let (bytes, lens) = (self.bytes.len(), self.lens.len());
        let capacity = grown(
            self.bytes.capacity(),
            bytes + len,
            FIRST_BYTES.min(bytes_max),
            bytes_max,
        );
        let frames = grown(self.lens.capacity(), lens + 1, FIRST_FRAMES, usize::MAX);
        let memory = capacity + frames * LEN_BYTES;
        if memory > self.share.bytes() {
            if !self.share.try_grow(memory) {
                return false;
            }
            self.bytes.reserve_exact(capacity - bytes);
            self.lens.reserve_exact(frames - lens);
        }
        true
    }

    #[cfg(test)]
    pub(super) fn memory_bytes(&self) -> usize {
        self.bytes.capacity() + self.lens.capacity() * LEN_BYTES
    }
}

/// Twice what there is, between what is needed and what is allowed.
fn grown(capacity: usize, needed: usize, first: usize, max: usize) -> usize {
    if needed <= capacity {
        return capacity;
    }
    needed.max(capacity.saturating_mul(2).clamp(first, max))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::{StreamLimits, test_limits};

    fn frames(queue_bytes_max: u32, queues_bytes_max: u64) -> (Frames, Arc<QueueBudget>) {
        let budget = Arc::new(QueueBudget::new(&StreamLimits {
            queue_bytes_max,
            queues_bytes_max,
            ..test_limits()
        }));
        (Frames::new(&budget), budget)
    }

    fn bytes(frames: &mut Frames) -> Vec<u8> {
        frames.contiguous().0.to_vec()
    }

    #[test]
    fn too_many_bytes_drop_the_oldest_whole_frames() {
        let (mut frames, _) = frames(10, 1 << 30);
        assert_eq!(frames.append(b"aa", b"aa", 0), 0);
        assert_eq!(frames.append(b"bb", b"b", 1), 0);
        assert_eq!(frames.append(b"", b"cccccc", 0), 1);
        assert_eq!(bytes(&mut frames), b"bbb\0cccccc");
        assert_eq!(frames.contiguous().1.collect::<Vec<_>>(), [4, 6]);
    }

    #[test]
    fn a_frame_larger_than_the_queue_is_dropped_alone() {
        let (mut frames, _) = frames(4, 1 << 30);
        frames.push(b"", b"bb", 0);
        assert_eq!(frames.append(b"", b"aaaaa", 0), 1);
        assert_eq!(bytes(&mut frames), b"bb");
    }

    #[test]
    fn a_queue_that_drops_for_long_takes_its_bound_and_no_more() {
        let (mut frames, budget) = frames(1000, 1 << 30);
        for _ in 0..100_000 {
            frames.push(&[1; 4], &[2; 96], 0);
        }
        assert_eq!(bytes(&mut frames).len(), 1000);
        assert_eq!(budget.frames_dropped(), 100_000 - 10);
        assert!(frames.memory_bytes() <= 1024 + FIRST_FRAMES * LEN_BYTES);
        assert_eq!(budget.taken(), frames.memory_bytes());
    }

    #[test]
    fn without_budget_a_queue_drops_its_own_oldest_frames_and_keeps_its_free_share() {
        let (mut stuck, budget) = frames(90_000, 100_000);
        let mut reading = Frames::new(&budget);
        for _ in 0..1000 {
            stuck.push(&[], &[1; 1000], 0);
        }
        assert_eq!(budget.frames_refused(), 0, "its own bound comes first");
        for number in 0..50 {
            reading.push(&[number], &[2; 999], 0);
        }
        assert!(reading.memory_bytes() <= SHARE_FREE_BYTES);
        assert_eq!(reading.count(), 16);
        assert_eq!(bytes(&mut reading)[0], 34, "the newest are kept");
        assert_eq!(budget.frames_refused(), 34);
        stuck.clear();
        assert_eq!(reading.append(&[], &[2; 1000], 0), 0);
        assert_eq!(reading.count(), 17);
    }

    #[test]
    fn a_bound_that_is_lowered_holds_from_the_next_frame_on() {
        let (mut frames, budget) = frames(10_000, 1 << 30);
        for _ in 0..10 {
            frames.push(&[], &[1; 1000], 0);
        }
        budget.reconfigure(&StreamLimits {
            queue_bytes_max: 3000,
            ..test_limits()
        });
        assert_eq!(frames.append(&[], &[1; 1000], 0), 8);
        assert_eq!(frames.count(), 3);
    }

    #[test]
    fn tiny_frames_are_charged_with_what_it_takes_to_tell_them_apart() {
        let (mut frames, budget) = frames(100_000, 100_000);
        for _ in 0..100_000 {
            frames.push(&[1; 4], &[], 0);
        }
        assert!(budget.taken() <= 100_000);
        assert_eq!(budget.taken(), frames.memory_bytes());
    }

    #[test]
    fn a_cleared_queue_keeps_little() {
        let (mut frames, budget) = frames(1 << 20, 1 << 30);
        frames.push(&[], &[1; 1000], 0);
        frames.clear();
        assert!(frames.memory_bytes() > 0);
        for _ in 0..100 {
            frames.push(&[], &[1; 1000], 0);
        }
        frames.clear();
        assert_eq!((frames.memory_bytes(), budget.taken()), (0, 0));
    }
}
