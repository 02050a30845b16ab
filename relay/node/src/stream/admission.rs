//! Who may connect: caps over the node and over each source prefix, and the ids of what is open.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::counters::CutReason;

/// The open connections of the node.
#[derive(Debug, Default)]
pub(super) struct Admission(Mutex<Open>);

#[derive(Debug, Default)]
struct Open {
    ids: HashSet<u32>,
    next_id: u32,
    by_prefix: HashMap<IpAddr, u32>,
}

/// A connection's place; given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    admission: Arc<Admission>,
    prefix: IpAddr,
    pub(super) id: u32,
}

impl Admission {
    /// Takes a place for a client, unless the node or its prefix is full. A prefix cap of 0 is
    /// none.
    pub(super) fn admit(
        self: &Arc<Self>,
        client: IpAddr,
        connections_max: u32,
        per_prefix_max: u32,
    ) -> Result<Place, CutReason> {
        let mut open = self.lock();
        if open.ids.len() >= connections_max as usize {
            return Err(CutReason::NodeFull);
        }
        let prefix = prefix(client);
        let of_prefix = open.by_prefix.entry(prefix).or_insert(0);
        if per_prefix_max > 0 && *of_prefix >= per_prefix_max {
            return Err(CutReason::PrefixFull);
        }
        *of_prefix += 1;
        let id = open.take_id();
        drop(open);
        Ok(Place {
            admission: Arc::clone(self),
            prefix,
            id,
        })
    }

    pub(super) fn open(&self) -> usize {
        self.lock().ids.len()
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// Ids follow each other, so that they can be dealt out to workers in turn; one that is still
    /// open after four thousand million others is passed over.
    fn take_id(&mut self) -> u32 {
        loop {
            let id = self.next_id;
            self.next_id = id.wrapping_add(1);
            if self.ids.insert(id) {
                return id;
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.admission.lock();
        open.ids.remove(&self.id);
        if let Some(of_prefix) = open.by_prefix.get_mut(&self.prefix) {
            *of_prefix -= 1;
            if *of_prefix == 0 {
                open.by_prefix.remove(&self.prefix);
            }
        }
    }
}

/// The prefix that a client's address is counted by: /24 of IPv4, /56 of IPv6.
pub(crate) fn prefix(addr: IpAddr) -> IpAddr {
    match addr.to_canonical() {
        IpAddr::V4(addr) => IpAddr::from((addr.to_bits() & (u32::MAX << 8)).to_be_bytes()),
        IpAddr::V6(addr) => IpAddr::from((addr.to_bits() & (u128::MAX << 72)).to_be_bytes()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_full_node_refuses_and_takes_again_when_a_place_is_given_back() {
        let admission = Arc::new(Admission::default());
        let first = admission.admit(ip("192.0.2.1"), 2, 0).unwrap();
        let _second = admission.admit(ip("198.51.100.1"), 2, 0).unwrap();
        assert_eq!(
            admission.admit(ip("203.0.113.1"), 2, 0).unwrap_err(),
            CutReason::NodeFull
        );
        drop(first);
        assert_eq!(admission.open(), 1);
        admission.admit(ip("203.0.113.1"), 2, 0).unwrap();
    }

    #[test]
    fn a_full_prefix_refuses_its_own_only() {
        let admission = Arc::new(Admission::default());
        let _place = admission.admit(ip("192.0.2.1"), 10, 1).unwrap();
        assert_eq!(
            admission.admit(ip("192.0.2.254"), 10, 1).unwrap_err(),
            CutReason::PrefixFull
        );
        assert_eq!(
            admission.admit(ip("::ffff:192.0.2.9"), 10, 1).unwrap_err(),
            CutReason::PrefixFull
        );
        admission.admit(ip("192.0.3.1"), 10, 1).unwrap();
    }

    #[test]
    fn prefixes_leave_nothing_behind() {
        let admission = Arc::new(Admission::default());
        drop(admission.admit(ip("2001:db8:1:2ff::1"), 10, 1).unwrap());
        assert!(admission.lock().by_prefix.is_empty());
        assert_eq!(prefix(ip("2001:db8:1:2ff::1")), ip("2001:db8:1:200::"));
    }

    #[test]
    fn ids_follow_each_other_and_a_living_one_is_passed_over() {
        let admission = Arc::new(Admission::default());
        let zero = admission.admit(ip("192.0.2.1"), 10, 0).unwrap();
        assert_eq!(
            (zero.id, admission.admit(ip("192.0.2.1"), 10, 0).unwrap().id),
            (0, 1)
        );
        admission.lock().next_id = 0;
        assert_eq!(admission.admit(ip("192.0.2.1"), 10, 0).unwrap().id, 1);
    }
}
