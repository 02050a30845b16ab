//! The table of relay sockets: sixteen bytes a slot, grown as slots are used.

use crate::engine::{OpenError, RelaySlot};

/// What a slot is doing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum State {
    Free,
    Open,
    /// Closed by its owner, not yet by the kernel.
    Closing,
}

/// One relay socket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    pub(crate) state: State,
    /// Whether a receive is armed on it.
    pub(crate) armed: bool,
    /// Which owner of the slot this is, so that late completions are not taken for the next one's.
    pub(crate) generation: u16,
    /// The descriptor, where the engine keeps one.
    pub(crate) fd: i32,
    /// The socket's own count of datagrams that it dropped.
    pub(crate) overflow: u32,
}

/// All relay sockets of an engine.
#[derive(Debug)]
pub(crate) struct Slots {
    slots: Vec<Slot>,
    free: Vec<u32>,
    max: u32,
}

impl Slots {
    pub(crate) fn new(max: u32) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            max,
        }
    }

    /// Whether a slot is left; asked before a socket is opened.
    pub(crate) fn has_room(&self) -> Result<(), OpenError> {
        if self.free.is_empty() && self.slots.len() >= self.max as usize {
            return Err(OpenError::TableFull);
        }
        Ok(())
    }

    /// Takes a slot for a socket.
    pub(crate) fn open(&mut self, fd: i32) -> Result<RelaySlot, OpenError> {
        self.has_room()?;
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                let index = u32::try_from(self.slots.len()).map_err(|_| OpenError::TableFull)?;
                self.slots.push(Slot {
                    state: State::Free,
                    armed: false,
                    generation: 0,
                    fd: -1,
                    overflow: 0,
                });
                index
            }
        };
        let slot = &mut self.slots[index as usize];
        slot.state = State::Open;
        slot.armed = false;
        slot.generation = slot.generation.wrapping_add(1);
        slot.fd = fd;
        slot.overflow = 0;
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

    /// Gives a closing slot out again.
    pub(crate) fn free(&mut self, slot: RelaySlot) {
        let state = &mut self.slots[slot.0 as usize];
        debug_assert_eq!(state.state, State::Closing, "invariant: closed first");
        state.state = State::Free;
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

    pub(crate) fn iter(&self) -> impl Iterator<Item = (RelaySlot, &Slot)> {
        (0..).map(RelaySlot).zip(&self.slots)
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
        let first = slots.open(3).expect("room");
        assert!(slots.close(first));
        assert!(!slots.close(first), "closed once");
        let second = slots.open(4).expect("room");
        assert_ne!(first, second);
        assert!(matches!(slots.open(5), Err(OpenError::TableFull)));
        slots.free(first);
        assert_eq!(slots.open(6).expect("room"), first);
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
