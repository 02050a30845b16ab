//! A client's connection and a peer's become one (RFC 6062 §5.4, §5.5): bytes pass as they are,
//! both ways, no faster than the slower side takes them.
//!
//! Each direction reads once and writes that before it reads again, so that a side that takes
//! nothing stops the other one by TCP's own means, and no other connection notices.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use sterna_turn::{Meter, PeerConnection};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use super::super::counters::add;
use super::tally::PeerEnd;
use super::{Peers, Session};
use crate::mailbox::StreamLetter;

/// What one read takes at most; a direction holds no more than that.
const READ_BYTES: usize = 16 * 1024;

/// How long a connection that one side has closed may be silent before the rest is closed too.
const HALF_CLOSED_IDLE: Duration = Duration::from_secs(30);

/// A connection to a peer that a client has bound, on its way to be spliced with the client's.
///
/// When it is dropped, its worker learns that the connection has ended.
#[derive(Debug)]
pub struct Joined {
    peers: Peers,
    connection: PeerConnection,
    session: Arc<Session>,
    socket: Option<TcpStream>,
    stopped: oneshot::Receiver<()>,
    flow: Arc<Flow>,
}

/// What has passed.
#[derive(Debug, Default)]
struct Flow {
    bytes: AtomicU64,
    half_closed: AtomicBool,
}

impl Joined {
    pub(super) fn new(
        peers: Peers,
        connection: PeerConnection,
        session: Arc<Session>,
        socket: TcpStream,
        stopped: oneshot::Receiver<()>,
    ) -> Self {
        Self {
            peers,
            connection,
            session,
            socket: Some(socket),
            stopped,
            flow: Arc::default(),
        }
    }

    /// Splices the connection with a client's, to the end of both; `early` is what the client sent
    /// behind its ConnectionBind.
    pub(in crate::stream) async fn splice(
        mut self,
        mut client: impl AsyncRead + AsyncWrite + Unpin,
        early: BytesMut,
    ) {
        let Some(mut peer) = self.socket.take() else {
            return;
        };
        let (from_client, to_client) = tokio::io::split(&mut client);
        let (from_peer, to_peer) = peer.split();
        let (session, flow) = (&*self.session, &*self.flow);
        let inner = &*self.peers.0;
        let outward = Pump {
            session,
            flow,
            count: Meter::add_to_peers,
            all: &inner.tally.to_peer_bytes,
        };
        let inward = Pump {
            count: Meter::add_to_client,
            all: &inner.tally.to_client_bytes,
            ..outward
        };
        let both = async {
            tokio::try_join!(
                outward.run(from_client, to_peer, early),
                inward.run(from_peer, to_client, BytesMut::new()),
            )
        };
        let end = tokio::select! {
            done = both => if done.is_ok() { PeerEnd::Closed } else { PeerEnd::Broken },
            () = idle(&self.peers, flow) => PeerEnd::Idle,
            _ = &mut self.stopped => PeerEnd::Ended,
        };
        inner.tally.end(end);
        // RFC 6062 §5.5: when one of them is closed, the server closes the other one. What passed
        // whole ends orderly; what was broken off is to look broken off.
        if end != PeerEnd::Closed {
            let _ = socket2::SockRef::from(&peer).set_linger(Some(Duration::ZERO));
        }
    }
}

impl Drop for Joined {
    fn drop(&mut self) {
        self.peers.close(self.connection);
        let letter = StreamLetter::PeerClosed(self.connection);
        let session = Arc::clone(&self.session);
        self.peers.0.runtime.spawn(async move {
            // A worker that has ended has nothing to account for.
            let _ = session.worker.post_stream(letter).await;
        });
    }
}

/// One direction.
#[derive(Clone, Copy)]
struct Pump<'a> {
    session: &'a Session,
    flow: &'a Flow,
    /// Counts what has passed of this allocation, and `all` of all of them.
    count: fn(&Meter, usize),
    all: &'a AtomicU64,
}

impl Pump<'_> {
    /// Passes on what comes until there is no more, and then the end itself: the other direction
    /// may have more to say.
    async fn run(
        self,
        mut from: impl AsyncRead + Unpin,
        mut to: impl AsyncWrite + Unpin,
        mut bytes: BytesMut,
    ) -> io::Result<()> {
        loop {
            if bytes.is_empty() {
                read_chunk(&mut from, &mut bytes).await?;
                if bytes.is_empty() {
                    break;
                }
            }
            let rate = self.session.meter.bytes_per_s();
            self.session.pace.pass(bytes.len(), rate).await;
            while !bytes.is_empty() {
                let written = to.write(&bytes).await?;
                if written == 0 {
                    return Err(io::ErrorKind::WriteZero.into());
                }
                let _ = bytes.split_to(written);
                // Both directions count here.
                add(&self.flow.bytes, written as u64);
                (self.count)(&self.session.meter, written);
                add(self.all, written as u64);
            }
            to.flush().await?;
            // One that waits holds no buffer.
            bytes = BytesMut::new();
        }
        self.flow.half_closed.store(true, Ordering::Relaxed);
        to.shutdown().await
    }
}

/// Reads through the stack, so that a connection that waits holds no buffer; nothing is the end.
async fn read_chunk(from: &mut (impl AsyncRead + Unpin), into: &mut BytesMut) -> io::Result<()> {
    poll_fn(|context| {
        let mut chunk = [const { MaybeUninit::uninit() }; READ_BYTES];
        let mut chunk = ReadBuf::uninit(&mut chunk);
        Pin::new(&mut *from)
            .poll_read(context, &mut chunk)
            .map_ok(|()| into.extend_from_slice(chunk.filled()))
    })
    .await
}

/// Waits until nothing has passed for as long as the limit of the moment says.
async fn idle(peers: &Peers, flow: &Flow) {
    let passed = || flow.bytes.load(Ordering::Relaxed);
    let (mut seen, mut since) = (passed(), Instant::now());
    loop {
        let idle_s = peers.0.limits.idle_s.load(Ordering::Relaxed);
        let mut patience = Duration::from_secs(idle_s.into());
        if flow.half_closed.load(Ordering::Relaxed) {
            patience = patience.min(HALF_CLOSED_IDLE);
        }
        let now = Instant::now();
        if passed() != seen {
            (seen, since) = (passed(), now);
        }
        if now >= since + patience {
            return;
        }
        // Often enough to notice a half that closes, or a limit that is lowered.
        sleep_until((since + patience).min(now + LOOK)).await;
    }
}

/// How often an idle connection is looked at.
const LOOK: Duration = Duration::from_secs(5);
