//! The flow relay as pure state machines: devices that know each other by public key exchange
//! opaque packets through a node, over the best transport that their network lets through.
//!
//! | what | where |
//! |---|---|
//! | what stands on the wire, and who says what when | [`frame`], [`message`], [`code`] |
//! | the node's side: one [`Relay`] a shard, one [`Directory`] a node | [`relay`], [`directory`] |
//! | the device's side: one [`device::Session`] a connection | [`device`] |
//! | the queue into a QUIC or WebSocket session | [`queue`] |
//! | two halves of a packet that does not fit | [`fragment`] |
//!
//! A frame and `now` go in; a [`Verdict`] comes out, and whatever else has to be done is named as a
//! [`Command`]. Nothing here opens a socket, reads a clock or asks the system for randomness, so the
//! same machines run under every engine, in the seeded simulation and under the fuzzer.
//!
//! After any `handle_*` call, drain `poll_command`, then read `poll_timeout`.
#![forbid(unsafe_code)]

pub mod code;
mod command;
mod config;
mod cookie;
mod counters;
pub mod device;
pub mod directory;
mod drop_reason;
pub mod fragment;
pub mod frame;
pub mod limits;
pub mod message;
mod name;
mod noise;
pub mod queue;
pub mod relay;
mod replay;
mod time;
mod verdict;

pub use code::{CloseReason, LimitedBy, PeerState, Refusal};
pub use command::{Command, Event, Letter, Revoke};
pub use config::RelayConfig;
pub use counters::{Counters, Traffic};
pub use directory::Directory;
pub use drop_reason::DropReason;
pub use frame::{Head, Mark};
pub use limits::Limits;
pub use name::{FlowNumber, Link, NumberLayout, Rung, SessionId, ShardId, StreamId};
pub use noise::Secret;
pub use relay::{FlowView, Relay, SessionView};
pub use time::Epoch;
pub use verdict::{Target, Verdict};

#[cfg(test)]
mod sim;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
