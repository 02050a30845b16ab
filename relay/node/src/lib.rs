//! The relay node: workers, stream transports, configuration, admin listener.

#![forbid(unsafe_code)]

pub mod admin;
pub mod config;
pub mod control_link;
pub mod flow;
pub mod held_ports;
pub mod limits;
pub mod listeners;
pub mod log;
pub mod mailbox;
pub mod metrics;
pub mod node;
pub mod stream;
pub mod tls;
pub mod worker;
