//! One connection: introduced, told apart, read frame by frame, written batch by batch, ended for a reason.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use sterna_stun::framing;
use sterna_stun::message::{Class, Method};
use sterna_turn::{Client, Transport};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::admission::Place;
use super::budget::{QueueBudget, Share};
use super::cork::Cork;
use super::counters::{CutReason, Tally, add};
use super::out::{Outgoing, queue};
use super::patience::{Elapsed, within};
use super::peer::Joined;
use super::proxy::{self, Failure, Header};
use super::{Bound, Protocols, StreamConfig, StreamLimits, StreamSink};
use crate::tls::acme::ACME_TLS;

/// What one read takes at most.
const READ_BYTES: usize = 16 * 1024;

/// Frames that one connection hands over before the others get a turn.
const FRAMES_PER_TURN: usize = 32;

/// The first byte of a TLS record that begins a handshake (RFC 8446 §5.1).
const TLS_HANDSHAKE: u8 = 22;

/// The first bit pair of ChannelData (RFC 8656 §12): nothing may begin with it, so plain HTTP is
/// cut at its first byte.
const FIRST_STUN_BYTE_MAX: u8 = 0x3f;

/// How long the last bytes of TLS and TCP may take to leave.
const FAREWELL: Duration = Duration::from_secs(1);

/// Why a connection ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum End {
    /// By the client, or by the worker.
    Closed,
    /// By a rule.
    Cut(CutReason),
    /// The worker is gone: the node stops.
    NodeGone,
}

/// What a connection's task needs besides its socket.
pub(super) struct Context<S> {
    pub(super) sink: Arc<S>,
    pub(super) tally: Arc<Tally>,
    pub(super) budget: Arc<QueueBudget>,
    pub(super) config: watch::Receiver<StreamConfig>,
    pub(super) tls: TlsAcceptor,
    pub(super) protocols: Protocols,
    pub(super) closing: watch::Receiver<bool>,
    /// Given back when the connection has ended.
    pub(super) place: Place,
    /// Whether a PROXY header comes first.
    pub(super) proxied: bool,
}

/// A connection whose protocol is known.
enum Entered {
    Tcp(TcpStream),
    Tls(Box<TlsStream<Cork<TcpStream>>>),
}

impl<S: StreamSink> Context<S> {
    /// Serves a connection to its end. `client` is who the socket says it is, and then who the
    /// PROXY header says.
    pub(super) async fn serve(mut self, socket: TcpStream, client: &mut Client) -> End {
        let mut closing = self.closing.clone();
        let entered = tokio::select! {
            entered = self.enter(socket, client) => entered,
            _ = closing.wait_for(|closing| *closing) => return End::Closed,
        };
        match entered {
            Ok(Entered::Tcp(socket)) => {
                add(&self.tally.accepted_tcp, 1);
                self.relay(socket, *client).await
            }
            Ok(Entered::Tls(socket)) => {
                add(&self.tally.accepted_tls, 1);
                client.transport = Transport::Tls;
                self.relay(socket, *client).await
            }
            Err(end) => end,
        }
    }

    /// Learns who the client is, tells TCP from TLS by the first byte, and does the handshake.
    async fn enter(&mut self, mut socket: TcpStream, client: &mut Client) -> Result<Entered, End> {
        if self.proxied {
            self.introduce(&mut socket, client).await?;
        }
        let mut first = [0];
        let peeked = socket.peek(&mut first);
        match within(&mut self.config, idle_s, Instant::now(), peeked).await {
            Err(Elapsed) => return Err(End::Cut(CutReason::Idle)),
            Ok(Err(_) | Ok(0)) => return Err(End::Closed),
            Ok(Ok(_)) => {}
        }
        match (first[0], self.protocols) {
            (TLS_HANDSHAKE, _) => {
                let cork = Cork::new(socket, Share::of(&self.budget));
                let handshake = self.tls.accept(cork);
                match within(&mut self.config, handshake_s, Instant::now(), handshake).await {
                    Err(Elapsed) => Err(End::Cut(CutReason::HandshakeTimeout)),
                    Ok(Err(_)) => Err(End::Cut(CutReason::HandshakeFailed)),
                    // RFC 8737 §3: nothing follows the handshake of an ACME authority.
                    Ok(Ok(mut socket)) if socket.get_ref().1.alpn_protocol() == Some(ACME_TLS) => {
                        let _ = timeout(FAREWELL, socket.shutdown()).await;
                        Err(End::Closed)
                    }
                    Ok(Ok(socket)) => Ok(Entered::Tls(Box::new(socket))),
                }
            }
            (byte, Protocols::TcpAndTls) if byte <= FIRST_STUN_BYTE_MAX => Ok(Entered::Tcp(socket)),
            _ => Err(End::Cut(CutReason::Garbage)),
        }
    }

