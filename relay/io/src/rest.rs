//! Sockets that are left alone for a while because a receive on them failed.
//!
//! A receive is armed again whenever it ends. Where it fails again at once, and for ever, the
//! worker would do nothing else; so such a socket rests, twice as long each time.

use std::time::{Duration, Instant};

use crate::core::{Core, port_of};
use crate::limits::{RECEIVE_REST_MAX, RECEIVE_REST_MIN};
use crate::notice::Notice;

/// A socket that rests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resting {
    until: Instant,
    pub(crate) socket: u32,
    generation: u16,
}

impl Core {
    /// Lays a socket to rest whose receive failed.
    #[cold]
    pub(crate) fn rest(&mut self, socket: u32, errno: i32) {
        self.counters.receive_errors += 1;
        let now = Instant::now();
        let Some(slot) = self.slot_mut(socket) else {
            return;
        };
        let rest = rest_after(slot.failures);
        slot.failures = slot.failures.saturating_add(1);
        let resting = Resting {
            until: now + rest,
            socket,
            generation: slot.generation,
        };
        self.resting.push(resting);
        self.notify(Notice::ReceiveFailed {
            port: port_of(socket),
            errno,
            rest,
        });
    }

    /// The next socket that has rested long enough and is still the same one.
    pub(crate) fn rested(&mut self, now: Instant) -> Option<u32> {
        while let Some(place) = self.resting.iter().position(|rest| rest.until <= now) {
            let Resting {
                socket, generation, ..
            } = self.resting.swap_remove(place);
            let same = self
                .slot(socket)
                .is_some_and(|slot| slot.is_open() && slot.generation == generation);
            if same {
                return Some(socket);
            }
        }
        None
    }

    /// When a wait has to end although nothing comes.
    #[inline]
    pub(crate) fn wait_until(&self, deadline: Option<Instant>) -> Option<Instant> {
        if self.resting.is_empty() {
            return deadline;
        }
        let rested = self.resting.iter().map(|rest| rest.until);
        rested.chain(deadline).min()
    }
}

fn rest_after(failures: u8) -> Duration {
    let doublings = u32::from(failures.min(16));
    (RECEIVE_REST_MIN * (1 << doublings)).min(RECEIVE_REST_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rest_doubles_up_to_its_limit() {
        assert_eq!(rest_after(0), RECEIVE_REST_MIN);
        assert_eq!(rest_after(3), RECEIVE_REST_MIN * 8);
        assert_eq!(rest_after(u8::MAX), RECEIVE_REST_MAX);
    }
}
