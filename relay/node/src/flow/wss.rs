//! The `wss` rung: every frame a binary WebSocket message over TLS 1.3, for networks that let
//! nothing else pass. Load balancers of `tcp.proxy_protocol_from` say first who the device is.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use socket2::SockRef;
use sterna_daemon::log::Repeated;
use sterna_flow::{Rung, frame};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_websockets::{Limits, Message, ServerBuilder, WebSocketStream};
use tracing::{debug, warn};

use super::http;
use super::link::FlowLink;
use super::shard::Shard;
use super::threads::Service;
use crate::limits::{
    FLOW_FAREWELL_MAX, FLOW_HANDSHAKE_MAX, FLOW_MESSAGE_BYTES_MAX, FLOW_PINGS_MAX,
    FLOW_TCP_UNSENT_BYTES, FLOW_TCP_USER_TIMEOUT,
};
use crate::stream::{CutReason, Place, proxy};

static BAD_HEADERS: Repeated = Repeated::new();

/// Where a device's WebSocket stands.
type Socket = WebSocketStream<TlsStream<TcpStream>>;

/// Takes connections as long as the thread lives.
pub(super) async fn accept(listener: TcpListener, shard: Rc<Shard>, service: Service) {
    loop {
        let (socket, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "cannot accept a WebSocket's connection");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let is_proxy = service.is_proxy(from.ip());
        let admitted = match is_proxy {
            // Behind a proxy, the device and its prefix are known after the header.
            true => service.admit_unknown(),
            false => service.admit(from.ip()),
        };
        let Ok(place) = admitted else {
            shard.counters.borrow_mut().refused += 1;
            continue;
        };
        let arrived = Arrived {
            socket,
            from,
            is_proxy,
            place,
        };
        tokio::task::spawn_local(serve(arrived, service.clone(), Rc::clone(&shard)));
    }
}

/// A connection that has not said anything yet.
struct Arrived {
    socket: TcpStream,
    from: SocketAddr,
    is_proxy: bool,
    place: Place,
}

/// One connection's life.
async fn serve(mut arrived: Arrived, service: Service, shard: Rc<Shard>) {
    if arrived.is_proxy && !introduce(&mut arrived, &service, &shard).await {
        return;
    }
    let Arrived {
        socket,
        from,
        place,
        ..
    } = arrived;
    let acceptor = TlsAcceptor::from(std::sync::Arc::clone(&service.tls_wss));
    let shaken = shake_hands(socket, &acceptor, shard.is_draining());
    let (socket, exporter) = match timeout(FLOW_HANDSHAKE_MAX, shaken).await {
        Ok(Ok(Some(shaken))) => shaken,
        Ok(Ok(None)) => {
            shard.counters.borrow_mut().answered += 1;
            return;
        }
        Ok(Err(error)) => {
            debug!(%error, "a WebSocket's handshake failed");
            shard.counters.borrow_mut().failed += 1;
            return;
        }
        Err(_elapsed) => {
            shard.counters.borrow_mut().failed += 1;
            return;
        }
    };
    shard.counters.borrow_mut().accepted += 1;
    let payload_max = u16::try_from(FLOW_MESSAGE_BYTES_MAX - frame::DATA_HEAD_BYTES)
        .expect("invariant: a message is shorter than 64 KiB");
    let link = shard.open(Rung::Wss, from, exporter, payload_max);
    let (sink, source) = socket.split();
    tokio::select! {
        () = read(&shard, &link, source) => {}
        () = write(&link, sink) => {}
        () = link.silence() => shard.counters.borrow_mut().cut += 1,
    }
    shard.closed(&link);
    drop(place);
}

/// Reads the PROXY header, and counts the device by the address that it names; whether it goes on.
async fn introduce(arrived: &mut Arrived, service: &Service, shard: &Shard) -> bool {
    let header = proxy::read(&mut arrived.socket);
    match timeout(FLOW_HANDSHAKE_MAX, header).await {
        Ok(Ok(proxy::Header::Own)) => {}
        Ok(Ok(proxy::Header::Proxied { client, .. })) => arrived.from = client,
        Ok(Err(proxy::Failure::Bad)) => {
            shard.counters.borrow_mut().failed += 1;
            if let Some(times) = BAD_HEADERS.due() {
                warn!(proxy = %arrived.from, times, "a connection from tcp.proxy_protocol_from to flow.wss_listen began without \
                       a valid PROXY header and was cut; let the load balancer send one (version 2), or take it off that list");
            }
            return false;
        }
        Ok(Err(proxy::Failure::Closed)) | Err(_) => {
            shard.counters.borrow_mut().failed += 1;
            return false;
        }
    }
    let claimed: Result<(), CutReason> = service.claim(&mut arrived.place, arrived.from.ip());
    if claimed.is_err() {
        shard.counters.borrow_mut().refused += 1;
    }
    claimed.is_ok()
}

