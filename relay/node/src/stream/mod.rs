//! TCP and TLS clients: listeners and connections on the tokio runtime.
//!
//! A connection's task cuts what it reads into whole frames (RFC 8489 §6.2.2, RFC 8656 §12.5) and
//! hands them to the client's worker through a [`StreamSink`]; what the worker has for the client
//! goes into a [`StreamOut`]. A worker that is behind makes the reader wait, so that TCP slows the
//! client down; a client that is behind loses its oldest frames.
//!
//! Nothing else is served here: a connection that begins with neither STUN nor a TLS handshake is
//! cut at its first byte. From load balancers that the operator names, a PROXY header comes before
//! that first byte.

use std::future::Future;
use std::net::IpAddr;

use bytes::Bytes;
use ipnet::IpNet;
use sterna_turn::Client;
use thiserror::Error;

mod admission;
mod budget;
mod connection;
mod cork;
mod counters;
mod frames;
mod listener;
mod out;
mod patience;
pub mod peer;
pub(crate) mod proxy;
mod streams;

pub(crate) use admission::{Admission, Place, prefix};
pub use counters::{CutReason, StreamCounters};
pub(crate) use listener::listen;
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

    /// A client has sent a ConnectionBind (RFC 6062 §5.4). What it sends behind it is not read
    /// before the answer.
    fn bind(
        &self,
        client: Client,
        frame: Bytes,
    ) -> impl Future<Output = Result<Bound, SinkClosed>> + Send {
        async move { self.frame(client, frame).await.map(|()| Bound::No) }
    }

    /// A client's connection has ended, and its allocation with it. The worker drops its
    /// [`StreamOut`].
    fn closed(&self, client: Client) -> impl Future<Output = ()> + Send;
}

/// What came of a ConnectionBind.
#[derive(Debug)]
pub enum Bound {
    /// The request was refused, and the connection is what it was.
    No,
    /// The connection carries nothing but what this one carries from now on.
    Joined(Box<peer::Joined>),
    /// The connection that was bound has ended since.
    Gone,
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
    /// How long a TLS handshake may take, and a PROXY header before it.
    pub handshake_s: u32,
    /// How long a client may take nothing of what is queued for it.
    pub write_stall_s: u32,
    /// Bytes that wait for one client; beyond, the oldest frame is dropped.
    pub queue_bytes_max: u32,
    /// Bytes of memory that wait for all clients together; beyond, whoever gets a frame loses its
    /// oldest ones.
    pub queues_bytes_max: u64,
}

/// What a reload changes of the stream side.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StreamConfig {
    /// The caps.
    pub limits: StreamLimits,
    /// Load balancers, whose connections begin with a PROXY header that is believed.
    pub proxy_protocol_from: Vec<IpNet>,
}

impl StreamConfig {
    /// Whether a connection from an address begins with a PROXY header.
    fn is_proxy(&self, addr: IpAddr) -> bool {
        is_among(&self.proxy_protocol_from, addr)
    }
}

/// Whether an address is in one of these prefixes.
pub(crate) fn is_among(prefixes: &[IpNet], addr: IpAddr) -> bool {
    let addr = addr.to_canonical();
    prefixes.iter().any(|prefix| prefix.contains(&addr))
}

impl From<StreamLimits> for StreamConfig {
    fn from(limits: StreamLimits) -> Self {
        Self {
            limits,
            proxy_protocol_from: Vec::new(),
        }
    }
}

impl From<&crate::config::Config> for StreamConfig {
    fn from(config: &crate::config::Config) -> Self {
        Self {
            limits: (&config.limits).into(),
            proxy_protocol_from: config.tcp.proxy_protocol_from.clone(),
        }
    }
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
            queues_bytes_max: limits.tcp_queues_bytes_max,
        }
    }
}

/// The limits of a node that was told nothing.
#[cfg(test)]
fn test_limits() -> StreamLimits {
    (&crate::config::Limits::default()).into()
}
