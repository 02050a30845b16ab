//! What the machine and the driver share of one TCP allocation (RFC 6062): how fast its bytes may
//! pass, and how many have.
//!
//! The bytes never reach the machine. It sets the rate and reads the counts; the driver does the
//! opposite, for every connection of the allocation, on whatever thread.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// The rate and the byte counts of one TCP allocation; a clone is the same one.
#[derive(Clone, Debug, Default)]
pub struct Meter(Arc<Figures>);

#[derive(Debug, Default)]
struct Figures {
    bytes_per_s: AtomicU64,
    to_peers: AtomicU64,
    to_client: AtomicU64,
}

impl Meter {
    /// Payload bytes that may pass in a second, both ways together; 0 is no cap.
    #[must_use]
    pub fn bytes_per_s(&self) -> u64 {
        self.0.bytes_per_s.load(Ordering::Relaxed)
    }

    /// Counts bytes that a peer's connection has taken.
    pub fn add_to_peers(&self, bytes: usize) {
        self.0.to_peers.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Counts bytes that a client's connection has taken.
    pub fn add_to_client(&self, bytes: usize) {
        self.0.to_client.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn set_bytes_per_s(&self, bytes_per_s: u64) {
        self.0.bytes_per_s.store(bytes_per_s, Ordering::Relaxed);
    }

    /// Bytes to peers and to the client, of connections that have ended and of those that stand.
    pub(crate) fn passed(&self) -> (u64, u64) {
        (
            self.0.to_peers.load(Ordering::Relaxed),
            self.0.to_client.load(Ordering::Relaxed),
        )
    }
}

/// Two are equal when they are the same allocation's.
impl PartialEq for Meter {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Meter {}
