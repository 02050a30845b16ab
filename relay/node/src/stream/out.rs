//! The way out to a TCP or TLS client: a queue between the worker's thread and the connection's
//! task.
//!
//! The worker appends whole frames and never waits; the task takes everything that has gathered in
//! one go. Beyond the byte bound the oldest whole frame is dropped, because late media is worth
//! less than new, and a stream must never lose its framing. The mutex belongs to one connection and
//! is held for a copy of one frame.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::budget::QueueBudget;
use super::frames::Frames;

/// The worker's handle of a connection. Dropping it closes the connection once what is queued was
/// sent.
#[derive(Debug)]
pub struct StreamOut(Arc<Shared>);

/// The connection's side of the queue.
#[derive(Debug)]
pub(super) struct Outgoing(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    ready: Notify,
    session: AtomicBool,
    budget: Arc<QueueBudget>,
}

#[derive(Debug)]
struct Queue {
    frames: Frames,
    /// The task waits: the next frame must wake it.
    waiting: bool,
    closed: bool,
}

/// Makes both halves of a queue that keeps to the budget's bounds.
pub(super) fn queue(budget: &Arc<QueueBudget>) -> (StreamOut, Outgoing) {
    let queue = Queue {
        frames: Frames::new(budget),
        waiting: false,
        closed: false,
    };
    let shared = Arc::new(Shared {
        queue: Mutex::new(queue),
        ready: Notify::new(),
        session: AtomicBool::new(false),
        budget: Arc::clone(budget),
    });
    (StreamOut(Arc::clone(&shared)), Outgoing(shared))
}

impl StreamOut {
    /// Queues one frame: `header`, `payload`, and `tail` zero bytes (RFC 8656 §12.5 pads to four
    /// bytes over TCP).
    ///
    /// Never waits. The task is woken only when it sleeps.
    pub fn push(&self, header: &[u8], payload: &[u8], tail: usize) {
        let mut queue = self.0.lock();
        if queue.closed {
            return;
        }
        queue.frames.push(header, payload, tail);
        if std::mem::take(&mut queue.waiting) {
            drop(queue);
            self.0.ready.notify_one();
        }
    }

    /// Closes the connection once what is queued was sent; later frames go nowhere.
    pub fn close(&self) {
        self.0.close();
    }

    /// Says whether the client has an allocation: with one, its connection may be idle.
    pub fn set_session(&self, session: bool) {
        self.0.session.store(session, Ordering::Relaxed);
    }
}

impl Drop for StreamOut {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Drop for Outgoing {
    /// What the worker queues until it learns of the end goes nowhere.
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Outgoing {
    /// An empty batch for [`take`](Self::take).
    pub(super) fn batch(&self) -> Frames {
        Frames::new(&self.0.budget)
    }

    /// Waits for frames and takes all of them into `batch`, whose own bytes have been sent; `false`
    /// when there will be no more.
    pub(super) async fn take(&self, batch: &mut Frames) -> bool {
        batch.clear();
        loop {
            {
                let mut queue = self.0.lock();
                if queue.take(batch) {
                    return true;
                }
                if queue.closed {
                    return false;
                }
                queue.waiting = true;
            }
            // A permit that is given before this line is kept: no wake-up is lost.
            self.0.ready.notified().await;
        }
    }

    pub(super) fn close(&self) {
        self.0.close();
    }

    pub(super) fn has_session(&self) -> bool {
        self.0.session.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing panics between two consistent states of a queue.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        let mut queue = self.lock();
        queue.closed = true;
        queue.waiting = false;
        drop(queue);
        self.ready.notify_one();
    }
}

impl Queue {
    /// Swaps with an empty batch, whose memory is used again.
    fn take(&mut self, batch: &mut Frames) -> bool {
        if self.frames.is_empty() {
            return false;
        }
        std::mem::swap(batch, &mut self.frames);
        true
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::stream::{StreamLimits, test_limits};

    fn queue(queue_bytes_max: u32) -> (StreamOut, Outgoing) {
        let limits = StreamLimits {
            queue_bytes_max,
            ..test_limits()
        };
        super::queue(&Arc::new(QueueBudget::new(&limits)))
    }

    /// Polls once: tests of a queue need no runtime.
    fn take(outgoing: &Outgoing) -> Poll<Option<Frames>> {
        let mut batch = outgoing.batch();
        let taken = pin!(outgoing.take(&mut batch)).poll(&mut Context::from_waker(Waker::noop()));
        taken.map(|more| more.then_some(batch))
    }

    fn taken(outgoing: &Outgoing) -> Vec<u8> {
        match take(outgoing) {
            Poll::Ready(Some(mut batch)) => batch.contiguous().0.to_vec(),
            other => panic!("no batch: {other:?}"),
        }
    }

    #[test]
    fn frames_leave_in_order_with_header_payload_and_padding() {
        let (out, outgoing) = queue(1000);
        out.push(&[0x40, 0, 0, 1], b"x", 3);
        out.push(&[], b"reply", 0);
        assert_eq!(taken(&outgoing), b"\x40\0\0\x01x\0\0\0reply");
        assert!(take(&outgoing).is_pending());
    }

    #[test]
    fn a_full_queue_drops_its_oldest_whole_frames_and_counts_them_at_once() {
        let (out, outgoing) = queue(10);
        out.push(&[], b"aaaa", 0);
        out.push(&[], b"bbbb", 0);
        out.push(&[], b"cccccc", 0);
        let Poll::Ready(Some(mut batch)) = take(&outgoing) else {
            panic!("no batch")
        };
        assert_eq!(batch.contiguous().0, b"bbbbcccccc");
        assert_eq!(batch.count(), 2);
        assert_eq!(outgoing.0.budget.frames_dropped(), 1);
    }

    #[test]
    fn what_was_sent_and_what_is_gone_takes_nothing_of_the_budget() {
        let (out, outgoing) = queue(1_000_000);
        let mut batch = outgoing.batch();
        out.push(&[], &[1; 60_000], 0);
        let budget = Arc::clone(&outgoing.0.budget);
        assert!(outgoing.0.lock().take(&mut batch));
        assert!(budget.taken() >= 60_000, "what is being sent counts");
        batch.clear();
        assert_eq!(budget.taken(), 0);
        out.push(&[], &[1; 60_000], 0);
        drop((out, outgoing));
        assert_eq!(budget.taken(), 0);
    }

    #[test]
    fn closing_lets_out_what_is_queued_and_nothing_more() {
        let (out, outgoing) = queue(100);
        out.push(&[], b"last", 0);
        out.close();
        out.push(&[], b"late", 0);
        assert_eq!(taken(&outgoing), b"last");
        assert!(matches!(take(&outgoing), Poll::Ready(None)));
    }

    #[test]
    fn dropping_the_handle_closes_the_connection() {
        let (out, outgoing) = queue(100);
        out.push(&[], b"last", 0);
        drop(out);
        assert_eq!(taken(&outgoing), b"last");
        assert!(matches!(take(&outgoing), Poll::Ready(None)));
    }

    #[test]
    fn the_task_is_woken_once_for_frames_that_arrive_together() {
        let (out, outgoing) = queue(100);
        assert!(take(&outgoing).is_pending());
        assert!(outgoing.0.lock().waiting);
        out.push(&[], b"a", 0);
        assert!(!outgoing.0.lock().waiting);
        out.push(&[], b"b", 0);
        assert_eq!(taken(&outgoing), b"ab");
    }
}
