//! What is counted of connections to peers.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use super::super::counters::add;

macro_rules! results {
    ($(#[doc = $of:literal])+ $name:ident { $($(#[doc = $doc:literal])+ $variant:ident = $text:literal,)+ }) => {
        $(#[doc = $of])+
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub enum $name {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl $name {
            /// Every one, in the order of its index.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The stable name used in logs and metric labels.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// One sentence for the documentation of the metric.
            #[must_use]
            pub const fn describe(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc,)+),)+ }
            }
        }
    };
}

results! {
    /// What came of an attempt to connect to a peer.
    ConnectResult {
        /// The peer accepted.
        Connected = "connected",
        /// The peer's host answered that nobody listens.
        Refused = "refused",
        /// Nobody answered within 30 s.
        TimedOut = "timed_out",
        /// A router or the host itself knows no way to the peer.
        Unreachable = "unreachable",
        /// The relayed address has, or had a moment ago, a connection to this very peer.
        InUse = "in_use",
        /// Anything else; descriptors have run out, most likely.
        Failed = "failed",
    }
}

results! {
    /// Why two joined connections ended.
    PeerEnd {
        /// The client or the peer closed.
        Closed = "closed",
        /// The client's or the peer's connection broke.
        Broken = "broken",
        /// Nothing passed for `limits.tcp_peer_idle_s`, or for 30 s after one side had closed.
        Idle = "idle",
        /// The allocation ended, was revoked, or the policy denies the peer now.
        Ended = "ended",
    }
}

impl ConnectResult {
    /// Sorts the kernel's error.
    pub(super) fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => Self::Refused,
            io::ErrorKind::TimedOut => Self::TimedOut,
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Self::Unreachable,
            io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable => Self::InUse,
            _ => Self::Failed,
        }
    }
}

/// The figures of one moment.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PeerCounters {
    /// Connections that wait for their ConnectionBind now.
    pub waiting: u64,
    /// Connections that are joined with a client's now.
    pub joined: u64,
    /// Times that `accept` failed, for want of descriptors most of all.
    pub accept_errors: u64,
    /// Bytes from clients that peers' connections took.
    pub to_peer_bytes: u64,
    /// Bytes from peers that clients' connections took.
    pub to_client_bytes: u64,
    connects: [u64; ConnectResult::ALL.len()],
    ends: [u64; PeerEnd::ALL.len()],
}

impl PeerCounters {
    /// Attempts to connect to peers, by what came of them.
    pub fn connects(&self) -> impl Iterator<Item = (ConnectResult, u64)> + '_ {
        ConnectResult::ALL.iter().copied().zip(self.connects)
    }

    /// Joined connections that ended, by reason.
    pub fn ends(&self) -> impl Iterator<Item = (PeerEnd, u64)> + '_ {
        PeerEnd::ALL.iter().copied().zip(self.ends)
    }
}

/// The same, while they count.
#[derive(Debug, Default)]
pub(super) struct Tally {
    accept_errors: AtomicU64,
    pub(super) to_peer_bytes: AtomicU64,
    pub(super) to_client_bytes: AtomicU64,
    connects: [AtomicU64; ConnectResult::ALL.len()],
    ends: [AtomicU64; PeerEnd::ALL.len()],
}

impl Tally {
    pub(super) fn accept_error(&self) {
        add(&self.accept_errors, 1);
    }

    pub(super) fn connect(&self, result: ConnectResult) {
        add(&self.connects[result as usize], 1);
    }

    pub(super) fn end(&self, end: PeerEnd) {
        add(&self.ends[end as usize], 1);
    }

    pub(super) fn read(&self, waiting: usize, joined: usize) -> PeerCounters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        PeerCounters {
            waiting: waiting as u64,
            joined: joined as u64,
            accept_errors: read(&self.accept_errors),
            to_peer_bytes: read(&self.to_peer_bytes),
            to_client_bytes: read(&self.to_client_bytes),
            connects: self.connects.each_ref().map(read),
            ends: self.ends.each_ref().map(read),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_a_place_in_the_list() {
        for (index, result) in ConnectResult::ALL.iter().enumerate() {
            assert_eq!(*result as usize, index);
        }
        for (index, end) in PeerEnd::ALL.iter().enumerate() {
            assert_eq!(*end as usize, index);
        }
    }
}
