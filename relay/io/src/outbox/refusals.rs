//! Destinations for which the kernel refused a group.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use crate::limits::{REFUSAL_LIFETIME, REFUSALS_MAX};

/// A short list, empty on most hosts: the path MTU of most paths is that of the interface.
pub(super) struct Refusals {
    list: Vec<Refusal>,
}

struct Refusal {
    to: IpAddr,
    // The smallest segment that was refused.
    segment: u32,
    until: Instant,
}

impl Refusals {
    pub(super) fn new() -> Self {
        Self {
            list: Vec::with_capacity(REFUSALS_MAX),
        }
    }

    /// Whether a group of such segments may be tried. One comparison on most hosts.
    pub(super) fn allow(&self, to: SocketAddr, segment: u32) -> bool {
        self.list.is_empty()
            || !self
                .list
                .iter()
                .any(|refusal| refusal.to == to.ip() && segment >= refusal.segment)
    }

    pub(super) fn insert(&mut self, to: SocketAddr, segment: u32, now: Instant) {
        let until = now + REFUSAL_LIFETIME;
        if let Some(known) = self.list.iter_mut().find(|refusal| refusal.to == to.ip()) {
            known.segment = known.segment.min(segment);
            known.until = until;
            return;
        }
        if self.list.len() == REFUSALS_MAX {
            self.list.remove(0);
        }
        self.list.push(Refusal {
            to: to.ip(),
            segment,
            until,
        });
    }

    pub(super) fn expire(&mut self, now: Instant) {
        if !self.list.is_empty() {
            self.list.retain(|refusal| refusal.until > now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_size_is_not_tried_again_for_a_minute() {
        let to: SocketAddr = "192.0.2.1:9".parse().expect("an address");
        let other: SocketAddr = "192.0.2.2:9".parse().expect("an address");
        let now = Instant::now();
        let mut refusals = Refusals::new();
        refusals.insert(to, 1_200, now);
        assert!(!refusals.allow(to, 1_200));
        assert!(!refusals.allow(to, 1_300));
        assert!(refusals.allow(to, 1_199));
        assert!(refusals.allow(other, 1_200));
        refusals.expire(now + REFUSAL_LIFETIME);
        assert!(refusals.allow(to, 1_200));
    }

    #[test]
    fn the_list_is_bounded() {
        let now = Instant::now();
        let mut refusals = Refusals::new();
        for port in 0..300_u16 {
            let ip = IpAddr::from([10, 0, port.to_be_bytes()[0], port.to_be_bytes()[1]]);
            refusals.insert(SocketAddr::new(ip, 1), 100, now);
        }
        assert_eq!(refusals.list.len(), REFUSALS_MAX);
    }
}
