//! What reaches a worker from outside its own sockets.
//!
//! A worker has three inboxes, because their senders want three different things when one is full:
//! packets from another worker are dropped and counted (the network would do the same), frames from
//! a TCP or TLS client make the reader wait (TCP then slows the client down), and control letters
//! are awaited by whoever sends them. Every letter is followed by a wake-up, which costs nothing
//! while the worker is awake.

use std::net::{SocketAddr, UdpSocket};
use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;
use crossbeam_queue::ArrayQueue;
use sterna_io::{SharedPacket, Waker};
use sterna_turn::{
    AllocationView, BindToken, Client, Lease, NotConnected, PeerAddr, PeerConnection, RelayPort,
    Revoke, ServerConfig, WorkerId,
};
use tokio::sync::{mpsc, oneshot};

use crate::limits::{CONTROL_LETTERS_MAX, RELAYED_LETTERS_MAX, STREAM_LETTERS_MAX};
use crate::metrics::WorkerSnapshot;
use crate::stream::{Bound, StreamOut};

/// A packet of an allocation on one worker for an allocation on another.
#[derive(Debug)]
pub struct Relayed {
    /// The relayed transport address that the packet is for.
    pub to: PeerAddr,
    /// The relayed transport address that it comes from, as the receiver's client shall see it.
    pub from: PeerAddr,
    /// The application data.
    pub payload: RelayedPayload,
}

/// A packet of a client whose allocation is the receiving worker's, from the one that it came to.
#[derive(Debug)]
pub struct Moved {
    /// Who sent it, and by which way it can be answered.
    pub client: Client,
    /// With the request to move.
    pub lease: Option<Lease>,
    /// The way out to a TCP or TLS client, with the request to move.
    pub out: Option<Arc<StreamOut>>,
    /// The whole packet.
    pub packet: RelayedPayload,
}

/// What one worker has for another.
#[derive(Debug)]
pub enum Letter {
    /// From a client here to a client there.
    Relayed(Relayed),
    /// From a client that has moved here, and its allocation has not.
    Moved(Moved),
    /// The connection of such a client is gone.
    Closed(Client),
}

/// Where the bytes of a packet for another worker lie.
#[derive(Debug)]
pub enum RelayedPayload {
    /// In a receive buffer of the sending worker, which gets it back when this is dropped.
    Shared(SharedPacket),
    /// In a frame that a TCP or TLS client sent.
    Frame(Bytes),
}

impl Deref for RelayedPayload {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Shared(packet) => packet,
            Self::Frame(frame) => frame,
        }
    }
}

/// What a TCP or TLS connection, or one to a peer, tells its worker.
#[derive(Debug)]
pub enum StreamLetter {
    /// A connection was accepted (and, for TLS, its handshake is done).
    Opened(Client, StreamOut),
    /// One whole STUN message or ChannelData message, padding included.
    Frame(Client, Bytes),
    /// A ConnectionBind (RFC 6062 §5.4); the answer says what the client's connection is joined
    /// with, if it is. Where nobody waits for it any more, it ends what it carries.
    Bind(Client, Bytes, oneshot::Sender<Bound>),
    /// A peer has connected to a listener (RFC 6062 §5.3).
    PeerAccepted {
        /// The listener.
        port: RelayPort,
        /// The peer.
        from: SocketAddr,
        /// Its connection.
        connection: PeerConnection,
    },
    /// A peer was connected, or could not be (RFC 6062 §5.2).
    PeerConnected {
        /// What the machine asked with.
        token: BindToken,
        /// The connection.
        result: Result<PeerConnection, NotConnected>,
    },
    /// A connection to a peer that was joined has ended.
    PeerClosed(PeerConnection),
    /// The connection is gone; its allocation goes with it (RFC 8656 §3.4).
    Closed(Client),
}

