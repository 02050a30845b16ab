//! The bounds of what a run holds at once.

/// Most processes that are observed.
pub(crate) const WATCHED_MAX: usize = 64;

/// Allocations that are being made at the same time: fast, and no flood.
pub(crate) const SETUP_WINDOW: usize = 64;

/// Frames that may wait for one connection to take them.
pub(crate) const STREAM_QUEUE_FRAMES: usize = 512;

/// Bytes that one write to a connection takes at most: one TLS record.
pub(crate) const STREAM_BATCH_BYTES: usize = 16 * 1024;

/// Client ports that are given up because the server still knows an allocation of theirs.
pub(crate) const MOVES_MAX: usize = 10_000;

/// Bursts that leave before the generator looks at what has arrived, so that a rate beyond its means
/// makes it late and not deaf.
pub(crate) const BURSTS_PER_TURN_MAX: usize = 256;
