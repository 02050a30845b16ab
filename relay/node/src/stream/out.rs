//! The way out to a TCP or TLS client: a queue between the worker's thread and the connection's
//! task.
//!
//! The worker appends whole frames and never waits; the task takes everything that has gathered in
//! one go. Beyond the byte bound the oldest whole frame is dropped, because late media is worth
//! less than new, and a stream must never lose its framing. The mutex belongs to one connection and
//! is held for a copy of one frame.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// A taken batch's buffer is kept for the next one up to this size, so that an idle connection
/// holds little.
const KEPT_BUFFER_BYTES: usize = 16 * 1024;

/// The worker's handle of a connection. Dropping it closes the connection once what is queued was
/// sent.
#[derive(Debug)]
pub struct StreamOut(Arc<Shared>);

/// The connection's side of the queue.
#[derive(Debug)]
pub(super) struct Outgoing(Arc<Shared>);

/// Whole frames, ready to be written.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) bytes: Vec<u8>,
    /// Where the first frame begins; what is before was dropped.
    pub(super) start: usize,
    /// The length of each frame.
    pub(super) frames: VecDeque<usize>,
    /// Frames that were dropped since the last batch.
    pub(super) dropped: u64,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    ready: Notify,
    session: AtomicBool,
}

#[derive(Debug)]
struct Queue {
    bytes: Vec<u8>,
    start: usize,
    /// The length of each frame behind `start`.
    frames: VecDeque<usize>,
    bytes_max: usize,
    dropped: u64,
    /// The task waits: the next frame must wake it.
    waiting: bool,
    closed: bool,
}

/// Makes both halves of a queue that holds at most `bytes_max` bytes.
pub(super) fn queue(bytes_max: usize) -> (StreamOut, Outgoing) {
    let queue = Queue {
        bytes: Vec::new(),
        start: 0,
        frames: VecDeque::new(),
        bytes_max,
        dropped: 0,
        waiting: false,
        closed: false,
    };
    let shared = Arc::new(Shared {
        queue: Mutex::new(queue),
        ready: Notify::new(),
        session: AtomicBool::new(false),
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
        queue.push(header, payload, tail);
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
    /// Waits for frames and takes all of them into `batch`, whose own bytes have been sent; `false`
    /// when there will be no more.
    pub(super) async fn take(&self, batch: &mut Batch) -> bool {
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

    /// Frames that were dropped since the last batch was taken.
    pub(super) fn take_dropped(&self) -> u64 {
        std::mem::take(&mut self.0.lock().dropped)
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
    fn push(&mut self, header: &[u8], payload: &[u8], tail: usize) {
        let len = header.len() + payload.len() + tail;
        if len > self.bytes_max {
            self.dropped += 1;
            return;
        }
        while self.bytes.len() - self.start + len > self.bytes_max {
            self.drop_oldest();
        }
        self.compact();
        self.bytes.extend_from_slice(header);
        self.bytes.extend_from_slice(payload);
        self.bytes.resize(self.bytes.len() + tail, 0);
        self.frames.push_back(len);
    }

    fn drop_oldest(&mut self) {
        if let Some(len) = self.frames.pop_front() {
            self.start += len;
            self.dropped += 1;
        }
    }

    /// Moves the living half to the front, once the dropped half is the larger one: a byte moves at
    /// most once for each byte that was dropped.
    fn compact(&mut self) {
        if self.start > self.bytes.len() / 2 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
    }

    fn take(&mut self, batch: &mut Batch) -> bool {
        if self.frames.is_empty() {
            return false;
        }
        batch.bytes.clear();
        if batch.bytes.capacity() > KEPT_BUFFER_BYTES {
            batch.bytes = Vec::new();
        }
        std::mem::swap(&mut batch.bytes, &mut self.bytes);
        batch.start = std::mem::take(&mut self.start);
        batch.frames.clear();
        std::mem::swap(&mut batch.frames, &mut self.frames);
        batch.dropped = std::mem::take(&mut self.dropped);
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

    /// Polls once: tests of a queue need no runtime.
    fn take(outgoing: &Outgoing) -> Poll<Option<Batch>> {
        let mut batch = Batch::default();
        let taken = pin!(outgoing.take(&mut batch)).poll(&mut Context::from_waker(Waker::noop()));
        taken.map(|more| more.then_some(batch))
    }

    fn taken(outgoing: &Outgoing) -> Vec<u8> {
        match take(outgoing) {
            Poll::Ready(Some(batch)) => batch.bytes[batch.start..].to_vec(),
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
    fn a_full_queue_drops_its_oldest_whole_frames_and_counts_them() {
        let (out, outgoing) = queue(10);
        out.push(&[], b"aaaa", 0);
        out.push(&[], b"bbbb", 0);
        out.push(&[], b"cccccc", 0);
        let Poll::Ready(Some(batch)) = take(&outgoing) else {
            panic!("no batch")
        };
        assert_eq!(&batch.bytes[batch.start..], b"bbbbcccccc");
        assert_eq!((batch.frames.len(), batch.dropped), (2, 1));
    }

    #[test]
    fn a_frame_larger_than_the_queue_is_dropped_alone() {
        let (out, outgoing) = queue(4);
        out.push(&[], b"bb", 0);
        out.push(&[], b"aaaaa", 0);
        let Poll::Ready(Some(batch)) = take(&outgoing) else {
            panic!("no batch")
        };
        assert_eq!((batch.frames.len(), batch.dropped), (1, 1));
    }

    #[test]
    fn a_queue_that_drops_for_long_does_not_grow() {
        let (out, outgoing) = queue(1000);
        for _ in 0..100_000 {
            out.push(&[1; 4], &[2; 96], 0);
        }
        assert!(outgoing.0.lock().bytes.capacity() <= 8000);
        assert_eq!(taken(&outgoing).len(), 1000);
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
