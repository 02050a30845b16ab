//! The flow relay's figures and sessions at one moment, as a shard hands them over.

use sterna_flow::queue::QueueCounters;
use sterna_flow::{Counters, FlowView, SessionView};

/// A shard's figures.
#[derive(Clone, Debug)]
pub struct FlowSnapshot {
    /// The machine's counters.
    pub counters: Counters,
    /// Sessions by rung, those included that have not spoken yet.
    pub sessions: usize,
    /// Flow ends.
    pub flows: usize,
    /// The queues into its connections together, those of ended ones included.
    pub queues: QueueCounters,
    /// What its connections did.
    pub links: LinkCounters,
}

/// What a thread of connections counts itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkCounters {
    /// QUIC connections that are open.
    pub quic_open: u64,
    /// WebSockets that are open.
    pub wss_open: u64,
    /// Connections taken.
    pub accepted: u64,
    /// Connections refused by a cap.
    pub refused: u64,
    /// Connections that asked for something else than the upgrade to WebSocket, and were answered.
    pub answered: u64,
    /// Handshakes of TLS, QUIC or HTTP that failed, or took too long.
    pub failed: u64,
    /// QUIC connections that were sent away for a token first (Retry), under load.
    pub retried: u64,
    /// Packets that were longer than the path carries by the time that they left.
    pub oversize: u64,
    /// Connections that were cut: their device took no control frames, or sent what has no place.
    pub cut: u64,
}

/// Who is on a shard.
#[derive(Clone, Debug, Default)]
pub struct FlowViews {
    /// Its sessions.
    pub sessions: Vec<SessionView>,
    /// Its flow ends.
    pub flows: Vec<FlowView>,
}
