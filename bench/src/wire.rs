//! What carries a client's packets, on the tokio side: a UDP socket, a TCP connection, or TLS on it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Buf as _, Bytes, BytesMut};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use sterna_stun::framing;
use sterna_turn::client::{Link, Redirect};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio_rustls::TlsConnector;

use crate::BenchError;
use crate::target::{Target, Transport};
use crate::tls::{self, Trust};

/// How a server is reached.
#[derive(Clone, Debug)]
pub struct Route {
    pub(crate) server: SocketAddr,
    pub(crate) transport: Transport,
    /// Needed by [`Transport::Tls`] only.
    pub(crate) tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

impl Route {
    /// The way to `server`; over TLS, whoever has `name` and stands up to `trust` is believed.
    ///
    /// # Errors
    /// [`BenchError::Tls`] when the name or what is trusted cannot be used.
    pub fn new(
        server: SocketAddr,
        transport: Transport,
        trust: &Trust,
        name: &str,
    ) -> Result<Self, BenchError> {
        let tls = match transport {
            Transport::Tls => Some((tls::client_config(trust)?, tls::server_name(name)?)),
            Transport::Udp | Transport::Tcp => None,
        };
        Ok(Self {
            server,
            transport,
            tls,
        })
    }

    /// The way to a server as the arguments describe it.
    pub(crate) fn of(target: &Target) -> Result<Self, BenchError> {
        let trust = match target.transport {
            Transport::Tls => target.trust()?,
            Transport::Udp | Transport::Tcp => Trust::Anybody,
        };
        Self::new(target.addr()?, target.transport, &trust, target.host())
    }

    /// The way to the server that a redirection names: the same transport, and over TLS the name that
    /// it says, else the same one (RFC 8489 §10).
    pub(crate) fn elsewhere(&self, redirect: &Redirect) -> Result<Self, BenchError> {
        let mut route = self.clone();
        route.server = redirect.server;
        if let (Some((_, name)), Some(domain)) = (&mut route.tls, &redirect.domain) {
            *name = tls::server_name(domain)?;
        }
        Ok(route)
    }

    pub(crate) fn link(&self) -> Link {
        match self.transport {
            Transport::Udp => Link::Datagram,
            Transport::Tcp | Transport::Tls => Link::Stream,
        }
    }

    /// Opens a socket or a connection.
    pub(crate) async fn connect(&self) -> Result<Wire, BenchError> {
        let Self {
            server, transport, ..
        } = *self;
        let connected = match (transport, &self.tls) {
            (Transport::Udp, _) => connect_udp(server).await,
            (Transport::Tcp, _) => connect_tcp(server).await.map(Wire::stream),
            (Transport::Tls, Some((config, name))) => connect_tls(server, config, name).await,
            (Transport::Tls, None) => {
                return Err(BenchError::Usage("TLS needs --ca or --insecure"));
            }
        };
        connected.map_err(|error| BenchError::Unreachable {
            server,
            transport,
            error,
        })
    }
}

async fn connect_udp(server: SocketAddr) -> io::Result<Wire> {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        SocketAddr::V6(_) => ([0u16; 8], 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    Ok(Wire::Datagrams {
        socket,
        buf: vec![0; framing::MAX_FRAME].into(),
    })
}

async fn connect_tcp(server: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn connect_tls(
    server: SocketAddr,
    config: &Arc<ClientConfig>,
    name: &ServerName<'static>,
) -> io::Result<Wire> {
    let stream = connect_tcp(server).await?;
    let connector = TlsConnector::from(Arc::clone(config));
    Ok(Wire::stream(connector.connect(name.clone(), stream).await?))
}

/// A two-way stream of bytes.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send + std::fmt::Debug {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + std::fmt::Debug> Stream for S {}

/// One client's socket or connection.
#[derive(Debug)]
pub(crate) enum Wire {
    /// UDP.
    Datagrams {
        /// Connected to the server.
        socket: UdpSocket,
        /// Room for one datagram.
        buf: Box<[u8]>,
    },
    /// TCP, or TLS on it.
    Frames {
        /// The connection.
        stream: Box<dyn Stream>,
        /// What has come in and is not yet a whole frame.
        inbox: BytesMut,
    },
}

impl Wire {
    fn stream(stream: impl Stream + 'static) -> Self {
        let inbox = BytesMut::with_capacity(16 * 1024);
        Self::Frames {
            stream: Box::new(stream),
            inbox,
        }
    }

    /// Sends one datagram or frame, given in parts.
    pub(crate) async fn send(&mut self, parts: [&[u8]; 3]) -> io::Result<()> {
        let packet = parts.concat();
        match self {
            Self::Datagrams { socket, .. } => match socket.send(&packet).await {
                Ok(_) => Ok(()),
                // An earlier packet found nobody there: a repetition may find somebody.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
                Err(error) => Err(error),
            },
            Self::Frames { stream, .. } => {
                stream.write_all(&packet).await?;
                stream.flush().await
            }
        }
    }

    /// The next datagram or frame. Nothing is lost when the future is dropped.
    pub(crate) async fn receive(&mut self) -> io::Result<Bytes> {
        match self {
            Self::Datagrams { socket, buf } => loop {
                match socket.recv(buf).await {
                    Ok(len) => return Ok(Bytes::copy_from_slice(&buf[..len])),
                    Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                    Err(error) => return Err(error),
                }
            },
            Self::Frames { stream, inbox } => loop {
                if let Some(frame) = split_frame(inbox)? {
                    return Ok(frame);
                }
                if stream.read_buf(inbox).await? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            },
        }
    }
}

/// Takes the next whole frame from what has come in.
pub(crate) fn split_frame(inbox: &mut BytesMut) -> io::Result<Option<Bytes>> {
    let len = framing::next_frame(inbox.chunk());
    let len = len.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    match len {
        Some(len) if inbox.len() >= len => Ok(Some(inbox.split_to(len).freeze())),
        Some(len) => {
            inbox.reserve(len - inbox.len());
            Ok(None)
        }
        None => Ok(None),
    }
}
