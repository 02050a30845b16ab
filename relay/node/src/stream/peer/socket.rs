//! The sockets of a relayed address: one that accepts, and those that connect from it.
//!
//! RFC 6062 §5.2 wants a connection to a peer to come from the relayed transport address, which
//! has a listener already. The kernel allows it where both sockets have SO_REUSEPORT and the same
//! owner. A second *listener* there would share the first one's connections; so the listener is
//! bound without the option, which fails where anybody else listens, and gets it afterwards.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use sterna_daemon::log::Repeated;
use sterna_turn::limits::CONNECT_PATIENCE_S;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;
use tracing::warn;

use super::{Peers, Session};
use crate::mailbox::StreamLetter;

/// Connections of peers that the kernel has accepted and the node has not.
const BACKLOG: i32 = 64;

/// What the kernel may hold of a peer's bytes that nobody has read; it takes as much again for its
/// own bookkeeping. This is all that early data and slow clients cost, with one read a direction.
const RECEIVE_BYTES: u32 = 256 * 1024;

/// Bytes that the kernel holds unsent for a peer that is behind.
const UNSENT_BYTES: u32 = 128 * 1024;

/// How long a listener rests when the process is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

static ACCEPT_ERRORS: Repeated = Repeated::new();

/// Listens on a relayed address, alone.
pub(super) fn listen(local: SocketAddr) -> io::Result<StdListener> {
    let socket = Socket::new(
        Domain::for_address(local),
        Type::STREAM.nonblocking(),
        Some(Protocol::TCP),
    )?;
    if local.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Connections of an earlier allocation may linger on the port.
    socket.set_reuse_address(true)?;
    socket.set_recv_buffer_size(RECEIVE_BYTES as usize)?;
    socket.bind(&local.into())?;
    socket.set_reuse_port(true)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Accepts until the allocation ends; each connection is the worker's to judge.
pub(super) async fn accept(peers: &Peers, session: &Arc<Session>, listener: TcpListener) {
    let mut ended = session.ended.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = ended.changed() => return,
        };
        let (socket, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                peers.0.tally.accept_error();
                if let Some(times) = ACCEPT_ERRORS.due() {
                    warn!(%error, times, "cannot accept a peer's TCP connection; when out of descriptors, raise the limit");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // The peer may be gone already.
        if prepare(&socket).is_err() {
            continue;
        }
        let Some(connection) = peers.enter(session, socket) else {
            return;
        };
        let letter = StreamLetter::PeerAccepted {
            port: session.port,
            from: SocketAddr::new(from.ip().to_canonical(), from.port()),
            connection,
        };
        // A worker that is behind makes the listener wait, and the kernel's queue fill up.
        if session.worker.post_stream(letter).await.is_err() {
            return;
        }
    }
}

/// Connects from a relayed address to a peer.
pub(super) async fn connect(local: SocketAddr, peer: SocketAddr) -> io::Result<TcpStream> {
    let socket = if local.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    }?;
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.set_recv_buffer_size(RECEIVE_BYTES)?;
    socket.bind(local)?;
    // RFC 6062 §5.2: "The timeout value MUST be at least 30 seconds."
    let patience = Duration::from_secs(CONNECT_PATIENCE_S.into());
    let connected = timeout(patience, socket.connect(peer)).await;
    let socket = connected.map_err(|_| io::ErrorKind::TimedOut)??;
    prepare(&socket)?;
    Ok(socket)
}

/// No delay of small writes, little unsent in the kernel.
fn prepare(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    SockRef::from(socket).set_tcp_notsent_lowat(UNSENT_BYTES)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn localhost() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }

    #[test]
    fn an_address_that_is_listened_on_is_in_use_also_with_port_reuse() {
        let first = listen(localhost()).unwrap();
        let error = listen(first.local_addr().unwrap()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        let own = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        own.set_reuse_port(true).unwrap();
        own.bind(&localhost().into()).unwrap();
        own.listen(1).unwrap();
        let taken = own.local_addr().unwrap().as_socket().unwrap();
        let error = listen(taken).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[tokio::test]
    async fn a_connection_comes_from_the_address_that_is_listened_on() {
        let relay = listen(localhost()).unwrap();
        let relayed = relay.local_addr().unwrap();
        let peers = [(); 2].map(|()| StdListener::bind(localhost()).unwrap());
        for peer in &peers {
            let socket = connect(relayed, peer.local_addr().unwrap()).await.unwrap();
            assert_eq!(socket.local_addr().unwrap(), relayed);
            assert_eq!(peer.accept().unwrap().1, relayed);
        }
    }

    #[tokio::test]
    async fn a_port_that_was_used_a_moment_ago_can_be_listened_on_again() {
        let relay = listen(localhost()).unwrap();
        let relayed = relay.local_addr().unwrap();
        let peer = StdListener::bind(localhost()).unwrap();
        let socket = connect(relayed, peer.local_addr().unwrap()).await.unwrap();
        // Whoever closes first keeps the port in TIME_WAIT.
        drop((socket, relay));
        listen(relayed).unwrap();
    }
}
