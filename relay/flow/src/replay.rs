//! Which counters have been seen (RFC 6479): each is taken once, in any order within a window.

use crate::limits::REPLAY_WINDOW;

const WORDS: usize = 17;
const WORDS_U64: u64 = REPLAY_WINDOW / 64 + 1;
const _: () = assert!(WORDS as u64 == WORDS_U64);

/// A ring of bits: one word more than the window, so that a word is cleared before it is used again.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReplayWindow {
    /// The counter that is expected next: one above the newest.
    next: u64,
    words: [u64; WORDS],
}

impl ReplayWindow {
    /// Tells whether a counter has not been taken and is not too old.
    pub(crate) fn is_new(&self, counter: u64) -> bool {
        if counter >= self.next {
            return counter < u64::MAX;
        }
        self.next - counter <= REPLAY_WINDOW && self.words[word(counter)] & bit(counter) == 0
    }

    /// Takes a counter that is new.
    pub(crate) fn accept(&mut self, counter: u64) {
        if counter >= self.next {
            let newest = self.next.saturating_sub(1) / 64;
            // From an empty ring, or words beyond the newest one: all of them at most once round.
            let first = if self.next == 0 { 0 } else { newest + 1 };
            for index in first..=(counter / 64).min(first + WORDS_U64) {
                self.words[slot(index)] = 0;
            }
            if counter / 64 > first + WORDS_U64 {
                self.words = [0; WORDS];
            }
            self.next = counter + 1;
        }
        self.words[word(counter)] |= bit(counter);
    }
}

fn slot(index: u64) -> usize {
    usize::try_from(index % WORDS_U64).unwrap_or(0)
}

fn word(counter: u64) -> usize {
    slot(counter / 64)
}

const fn bit(counter: u64) -> u64 {
    1 << (counter % 64)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_window_agrees_with_a_set_of_all_counters(
            steps in prop::collection::vec((0_u64..3000, any::<bool>()), 0..400),
        ) {
            let mut window = ReplayWindow::default();
            let mut seen = BTreeSet::new();
            let mut base = 0_u64;
            for (step, jump) in steps {
                let counter = if jump { base + step } else { base.saturating_sub(step) };
                let newest = seen.last().copied();
                let too_old = newest.is_some_and(|newest: u64| counter + REPLAY_WINDOW <= newest);
                let expected = !too_old && !seen.contains(&counter);
                prop_assert_eq!(window.is_new(counter), expected, "{} of {:?}", counter, newest);
                if expected {
                    window.accept(counter);
                    seen.insert(counter);
                    base = base.max(counter);
                }
            }
        }
    }

    #[test]
    fn the_last_counter_of_all_is_never_taken() {
        assert!(!ReplayWindow::default().is_new(u64::MAX));
        assert!(ReplayWindow::default().is_new(u64::MAX - 1));
    }
}
