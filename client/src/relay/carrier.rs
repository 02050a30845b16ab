//! What carries frames to a node and back: a UDP socket, a QUIC connection, or a WebSocket.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::stream::SplitStream;
use futures_util::{SinkExt as _, StreamExt as _};
use quinn::crypto::rustls::QuicClientConfig;
use rustls_pki_types::ServerName;
use socket2::SockRef;
use sterna_control_api::relay_map::Node;
use sterna_flow::limits::{CONTROL_FRAME_BYTES_MAX, PAYLOAD_BYTES_INITIAL, QUIC_UNACKNOWLEDGED};
use sterna_flow::{Rung, frame};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_websockets::{ClientBuilder, Limits, Message, WebSocketStream};

use super::limits::{FRAMES_MAX, TCP_USER_TIMEOUT};
use super::tls;

/// The longest message of a WebSocket, as nodes take it.
const MESSAGE_BYTES_MAX: usize = 16 * 1024;
/// What the kernel holds unsent of a WebSocket.
const UNSENT_BYTES: u32 = 16 * 1024;
/// The longest datagram.
const DATAGRAM_BYTES_MAX: usize = 65_536;
/// The UDP payload that a path of 1,500 bytes carries over IPv4.
const UDP_PAYLOAD_MAX: u16 = 1_472;

/// The longest TCP segment, so that it fits a path of 1,280 bytes over either family: where routers'
/// messages are lost, the kernel would go on sending what never arrives.
const TCP_SEGMENT_BYTES_MAX: u32 = 1_220;

/// A way to a node that frames can take.
pub(super) struct Carrier {
    pub(super) sender: Sender,
    pub(super) receiver: Receiver,
    /// What binds the handshake to TLS.
    pub(super) exporter: Option<[u8; 32]>,
    /// The node's address.
    pub(super) addr: SocketAddr,
    /// The longest payload of one frame, as far as is known.
    pub(super) payload_max: u16,
}

/// The sending half.
pub(super) enum Sender {
    Udp(Arc<UdpSocket>),
    Quic {
        connection: quinn::Connection,
        control: mpsc::Sender<Bytes>,
    },
    Wss(mpsc::Sender<Bytes>),
}

/// The receiving half.
pub(super) enum Receiver {
    Udp(Arc<UdpSocket>, Box<[u8]>),
    Quic {
        connection: quinn::Connection,
        control: mpsc::Receiver<Bytes>,
        /// Closes with the connection.
        _endpoint: quinn::Endpoint,
    },
    Wss(SplitStream<WebSocketStream<TlsStream<TcpStream>>>),
}

