//! The `quic` rung: data in QUIC datagrams, control on the one stream that the device opens.
//!
//! Connection ids name their thread in their first byte, so that a client that changes its address
//! stays with it. Under load, a client proves its address first (Retry, RFC 9000 §8.1.2).

use std::io;
use std::net::UdpSocket;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{
    AckFrequencyConfig, Connection, ConnectionId, ConnectionIdGenerator, Endpoint, EndpointConfig,
    IdleTimeout, Incoming, MtuDiscoveryConfig, RecvStream, SendDatagramError, SendStream,
    ServerConfig, TokioRuntime, TransportConfig, VarInt,
};
use sterna_flow::limits::{CONTROL_FRAME_BYTES_MAX, QUIC_UNACKNOWLEDGED, SESSION_IDLE};
use sterna_flow::{Rung, frame};
use sterna_io::steering::Steering;
use tokio::time::{sleep, timeout};
use tracing::debug;

use super::link::FlowLink;
use super::shard::Shard;
use super::threads::Service;
use crate::limits::{
    FLOW_HANDSHAKE_MAX, FLOW_HANDSHAKES_MAX, FLOW_HANDSHAKES_RETRY, FLOW_QUIC_SEND_BYTES,
};
use crate::stream::Place;

/// The UDP payload that a path of 1,500 bytes carries over IPv4.
const UDP_PAYLOAD_MAX: u16 = 1_472;

/// When the payload of a datagram is looked at after the handshake; quinn probes the path meanwhile.
const MTU_LOOKS_MS: [u64; 6] = [50, 150, 400, 1_000, 3_000, 10_000];
/// And from then on.
const MTU_LOOK: Duration = Duration::from_secs(30);

const CONNECTION_ID_BYTES: usize = 8;

/// Short headers name their thread in the first byte of the connection id (RFC 9000 §17.3.1).
pub(super) fn steering(threads: usize) -> Steering {
    Steering {
        first_byte: 0x40..=0x7F,
        offset: 1,
        shift: shift(threads),
    }
}

/// By how many bits the first byte of a connection id is shifted for its thread.
fn shift(threads: usize) -> u8 {
    let bits = usize::BITS - threads.saturating_sub(1).leading_zeros();
    8 - u8::try_from(bits).unwrap_or(8).min(8)
}

/// Makes connection ids that name a thread.
struct ThreadIds {
    place: u8,
    shift: u8,
}

