//! The stream side on real sockets.

#![allow(clippy::unwrap_used, unreachable_pub)]

mod plain;
mod support;
mod tls;
