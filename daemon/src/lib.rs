//! What every long-running process of Sterna has, whatever it serves.
//!
//! - [`config`]: a configuration in layers, the table of its keys, and the documents made of both;
//! - [`log`]: logs, and warnings that repeat;
//! - [`metrics`]: a table of metrics, the page that shows them, and what the kernel says of the process;
//! - [`private_file`]: files with keys in them;
//! - [`documents`]: what is generated is what is committed.
//!
//! It knows no protocol. Keys, metrics, bounds and texts are their process's own.

#![forbid(unsafe_code)]

pub mod config;
pub mod documents;
pub mod log;
pub mod metrics;
pub mod private_file;
