//! The relay node: workers, stream transports, configuration, admin listener.

#![forbid(unsafe_code)]

pub mod admin;
pub mod config;
pub mod log;
pub mod metrics;
pub mod stream;
pub mod tls;

#[cfg(test)]
mod documents;
