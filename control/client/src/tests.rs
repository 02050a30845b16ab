//! The client against a small server in this process, which checks signatures as the service does.
#![allow(clippy::unwrap_used)]

mod answers;
mod server;
mod sockets;
mod tls;
