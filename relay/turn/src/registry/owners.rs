//! Which worker has which port of a relay address.
//!
//! One word a port, so that a worker that claims a port does so by one compare-and-swap before any
//! socket is opened, and a worker that sends to another client of the node finds it by one load.

use std::{
    net::IpAddr,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};

use crate::{RelayPort, WorkerId};

const PORTS: usize = 1 << 16;

const FREE: u64 = 0;
const TAG_SHIFT: u32 = 62;
const CLAIMED: u64 = 1 << TAG_SHIFT;
/// Claimed for a TCP listener that accepts: no datagram is ever delivered there.
const STREAM: u64 = CLAIMED | 1;
const LIVE: u64 = 2 << TAG_SHIFT;
const FOREIGN: u64 = 3 << TAG_SHIFT;

/// The ports of one relay address: free, claimed by a worker, live, or held by somebody else.
#[derive(Debug)]
pub(crate) struct PortTable {
    ip: IpAddr,
    in_use: AtomicUsize,
    slots: Box<[AtomicU64]>,
}

impl PortTable {
    pub(super) fn new(ip: IpAddr) -> Self {
        let slots = std::iter::repeat_with(|| AtomicU64::new(FREE))
            .take(PORTS)
            .collect();
        Self {
            ip,
            in_use: AtomicUsize::new(0),
            slots,
        }
    }

    /// The relay address, as the node knows it.
    pub(crate) fn ip(&self) -> IpAddr {
        self.ip
    }

    /// Ports that are claimed, open or held.
    pub(crate) fn ports_in_use(&self) -> usize {
        self.in_use.load(Ordering::Relaxed)
    }

    /// Claims a port for a socket that is about to be opened. A port that somebody else held a
    /// moment ago is passed over until `now_s` has moved on.
    pub(crate) fn claim(&self, port: u16, now_s: u32) -> bool {
        let claim = |state| match state {
            FREE => Some(CLAIMED),
            state if state >> TAG_SHIFT == FOREIGN >> TAG_SHIFT => {
                let until_s = state & u64::from(u32::MAX);
                (u64::from(now_s) >= until_s).then_some(CLAIMED)
            }
            _ => None,
        };
        let slot = &self.slots[usize::from(port)];
        let claimed = slot
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, claim)
            .is_ok();
        if claimed {
            self.in_use.fetch_add(1, Ordering::Relaxed);
        }
        claimed
    }

    /// Says whose port it is now that its socket is open.
    pub(crate) fn publish(&self, port: u16, worker: WorkerId, relay_port: RelayPort) {
        let live = LIVE | u64::from(worker.0) << 32 | u64::from(relay_port.0);
        self.slots[usize::from(port)].store(live, Ordering::Release);
    }

    /// Says that a TCP listener accepts on the port now (RFC 6062).
    pub(crate) fn publish_stream(&self, port: u16) {
        self.slots[usize::from(port)].store(STREAM, Ordering::Release);
    }

    /// Tells whether a TCP listener of this node accepts on the port.
    pub(crate) fn is_stream(&self, port: u16) -> bool {
        self.slots[usize::from(port)].load(Ordering::Acquire) == STREAM
    }

    /// A living relay is no more; its socket is about to be closed.
    pub(crate) fn retire(&self, port: u16) {
        self.slots[usize::from(port)].store(CLAIMED, Ordering::Release);
    }

    /// Gives back a claimed or live port.
    pub(crate) fn release(&self, port: u16) {
        self.give_back(port, FREE);
    }

    /// Gives back a claimed port that turned out to be held by somebody else until, say, `until_s`.
    pub(crate) fn release_foreign(&self, port: u16, until_s: u32) {
        self.give_back(port, FOREIGN | u64::from(until_s));
    }

    /// The worker and the handle of a living relay. One load.
    #[inline]
    pub(crate) fn owner(&self, port: u16) -> Option<(WorkerId, RelayPort)> {
        let state = self.slots[usize::from(port)].load(Ordering::Acquire);
        if state >> TAG_SHIFT != LIVE >> TAG_SHIFT {
            return None;
        }
        let [_, _, _, worker, handle @ ..] = state.to_be_bytes();
        Some((WorkerId(worker), RelayPort(u32::from_be_bytes(handle))))
    }

    fn give_back(&self, port: u16, state: u64) {
        let before = self.slots[usize::from(port)].swap(state, Ordering::AcqRel);
        let owned = matches!(before >> TAG_SHIFT << TAG_SHIFT, CLAIMED | LIVE);
        debug_assert!(owned, "released a port that was not claimed");
        if owned {
            self.in_use.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn table() -> PortTable {
        PortTable::new("192.0.2.1".parse().unwrap())
    }

    #[test]
    fn a_port_is_claimed_once_published_and_given_back() {
        let table = table();
        assert!(table.claim(50_000, 0));
        assert!(!table.claim(50_000, 0));
        assert_eq!(table.owner(50_000), None, "claimed is not yet living");
        table.publish(50_000, WorkerId(255), RelayPort(u32::MAX));
        assert_eq!(
            table.owner(50_000),
            Some((WorkerId(255), RelayPort(u32::MAX)))
        );
        assert!(!table.claim(50_000, 0));
        assert_eq!(table.ports_in_use(), 1);
        table.retire(50_000);
        assert!(
            table.owner(50_000).is_none() && !table.claim(50_000, 0),
            "not yet closed"
        );
        table.release(50_000);
        assert_eq!((table.owner(50_000), table.ports_in_use()), (None, 0));
        assert!(table.claim(50_000, 0));
    }

    #[test]
    fn a_tcp_listener_s_port_is_nobody_else_s_and_gets_no_datagrams() {
        let table = table();
        assert!(table.claim(50_000, 0) && !table.is_stream(50_000));
        table.publish_stream(50_000);
        assert!(table.is_stream(50_000) && !table.claim(50_000, 0));
        assert_eq!(table.owner(50_000), None);
        table.retire(50_000);
        assert!(!table.is_stream(50_000));
        table.release(50_000);
        assert_eq!(table.ports_in_use(), 0);
    }

    #[test]
    fn a_port_that_somebody_else_holds_is_tried_again_later() {
        let table = table();
        assert!(table.claim(50_000, 10));
        table.release_foreign(50_000, 15);
        assert_eq!(table.ports_in_use(), 0);
        assert_eq!(table.owner(50_000), None);
        assert!(!table.claim(50_000, 14));
        assert!(table.claim(50_000, 15));
    }
}
