//! Quotas: allocations by account, by source prefix and in total.

use std::{
    hash::{BuildHasher, Hash},
    net::IpAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::lock;
use crate::Limits;

/// Shards of each map: more than workers that meet, few enough to walk.
const SHARDS: usize = 16;

/// Counts allocations, and reservations, which are allocations to be.
#[derive(Debug, Default)]
pub(crate) struct Quotas {
    users: Sharded<Arc<str>>,
    prefixes: Sharded<SourcePrefix>,
    total: AtomicU64,
}

/// Who an allocation counts for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    /// The account; empty on an open relay, where it has no quota.
    pub(crate) account: Arc<str>,
    pub(crate) prefix: SourcePrefix,
    /// The account's own cap in place of everybody's; 0: none.
    pub(crate) allocations_max: Option<u32>,
}

/// Which quota is used up.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum QuotaExceeded {
    User,
    Prefix,
    Total,
}

impl Quotas {
    /// Counts one more for `holder`, or nothing at all.
    pub(crate) fn acquire(&self, holder: &Holder, limits: &Limits) -> Result<(), QuotaExceeded> {
        let total_max = cap(limits.allocations_max);
        let one_more = |total: u64| (total < total_max).then_some(total + 1);
        self.total
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
            .map_err(|_| QuotaExceeded::Total)?;
        if !self
            .prefixes
            .acquire(&holder.prefix, cap(limits.allocations_per_prefix_max))
        {
            self.total.fetch_sub(1, Ordering::Relaxed);
            return Err(QuotaExceeded::Prefix);
        }
        let user_max = if holder.account.is_empty() {
            u64::MAX
        } else {
            cap(holder
                .allocations_max
                .unwrap_or(limits.allocations_per_user_max))
        };
        if !self.users.acquire(&holder.account, user_max) {
            self.prefixes.release(&holder.prefix);
            self.total.fetch_sub(1, Ordering::Relaxed);
            return Err(QuotaExceeded::User);
        }
        Ok(())
    }

    /// Gives back what `acquire` counted for `holder`.
    pub(crate) fn release(&self, holder: &Holder) {
        self.users.release(&holder.account);
        self.prefixes.release(&holder.prefix);
        self.total.fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts `places` of `from`'s for another prefix from now on, or refuses and leaves them where
    /// they are. The account and the total do not notice.
    pub(crate) fn move_prefix(
        &self,
        from: SourcePrefix,
        to: SourcePrefix,
        places: u64,
        limits: &Limits,
    ) -> Result<(), QuotaExceeded> {
        if from == to {
            return Ok(());
        }
        let max = cap(limits.allocations_per_prefix_max);
        for taken in 0..places {
            if !self.prefixes.acquire(&to, max) {
                (0..taken).for_each(|_| self.prefixes.release(&to));
                return Err(QuotaExceeded::Prefix);
            }
        }
        (0..places).for_each(|_| self.prefixes.release(&from));
        Ok(())
    }

    /// Allocations in total, accounts, prefixes.
    pub(super) fn usage(&self) -> (u64, usize, usize) {
        (
            self.total.load(Ordering::Relaxed),
            self.users.len(),
            self.prefixes.len(),
        )
    }
}

fn cap(limit: u32) -> u64 {
    if limit == 0 { u64::MAX } else { limit.into() }
}

/// The part of a source address that one subscriber cannot leave at will: /24 or /56.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SourcePrefix(u64);

impl SourcePrefix {
    pub(crate) fn of(ip: IpAddr) -> Self {
        match ip {
            // The top bits keep the families apart.
            IpAddr::V4(ip) => Self(1 << 63 | u64::from(ip.to_bits() >> 8)),
            IpAddr::V6(ip) => {
                let [a, b, c, d, e, f, g, ..] = ip.octets();
                Self(u64::from_be_bytes([0, a, b, c, d, e, f, g]))
            }
        }
    }

    pub(crate) const fn bits(self) -> u64 {
        self.0
    }
}

#[derive(Debug)]
struct Sharded<K> {
    shards: [Mutex<HashMap<K, u64, FixedState>>; SHARDS],
}

impl<K> Default for Sharded<K> {
    fn default() -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
        }
    }
}

impl<K: Hash + Eq + Clone> Sharded<K> {
    fn acquire(&self, key: &K, max: u64) -> bool {
        let mut shard = lock(self.shard(key));
        match shard.get_mut(key) {
            Some(count) if *count >= max => false,
            Some(count) => {
                *count += 1;
                true
            }
            None if max == 0 => false,
            None => {
                shard.insert(key.clone(), 1);
                true
            }
        }
    }

