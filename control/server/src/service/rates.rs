//! Rates of callers, in the memory of this replica.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};

use super::refusal::Refusal;
use crate::config;
use crate::limits::RATE_KEYS_MAX;

/// Seconds' worth of requests that may come at once.
const BURST_S: u32 = 10;

/// Every rate of `[limits]` that is counted by caller.
pub(crate) struct Rates {
    clock: DefaultClock,
    address: Keyed<IpAddr>,
    attempts: Keyed<IpAddr>,
    /// Addresses whose attempts are used up, until when.
    exhausted: Mutex<HashMap<IpAddr, Instant>>,
    caller: Keyed<u64>,
    login: Keyed<u64>,
    signals: Quota,
}

impl Rates {
    pub(crate) fn new(limits: &config::Limits) -> Self {
        Self {
            clock: DefaultClock::default(),
            address: Keyed::new(per_second(limits.requests_per_address_per_s)),
            attempts: Keyed::new(per_minute(limits.attempts_per_address_per_min)),
            exhausted: Mutex::default(),
            caller: Keyed::new(per_second(limits.requests_per_caller_per_s)),
            login: Keyed::new(per_minute(limits.logins_per_name_per_min)),
            signals: per_second(limits.signals_per_device_per_s),
        }
    }

    /// A request of an address.
    pub(crate) fn address(&self, addr: IpAddr) -> Result<(), Refusal> {
        self.take(&self.address, &shared_by(addr))
            .map_err(|wait| Refusal::too_many("address", secs(wait)))
    }

    /// Refuses an address whose proofs have failed too often; does not count this request.
    pub(crate) fn may_attempt(&self, addr: IpAddr) -> Result<(), Refusal> {
        let mut exhausted = self.exhausted();
        if exhausted.is_empty() {
            return Ok(());
        }
        let key = shared_by(addr);
        let Some(until) = exhausted.get(&key) else {
            return Ok(());
        };
        let wait = until.saturating_duration_since(Instant::now());
        if wait.is_zero() {
            exhausted.remove(&key);
            return Ok(());
        }
        Err(Refusal::too_many("attempts", secs(wait)))
    }

    /// A proof of an address did not hold.
    pub(crate) fn failed_attempt(&self, addr: IpAddr) {
        let key = shared_by(addr);
        if let Err(wait) = self.take(&self.attempts, &key) {
            let mut exhausted = self.exhausted();
            if exhausted.len() < RATE_KEYS_MAX {
                exhausted.insert(key, Instant::now() + wait);
            }
        }
    }

    /// A request of somebody who has proved who it is.
    pub(crate) fn caller(&self, who: impl Hash) -> Result<(), Refusal> {
        self.take(&self.caller, &hashed(who))
            .map_err(|wait| Refusal::too_many("caller", secs(wait)))
    }

    /// An attempt to log in with a name, whether anybody has it or not.
    pub(crate) fn login(&self, name: &str) -> Result<(), Refusal> {
        self.take(&self.login, &hashed(name))
            .map_err(|wait| Refusal::too_many("login", secs(wait)))
    }

    /// What one WebSocket may send.
    pub(crate) fn signals(&self) -> DefaultDirectRateLimiter {
        RateLimiter::direct(self.signals)
    }

    /// Forgets those who have been quiet; to be called every few seconds.
    pub(crate) fn forget_the_quiet(&self) {
        self.address.tidy();
        self.attempts.tidy();
        self.caller.tidy();
        self.login.tidy();
        let now = Instant::now();
        self.exhausted().retain(|_, until| *until > now);
    }

    fn take<K: Hash + Eq + Clone>(&self, keyed: &Keyed<K>, key: &K) -> Result<(), Duration> {
        let taken = keyed.limiter.load().check_key(key);
        taken.map_err(|until| until.wait_time_from(self.clock.now()))
    }

    fn exhausted(&self) -> MutexGuard<'_, HashMap<IpAddr, Instant>> {
        // Each entry is whole.
        self.exhausted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A rate by key that holds a bounded number of keys.
struct Keyed<K: Hash + Eq + Clone> {
    quota: Quota,
    limiter: ArcSwap<DefaultKeyedRateLimiter<K>>,
}

impl<K: Hash + Eq + Clone> Keyed<K> {
    fn new(quota: Quota) -> Self {
        Self {
            quota,
            limiter: ArcSwap::from_pointee(RateLimiter::keyed(quota)),
        }
    }

    fn tidy(&self) {
        let limiter = self.limiter.load();
        limiter.retain_recent();
        if limiter.len() > RATE_KEYS_MAX {
            // A flood from many addresses: better to count anew than to grow.
            self.limiter
                .store(std::sync::Arc::new(RateLimiter::keyed(self.quota)));
        } else {
            limiter.shrink_to_fit();
        }
    }
}

fn per_second(rate: u32) -> Quota {
    let rate = NonZeroU32::new(rate).unwrap_or(NonZeroU32::MIN);
    Quota::per_second(rate)
        .allow_burst(rate.saturating_mul(NonZeroU32::MIN.saturating_add(BURST_S - 1)))
}

fn per_minute(rate: u32) -> Quota {
    Quota::per_minute(NonZeroU32::new(rate).unwrap_or(NonZeroU32::MIN))
}

/// Who shares a rate: an IPv4 address, or the /56 of an IPv6 address, which one subscriber has.
fn shared_by(addr: IpAddr) -> IpAddr {
    match addr.to_canonical() {
        IpAddr::V6(v6) => {
            let bits = v6.to_bits() & (u128::MAX << 72);
            Ipv6Addr::from_bits(bits).into()
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

fn hashed(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

fn secs(wait: Duration) -> u32 {
    u32::try_from(wait.as_secs())
        .unwrap_or(u32::MAX)
        .saturating_add(1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn rates() -> Rates {
        Rates::new(&config::Limits {
            attempts_per_address_per_min: 2,
            logins_per_name_per_min: 1,
            requests_per_caller_per_s: 1,
            ..config::Limits::default()
        })
    }

    #[test]
    fn an_address_whose_proofs_keep_failing_is_refused_and_no_other_is() {
        let rates = rates();
        let (bad, good) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        for _ in 0..3 {
            rates.may_attempt(bad).unwrap();
            rates.failed_attempt(bad);
        }
        let refusal = rates.may_attempt(bad).unwrap_err();
        assert_eq!((refusal.status(), refusal.scope), (429, Some("attempts")));
        assert!(refusal.retry_after_s.is_some_and(|s| (1..=31).contains(&s)));
        rates.may_attempt(good).unwrap();
    }

    #[test]
    fn neighbours_in_a_56_share_a_rate() {
        let a = shared_by("2001:db8:1:2ff::7".parse().unwrap());
        let b = shared_by("2001:db8:1:200::8".parse().unwrap());
        assert_eq!(a, b);
        let mapped = shared_by("::ffff:192.0.2.1".parse().unwrap());
        assert_eq!(mapped, "192.0.2.1".parse::<IpAddr>().unwrap());
    }

    #[test]
    fn a_name_and_a_caller_have_rates_of_their_own() {
        let rates = rates();
        rates.login("alice").unwrap();
        assert_eq!(rates.login("alice").unwrap_err().scope, Some("login"));
        rates.login("bob").unwrap();
        for _ in 0..BURST_S {
            rates.caller("k").unwrap();
        }
        assert_eq!(rates.caller("k").unwrap_err().scope, Some("caller"));
    }
}
