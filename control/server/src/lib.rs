//! The control service: nodes register with it, devices find them through it, operators see it all.
//!
//! | what | where |
//! |---|---|
//! | starting and stopping it | [`Control`] |
//! | its configuration | [`config`] |
//! | what it knows, and the rules over it | [`domain`] |
//! | what it keeps | [`store`] |
//! | what it does, a file a resource | `service` |
//! | how it is asked over HTTP | `http` |
//! | what it counts | `metrics` |

#![forbid(unsafe_code)]

pub mod config;
pub mod domain;
mod http;
mod limits;
mod metrics;
mod running;
mod service;
pub mod store;
mod tls;

pub use config::{Config, ConfigError};
pub use metrics::markdown as metrics_document;
pub use running::{Control, StartError};
