//! TCP and TLS clients: listeners and connections on the tokio runtime.
//!
//! A connection's task cuts what it reads into whole frames (RFC 8489 §6.2.2, RFC 8656 §12.5) and
//! hands them to the client's worker through a [`StreamSink`]; what the worker has for the client
//! goes into a [`StreamOut`]. A worker that is behind makes the reader wait, so that TCP slows the
//! client down; a client that is behind loses its oldest frames.
//!
//! Nothing else is served here: a connection that begins with neither STUN nor a TLS handshake is
//! cut at its first byte.

use std::future::Future;

use bytes::Bytes;
use sterna_turn::Client;
use thiserror::Error;

mod admission;
mod connection;
mod cork;
mod counters;
mod listener;
mod out;
mod streams;

pub(crate) use admission::prefix;
pub use counters::{CutReason, StreamCounters};
pub use listener::{BindError, Protocols, StreamListener};
pub use out::StreamOut;
pub use streams::Streams;

/// The workers, as the stream side sees them.
///
/// Each call waits while the client's worker is behind; the connection is not read meanwhile. The
/// calls for one client come in order, `opened` first and `closed` last. Routes are dealt out in
/// sequence, so that a worker can be chosen by `client.route`.
pub trait StreamSink: Send + Sync + 'static {
    /// A client is connected, its TLS handshake done; `out` leads to it.
    fn opened(
        &self,
        client: Client,
        out: StreamOut,
    ) -> impl Future<Output = Result<(), SinkClosed>> + Send;

    /// A client has sent one whole STUN message or ChannelData message, padding included.
    fn frame(
        &self,
        client: Client,
        frame: Bytes,
    ) -> impl Future<Output = Result<(), SinkClosed>> + Send;

    /// A client's connection has ended, and its allocation with it. The worker drops its
    /// [`StreamOut`].
    fn closed(&self, client: Client) -> impl Future<Output = ()> + Send;
}

/// The workers are gone: the node stops.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("the workers have ended")]
pub struct SinkClosed;

/// The caps of the stream side.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct StreamLimits {
    /// Connections of the node.
    pub connections_max: u32,
    /// Connections of one source prefix (/24, /56); 0 is no cap.
    pub per_prefix_max: u32,
    /// How long a connection without an allocation may send no whole frame.
    pub unauthenticated_idle_s: u32,
    /// How long a TLS handshake may take.
    pub handshake_s: u32,
    /// How long a client may take nothing of what is queued for it.
    pub write_stall_s: u32,
    /// Bytes that wait for one client; beyond, the oldest frame is dropped.
    pub queue_bytes_max: u32,
}

impl From<&crate::config::Limits> for StreamLimits {
    fn from(limits: &crate::config::Limits) -> Self {
        Self {
            connections_max: limits.tcp_connections_max,
            per_prefix_max: limits.tcp_connections_per_prefix_max,
            unauthenticated_idle_s: limits.tcp_unauthenticated_idle_s,
            handshake_s: limits.tcp_handshake_s,
            write_stall_s: limits.tcp_write_stall_s,
            queue_bytes_max: limits.tcp_queue_bytes_max,
        }
    }
}
