//! The TURN server and client as pure state machines (RFC 8656).
//!
//! A packet and `now` go in; a [`Verdict`] comes out, and whatever else has to be done is named as
//! a [`Command`]. Nothing here opens a socket, reads a clock or asks the system for randomness, so
//! the same machine runs under every engine, in the seeded simulation and under the fuzzer.
//!
//! After any `handle_*` call, drain [`Server::poll_command`], then read [`Server::poll_timeout`].
#![forbid(unsafe_code)]

mod addr;
mod algorithm;
mod allocation;
mod alternates;
mod channels;
pub mod client;
mod command;
mod config;
mod counters;
mod discovery;
mod drop_reason;
pub mod limits;
mod meter;
mod oauth;
mod permissions;
pub mod policy;
mod rate;
pub mod registry;
mod relay;
mod rules;
mod server;
#[cfg(test)]
mod sim;
#[cfg(test)]
mod testing;
mod tick;
mod timers;
mod users;
mod verdict;

pub use addr::{
    AllocationId, BindToken, Client, PeerAddr, PeerConnection, RelayPort, Transport, WorkerId,
};
pub use allocation::AllocationView;
pub use alternates::{Alternates, RedirectWhen};
pub use command::{Command, EndReason, Event, NotConnected, PortError, Revoke};
pub use config::{ConfigError, Epoch, ServerConfig};
pub use counters::{Counters, Method, Outcome, Traffic};
pub use discovery::{Discovery, DiscoverySocket};
pub use drop_reason::DropReason;
pub use limits::Limits;
pub use meter::Meter;
pub use oauth::{OAuth, OAuthKey, TokenRefusal};
pub use policy::{Policy, PolicyConfig};
pub use registry::Registry;
pub use rules::{Rules, UserRules};
pub use server::{Lease, Server};
pub use users::Users;
pub use verdict::{Header, Verdict};
