//! What the stream side counts. Connections add to it a batch at a time, never a frame at a time.

use std::sync::atomic::{AtomicU64, Ordering};

use super::budget::QueueBudget;

/// Why a connection was refused or ended by the node.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CutReason {
    /// `limits.tcp_connections_max` was reached.
    NodeFull,
    /// `limits.tcp_connections_per_prefix_max` was reached.
    PrefixFull,
    /// The bytes were neither STUN nor ChannelData nor, at the start, TLS.
    Garbage,
    /// No whole frame came within `limits.tcp_unauthenticated_idle_s`, and there is no allocation.
    Idle,
    /// The TLS handshake failed.
    HandshakeFailed,
    /// The TLS handshake, or the PROXY header, took longer than `limits.tcp_handshake_s`.
    HandshakeTimeout,
    /// The client took nothing for `limits.tcp_write_stall_s`.
    Stalled,
    /// A connection from `tcp.proxy_protocol_from` did not begin with a valid PROXY header.
    ProxyHeader,
}

impl CutReason {
    /// Every reason, in the order of its index.
    pub const ALL: [Self; 8] = [
        Self::NodeFull,
        Self::PrefixFull,
        Self::Garbage,
        Self::Idle,
        Self::HandshakeFailed,
        Self::HandshakeTimeout,
        Self::Stalled,
        Self::ProxyHeader,
    ];

    /// The stable name used in logs and metric labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NodeFull => "node_full",
            Self::PrefixFull => "prefix_full",
            Self::Garbage => "garbage",
            Self::Idle => "idle",
            Self::HandshakeFailed => "handshake_failed",
            Self::HandshakeTimeout => "handshake_timeout",
            Self::Stalled => "stalled",
            Self::ProxyHeader => "proxy_header",
        }
    }

    /// One sentence for the documentation of the metric.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::NodeFull => "`limits.tcp_connections_max` was reached.",
            Self::PrefixFull => "`limits.tcp_connections_per_prefix_max` was reached.",
            Self::Garbage => "The bytes were neither STUN nor ChannelData nor, at the start, TLS.",
            Self::Idle => {
                "No whole frame came within `limits.tcp_unauthenticated_idle_s`, and there was no allocation."
            }
            Self::HandshakeFailed => "The TLS handshake failed.",
            Self::HandshakeTimeout => {
                "The TLS handshake, or the PROXY header, took longer than `limits.tcp_handshake_s`."
            }
            Self::Stalled => {
                "The client took nothing of what was queued for it for `limits.tcp_write_stall_s`."
            }
            Self::ProxyHeader => {
                "A connection from `tcp.proxy_protocol_from` did not begin with a valid PROXY header."
            }
        }
    }
}

/// The stream side's figures at one moment.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct StreamCounters {
    /// Connections that are open now.
    pub open: u64,
    /// TCP connections that got as far as a first frame.
    pub accepted_tcp: u64,
    /// TLS connections whose handshake succeeded.
    pub accepted_tls: u64,
    /// Times that `accept` failed, for want of descriptors most of all.
    pub accept_errors: u64,
    /// Frames from clients.
    pub frames_in: u64,
    /// Bytes of those.
    pub bytes_in: u64,
    /// Frames written to clients.
    pub frames_out: u64,
    /// Bytes of those.
    pub bytes_out: u64,
    /// Frames dropped because their client was behind.
    pub frames_dropped: u64,
    /// Those of them that were dropped because `limits.tcp_queues_bytes_max` was reached.
    pub frames_over_budget: u64,
    /// Memory of what waits for clients now.
    pub queue_bytes: u64,
    cuts: [u64; CutReason::ALL.len()],
}

impl StreamCounters {
    /// Connections that the node refused or ended, by reason.
    pub fn cuts(&self) -> impl Iterator<Item = (CutReason, u64)> + '_ {
        CutReason::ALL.into_iter().zip(self.cuts)
    }

    /// Connections that the node refused or ended for one reason.
    #[must_use]
    pub fn cut(&self, reason: CutReason) -> u64 {
        self.cuts[reason as usize]
    }
}

/// The same, while they count.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) accepted_tcp: AtomicU64,
    pub(super) accepted_tls: AtomicU64,
    pub(super) accept_errors: AtomicU64,
    pub(super) frames_in: AtomicU64,
    pub(super) bytes_in: AtomicU64,
    pub(super) frames_out: AtomicU64,
    pub(super) bytes_out: AtomicU64,
    cuts: [AtomicU64; CutReason::ALL.len()],
}

impl Tally {
    pub(super) fn cut(&self, reason: CutReason) {
        add(&self.cuts[reason as usize], 1);
    }

    pub(super) fn read(&self, open: usize, budget: &QueueBudget) -> StreamCounters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        StreamCounters {
            open: open as u64,
            accepted_tcp: read(&self.accepted_tcp),
            accepted_tls: read(&self.accepted_tls),
            accept_errors: read(&self.accept_errors),
            frames_in: read(&self.frames_in),
            bytes_in: read(&self.bytes_in),
            frames_out: read(&self.frames_out),
            bytes_out: read(&self.bytes_out),
            frames_dropped: budget.frames_dropped(),
            frames_over_budget: budget.frames_refused(),
            queue_bytes: budget.taken() as u64,
            cuts: self.cuts.each_ref().map(read),
        }
    }
}

pub(super) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_s_index_is_its_place_in_the_list() {
        for (index, reason) in CutReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
        }
    }
}
