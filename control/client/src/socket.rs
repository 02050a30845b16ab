//! Signalling and pushes: the WebSocket of `GET /ws`.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use sterna_control_api::limits::SIGNAL_BYTES_MAX;
use sterna_control_api::signal::{FromDevice, ToDevice};
use tokio::time::Instant;
use tokio_websockets::{ClientBuilder, Error, Limits, Message, WebSocketStream};

use crate::error::{CallError, SocketError, Unreachable};
use crate::limits::{SOCKET_ANSWER_MAX, SOCKET_IDLE};
use crate::transport::{Call, ControlClient};
use crate::upgrade::Handshake;

/// A connection to the control service that messages come over at any time.
///
/// It asks for a sign of life after half a minute of silence, as long as [`next`](Self::next) is
/// awaited.
#[derive(Debug)]
pub struct Socket {
    stream: WebSocketStream<TokioIo<Upgraded>>,
    heard: Instant,
    asked: bool,
    idle: Duration,
    answer_max: Duration,
}

/// Opens a socket.
pub(crate) async fn connect(client: &ControlClient, path: &str) -> Result<Socket, CallError> {
    let handshake = Handshake::new(client.edges().random());
    let mut call = Call::get(path);
    call.headers = handshake.headers();
    client
        .in_time(call.held, async {
            let answer = client.answer(&call).await?;
            if !handshake.is_accepted_by(&answer) {
                return Err(CallError::Malformed("no WebSocket"));
            }
            let upgraded = hyper::upgrade::on(answer)
                .await
                .map_err(|error| CallError::Unreachable(Unreachable::Because(Box::new(error))))?;
            Ok(Socket::over(upgraded))
        })
        .await
}

impl Socket {
    fn over(upgraded: Upgraded) -> Self {
        let limits = Limits::default().max_payload_len(Some(SIGNAL_BYTES_MAX));
        Self {
            stream: ClientBuilder::new()
                .limits(limits)
                .take_over(TokioIo::new(upgraded)),
            heard: Instant::now(),
            asked: false,
            idle: SOCKET_IDLE,
            answer_max: SOCKET_ANSWER_MAX,
        }
    }

    /// Asks for a sign of life after another time of silence, and waits for it as long.
    #[must_use]
    pub fn with_idle(mut self, idle: Duration, answer_max: Duration) -> Self {
        self.idle = idle;
        self.answer_max = answer_max;
        self
    }

    /// Sends a message.
    ///
    /// # Errors
    /// The connection is over; or the message is too large, which changes nothing.
    pub async fn send(&mut self, message: &FromDevice) -> Result<(), SocketError> {
        let text = serde_json::to_string(message).map_err(|_| SocketError::Malformed)?;
        if text.len() > SIGNAL_BYTES_MAX {
            return Err(SocketError::TooLarge);
        }
        self.stream.send(Message::text(text)).await.map_err(over)
    }

    /// Waits for the next message. Messages of kinds that are not known yet are passed over.
    ///
    /// May be cancelled and begun again: no message is lost.
    ///
    /// # Errors
    /// The connection is over.
    pub async fn next(&mut self) -> Result<ToDevice, SocketError> {
        loop {
            let patience = if self.asked {
                self.idle + self.answer_max
            } else {
                self.idle
            };
            let message = tokio::time::timeout_at(self.heard + patience, self.stream.next()).await;
            let Ok(message) = message else {
                if self.asked {
                    return Err(SocketError::Silent);
                }
                self.asked = true;
                self.stream.send(Message::ping("")).await.map_err(over)?;
                continue;
            };
            let message = message.ok_or(SocketError::Closed)?.map_err(over)?;
            self.heard = Instant::now();
            self.asked = false;
            if message.is_close() {
                return Err(SocketError::Closed);
            }
            if message.is_ping() || message.is_pong() {
                continue;
            }
            let text = message.as_text().ok_or(SocketError::Malformed)?;
            match serde_json::from_str(text).map_err(|_| SocketError::Malformed)? {
                ToDevice::Unknown => tracing::debug!("a message of a newer service is passed over"),
                message => return Ok(message),
            }
        }
    }

    /// Takes leave.
    pub async fn close(mut self) {
        // Whoever is gone already needs no farewell.
        let farewell = tokio::time::timeout(self.answer_max, self.stream.close());
        drop(farewell.await);
    }
}

fn over(error: Error) -> SocketError {
    match error {
        Error::AlreadyClosed => SocketError::Closed,
        Error::PayloadTooLong { .. } => SocketError::TooLarge,
        error => SocketError::Broken(Unreachable::Because(Box::new(error))),
    }
}
