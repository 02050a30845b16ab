//! Sockets that accept: bound early, so that a port which is taken is reported before anything
//! starts.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use thiserror::Error;
use tokio::net::TcpStream;

/// Connections that wait to be accepted; the kernel cuts it to `net.core.somaxconn`.
const BACKLOG: i32 = 1024;

/// Bytes that the kernel holds unsent of one connection: beyond, frames wait in our queue, where
/// old ones can be dropped.
const UNSENT_BYTES: u32 = 128 * 1024;

/// What a listener serves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Protocols {
    /// TCP, and TLS where the first byte is that of a handshake.
    TcpAndTls,
    /// Nothing but TLS.
    TlsOnly,
}

/// A bound socket that nothing is accepted from yet.
#[derive(Debug)]
pub struct StreamListener {
    pub(super) socket: TcpListener,
    pub(super) protocols: Protocols,
}

/// Why a listener could not be bound.
#[derive(Debug, Error)]
pub enum BindError {
    /// Another process, or another listener of this one, has the port.
    #[error(
        "TCP {0} is in use by another process (`ss -ltnp sport = :{port}` names it); stop it, or choose another port with \
         --set turn.listen=…", port = .0.port()
    )]
    InUse(SocketAddr),
    /// No interface has the address.
    #[error(
        "TCP {0}: this host has no such address; name one of its own in turn.listen, or 0.0.0.0 and [::] for all"
    )]
    NotLocal(SocketAddr),
    /// A port below 1024 without the right to it.
    #[error(
        "TCP {0}: ports below 1024 need CAP_NET_BIND_SERVICE; grant it, or choose a higher port with --set turn.listen=…"
    )]
    Forbidden(SocketAddr),
    /// Anything else that the kernel says.
    #[error("TCP {0} cannot be listened on: {1}")]
    Other(SocketAddr, io::Error),
}

impl StreamListener {
    /// Binds one address. An unspecified one covers all addresses of its family and of no other.
    ///
    /// # Errors
    /// What the kernel says, with the remedy.
    pub fn bind(addr: SocketAddr, protocols: Protocols) -> Result<Self, BindError> {
        let socket = listen(addr).map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => BindError::InUse(addr),
            io::ErrorKind::AddrNotAvailable => BindError::NotLocal(addr),
            io::ErrorKind::PermissionDenied => BindError::Forbidden(addr),
            _ => BindError::Other(addr, error),
        })?;
        Ok(Self { socket, protocols })
    }

    /// What it serves.
    pub fn protocols(&self) -> Protocols {
        self.protocols
    }

    /// The address that is listened on, with the port that the kernel chose where none was asked
    /// for.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

/// Binds one address and listens; IPv6 alone where it is of that family.
pub(crate) fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(addr),
        Type::STREAM.nonblocking(),
        Some(Protocol::TCP),
    )?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // A restart must not wait for the connections of the last run to be forgotten.
    socket.set_reuse_address(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Prepares an accepted socket: no delay of small frames, little unsent in the kernel.
pub(super) fn prepare(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    SockRef::from(socket).set_tcp_notsent_lowat(UNSENT_BYTES)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn small_frames_are_not_held_back_and_little_waits_in_the_kernel() {
        let listener =
            StreamListener::bind("127.0.0.1:0".parse().unwrap(), Protocols::TcpAndTls).unwrap();
        let addr = listener.local_addr().unwrap();
        let listener = tokio::net::TcpListener::from_std(listener.socket).unwrap();
        let _client = TcpStream::connect(addr).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        prepare(&accepted).unwrap();
        assert!(accepted.nodelay().unwrap());
        let unsent = SockRef::from(&accepted).tcp_notsent_lowat().unwrap();
        assert_eq!(unsent, UNSENT_BYTES);
    }
}
