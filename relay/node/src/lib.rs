//! The relay node: workers, stream transports, configuration, admin listener.

#![forbid(unsafe_code)]

pub mod config;

#[cfg(test)]
mod documents;
