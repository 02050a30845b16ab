//! The bounds of what a run holds at once.

/// Most processes that are observed.
pub(crate) const WATCHED_MAX: usize = 64;

/// Allocations that are being made at the same time: fast, and no flood.
pub(crate) const SETUP_WINDOW: usize = 64;
