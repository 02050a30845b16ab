//! Whether the node is reached through its public address: it asks itself, as a client would.
//!
//! A Binding request goes from a fresh socket to each address that the node tells devices, over UDP;
//! a node without UDP is called over TCP. Any answer from there shows that the address leads here, or
//! at least to a server; what it says is not believed.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use sterna_control_api::node::Services;
use sterna_stun::{Class, Message, MessageWriter, Method, TransactionId};
use tokio::net::{TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tracing::debug;

use super::limits::{PROBE_ADDRS_MAX, PROBE_MAX, PROBE_SENDS};

/// Tells whether one of the node's addresses at least leads to it.
pub(super) async fn probe(services: &Services) -> bool {
    let by_udp = !services.stun.is_empty();
    let addrs = if by_udp {
        services.stun.clone()
    } else {
        [&services.turns[..], &services.wss[..]].concat()
    };
    let mut asked: JoinSet<bool> = addrs
        .into_iter()
        .take(PROBE_ADDRS_MAX)
        .map(|addr| async move {
            let asked = if by_udp {
                binding(addr).await
            } else {
                connect(addr).await
            };
            if let Err(error) = &asked {
                debug!(%addr, %error, "the node does not reach itself at an address that it tells devices");
            }
            asked.is_ok()
        })
        .collect();
    let mut reached = false;
    while let Some(answered) = asked.join_next().await {
        reached |= answered.unwrap_or(false);
        if reached {
            break;
        }
    }
    reached
}

/// Sends a Binding request until it is answered (RFC 8489 §6.2.1).
async fn binding(server: SocketAddr) -> io::Result<()> {
    let any: IpAddr = match server.ip() {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await?;
    socket.connect(server).await?;
    let id = TransactionId(rand::random());
    let mut request = [0; 32];
    let len = MessageWriter::new(&mut request, Class::Request, Method::BINDING, id)
        .map(MessageWriter::finish)
        .map_err(io::Error::other)?;
    let began = Instant::now();
    for (place, at) in PROBE_SENDS.iter().enumerate() {
        sleep_until(began + *at).await;
        // An ICMP error about the request before may come with the next one.
        let _ = socket.send(&request[..len]).await;
        let until = PROBE_SENDS.get(place + 1).unwrap_or(&PROBE_MAX);
        if let Ok(answered) = timeout_at(began + *until, answer(&socket, id)).await {
            return answered;
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

/// Waits for the answer to one request.
async fn answer(socket: &UdpSocket, id: TransactionId) -> io::Result<()> {
    let mut datagram = [0; 1500];
    loop {
        let Ok(len) = socket.recv(&mut datagram).await else {
            // Refused, for now: the next request may find a listener.
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let is_answer = Message::parse(&datagram[..len]).is_ok_and(|message| {
            message.class() != Class::Request
                && message.method() == Method::BINDING
                && message.transaction_id() == id
        });
        if is_answer {
            return Ok(());
        }
    }
}

async fn connect(server: SocketAddr) -> io::Result<()> {
    timeout(PROBE_MAX, TcpStream::connect(server)).await??;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Answers each Binding after the first, as if that had been lost.
    async fn server() -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let addr = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut datagram = [0; 100];
            socket.recv_from(&mut datagram).await.unwrap();
            loop {
                let (len, from) = socket.recv_from(&mut datagram).await.unwrap();
                let id = Message::parse(&datagram[..len]).unwrap().transaction_id();
                let mut out = [0; 32];
                let answer = MessageWriter::new(&mut out, Class::Success, Method::BINDING, id);
                let len = answer.unwrap().finish();
                socket.send_to(&out[..len], from).await.unwrap();
            }
        });
        addr
    }

    fn services(stun: &[SocketAddr], wss: &[SocketAddr]) -> Services {
        Services {
            stun: stun.to_vec(),
            wss: wss.to_vec(),
            ..Services::default()
        }
    }

    #[tokio::test]
    async fn one_address_that_answers_suffices_and_a_lost_request_does_no_harm() {
        let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let silent = silent.local_addr().unwrap();
        assert!(probe(&services(&[silent, server().await], &[])).await);
    }

    #[tokio::test]
    async fn an_address_where_nobody_answers_is_not_reached() {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        assert!(!probe(&services(&[socket.local_addr().unwrap()], &[])).await);
        assert!(!probe(&services(&[], &[])).await);
    }

    #[tokio::test]
    async fn a_node_without_udp_is_called_over_tcp() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        assert!(probe(&services(&[], &[listener.local_addr().unwrap()])).await);
    }
}
