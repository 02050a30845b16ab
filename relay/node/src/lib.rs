//! The relay node: workers, stream transports, configuration, admin listener.

#![forbid(unsafe_code)]

pub mod config;
pub mod log;
pub mod stream;
pub mod tls;

#[cfg(test)]
mod documents;
