//! Which port a relay socket is opened on, in an order that nobody can foretell (RFC 6056 §3.3).

use std::ops::RangeInclusive;

use rand::Rng;

use super::RelayAddress;

/// Which ports will do (RFC 8656 §18.7).
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Parity {
    /// Any.
    Any,
    /// EVEN-PORT with R = 0.
    Even,
    /// EVEN-PORT with R = 1: even, with the next one held.
    Pair,
}

/// The ports that remain to be tried: each address's in an order that nobody can foretell
/// (RFC 6056 §3.3), every one exactly once.
#[derive(Debug)]
pub(super) struct Candidates {
    /// The addresses; the last one is the current one.
    relays: Vec<RelayAddress>,
    pub(super) parity: Parity,
    /// The first port, and how many there are, `step` apart.
    first: u16,
    count: usize,
    step: u16,
    /// The walk over the current address: from `start`, `stride` at a time.
    start: usize,
    stride: usize,
    tried: usize,
}

impl Candidates {
    pub(super) fn new(
        mut relays: Vec<RelayAddress>,
        ports: RangeInclusive<u16>,
        parity: Parity,
    ) -> Self {
        relays.reverse();
        let (first, last) = (*ports.start(), *ports.end());
        let span = usize::from(last.saturating_sub(first)) + 1;
        let odd = usize::from(first % 2);
        let (first, count, step) = match parity {
            Parity::Any => (first, span, 1),
            Parity::Even => (first.saturating_add(first % 2), (span + 1 - odd) / 2, 2),
            Parity::Pair => (first.saturating_add(first % 2), (span - odd) / 2, 2),
        };
        Self {
            relays,
            parity,
            first,
            count,
            step,
            start: 0,
            stride: 1,
            tried: 0,
        }
    }

    pub(super) fn none() -> Self {
        Self::new(Vec::new(), 1024..=1024, Parity::Any)
    }

    /// Draws a new walk. A stride without a common divisor with the count reaches every port.
    pub(super) fn shuffle(&mut self, rng: &mut impl Rng) {
        if self.count < 2 {
            return;
        }
        self.start = below(rng, self.count);
        self.stride = loop {
            let stride = 1 + below(rng, self.count - 1);
            if common_divisor(stride, self.count) == 1 {
                break stride;
            }
        };
    }

    /// Claims the next port that nobody has.
    pub(super) fn next(&mut self, now_s: u32, rng: &mut impl Rng) -> Option<(RelayAddress, u16)> {
        loop {
            let relay = self.relays.last()?;
            while self.tried < self.count {
                let place = (self.start + self.tried * self.stride) % self.count;
                self.tried += 1;
                let number = self.first + u16::try_from(place).ok()? * self.step;
                if !relay.table.claim(number, now_s) {
                    continue;
                }
                if self.parity == Parity::Pair && !relay.table.claim(number + 1, now_s) {
                    relay.table.release(number);
                    continue;
                }
                return Some((relay.clone(), number));
            }
            self.relays.pop();
            self.tried = 0;
            self.shuffle(rng);
        }
    }
}

/// A random number below `bound`.
pub(super) fn below(rng: &mut impl Rng, bound: usize) -> usize {
    // 64 random bits over at most 16: the bias is beyond measure.
    let random = rng.next_u64() % bound.max(1) as u64;
    usize::try_from(random).unwrap_or(0)
}

fn common_divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha12Rng;

    use super::*;
    use crate::Registry;

    fn all(ports: RangeInclusive<u16>, parity: Parity) -> Vec<u16> {
        let registry = Registry::new();
        let internal = "192.0.2.1".parse().expect("an address");
        let relay = RelayAddress {
            internal,
            external: internal,
            table: registry.table(internal),
        };
        let mut rng = ChaCha12Rng::from_seed([1; 32]);
        let mut candidates = Candidates::new(vec![relay], ports, parity);
        candidates.shuffle(&mut rng);
        std::iter::from_fn(|| candidates.next(0, &mut rng))
            .map(|(_, number)| number)
            .collect()
    }

    fn sorted(mut numbers: Vec<u16>) -> Vec<u16> {
        numbers.sort_unstable();
        numbers
    }

    #[test]
    fn every_port_is_tried_once_and_in_no_order() {
        let numbers = all(50_000..=50_099, Parity::Any);
        assert_ne!(numbers, sorted(numbers.clone()));
        assert_eq!(sorted(numbers), (50_000..=50_099).collect::<Vec<_>>());
        assert_eq!(all(50_000..=50_000, Parity::Any), [50_000]);
        assert_eq!(all(65_535..=65_535, Parity::Any), [65_535]);
    }

    #[test]
    fn even_ports_and_pairs_keep_within_the_range() {
        assert_eq!(
            sorted(all(50_001..=50_006, Parity::Even)),
            [50_002, 50_004, 50_006]
        );
        assert_eq!(sorted(all(50_001..=50_006, Parity::Pair)), [50_002, 50_004]);
        assert_eq!(sorted(all(50_000..=50_001, Parity::Pair)), [50_000]);
        assert_eq!(sorted(all(65_534..=65_535, Parity::Pair)), [65_534]);
        assert_eq!(all(50_001..=50_001, Parity::Even), []);
        assert_eq!(all(65_535..=65_535, Parity::Even), []);
        assert_eq!(all(50_000..=50_000, Parity::Pair), []);
    }
}
