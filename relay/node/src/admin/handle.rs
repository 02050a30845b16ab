//! The node, as its admin side sees it.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use sterna_control_api::{NodeId, RelayKey};
use sterna_turn::{AllocationView, Revoke};

use crate::config::Config;
use crate::flow::FlowViews;
use crate::metrics::NodeSnapshot;

/// An answer that takes a while: the workers are asked by letter.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Whether the node takes new sessions.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NodeState {
    /// Its workers are not running yet.
    Starting,
    /// It does.
    Ready,
    /// It does not, and goes on with those that it has.
    Cordoned,
    /// It does not, and ends when the last session has.
    Draining,
}

impl NodeState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Starting, Self::Ready, Self::Cordoned, Self::Draining];

    /// The stable name used in answers and metric labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Cordoned => "cordoned",
            Self::Draining => "draining",
        }
    }
}

/// Who the node is to devices of the flow relay.
#[derive(Clone, Copy, Debug)]
pub struct FlowIdentity {
    /// Its identity.
    pub node: NodeId,
    /// What devices shake hands with.
    pub noise_key: RelayKey,
}

/// What a reload has done.
#[derive(Clone, Debug, Default)]
pub struct Reloaded {
    /// Keys that differ from what runs and take effect on restart only.
    pub restart_needed: Vec<&'static str>,
    /// Threads that were too busy to take it over so far.
    pub threads_behind: usize,
}

/// What the admin listener asks and tells the node.
pub trait NodeHandle: Send + Sync + 'static {
    /// Whether the node takes new sessions.
    fn state(&self) -> NodeState;

    /// The configuration that runs.
    fn config(&self) -> Arc<Config>;

    /// The figures of this moment.
    fn snapshot(&self) -> Answer<'_, NodeSnapshot>;

    /// Every allocation of the node, in no order.
    fn allocations(&self) -> Answer<'_, Vec<AllocationView>>;

    /// Ends allocations; how many there were.
    fn revoke(&self, what: Revoke) -> Answer<'_, usize>;

    /// The sessions and flows of the flow relay; none where it is off.
    fn flows(&self) -> Answer<'_, Option<(FlowIdentity, FlowViews)>>;

    /// Ends sessions of the flow relay, and keeps out what is revoked; how many there were.
    fn revoke_flows(&self, what: sterna_flow::Revoke) -> Answer<'_, usize>;

    /// Takes no new sessions, and ends the node with the last one or at the deadline; without one,
    /// `node.drain_deadline_s` counts.
    fn drain(&self, deadline: Option<Duration>) -> Answer<'_, ()>;

    /// Takes new sessions again.
    fn undrain(&self) -> Answer<'_, ()>;

    /// Reads the configuration again and answers when it is in force, or why nothing has changed.
    fn reload(&self) -> Answer<'_, Result<Reloaded, Box<dyn Error + Send + Sync>>>;
}
