//! What crosses from one shard of the flow relay to another.
//!
//! Packets are dropped when a shard is behind, as the network would do; letters and words from the
//! node are few and wait. Each is followed by a wake-up.

use std::sync::Arc;

use bytes::Bytes;
use crossbeam_queue::ArrayQueue;
use sterna_flow::message::Restarting;
use sterna_flow::{Letter, Link, RelayConfig, Revoke, ShardId, Target};
use sterna_io::Waker;
use tokio::sync::{Notify, mpsc, oneshot};
use tracing::error;

use super::snapshot::{FlowSnapshot, FlowViews};
use crate::limits::{CONTROL_LETTERS_MAX, FLOW_LETTERS_MAX, RELAYED_LETTERS_MAX};
use crate::mailbox::{RelayedPayload, WorkerGone};

/// A packet for another shard.
#[derive(Debug)]
pub(crate) enum FlowPacket {
    /// A payload for a session of that shard.
    Payload(Target, RelayedPayload),
    /// A whole datagram that reached the wrong worker, for want of steering.
    Datagram(Link, RelayedPayload),
}

/// What the node tells a shard.
#[derive(Debug)]
pub(crate) enum FlowControl {
    /// Takes over keys, limits and the clock; answers when it has.
    Reconfigure(Arc<RelayConfig>, oneshot::Sender<()>),
    /// Ends sessions; answers how many.
    Revoke(Revoke, oneshot::Sender<usize>),
    /// Refuses new sessions and sends living ones elsewhere, or takes new ones again.
    Drain(Option<Restarting>),
    /// Refuses new sessions only, or takes them again.
    Cordon(bool),
    /// Asks who is here.
    Views(oneshot::Sender<FlowViews>),
    /// Asks for counters and gauges.
    Snapshot(oneshot::Sender<FlowSnapshot>),
    /// Ends every session; answers when their devices have been told.
    Shutdown(oneshot::Sender<()>),
}

/// How a shard is told that something has come.
#[derive(Clone, Debug)]
pub(crate) enum Wake {
    /// A worker, in its engine.
    Worker(Waker),
    /// A thread of connections, in its runtime.
    Thread(Arc<Notify>),
}

impl Wake {
    fn wake(&self) {
        match self {
            Self::Worker(waker) => waker.wake(),
            Self::Thread(notify) => notify.notify_one(),
        }
    }
}

/// The sending half of a shard's inbox.
#[derive(Clone, Debug)]
struct FlowMailbox {
    packets: Arc<ArrayQueue<FlowPacket>>,
    letters: Arc<ArrayQueue<Letter>>,
    control: mpsc::Sender<FlowControl>,
    wake: Wake,
}

/// The receiving half, owned by the shard.
#[derive(Debug)]
pub(crate) struct FlowInbox {
    pub(crate) packets: Arc<ArrayQueue<FlowPacket>>,
    pub(crate) letters: Arc<ArrayQueue<Letter>>,
    pub(crate) control: mpsc::Receiver<FlowControl>,
}

impl FlowInbox {
    /// Whether nothing waits; what comes later wakes the shard.
    pub(crate) fn is_empty(&self) -> bool {
        self.packets.is_empty() && self.letters.is_empty() && self.control.is_empty()
    }
}

/// The way to every shard, by its number.
#[derive(Clone, Debug)]
pub(crate) struct FlowMailboxes(Arc<[FlowMailbox]>);

impl FlowMailboxes {
    /// Makes an inbox for each shard.
    pub(crate) fn new(wakes: impl IntoIterator<Item = Wake>) -> (Self, Vec<FlowInbox>) {
        let pair = |wake| {
            let packets = Arc::new(ArrayQueue::new(RELAYED_LETTERS_MAX));
            let letters = Arc::new(ArrayQueue::new(FLOW_LETTERS_MAX));
            let (control_in, control) = mpsc::channel(CONTROL_LETTERS_MAX);
            let inbox = FlowInbox {
                packets: Arc::clone(&packets),
                letters: Arc::clone(&letters),
                control,
            };
            let mailbox = FlowMailbox {
                packets,
                letters,
                control: control_in,
                wake,
            };
            (mailbox, inbox)
        };
        let (mailboxes, inboxes): (Vec<_>, Vec<_>) = wakes.into_iter().map(pair).unzip();
        (Self(mailboxes.into()), inboxes)
    }

    /// Posts a packet; `false` when the shard's inbox is full, or there is no such shard.
    #[must_use]
    pub(crate) fn post_packet(&self, shard: ShardId, packet: FlowPacket) -> bool {
        let Some(mailbox) = self.0.get(usize::from(shard.0)) else {
            return false;
        };
        let posted = mailbox.packets.push(packet).is_ok();
        mailbox.wake.wake();
        posted
    }

    /// Posts a letter of the machine.
    pub(crate) fn post_letter(&self, shard: ShardId, letter: Letter) {
        let Some(mailbox) = self.0.get(usize::from(shard.0)) else {
            return;
        };
        if mailbox.letters.push(letter).is_err() {
            // The devices concerned repeat what they asked for.
            error!(
                shard = shard.0,
                "a letter of the flow relay was lost: a shard is far behind"
            );
        }
        mailbox.wake.wake();
    }

    /// Tells a shard, and waits while it is behind.
    ///
    /// # Errors
    /// [`WorkerGone`] once the shard has ended.
    pub(crate) async fn tell(&self, shard: usize, word: FlowControl) -> Result<(), WorkerGone> {
        let mailbox = self.0.get(shard).ok_or(WorkerGone)?;
        mailbox.control.send(word).await.map_err(|_| WorkerGone)?;
        mailbox.wake.wake();
        Ok(())
    }

    /// How many shards there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

/// Copies a payload out of a worker's buffer, which is too large to wait in a session's queue.
pub(crate) fn into_bytes(payload: RelayedPayload) -> Bytes {
    match payload {
        RelayedPayload::Shared(packet) => Bytes::copy_from_slice(&packet),
        RelayedPayload::Frame(frame) => frame,
    }
}
