//! Skeleton.
pub mod client;