/// What the node tells a worker.
#[derive(Debug)]
pub enum Control {
    /// Takes over users, secrets, policy and limits; answers when it has.
    Reconfigure(Arc<ServerConfig>, oneshot::Sender<()>),
    /// Ends allocations; answers how many.
    Revoke(Revoke, oneshot::Sender<usize>),
    /// Refuses new allocations, or takes them again.
    Drain(bool),
    /// Asks for a list of the allocations.
    Allocations(oneshot::Sender<Vec<AllocationView>>),
    /// Asks for counters and gauges.
    Snapshot(oneshot::Sender<WorkerSnapshot>),
    /// Listens on a socket of an address that the host has got since.
    AddListener(UdpSocket),
    /// Ends every allocation and the worker's thread.
    Shutdown,
}

/// The sending half of a worker's inboxes.
#[derive(Clone, Debug)]
pub struct Mailbox {
    letters: Arc<ArrayQueue<Letter>>,
    streams: mpsc::Sender<StreamLetter>,
    control: mpsc::Sender<Control>,
    waker: Waker,
}

/// The receiving half, owned by the worker.
#[derive(Debug)]
pub struct Inbox {
    pub(crate) letters: Arc<ArrayQueue<Letter>>,
    pub(crate) streams: mpsc::Receiver<StreamLetter>,
    pub(crate) control: mpsc::Receiver<Control>,
}

/// The worker is gone: the node is shutting down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the worker has ended")]
pub struct WorkerGone;

/// Makes both halves; `waker` ends the wait of the worker that will own the [`Inbox`].
#[must_use]
pub fn mailbox(waker: Waker) -> (Mailbox, Inbox) {
    let letters = Arc::new(ArrayQueue::new(RELAYED_LETTERS_MAX));
    let (streams_in, streams) = mpsc::channel(STREAM_LETTERS_MAX);
    let (control_in, control) = mpsc::channel(CONTROL_LETTERS_MAX);
    let mailbox = Mailbox {
        letters: Arc::clone(&letters),
        streams: streams_in,
        control: control_in,
        waker,
    };
    (
        mailbox,
        Inbox {
            letters,
            streams,
            control,
        },
    )
}

impl Inbox {
    /// Whether nothing waits; a letter that comes later wakes the worker.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.letters.is_empty() && self.streams.is_empty() && self.control.is_empty()
    }
}

impl Mailbox {
    /// Posts what another worker has for this one; `false` when its inbox is full.
    #[must_use]
    pub fn post(&self, letter: Letter) -> bool {
        let posted = self.letters.push(letter).is_ok();
        self.waker.wake();
        posted
    }

    /// Posts what a stream has to say, and waits while the worker is behind.
    ///
    /// # Errors
    /// [`WorkerGone`] once the worker has ended.
    pub async fn post_stream(&self, letter: StreamLetter) -> Result<(), WorkerGone> {
        self.streams.send(letter).await.map_err(|_| WorkerGone)?;
        self.waker.wake();
        Ok(())
    }

    /// Posts a control letter.
    ///
    /// # Errors
    /// [`WorkerGone`] once the worker has ended.
    pub async fn post_control(&self, letter: Control) -> Result<(), WorkerGone> {
        self.control.send(letter).await.map_err(|_| WorkerGone)?;
        self.waker.wake();
        Ok(())
    }
}

/// The mailboxes of all workers of the node, indexed by [`WorkerId`].
#[derive(Clone, Debug)]
pub struct Mailboxes(Arc<[Mailbox]>);

impl Mailboxes {
    /// One mailbox a worker, in order of their ids.
    #[must_use]
    pub fn new(mailboxes: Vec<Mailbox>) -> Self {
        Self(mailboxes.into())
    }

    /// The mailbox of one worker.
    #[must_use]
    pub fn of(&self, worker: WorkerId) -> Option<&Mailbox> {
        self.0.get(usize::from(worker.0))
    }

    /// How many workers there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no worker.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Mailbox> {
        self.0.iter()
    }
}