/// Connects to a node over a rung: the first of its addresses that can be had.
pub(super) async fn connect(node: &Node, rung: Rung) -> io::Result<Carrier> {
    let addrs = match rung {
        Rung::Udp => &node.udp,
        Rung::Quic => &node.quic,
        Rung::Wss => &node.wss,
    };
    let mut failed = io::Error::new(
        io::ErrorKind::Unsupported,
        "the node does not serve the rung",
    );
    for &addr in addrs {
        let connected = match rung {
            Rung::Udp => udp(addr).await,
            Rung::Quic => quic(addr, host(node)).await,
            Rung::Wss => wss(addr, host(node)).await,
        };
        match connected {
            Ok(carrier) => return Ok(carrier),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// The name that TLS shows to the network.
fn host(node: &Node) -> String {
    if node.host.is_empty() {
        "localhost".to_owned()
    } else {
        node.host.clone()
    }
}

async fn udp(addr: SocketAddr) -> io::Result<Carrier> {
    let socket = Arc::new(udp_socket(addr).await?);
    Ok(Carrier {
        sender: Sender::Udp(Arc::clone(&socket)),
        receiver: Receiver::Udp(socket, vec![0; DATAGRAM_BYTES_MAX].into()),
        exporter: None,
        addr,
        payload_max: PAYLOAD_BYTES_INITIAL,
    })
}

/// A UDP socket that talks to one address, from whatever address leads there now.
pub(super) async fn udp_socket(addr: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(SocketAddr::new(any(addr), 0)).await?;
    never_fragmented(&socket, addr)?;
    socket.connect(addr).await?;
    // A fresh socket is not known to be writable: the first frame would wait for its repetition.
    socket.writable().await?;
    Ok(socket)
}

/// Lets the session find out by its probes what the path carries: nothing is fragmented by the
/// kernel, and no router's word shortens what is sent (RFC 8899 §4.2).
fn never_fragmented(socket: &UdpSocket, addr: SocketAddr) -> io::Result<()> {
    use rustix::net::sockopt::{
        Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover,
    };
    match addr {
        SocketAddr::V4(_) => set_ip_mtu_discover(socket, Ipv4PathMtuDiscovery::PROBE)?,
        SocketAddr::V6(_) => set_ipv6_mtu_discover(socket, Ipv6PathMtuDiscovery::PROBE)?,
    }
    Ok(())
}

/// The device's own address towards another, as the system would choose it now.
pub(super) fn local_towards(addr: SocketAddr) -> Option<IpAddr> {
    let socket = std::net::UdpSocket::bind(SocketAddr::new(any(addr), 0)).ok()?;
    socket.connect(addr).ok()?;
    socket.local_addr().ok().map(|addr| addr.ip())
}

fn any(addr: SocketAddr) -> IpAddr {
    match addr {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

async fn quic(addr: SocketAddr, host: String) -> io::Result<Carrier> {
    let crypto = QuicClientConfig::try_from(tls::config(frame::ALPN)).map_err(io::Error::other)?;
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    let mut discovery = quinn::MtuDiscoveryConfig::default();
    discovery.upper_bound(UDP_PAYLOAD_MAX);
    let mut acknowledged = quinn::AckFrequencyConfig::default();
    acknowledged.ack_eliciting_threshold(QUIC_UNACKNOWLEDGED.into());
    let mut transport = quinn::TransportConfig::default();
    transport
        .ack_frequency_config(Some(acknowledged))
        .mtu_discovery_config(Some(discovery))
        .datagram_receive_buffer_size(Some(256 << 10))
        .datagram_send_buffer_size(64 << 10);
    config.transport_config(Arc::new(transport));
    let endpoint = quinn::Endpoint::client(SocketAddr::new(any(addr), 0))?;
    let connection = endpoint
        .connect_with(config, addr, &host)
        .map_err(io::Error::other)?
        .await?;
    let mut exporter = [0; 32];
    connection
        .export_keying_material(&mut exporter, frame::EXPORTER_LABEL, &[])
        .map_err(|_| io::Error::other("TLS exports no key"))?;
    let (send, receive) = connection.open_bi().await?;
    let (control, frames) = mpsc::channel(FRAMES_MAX);
    tokio::spawn(write_records(send, frames));
    let (records_in, records) = mpsc::channel(FRAMES_MAX);
    tokio::spawn(read_records(receive, records_in));
    Ok(Carrier {
        payload_max: quic_payload_max(&connection),
        sender: Sender::Quic {
            connection: connection.clone(),
            control,
        },
        receiver: Receiver::Quic {
            connection,
            control: records,
            _endpoint: endpoint,
        },
        exporter: Some(exporter),
        addr,
    })
}

fn quic_payload_max(connection: &quinn::Connection) -> u16 {
    let datagram = connection.max_datagram_size().unwrap_or(0);
    u16::try_from(datagram.saturating_sub(frame::DATA_HEAD_BYTES)).unwrap_or(u16::MAX)
}

/// Control frames stand behind their length.
async fn write_records(mut send: quinn::SendStream, mut frames: mpsc::Receiver<Bytes>) {
    while let Some(frame) = frames.recv().await {
        let len = u16::try_from(frame.len()).expect("invariant: control frames are short");
        let written = async {
            send.write_all(&len.to_be_bytes()).await?;
            send.write_all(&frame).await
        };
        if written.await.is_err() {
            return;
        }
    }
    // The last words are heard before the connection goes.
    if send.finish().is_ok() {
        let _ = send.stopped().await;
    }
}

async fn read_records(mut receive: quinn::RecvStream, records: mpsc::Sender<Bytes>) {
    let mut len = [0; 2];
    while receive.read_exact(&mut len).await.is_ok() {
        let len = usize::from(u16::from_be_bytes(len));
        if len > CONTROL_FRAME_BYTES_MAX {
            return;
        }
        let mut frame = BytesMut::zeroed(len);
        if receive.read_exact(&mut frame).await.is_err() {
            return;
        }
        if records.send(frame.freeze()).await.is_err() {
            return;
        }
    }
}

async fn wss(addr: SocketAddr, host: String) -> io::Result<Carrier> {
    let socket = match addr {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    SockRef::from(&socket).set_tcp_mss(TCP_SEGMENT_BYTES_MAX)?;
    let socket = socket.connect(addr).await?;
    socket.set_nodelay(true)?;
    SockRef::from(&socket).set_tcp_user_timeout(Some(TCP_USER_TIMEOUT))?;
    SockRef::from(&socket).set_tcp_notsent_lowat(UNSENT_BYTES)?;
    let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
    let tls = TlsConnector::from(tls::config(b"http/1.1"))
        .connect(name, socket)
        .await?;
    let exporter = tls
        .get_ref()
        .1
        .export_keying_material([0; 32], frame::EXPORTER_LABEL, Some(&[]))
        .map_err(io::Error::other)?;
    let limits = Limits::default().max_payload_len(Some(MESSAGE_BYTES_MAX));
    let uri = format!("wss://{host}{}", frame::WSS_PATH);
    let (socket, _response) = ClientBuilder::new()
        .limits(limits)
        .uri(&uri)
        .map_err(io::Error::other)?
        .connect_on(tls)
        .await
        .map_err(io::Error::other)?;
    let (mut sink, stream) = socket.split();
    let (frames_in, mut frames) = mpsc::channel::<Bytes>(FRAMES_MAX);
    tokio::spawn(async move {
        while let Some(frame) = frames.recv().await {
            if sink.feed(Message::binary(frame)).await.is_err() {
                return;
            }
            // What has come meanwhile goes in the same write.
            if frames.is_empty() && sink.flush().await.is_err() {
                return;
            }
        }
        let _ = sink.close().await;
    });
    Ok(Carrier {
        sender: Sender::Wss(frames_in),
        receiver: Receiver::Wss(stream),
        exporter: Some(exporter),
        addr,
        payload_max: u16::try_from(MESSAGE_BYTES_MAX - frame::DATA_HEAD_BYTES)
            .expect("invariant: a message is shorter than 64 KiB"),
    })
}

impl Sender {
    /// Sends a control frame.
    ///
    /// # Errors
    /// When the way is broken, or takes nothing.
    pub(super) fn control(&self, frame: Bytes) -> io::Result<()> {
        match self {
            Self::Udp(socket) => passing(socket.try_send(&frame)),
            Self::Quic { control: way, .. } | Self::Wss(way) => way
                .try_send(frame)
                .map_err(|_| io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Sends a data frame; `false` when it was dropped for want of room.
    pub(super) fn data(&self, frame: Bytes) -> bool {
        match self {
            Self::Udp(socket) => socket.try_send(&frame).is_ok(),
            Self::Quic { connection, .. } => connection.send_datagram(frame).is_ok(),
            Self::Wss(way) => way.try_send(frame).is_ok(),
        }
    }

    /// What one frame carries now, where the carrier finds it out by itself.
    pub(super) fn payload_max(&self) -> Option<u16> {
        match self {
            Self::Quic { connection, .. } => Some(quic_payload_max(connection)),
            Self::Udp(_) | Self::Wss(_) => None,
        }
    }
}

impl Receiver {
    /// The next frame. Nothing is lost when the wait is given up.
    ///
    /// # Errors
    /// When the way is broken.
    pub(super) async fn receive(&mut self) -> io::Result<Bytes> {
        match self {
            Self::Udp(socket, buffer) => loop {
                match socket.recv(buffer).await {
                    Ok(len) => return Ok(Bytes::copy_from_slice(&buffer[..len])),
                    // A router's word that cannot be trusted: silence decides.
                    Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                    Err(error) => return Err(error),
                }
            },
            Self::Quic {
                connection,
                control,
                ..
            } => tokio::select! {
                datagram = connection.read_datagram() => Ok(datagram?),
                record = control.recv() => record.ok_or_else(|| io::ErrorKind::BrokenPipe.into()),
            },
            Self::Wss(stream) => loop {
                let message = stream.next().await.ok_or(io::ErrorKind::UnexpectedEof)?;
                let message = message.map_err(io::Error::other)?;
                if message.is_binary() {
                    return Ok(message.into_payload().into());
                }
            },
        }
    }
}

/// A datagram that cannot leave now is a lost one; the timers repeat what matters.
fn passing(sent: io::Result<usize>) -> io::Result<()> {
    match sent {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(error),
        Err(_) => Ok(()),
    }
}