    /// Reads the PROXY header; the caps of prefixes count the client that it names.
    async fn introduce(&mut self, socket: &mut TcpStream, client: &mut Client) -> Result<(), End> {
        let header = proxy::read(socket);
        match within(&mut self.config, handshake_s, Instant::now(), header).await {
            Err(Elapsed) => return Err(End::Cut(CutReason::HandshakeTimeout)),
            Ok(Err(Failure::Bad)) => return Err(End::Cut(CutReason::ProxyHeader)),
            Ok(Err(Failure::Closed)) => return Err(End::Closed),
            Ok(Ok(Header::Own)) => {}
            Ok(Ok(Header::Proxied {
                client: addr,
                server,
            })) => {
                client.addr = addr;
                client.server = server;
            }
        }
        let per_prefix_max = self.config.borrow().limits.per_prefix_max;
        self.place
            .claim(client.addr.ip(), per_prefix_max)
            .map_err(End::Cut)
    }

    async fn relay(&mut self, socket: impl AsyncRead + AsyncWrite + Unpin, client: Client) -> End {
        let (out, outgoing) = queue(&self.budget);
        if self.sink.opened(client, out).await.is_err() {
            return End::NodeGone;
        }
        let (mut reader, mut writer) = tokio::io::split(socket);
        let mut pending = BytesMut::new();
        let mut joined = None;
        let end = {
            let mut writing = pin!(write(
                &mut writer,
                client.transport,
                &outgoing,
                self.config.clone(),
                &self.tally
            ));
            let reading = read(
                &mut reader,
                &mut pending,
                client,
                &*self.sink,
                &outgoing,
                self.config.clone(),
                &self.tally,
            );
            let (end, written) = tokio::select! {
                end = &mut writing => (end, true),
                read = reading => match read {
                    Ok(connection) => {
                        joined = Some(connection);
                        (End::Closed, false)
                    }
                    Err(end) => (end, false),
                },
                _ = self.closing.wait_for(|closing| *closing) => {
                    outgoing.close();
                    (End::Closed, false)
                }
            };
            // RFC 8656 §3.4: the allocation ends with the connection.
            self.sink.closed(client).await;
            if end == End::Closed && !written {
                // A client that closed its half still gets the answers to what it sent before: its
                // worker sees those frames first, then the end, and lets go of its handle, which
                // ends the queue.
                let _ = within(&mut self.config, stall_s, Instant::now(), writing).await;
            }
            end
        };
        if let Some(joined) = joined {
            let client = reader.unsplit(writer);
            tokio::select! {
                // In a box of its own, since few connections come so far.
                () = Box::pin(joined.splice(client, pending)) => {}
                _ = self.closing.wait_for(|closing| *closing) => {}
            }
            return end;
        }
        let _ = timeout(FAREWELL, writer.shutdown()).await;
        end
    }
}

fn idle_s(limits: &StreamLimits) -> u32 {
    limits.unauthenticated_idle_s
}

fn handshake_s(limits: &StreamLimits) -> u32 {
    limits.handshake_s
}

fn stall_s(limits: &StreamLimits) -> u32 {
    limits.write_stall_s
}

/// Hands over whole frames until the client closes or breaks a rule, or until its connection is
/// joined with a peer's.
async fn read<S: StreamSink>(
    reader: &mut (impl AsyncRead + Unpin),
    pending: &mut BytesMut,
    client: Client,
    sink: &S,
    outgoing: &Outgoing,
    mut config: watch::Receiver<StreamConfig>,
    tally: &Tally,
) -> Result<Box<Joined>, End> {
    let mut idle_since = Instant::now();
    let mut any_frame = false;
    loop {
        let mut counted = Counted {
            tally,
            frames: 0,
            bytes: 0,
        };
        loop {
            if !any_frame
                && pending
                    .first()
                    .is_some_and(|byte| *byte > FIRST_STUN_BYTE_MAX)
            {
                return Err(End::Cut(CutReason::Garbage));
            }
            let frame = match framing::next_frame(pending) {
                Ok(Some(len)) if len <= pending.len() => take_frame(pending, len),
                Ok(_) => break,
                Err(_) => return Err(End::Cut(CutReason::Garbage)),
            };
            any_frame = true;
            counted.frames += 1;
            counted.bytes += frame.len() as u64;
            if is_connection_bind(&frame) {
                match sink.bind(client, frame).await {
                    Ok(Bound::No) => {}
                    Ok(Bound::Joined(connection)) => return Ok(connection),
                    Ok(Bound::Gone) => return Err(End::Closed),
                    Err(_) => return Err(End::NodeGone),
                }
            } else if sink.frame(client, frame).await.is_err() {
                return Err(End::NodeGone);
            }
            if counted.frames.is_multiple_of(FRAMES_PER_TURN as u64) {
                tokio::task::yield_now().await;
            }
        }
        if counted.frames > 0 {
            idle_since = Instant::now();
        }
        drop(counted);
        match read_more(reader, pending, &mut idle_since, &mut config, outgoing).await {
            Ok(0) => return Err(End::Closed),
            Ok(_) => {}
            Err(end) => return Err(end),
        }
    }
}

