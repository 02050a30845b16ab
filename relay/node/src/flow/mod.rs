//! The flow relay in the node: devices that know each other by public key exchange packets here.
//!
//! The machine is `sterna-flow`'s; this is what drives it. A *shard* is a thread with sessions of its
//! own. The first shards are the workers, which serve the `udp` rung on TURN's own sockets; behind
//! them come threads that serve `quic` and `wss`, each with its own listening sockets.
//!
//! | what | where |
//! |---|---|
//! | configuration, keys, what the shards share | [`plan`] |
//! | what crosses from shard to shard | [`mailbox`] |
//! | the `udp` rung on a worker | [`udp`] |
//! | what devices are told of the node | [`describe`] |
//! | a thread of connections, and what waits for each | [`shard`], [`link`] |
//! | the `quic` rung | [`quic`] |
//! | the `wss` rung | [`wss`], [`http`] |

mod describe;
mod handle;
mod http;
mod identity;
mod link;
mod mailbox;
mod plan;
mod quic;
mod shard;
mod snapshot;
mod threads;
mod udp;
mod wss;

pub(crate) use describe::{running as described, services};
pub(crate) use handle::FlowHandle;
pub(crate) use mailbox::{FlowInbox, FlowMailboxes, Wake};
pub(crate) use plan::{FlowPlan, key_set, plan, workers_max};
pub(crate) use threads::{FlowListeners, FlowThreads};
pub(crate) use udp::{FIRST_BYTES, WorkerFlow, relay as relay_of, shard_of};

pub use describe::configured;
pub use identity::{Identity, IdentityError};
pub use snapshot::{FlowSnapshot, FlowViews, LinkCounters};
