//! The node's figures at one moment, as its parts hand them over.

use std::time::Duration;

use sterna_io::{BudgetLine, Description};
use sterna_turn::WorkerId;
use sterna_turn::registry::Usage;

use crate::admin::NodeState;
use crate::flow::FlowSnapshot;
use crate::stream::StreamCounters;
use crate::stream::peer::PeerCounters;

/// Everything that the metrics page is made of.
#[derive(Clone, Debug)]
pub struct NodeSnapshot {
    /// Whether the node takes new sessions.
    pub state: NodeState,
    /// How long it has run.
    pub uptime: Duration,
    /// The UDP back end that runs.
    pub engine: Description,
    /// What one worker's memory is for.
    pub budget: Vec<BudgetLine>,
    /// How many workers there are, those that did not answer included.
    pub worker_count: usize,
    /// The workers that answered.
    pub workers: Vec<WorkerSnapshot>,
    /// The TCP and TLS side.
    pub streams: StreamCounters,
    /// The flow relay, where it is on.
    pub flow: Option<FlowFigures>,
    /// TCP connections to peers.
    pub peers: PeerCounters,
    /// What the registry holds.
    pub usage: Usage,
    /// Relay ports of all relay addresses together.
    pub ports_capacity: u64,
    /// When the TLS certificate ends, in seconds since 1970.
    pub certificate_not_after_unix_s: i64,
    /// What became of the orders at an ACME authority.
    pub acme: crate::tls::AcmeCounters,
    /// The link to the control service.
    pub control: crate::control_link::LinkFigures,
}

/// The flow relay's figures at one moment.
#[derive(Clone, Debug)]
pub struct FlowFigures {
    /// Sessions that live, by rung.
    pub sessions: [u32; sterna_flow::Rung::ALL.len()],
    /// The shards that answered.
    pub shards: Vec<FlowSnapshot>,
}

/// A worker's figures at one moment.
#[derive(Clone, Debug)]
pub struct WorkerSnapshot {
    /// Which worker.
    pub worker: WorkerId,
    /// The machine's counters.
    pub turn: sterna_turn::Counters,
    /// The back end's counters.
    pub io: sterna_io::Counters,
    /// Receive buffers of the back end that are free.
    pub buffers_free: usize,
    /// The worker's own.
    pub own: WorkerCounters,
    /// Allocations that live here now.
    pub allocations: usize,
    /// TCP and TLS clients that are served here now.
    pub streams: usize,
    /// Clients whose packets are handed to the worker that has their allocation.
    pub moved: usize,
}

/// What a worker itself counts, beside its machine and its back end.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct WorkerCounters {
    /// Times that the loop went round.
    pub turns: u64,
    /// Packets dropped because another worker's inbox was full.
    pub mailbox_full: u64,
    /// Packets for a TCP or TLS client that was gone by then.
    pub stream_gone: u64,
    /// Relay ports that could not be bound since somebody else on the host holds them.
    pub ports_held_elsewhere: u64,
    /// Relay ports that could not be bound for want of descriptors or table space.
    pub ports_exhausted: u64,
}