/// Tells whether what follows a frame may be no frames any more (RFC 6062 §5.4).
fn is_connection_bind(frame: &[u8]) -> bool {
    let type_ = Class::Request.message_type(Method::CONNECTION_BIND);
    frame.starts_with(&type_.to_be_bytes())
}

/// Reads once. With an allocation a connection may be idle as long as that lives; without one, no
/// longer than the limit.
async fn read_more(
    reader: &mut (impl AsyncRead + Unpin),
    pending: &mut BytesMut,
    idle_since: &mut Instant,
    config: &mut watch::Receiver<StreamConfig>,
    outgoing: &Outgoing,
) -> Result<usize, End> {
    loop {
        match within(config, idle_s, *idle_since, read_chunk(reader, pending)).await {
            Ok(read) => return read.map_err(|_| End::Closed),
            Err(Elapsed) if outgoing.has_session() => *idle_since = Instant::now(),
            Err(Elapsed) => return Err(End::Cut(CutReason::Idle)),
        }
    }
}

/// Reads through the stack, so that a connection that waits holds no buffer.
async fn read_chunk(
    reader: &mut (impl AsyncRead + Unpin),
    pending: &mut BytesMut,
) -> io::Result<usize> {
    poll_fn(|context| {
        let mut chunk = [const { MaybeUninit::uninit() }; READ_BYTES];
        let mut chunk = ReadBuf::uninit(&mut chunk);
        Pin::new(&mut *reader)
            .poll_read(context, &mut chunk)
            .map_ok(|()| {
                pending.extend_from_slice(chunk.filled());
                chunk.filled().len()
            })
    })
    .await
}

/// Cuts the first frame off. The last one takes the buffer with it, so that an idle connection
/// holds none.
fn take_frame(pending: &mut BytesMut, len: usize) -> Bytes {
    if pending.len() == len {
        std::mem::take(pending).freeze()
    } else {
        pending.split_to(len).freeze()
    }
}

/// Writes what the worker queues until there is no more.
async fn write(
    writer: &mut (impl AsyncWrite + Unpin),
    transport: Transport,
    outgoing: &Outgoing,
    mut config: watch::Receiver<StreamConfig>,
    tally: &Tally,
) -> End {
    let mut batch = outgoing.batch();
    while outgoing.take(&mut batch).await {
        let count = batch.count();
        let (mut rest, frames) = batch.contiguous();
        let len = rest.len();
        // A record of TLS carries one frame; TCP takes all of them at once.
        for frame in frames {
            let piece = if transport == Transport::Tls {
                frame
            } else {
                rest.len()
            };
            let (mut now, later) = rest.split_at(piece);
            while !now.is_empty() {
                let writing = writer.write(now);
                match within(&mut config, stall_s, Instant::now(), writing).await {
                    Err(Elapsed) => return End::Cut(CutReason::Stalled),
                    Ok(Err(_) | Ok(0)) => return End::Closed,
                    Ok(Ok(written)) => now = &now[written..],
                }
            }
            rest = later;
        }
        match within(&mut config, stall_s, Instant::now(), writer.flush()).await {
            Err(Elapsed) => return End::Cut(CutReason::Stalled),
            Ok(Err(_)) => return End::Closed,
            Ok(Ok(())) => {}
        }
        add(&tally.frames_out, count as u64);
        add(&tally.bytes_out, len as u64);
    }
    End::Closed
}

/// Counts a batch also where the task is ended in the middle of it.
struct Counted<'a> {
    tally: &'a Tally,
    frames: u64,
    bytes: u64,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        let count = |counter: &AtomicU64, value: u64| {
            if value > 0 {
                add(counter, value);
            }
        };
        count(&self.tally.frames_in, self.frames);
        count(&self.tally.bytes_in, self.bytes);
    }
}