/// TLS, then HTTP's upgrade; none where something else was asked for, which has been answered.
async fn shake_hands(
    socket: TcpStream,
    acceptor: &TlsAcceptor,
    is_draining: bool,
) -> io::Result<Option<(Socket, [u8; 32])>> {
    prepare(&socket)?;
    let mut tls = acceptor.accept(socket).await?;
    let exporter = tls
        .get_ref()
        .1
        .export_keying_material([0; 32], frame::EXPORTER_LABEL, Some(&[]))
        .map_err(io::Error::other)?;
    if !http::answer(&mut tls, is_draining).await? {
        return Ok(None);
    }
    let limits = Limits::default().max_payload_len(Some(FLOW_MESSAGE_BYTES_MAX));
    let socket = ServerBuilder::new().limits(limits).serve(tls);
    Ok(Some((socket, exporter)))
}

/// No delay of small frames, little unsent in the kernel, and a dead path noticed soon.
fn prepare(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let socket = SockRef::from(socket);
    socket.set_tcp_notsent_lowat(FLOW_TCP_UNSENT_BYTES)?;
    socket.set_tcp_user_timeout(Some(FLOW_TCP_USER_TIMEOUT))
}

async fn read<S: AsyncRead + AsyncWrite + Unpin>(
    shard: &Shard,
    link: &FlowLink,
    mut source: futures_util::stream::SplitStream<WebSocketStream<S>>,
) {
    let mut pings = Pings::new(Instant::now());
    while let Some(Ok(message)) = source.next().await {
        if message.is_binary() {
            shard.frame(link, &message.into_payload().into());
        } else if message.is_close() {
            // RFC 6455 §5.5.1: it is answered, and that is out when the source has come to its end.
            let _ = timeout(FLOW_FAREWELL_MAX, source.next()).await;
            return;
        } else if message.is_text() || message.is_ping() && !pings.admit(Instant::now()) {
            shard.counters.borrow_mut().cut += 1;
            return;
        }
    }
}

/// How many pings of WebSocket's own a connection may still send.
///
/// The library keeps an answer to each until the other side reads, and nothing else bounds these: who
/// sends pings and does not read would have the node keep as many as it likes.
struct Pings {
    left: u32,
    since: Instant,
}

impl Pings {
    fn new(now: Instant) -> Self {
        Self {
            left: FLOW_PINGS_MAX,
            since: now,
        }
    }

    /// Takes one; each second brings another.
    fn admit(&mut self, now: Instant) -> bool {
        let seconds = now.saturating_duration_since(self.since).as_secs();
        self.since += Duration::from_secs(seconds);
        let more = u32::try_from(seconds).unwrap_or(u32::MAX);
        self.left = self.left.saturating_add(more).min(FLOW_PINGS_MAX);
        let admitted = self.left > 0;
        self.left = self.left.saturating_sub(1);
        admitted
    }
}

async fn write<S: AsyncRead + AsyncWrite + Unpin>(
    link: &FlowLink,
    mut sink: futures_util::stream::SplitSink<WebSocketStream<S>, Message>,
) {
    loop {
        while let Some(frame) = link.pop_control().or_else(|| link.pop_data(Instant::now())) {
            if sink.feed(Message::binary(frame)).await.is_err() {
                return;
            }
        }
        if sink.flush().await.is_err() {
            return;
        }
        if link.is_closing() {
            // The last words are on their way; a farewell of WebSocket's own is a courtesy.
            let _ = timeout(Duration::from_secs(1), sink.close()).await;
            return;
        }
        link.changed().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pings_come_one_a_second_and_some_at_once() {
        let start = Instant::now();
        let mut pings = Pings::new(start);
        let admitted = |pings: &mut Pings, now| (0..100).filter(|_| pings.admit(now)).count();
        assert_eq!(admitted(&mut pings, start), FLOW_PINGS_MAX as usize);
        let later = start + Duration::from_millis(2_900);
        assert_eq!(admitted(&mut pings, later), 2);
        assert_eq!(admitted(&mut pings, start + Duration::from_secs(3)), 1);
        let much_later = start + Duration::from_secs(1 << 40);
        assert_eq!(admitted(&mut pings, much_later), FLOW_PINGS_MAX as usize);
    }
}
