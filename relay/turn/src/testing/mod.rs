//! A node in a test: workers that share a registry, a driver that opens imaginary sockets, and
//! callers who know how to sign.

mod caller;
mod node;
mod tcp;

pub(crate) use caller::{Answer, Caller};
pub(crate) use node::{Connecting, Node, START_UNIX_S, config, edited};
