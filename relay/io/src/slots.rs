//! The table of sockets: sixteen bytes a slot. Those of relay ports grow as they are used.

use std::os::fd::{AsRawFd, OwnedFd};

use crate::engine::{OpenError, RelaySlot};

/// What a slot is doing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum State {
    Free,
    Open,
    /// Closed by its owner, not yet by the kernel.
    Closing,
}

/// One socket.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) state: State,
    /// Whether a receive is armed on it.
    pub(crate) armed: bool,
    /// Which owner of the slot this is, so that late completions are not taken for the next one's.
    pub(crate) generation: u16,
    /// The descriptor, where there is a kernel.
    pub(crate) fd: Option<OwnedFd>,
    /// The socket's own count of datagrams that it dropped.
    pub(crate) overflow: u32,
    /// Receives that have failed since the last one that did not.
    pub(crate) failures: u8,
    /// Whether a datagram has left it that asked not to be fragmented. See [`crate::whole`].
    pub(crate) has_sent_whole: bool,
    /// Whether what it sends now is not fragmented.
    pub(crate) sends_whole: bool,
}

impl Slot {
    pub(crate) fn new(fd: Option<OwnedFd>) -> Self {
        Self {
            state: State::Open,
            armed: false,
            generation: 0,
            fd,
            overflow: 0,
            failures: 0,
            has_sent_whole: false,
            sends_whole: false,
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// The descriptor as a number for a system call; −1 where there is none.
    pub(crate) fn raw_fd(&self) -> i32 {
        self.fd.as_ref().map_or(-1, AsRawFd::as_raw_fd)
    }
}

/// All relay sockets of an engine.
#[derive(Debug)]
pub(crate) struct Slots {
    slots: Vec<Slot>,
    free: Vec<u32>,
    max: u32,
    // Whether `max` is less than asked for because of RLIMIT_NOFILE.
    clipped: bool,
    // How many have sent a datagram that asked not to be fragmented.
    whole: usize,
}

impl Slots {
    pub(crate) fn new(max: u32) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            max,
            clipped: false,
            whole: 0,
        }
    }

    /// A table that is shorter than asked for, since the process may not open as many files.
    pub(crate) fn clipped(max: u32) -> Self {
        Self {
            clipped: true,
            ..Self::new(max)
        }
    }

    /// Whether a slot is left; asked before a socket is opened.
    pub(crate) fn has_room(&self) -> Result<(), OpenError> {
        if self.free.is_empty() && self.slots.len() >= self.max as usize {
            return Err(if self.clipped {
                OpenError::OutOfDescriptors
            } else {
                OpenError::TableFull
            });
        }
        Ok(())
    }

    /// Takes a slot for a socket.
    pub(crate) fn open(&mut self, fd: Option<OwnedFd>) -> Result<RelaySlot, OpenError> {
        self.has_room()?;
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                let index = u32::try_from(self.slots.len()).map_err(|_| OpenError::TableFull)?;
                self.slots.push(Slot::new(None));
                index
            }
        };
        let slot = &mut self.slots[index as usize];
        *slot = Slot {
            generation: slot.generation.wrapping_add(1),
            ..Slot::new(fd)
        };
        Ok(RelaySlot(index))
    }

    /// Marks an open slot as closing; `false` when it was not open.
    pub(crate) fn close(&mut self, slot: RelaySlot) -> bool {
        match self.slots.get_mut(slot.0 as usize) {
            Some(slot) if slot.state == State::Open => {
                slot.state = State::Closing;
                true
            }
            _ => false,
        }
    }

    /// Closes the descriptor of a closing slot, and gives the slot out again.
    pub(crate) fn free(&mut self, slot: RelaySlot) {
        let freed = &mut self.slots[slot.0 as usize];
        debug_assert_eq!(freed.state, State::Closing, "invariant: closed first");
        freed.state = State::Free;
        freed.fd = None;
        self.whole -= usize::from(freed.has_sent_whole);
        freed.has_sent_whole = false;
        self.free.push(slot.0);
    }

    pub(crate) fn at(&self, slot: RelaySlot) -> Option<&Slot> {
        self.slots.get(slot.0 as usize)
    }

    pub(crate) fn at_mut(&mut self, slot: RelaySlot) -> Option<&mut Slot> {
        self.slots.get_mut(slot.0 as usize)
    }

    /// The slot, when it is open.
    pub(crate) fn open_at(&self, slot: RelaySlot) -> Option<&Slot> {
        self.at(slot).filter(|slot| slot.state == State::Open)
    }

    /// Whether any of them has sent a datagram that asked not to be fragmented.
    pub(crate) fn has_sent_whole(&self) -> bool {
        self.whole > 0
    }

    /// Notes that one of them has, for the first time.
    pub(crate) fn count_whole(&mut self) {
        self.whole += 1;
    }
}

/// How many datagrams a socket dropped since it was last heard of.
pub(crate) fn overflow_since(last: &mut u32, now: Option<u32>) -> u64 {
    let Some(now) = now else { return 0 };
    u64::from(now.wrapping_sub(std::mem::replace(last, now)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_not_given_out_before_it_is_freed() {
        let mut slots = Slots::new(2);
        let first = slots.open(None).expect("room");
        assert!(slots.close(first));
        assert!(!slots.close(first), "closed once");
        let second = slots.open(None).expect("room");
        assert_ne!(first, second);
        assert!(matches!(slots.open(None), Err(OpenError::TableFull)));
        slots.free(first);
        assert_eq!(slots.open(None).expect("room"), first);
    }

    #[test]
    fn a_slot_stays_small() {
        assert!(size_of::<Slot>() <= 16);
    }

    #[test]
    fn overflow_is_counted_across_the_turn_of_the_number() {
        let mut last = u32::MAX - 1;
        assert_eq!(overflow_since(&mut last, None), 0);
        assert_eq!(overflow_since(&mut last, Some(1)), 3);
        assert_eq!(overflow_since(&mut last, Some(1)), 0);
    }
}
