//! Ports and their receives: armed, ended, cancelled, and armed again.

use io_uring::squeue::Flags;
use io_uring::{opcode, types};

use super::{CANCEL_PATIENCE, KIND_CANCEL, KIND_RECEIVE, UringEngine, buffers, user_data};
use crate::core::socket_of;
use crate::engine::{Port, RelaySlot};
use crate::limits::LISTENERS_MAX;
use crate::slots::State;

// Relay ports that are armed in a turn however few buffers there are.
const REARM_MIN: usize = 64;

impl UringEngine {
    pub(super) fn rearm_later(&mut self, socket: u32) {
        if socket < LISTENERS_MAX {
            self.rearm_listeners.push(socket);
        } else {
            self.rearm.push_back(socket);
        }
    }

    pub(super) fn unregister(&mut self, slot: RelaySlot) {
        let index = socket_of(Port::Relay(slot));
        let cleared = self.ring.submitter().register_files_update(index, &[-1]);
        debug_assert!(cleared.is_ok(), "invariant: the table has this index");
        self.core.relays.free(slot);
    }

    /// Queues the cancellation of every receive that is armed on a port to be closed; a port
    /// without one is closed here.
    pub(super) fn push_cancels(&mut self) {
        if self.core.closing.is_empty() {
            return;
        }
        self.core.drop_incoming();
        while let Some(slot) = self.core.closing.pop() {
            let Some(relay) = self.core.relays.at(slot) else {
                continue;
            };
            if !relay.armed {
                self.unregister(slot);
                continue;
            }
            let socket = socket_of(Port::Relay(slot));
            let receive = user_data(KIND_RECEIVE, u32::from(relay.generation), socket);
            let cancel = opcode::AsyncCancel::new(receive)
                .build()
                .flags(Flags::SKIP_SUCCESS)
                .user_data(user_data(KIND_CANCEL, 0, socket));
            self.cancelled += 1;
            // SAFETY: the entry points at nothing.
            unsafe { self.ring.push(&cancel) };
        }
    }

    /// Queues a receive for sockets that have none: for each listener, so that the node can be
    /// talked to however much its relay ports are flooded, and for as many relay ports as there are
    /// buffers. More would only find none.
    pub(super) fn push_receives(&mut self) {
        while let Some(socket) = self.rearm_listeners.pop() {
            self.push_receive(socket, 0);
        }
        for _ in 0..self.buffers.available().max(REARM_MIN) {
            let Some(socket) = self.rearm.pop_front() else {
                return;
            };
            let slot = RelaySlot(socket.saturating_sub(LISTENERS_MAX));
            let Some(relay) = self.core.relays.at_mut(slot) else {
                continue;
            };
            if relay.state == State::Open && !relay.armed {
                relay.armed = true;
                let generation = relay.generation;
                self.push_receive(socket, generation);
            }
        }
    }

    fn push_receive(&mut self, socket: u32, generation: u16) {
        let receive = opcode::RecvMsgMulti::new(
            types::Fixed(socket),
            &raw const *self.request,
            buffers::GROUP,
        )
        .build()
        .user_data(user_data(KIND_RECEIVE, u32::from(generation), socket));
        self.armed += 1;
        // SAFETY: the request outlives the ring. The buffers are the pool's, which has given
        // them to the kernel and outlives the ring too.
        unsafe { self.ring.push(&receive) };
    }

    pub(super) fn wants_rearm(&self) -> bool {
        !self.rearm.is_empty() || !self.rearm_listeners.is_empty()
    }

    /// Waits for the end of the receives that were cancelled.
    pub(super) fn await_cancelled(&mut self) {
        let start = self.core.now;
        while self.cancelled > 0 && start.elapsed() < CANCEL_PATIENCE {
            if self.ring.wait(Some(CANCEL_PATIENCE)).is_err() {
                return;
            }
            self.drain();
        }
        self.cancelled = 0;
    }
}
