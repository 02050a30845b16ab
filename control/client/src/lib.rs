//! Calls the control service: for nodes, devices, people's commands and load tests.
//!
//! | what | where |
//! |---|---|
//! | who calls, and how that is proved | [`Caller`] |
//! | one call: signed, bounded in time and size, its refusal a value | [`ControlClient`], [`CallError`] |
//! | a typed call for each path of the API | methods of [`ControlClient`] |
//! | when to try again | [`Backoff`] |
//! | signalling and pushes | [`Socket`] |
//! | the clock and the random source, so that tests can drive both | [`Edges`] |
//!
//! A call is tried once: whether it is worth another attempt is [`CallError::is_passing`], and when,
//! is [`Backoff::next`].
//!
//! ```no_run
//! # async fn example(key: sterna_control_api::SigningKey, node: sterna_control_api::node::RegisterNode)
//! # -> Result<(), Box<dyn std::error::Error>> {
//! use sterna_control_client::{Caller, ControlClient, Options};
//!
//! let client = ControlClient::new("https://control.example", Caller::Node(key), &Options::default())?;
//! let registered = client.register_node(&node, Some("sterna-join-1.…")).await?;
//! # Ok(()) }
//! ```
#![forbid(unsafe_code)]

mod backoff;
mod caller;
mod calls;
mod edges;
mod error;
pub mod limits;
mod list;
mod roots;
mod socket;
#[cfg(test)]
mod tests;
mod transport;
mod upgrade;

pub use backoff::Backoff;
pub use caller::Caller;
pub use edges::Edges;
pub use error::{CallError, ConfigError, Refusal, SocketError, Unreachable};
pub use list::Filter;
pub use socket::Socket;
pub use transport::{ControlClient, Options};
