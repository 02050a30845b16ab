//! A session whose relayed address takes TCP connections (RFC 6062), and the bytes of one of them.

use std::net::SocketAddr;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use sterna_turn::client::{Credentials, Event, Timers};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant as TokioInstant, timeout_at};

use super::{Session, check_upkeep};
use crate::BenchError;
use crate::wire::{Route, Stream, Wire};

impl Session {
    /// Has the server connect to a peer; returns the connection's id.
    ///
    /// # Errors
    /// [`BenchError::Refused`] when the server or the peer refuses.
    pub async fn connect_peer(&mut self, peer: SocketAddr) -> Result<u32, BenchError> {
        let asked = self.client.connect(Instant::now(), peer);
        self.answer_to("Connect", asked, |event| match event {
            Event::Connected { connection_id, .. } => Some(connection_id),
            _ => None,
        })
        .await
    }

    /// Waits for a peer that connects to the relayed address: who it is, and the connection's id.
    ///
    /// # Errors
    /// [`BenchError::TooSlow`] at `deadline`.
    pub async fn accept_peer(
        &mut self,
        deadline: Instant,
    ) -> Result<(SocketAddr, u32), BenchError> {
        loop {
            while let Some(event) = self.client.poll_event() {
                if let Event::ConnectionAttempt {
                    peer,
                    connection_id,
                } = event
                {
                    return Ok((peer, connection_id));
                }
                check_upkeep(&event)?;
            }
            if Instant::now() >= deadline {
                return Err(BenchError::TooSlow {
                    what: "ConnectionAttempt",
                });
            }
            self.step(Some(deadline)).await?;
        }
    }
}

/// The client's end of a connection to a peer.
#[derive(Debug)]
pub struct PeerStream {
    stream: Box<dyn Stream>,
    /// Read, and not taken yet.
    inbox: BytesMut,
}

impl PeerStream {
    /// Connects to the server anew and binds that connection to the one to a peer.
    ///
    /// # Errors
    /// [`BenchError::Refused`] when the server knows no such connection, or not for this user.
    pub async fn bind(
        route: &Route,
        credentials: Credentials,
        connection_id: u32,
    ) -> Result<Self, BenchError> {
        let mut session = Session::connect(route, Some(credentials), Timers::default()).await?;
        let asked = session
            .client
            .bind_connection(Instant::now(), connection_id);
        session
            .answer_to("ConnectionBind", asked, |event| {
                matches!(event, Event::ConnectionBound { .. }).then_some(())
            })
            .await?;
        match session.wire {
            Wire::Frames { stream, inbox } => Ok(Self { stream, inbox }),
            Wire::Datagrams { .. } => Err(BenchError::Usage("TCP connections need TCP or TLS")),
        }
    }

    /// Sends bytes to the peer.
    ///
    /// # Errors
    /// [`BenchError::StreamLost`] when either end is gone.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<(), BenchError> {
        let sent = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        sent.await.map_err(BenchError::StreamLost)
    }

    /// The next so many bytes of the peer.
    ///
    /// # Errors
    /// [`BenchError::StreamLost`] when either end is gone, [`BenchError::TooSlow`] at `deadline`.
    pub async fn receive(&mut self, len: usize, deadline: Instant) -> Result<Bytes, BenchError> {
        let all = async {
            while self.inbox.len() < len {
                if self.stream.read_buf(&mut self.inbox).await? == 0 {
                    return Err(std::io::ErrorKind::UnexpectedEof.into());
                }
            }
            Ok(self.inbox.split_to(len).freeze())
        };
        match timeout_at(TokioInstant::from_std(deadline), all).await {
            Ok(bytes) => bytes.map_err(BenchError::StreamLost),
            Err(_elapsed) => Err(BenchError::TooSlow {
                what: "a peer's bytes",
            }),
        }
    }
}
