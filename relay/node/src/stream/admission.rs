//! Who may connect: caps over the node and over each source prefix, and the ids of what is open.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::counters::CutReason;

/// The open connections of the node.
#[derive(Debug, Default)]
pub(crate) struct Admission(Mutex<Open>);

#[derive(Debug, Default)]
struct Open {
    ids: HashSet<u32>,
    next_id: u32,
    by_prefix: HashMap<IpAddr, u32>,
}

/// A connection's place; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    admission: Arc<Admission>,
    /// The prefix that it counts for, once it is known who the client is.
    prefix: Option<IpAddr>,
    pub(super) id: u32,
}

impl Admission {
    /// Takes a place, unless the node is full.
    pub(crate) fn admit(self: &Arc<Self>, connections_max: u32) -> Result<Place, CutReason> {
        let mut open = self.lock();
        if open.ids.len() >= connections_max as usize {
            return Err(CutReason::NodeFull);
        }
        let id = open.take_id();
        drop(open);
        Ok(Place {
            admission: Arc::clone(self),
            prefix: None,
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

impl Place {
    /// Counts for a client's prefix from now on, unless that is full. A cap of 0 is none.
    pub(crate) fn claim(&mut self, client: IpAddr, per_prefix_max: u32) -> Result<(), CutReason> {
        let prefix = prefix(client);
        let mut open = self.admission.lock();
        open.leave(self.prefix.take());
        let of_prefix = open.by_prefix.entry(prefix).or_insert(0);
        if per_prefix_max > 0 && *of_prefix >= per_prefix_max {
            return Err(CutReason::PrefixFull);
        }
        *of_prefix += 1;
        self.prefix = Some(prefix);
        Ok(())
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

    fn leave(&mut self, prefix: Option<IpAddr>) {
        let Some(prefix) = prefix else { return };
        if let Some(of_prefix) = self.by_prefix.get_mut(&prefix) {
            *of_prefix -= 1;
            if *of_prefix == 0 {
                self.by_prefix.remove(&prefix);
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.admission.lock();
        open.ids.remove(&self.id);
        open.leave(self.prefix);
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

    fn admit(
        admission: &Arc<Admission>,
        client: IpAddr,
        connections_max: u32,
        per_prefix_max: u32,
    ) -> Result<Place, CutReason> {
        let mut place = admission.admit(connections_max)?;
        place.claim(client, per_prefix_max)?;
        Ok(place)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_full_node_refuses_and_takes_again_when_a_place_is_given_back() {
        let admission = Arc::new(Admission::default());
        let first = admit(&admission, ip("192.0.2.1"), 2, 0).unwrap();
        let _second = admit(&admission, ip("198.51.100.1"), 2, 0).unwrap();
        assert_eq!(
            admit(&admission, ip("203.0.113.1"), 2, 0).unwrap_err(),
            CutReason::NodeFull
        );
        drop(first);
        assert_eq!(admission.open(), 1);
        admit(&admission, ip("203.0.113.1"), 2, 0).unwrap();
    }

    #[test]
    fn a_full_prefix_refuses_its_own_only() {
        let admission = Arc::new(Admission::default());
        let _place = admit(&admission, ip("192.0.2.1"), 10, 1).unwrap();
        assert_eq!(
            admit(&admission, ip("192.0.2.254"), 10, 1).unwrap_err(),
            CutReason::PrefixFull
        );
        assert_eq!(
            admit(&admission, ip("::ffff:192.0.2.9"), 10, 1).unwrap_err(),
            CutReason::PrefixFull
        );
        admit(&admission, ip("192.0.3.1"), 10, 1).unwrap();
    }

    #[test]
    fn a_place_counts_for_no_prefix_before_its_client_is_known() {
        let admission = Arc::new(Admission::default());
        let mut first = admission.admit(10).unwrap();
        let mut second = admission.admit(10).unwrap();
        first.claim(ip("192.0.2.1"), 1).unwrap();
        second.claim(ip("192.0.2.2"), 1).unwrap_err();
        second.claim(ip("198.51.100.1"), 1).unwrap();
        drop((first, second));
        assert!(admission.lock().by_prefix.is_empty());
    }

    #[test]
    fn prefixes_leave_nothing_behind() {
        let admission = Arc::new(Admission::default());
        drop(admit(&admission, ip("2001:db8:1:2ff::1"), 10, 1).unwrap());
        assert!(admission.lock().by_prefix.is_empty());
        assert_eq!(prefix(ip("2001:db8:1:2ff::1")), ip("2001:db8:1:200::"));
    }

    #[test]
    fn ids_follow_each_other_and_a_living_one_is_passed_over() {
        let admission = Arc::new(Admission::default());
        let zero = admit(&admission, ip("192.0.2.1"), 10, 0).unwrap();
        assert_eq!(
            (
                zero.id,
                admit(&admission, ip("192.0.2.1"), 10, 0).unwrap().id
            ),
            (0, 1)
        );
        admission.lock().next_id = 0;
        assert_eq!(admit(&admission, ip("192.0.2.1"), 10, 0).unwrap().id, 1);
    }
}
