//! One connection of a device, as its shard sees it: what waits to be sent, and a bell.
//!
//! Data waits in the machine's fair queue, where old packets give way; control frames go first and
//! are never dropped: a device that does not take them is cut off.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::time::Instant;

use bytes::{BufMut as _, Bytes, BytesMut};
use sterna_flow::queue::{QueueCounters, SessionQueue};
use sterna_flow::{FlowNumber, Head, Rung, StreamId};
use tokio::sync::Notify;

use crate::limits::{FLOW_CONTROL_FRAMES_MAX, FLOW_HANDSHAKE_MAX};

/// A connection.
#[derive(Debug)]
pub(super) struct FlowLink {
    pub(super) id: StreamId,
    pub(super) rung: Rung,
    queue: RefCell<SessionQueue<Bytes>>,
    /// What the machine has been told of the queue.
    told: RefCell<QueueCounters>,
    control: RefCell<VecDeque<Bytes>>,
    bell: Notify,
    control_bell: Notify,
    /// No more comes; what waits is sent, then the connection is closed.
    closing: Cell<bool>,
    /// The machine has answered: the device is no stranger who says nothing.
    answered: Cell<bool>,
}

impl FlowLink {
    pub(super) fn new(now: Instant, id: StreamId, rung: Rung) -> Self {
        Self {
            id,
            rung,
            queue: RefCell::new(SessionQueue::new(now, 0, rand::random())),
            told: RefCell::default(),
            control: RefCell::default(),
            bell: Notify::new(),
            control_bell: Notify::new(),
            closing: Cell::new(false),
            answered: Cell::new(false),
        }
    }

    /// Queues data; old packets give way.
    pub(super) fn push(&self, now: Instant, flow: FlowNumber, head: Head, payload: Bytes) {
        self.queue.borrow_mut().push(now, flow, head, payload);
        self.bell.notify_one();
    }

    /// Takes the session's rate over, of which handshakes have a tenth.
    pub(super) fn set_bytes_per_s(&self, bytes_per_s: u64) {
        self.queue.borrow_mut().set_bytes_per_s(bytes_per_s);
    }

    /// Queues a control frame; `false` when the device takes none.
    #[must_use]
    pub(super) fn push_control(&self, frame: Bytes) -> bool {
        self.answered.set(true);
        let mut control = self.control.borrow_mut();
        if control.len() >= FLOW_CONTROL_FRAMES_MAX {
            return false;
        }
        control.push_back(frame);
        drop(control);
        self.ring();
        true
    }

    /// Lets what waits be sent, and no more.
    pub(super) fn close(&self) {
        self.closing.set(true);
        self.ring();
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.get()
    }

    /// Ends when the device has said nothing that the machine answers.
    pub(super) async fn silence(&self) {
        tokio::time::sleep(FLOW_HANDSHAKE_MAX).await;
        if self.answered.get() {
            std::future::pending::<()>().await;
        }
    }

    /// The next control frame.
    pub(super) fn pop_control(&self) -> Option<Bytes> {
        self.control.borrow_mut().pop_front()
    }

    /// The next packet of data, as a frame of one piece.
    pub(super) fn pop_data(&self, now: Instant) -> Option<Bytes> {
        let (head, payload) = self.queue.borrow_mut().pop(now)?;
        let mut frame = BytesMut::with_capacity(head.bytes().len() + payload.len());
        frame.put_slice(head.bytes());
        frame.put_slice(&payload);
        Some(frame.freeze())
    }

    /// Waits until something may have come since the last look.
    pub(super) async fn changed(&self) {
        self.bell.notified().await;
    }

    /// The same for a task that looks at control frames only.
    pub(super) async fn control_changed(&self) {
        self.control_bell.notified().await;
    }

    /// What the queue has done so far.
    pub(super) fn queue_counters(&self) -> QueueCounters {
        self.queue.borrow().counters().clone()
    }

    /// What the queue has done since the last call; none if nothing.
    pub(super) fn queue_news(&self) -> Option<QueueCounters> {
        let queue = self.queue.borrow();
        let mut told = self.told.borrow_mut();
        if queue.counters() == &*told {
            return None;
        }
        let news = queue.counters().since(&told);
        *told = queue.counters().clone();
        Some(news)
    }

    fn ring(&self) {
        self.bell.notify_one();
        self.control_bell.notify_one();
    }
}