impl ConnectionIdGenerator for ThreadIds {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut id: [u8; CONNECTION_ID_BYTES] = rand::random();
        if self.shift < 8 {
            let random = id[0] & (0xFF >> (8 - self.shift));
            id[0] = self.place << self.shift | random;
        }
        ConnectionId::new(&id)
    }

    fn cid_len(&self) -> usize {
        CONNECTION_ID_BYTES
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// Makes a thread's endpoint on one address.
///
/// # Errors
/// What the system says of the socket.
pub(super) fn endpoint(
    socket: UdpSocket,
    service: &Service,
    place: usize,
    threads: usize,
) -> io::Result<Endpoint> {
    let crypto = QuicServerConfig::try_from(Arc::clone(&service.tls_quic))
        .map_err(|error| io::Error::other(error.to_string()))?;
    let mut server = ServerConfig::with_crypto(Arc::new(crypto));
    server.transport_config(Arc::new(transport()));
    server.max_incoming(FLOW_HANDSHAKES_MAX);
    let mut config = EndpointConfig::default();
    let place = u8::try_from(place).unwrap_or(0);
    let shift = shift(threads);
    config.cid_generator(move || Box::new(ThreadIds { place, shift }));
    Endpoint::new(config, Some(server), socket, Arc::new(TokioRuntime))
}

fn transport() -> TransportConfig {
    let mut discovery = MtuDiscoveryConfig::default();
    discovery.upper_bound(UDP_PAYLOAD_MAX);
    let mut acknowledged = AckFrequencyConfig::default();
    acknowledged.ack_eliciting_threshold(QUIC_UNACKNOWLEDGED.into());
    let mut transport = TransportConfig::default();
    transport
        .ack_frequency_config(Some(acknowledged))
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .max_idle_timeout(IdleTimeout::try_from(SESSION_IDLE).ok())
        .stream_receive_window(VarInt::from_u32(64 << 10))
        .receive_window(VarInt::from_u32(64 << 10))
        .send_window(64 << 10)
        .datagram_receive_buffer_size(Some(256 << 10))
        // What waits belongs into the session's own queue, where the oldest is dropped.
        .datagram_send_buffer_size(FLOW_QUIC_SEND_BYTES)
        .mtu_discovery_config(Some(discovery));
    transport
}

/// Takes connections as long as the thread lives.
pub(super) async fn accept(endpoint: Endpoint, shard: Rc<Shard>, service: Service) {
    let handshakes = Rc::new(());
    while let Some(incoming) = endpoint.accept().await {
        let under_way = Rc::strong_count(&handshakes) - 1;
        if under_way >= FLOW_HANDSHAKES_RETRY && incoming.may_retry() {
            shard.counters.borrow_mut().retried += 1;
            // It may be retried: asked above.
            let _ = incoming.retry();
            continue;
        }
        let admitted = service.admit(incoming.remote_address().ip());
        let Ok(place) = admitted else {
            shard.counters.borrow_mut().refused += 1;
            incoming.refuse();
            continue;
        };
        let (shard, handshake) = (Rc::clone(&shard), Rc::clone(&handshakes));
        tokio::task::spawn_local(serve(incoming, shard, place, handshake));
    }
}

/// One connection's life.
async fn serve(incoming: Incoming, shard: Rc<Shard>, place: Place, handshake: Rc<()>) {
    let Some((connection, send, receive)) = shake_hands(incoming).await else {
        shard.counters.borrow_mut().failed += 1;
        return;
    };
    let mut exporter = [0; 32];
    let exported = connection.export_keying_material(&mut exporter, frame::EXPORTER_LABEL, &[]);
    if exported.is_err() {
        shard.counters.borrow_mut().failed += 1;
        return;
    }
    drop(handshake);
    shard.counters.borrow_mut().accepted += 1;
    let link = shard.open(
        Rung::Quic,
        connection.remote_address(),
        exporter,
        payload_max(&connection),
    );
    tokio::select! {
        () = read_control(&shard, &link, receive) => {}
        () = read_datagrams(&shard, &link, &connection) => {}
        () = write_control(&link, send) => {}
        () = write_datagrams(&shard, &link, &connection) => {}
        () = watch_path(&shard, &link, &connection) => {}
        () = link.silence() => shard.counters.borrow_mut().cut += 1,
    }
    shard.closed(&link);
    connection.close(VarInt::from_u32(0), b"");
    drop(place);
}

/// TLS, then the stream that the device opens.
async fn shake_hands(incoming: Incoming) -> Option<(Connection, SendStream, RecvStream)> {
    let shaken = async {
        let connection = incoming.accept().ok()?.await.ok()?;
        let (send, receive) = connection.accept_bi().await.ok()?;
        Some((connection, send, receive))
    };
    timeout(FLOW_HANDSHAKE_MAX, shaken).await.ok().flatten()
}

/// The longest payload that one datagram carries behind a head.
fn payload_max(connection: &Connection) -> u16 {
    let datagram = connection.max_datagram_size().unwrap_or(0);
    u16::try_from(datagram.saturating_sub(frame::DATA_HEAD_BYTES)).unwrap_or(u16::MAX)
}

/// Control frames stand behind their length.
async fn read_control(shard: &Shard, link: &FlowLink, mut receive: RecvStream) {
    let mut len = [0; 2];
    while receive.read_exact(&mut len).await.is_ok() {
        let len = usize::from(u16::from_be_bytes(len));
        if len > CONTROL_FRAME_BYTES_MAX {
            debug!(len, "a control frame that is too long");
            return;
        }
        let mut bytes = vec![0; len];
        if receive.read_exact(&mut bytes).await.is_err() {
            return;
        }
        shard.frame(link, &Bytes::from(bytes));
    }
}

async fn read_datagrams(shard: &Shard, link: &FlowLink, connection: &Connection) {
    while let Ok(datagram) = connection.read_datagram().await {
        shard.frame(link, &datagram);
    }
}

async fn write_control(link: &FlowLink, mut send: SendStream) {
    loop {
        while let Some(frame) = link.pop_control() {
            let len = u16::try_from(frame.len()).expect("invariant: control frames are short");
            let written = async {
                send.write_all(&len.to_be_bytes()).await?;
                send.write_all(&frame).await
            };
            if written.await.is_err() {
                return;
            }
        }
        if link.is_closing() {
            // The last words are heard before the connection goes.
            if send.finish().is_ok() {
                let _ = timeout(Duration::from_secs(1), send.stopped()).await;
            }
            return;
        }
        link.control_changed().await;
    }
}

async fn write_datagrams(shard: &Shard, link: &FlowLink, connection: &Connection) {
    loop {
        while let Some(frame) = link.pop_data(Instant::now()) {
            match connection.send_datagram_wait(frame).await {
                Ok(()) => {}
                // The path has become narrower since; the machine learns of it in a moment.
                Err(SendDatagramError::TooLarge) => {
                    shard.counters.borrow_mut().oversize += 1;
                }
                Err(_) => return,
            }
        }
        link.changed().await;
    }
}

/// Tells the machine when the path carries more or less, and when the device has moved.
async fn watch_path(shard: &Shard, link: &FlowLink, connection: &Connection) {
    let (mut carried, mut addr) = (payload_max(connection), connection.remote_address());
    let first = MTU_LOOKS_MS.map(Duration::from_millis);
    let looks = first.into_iter().chain(std::iter::repeat(MTU_LOOK));
    for look in looks {
        sleep(look).await;
        let (now_carried, now_addr) = (payload_max(connection), connection.remote_address());
        if now_carried != carried {
            carried = now_carried;
            shard.payload_max(link, carried);
        }
        if now_addr != addr {
            addr = now_addr;
            shard.moved(link, addr);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_ids_lead_back_to_their_thread() {
        for threads in 1..=33 {
            for place in 0..threads {
                let shift = shift(threads);
                let place = u8::try_from(place).unwrap_or(0);
                let id = ThreadIds { place, shift }.generate_cid();
                let steered = u16::from(id[0]) >> shift;
                assert_eq!(steered, u16::from(place), "{threads} threads");
            }
        }
    }
}