    fn release(&self, key: &K) {
        let mut shard = lock(self.shard(key));
        let count = shard.get_mut(key);
        debug_assert!(count.is_some(), "released more than was acquired");
        if let Some(count) = count {
            *count -= 1;
            if *count == 0 {
                shard.remove(key);
            }
        }
    }

    fn shard(&self, key: &K) -> &Mutex<HashMap<K, u64, FixedState>> {
        // Keys got here by authentication, or are prefixes that hold an allocation.
        let hash = FixedState::with_seed(7).hash_one(key).to_le_bytes();
        &self.shards[usize::from(hash[0]) % SHARDS]
    }

    fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn holder(account: &str, ip: &str) -> Holder {
        Holder {
            account: account.into(),
            prefix: SourcePrefix::of(ip.parse().unwrap()),
            allocations_max: None,
        }
    }

    fn limits(total: u32, user: u32, prefix: u32) -> Limits {
        Limits {
            allocations_max: total,
            allocations_per_user_max: user,
            allocations_per_prefix_max: prefix,
            ..Limits::default()
        }
    }

    #[test]
    fn each_quota_refuses_in_its_own_name_and_counts_nothing() {
        let quotas = Quotas::default();
        let limits = limits(3, 2, 2);
        let ann = holder("ann", "198.51.100.1");
        let ben = holder("ben", "198.51.100.200");
        let cid = holder("cid", "203.0.113.1");
        quotas.acquire(&ann, &limits).unwrap();
        quotas.acquire(&ben, &limits).unwrap();
        assert_eq!(quotas.acquire(&ann, &limits), Err(QuotaExceeded::Prefix));
        let ann_elsewhere = holder("ann", "203.0.113.9");
        quotas.acquire(&ann_elsewhere, &limits).unwrap();
        assert_eq!(quotas.acquire(&cid, &limits), Err(QuotaExceeded::Total));
        quotas.release(&ben);
        assert_eq!(
            quotas.acquire(&ann_elsewhere, &limits),
            Err(QuotaExceeded::User)
        );
        quotas.release(&ann);
        quotas.release(&ann_elsewhere);
        assert_eq!(quotas.usage(), (0, 0, 0));
    }

    #[test]
    fn what_moves_to_another_prefix_is_counted_there_and_nowhere_else() {
        let quotas = Quotas::default();
        let limits = limits(2, 2, 1);
        let home = holder("ann", "198.51.100.1");
        let full = holder("ben", "203.0.113.1");
        let free = SourcePrefix::of("192.0.2.1".parse().unwrap());
        quotas.acquire(&home, &limits).unwrap();
        quotas.acquire(&full, &limits).unwrap();
        let refused = quotas.move_prefix(home.prefix, full.prefix, 1, &limits);
        assert_eq!(refused, Err(QuotaExceeded::Prefix));
        quotas
            .move_prefix(home.prefix, home.prefix, 1, &limits)
            .unwrap();
        quotas.move_prefix(home.prefix, free, 1, &limits).unwrap();
        assert_eq!(quotas.acquire(&home, &limits), Err(QuotaExceeded::Total));
        let moved = Holder {
            prefix: free,
            ..home
        };
        quotas.release(&moved);
        quotas.release(&full);
        assert_eq!(quotas.usage(), (0, 0, 0));
    }

    #[test]
    fn zero_is_no_cap_and_an_open_relay_has_no_accounts_to_cap() {
        let quotas = Quotas::default();
        let nobody = holder("", "198.51.100.1");
        for _ in 0..5 {
            quotas.acquire(&nobody, &limits(0, 1, 0)).unwrap();
        }
        assert_eq!(quotas.usage(), (5, 1, 1));
    }

    #[test]
    fn prefixes_are_24_and_56_bits() {
        let of = |ip: &str| SourcePrefix::of(ip.parse().unwrap());
        assert_eq!(of("198.51.100.1"), of("198.51.100.255"));
        assert_ne!(of("198.51.100.1"), of("198.51.101.1"));
        assert_eq!(of("2620:0:0:ff00::1"), of("2620:0:0:ffff::2"));
        assert_ne!(of("2620:0:0:fe00::1"), of("2620:0:0:ff00::1"));
        assert_ne!(of("0.0.0.0"), of("::"));
    }
}
