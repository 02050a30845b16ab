//! What nodes, devices and the control service say to each other.
//!
//! | what | where |
//! |---|---|
//! | names and keys: devices, tenants, groups, tickets | `id` |
//! | the keys that the control service signs with, and the set that verifies | [`key`] |
//! | the relay ticket: what a device shows a node | [`ticket`] |
//! | the relay map: what a device knows of the nodes | [`relay_map`] |
//! | nodes: registration, heartbeats, orders, the operator's view | [`node`], [`region`] |
//! | the signature over a node's orders | [`orders`] |
//! | devices: registration, netmap, metrics, rotation; credentials | [`device`], [`credentials`] |
//! | signalling between devices, and pushes | [`signal`] |
//! | people, tokens, key rotation, the audit log | [`access`], [`rotation`], [`audit`] |
//! | who asks: signatures of requests (RFC 9421) | [`signature`] |
//! | errors | [`problem`] |
//!
//! Nothing here opens a socket, reads a clock or asks the system for randomness.
#![forbid(unsafe_code)]

pub mod access;
pub mod audit;
pub mod credentials;
pub mod device;
mod envelope;
mod id;
pub mod key;
pub mod limits;
pub mod node;
pub mod orders;
pub mod problem;
pub mod region;
pub mod relay_map;
pub mod rotation;
#[cfg(feature = "openapi")]
mod schema;
pub mod signal;
pub mod signature;
mod text;
pub mod ticket;

pub use id::{
    DeviceId, DeviceIdentity, DeviceKey, Fleet, GroupId, NodeId, ParseIdError, RelayKey, TenantId,
    TicketId,
};
pub use key::{KeyError, KeyId, KeySet, SigningKey, VerifyingKey};
pub use orders::OrdersError;
pub use relay_map::{MapError, RelayMap, SignedRelayMap};
pub use ticket::{Groups, IssueError, RateClass, Ticket, TicketError};
