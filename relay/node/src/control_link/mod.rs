//! The link to the control service: the node registers, reports, and follows orders.
//!
//! | what | where |
//! |---|---|
//! | when to call, and what to believe: pure | `machine` |
//! | orders that were verified | `standing` |
//! | the orders on the node's disk | `cache` |
//! | whether the public address leads here | `probe` |
//! | the calls themselves | `calls` |
//! | the task that turns the machine | `driver` |
//! | what is known of the link, for metrics and the admin API | `board` |
//! | the times | `limits` |
//!
//! Nothing waits for the service: a node that it cannot reach goes on with what it has, and one that
//! starts without it begins with what lies on its disk.

mod board;
mod cache;
mod calls;
mod driver;
mod limits;
mod machine;
mod probe;
mod standing;
#[cfg(test)]
mod testing;

use std::sync::Arc;

use sterna_control_api::node::{Heartbeat, RegisterNode};
use tokio::sync::watch;

use crate::admin::Answer;
use crate::config::Config;
use crate::flow::Identity;

pub(crate) use self::board::Board;
pub use self::board::{Call, CallCounts, CallResult, LinkFigures, OrdersFigures};
pub(crate) use self::driver::ControlLink;
pub(crate) use self::standing::Standing;

/// What the link asks and tells the node that it belongs to.
pub(crate) trait Host: Send + Sync + 'static {
    /// The configuration that runs.
    fn config(&self) -> Arc<Config>;

    /// Changes when the configuration, an address or the node's state has.
    fn changes(&self) -> watch::Receiver<()>;

    /// How devices reach the node.
    fn describe(&self) -> RegisterNode;

    /// What the node does and carries; the link puts the orders' version and its reachability in.
    fn report(&self) -> Answer<'_, Heartbeat>;

    /// Follows orders that are new; none where the node has left its service.
    fn follow(&self, standing: Option<Arc<Standing>>) -> Answer<'_, ()>;
}

/// The orders of before a restart, where the node has a service and some of it.
pub(crate) fn remembered(config: &Config, identity: &Identity) -> Option<Standing> {
    if !config.control.is_on() {
        return None;
    }
    cache::Cache::new(&config.node.data_dir).load(&identity.node_id())
}
