//! Two halves of a packet that does not fit, put together at the end, never by the relay.
//!
//! A half waits for the other one for [`REASSEMBLY_TIME`], in one of [`REASSEMBLY_SLOTS`] of its
//! flow; beyond that the oldest gives way.

use std::collections::VecDeque;

use crate::DropReason;
use crate::frame::split_fragment;
use crate::limits::{REASSEMBLY_SLOTS, REASSEMBLY_TIME};
use crate::time::Tick;

/// What stands before a half, besides the four bytes of its frame.
pub const FRAGMENT_BYTES: usize = 3;

/// How a payload crosses.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Split {
    /// In one frame.
    Whole,
    /// In two: so many bytes go in the first.
    Halves(usize),
    /// Not at all: two halves do not hold it either.
    TooLong,
}

/// How a payload of `len` bytes crosses where frames carry `payload_max`.
#[must_use]
pub const fn split(len: usize, payload_max: u16) -> Split {
    let max = payload_max as usize;
    let half = max.saturating_sub(FRAGMENT_BYTES);
    if len <= max {
        Split::Whole
    } else if len > 2 * half {
        Split::TooLong
    } else {
        // Even halves: neither is the one that just does not fit elsewhere.
        Split::Halves(len.div_ceil(2))
    }
}

#[derive(Debug)]
struct Half {
    message: u16,
    index: u8,
    since: Tick,
    bytes: Vec<u8>,
}

/// The halves of one flow that wait.
#[derive(Debug, Default)]
pub(crate) struct Reassembly {
    halves: VecDeque<Half>,
    /// Halves that were given up.
    pub(crate) lost: u64,
}

impl Reassembly {
    /// Takes a half, as its frame's payload; gives the whole where the other half is there.
    pub(crate) fn take(
        &mut self,
        now: Tick,
        payload: &[u8],
    ) -> Result<Option<Vec<u8>>, DropReason> {
        let (message, index, bytes) = split_fragment(payload).ok_or(DropReason::HalfUnfit)?;
        self.expire(now);
        let place = self.halves.iter().position(|half| half.message == message);
        let Some(place) = place else {
            if self.halves.len() == REASSEMBLY_SLOTS {
                self.halves.pop_front();
                self.lost += 1;
            }
            self.halves.push_back(Half {
                message,
                index,
                since: now,
                bytes: bytes.to_vec(),
            });
            return Ok(None);
        };
        if self.halves[place].index == index {
            return Err(DropReason::HalfUnfit); // A duplicate.
        }
        let Some(other) = self.halves.remove(place) else {
            return Err(DropReason::HalfUnfit);
        };
        Ok(Some(if index == 0 {
            [bytes, &other.bytes].concat()
        } else {
            [&other.bytes, bytes].concat()
        }))
    }

    /// Gives up what has waited too long.
    pub(crate) fn expire(&mut self, now: Tick) {
        while self
            .halves
            .front()
            .is_some_and(|half| now.since(half.since) >= REASSEMBLY_TIME)
        {
            self.halves.pop_front();
            self.lost += 1;
        }
    }
}

#[cfg(test)]
mod tests;
