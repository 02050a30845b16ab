//! The stream side on real sockets.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, unreachable_pub)]

mod plain;
mod pressure;
mod proxy;
mod support;
mod tls;
