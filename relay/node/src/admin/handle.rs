//! The node, as its admin side sees it.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use sterna_turn::{AllocationView, Revoke};

use crate::config::Config;
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
    /// It does not, and ends when the last session has.
    Draining,
}

impl NodeState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Starting, Self::Ready, Self::Draining];

    /// The stable name used in answers and metric labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
        }
    }
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

    /// Takes no new sessions, and ends the node with the last one or at the deadline; without one,
    /// `node.drain_deadline_s` counts.
    fn drain(&self, deadline: Option<Duration>) -> Answer<'_, ()>;

    /// Takes new sessions again.
    fn undrain(&self) -> Answer<'_, ()>;

    /// Reads the configuration again; the keys that differ and wait for a restart, or why nothing
    /// has changed.
    fn reload(&self) -> Answer<'_, Result<Vec<&'static str>, Box<dyn Error + Send + Sync>>>;
}
