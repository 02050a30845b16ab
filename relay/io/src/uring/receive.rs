//! Completions, and what a multishot receive puts before a payload.
//!
//! A filled buffer starts with 16 bytes (`struct io_uring_recvmsg_out`), then the areas for the
//! address and the control messages in the lengths that were asked for, filled or not, then the
//! payload. The payload's length in that header is that of what was kept when it was cut.

use io_uring::cqueue;

use super::{Completion, GENERATIONS, KIND_RECEIVE, KIND_SEND, KIND_WAKE, UringEngine};
use crate::core::{Received, port_of};
use crate::engine::RelaySlot;
use crate::errors::{Found, may_be_anothers};
use crate::limits::{CONTROL_BYTES, HEADROOM_BYTES, LISTENERS_MAX, NAME_BYTES};
use crate::receive::{Control, whole};
use crate::slots::State;
use crate::sockaddr;

const HEADER_BYTES: usize = 16;

impl UringEngine {
    /// Handles every completion that is there.
    pub(super) fn drain(&mut self) {
        let mut batch = std::mem::take(&mut self.completions);
        self.ring.collect(&mut batch);
        for completion in batch.drain(..) {
            self.complete(completion);
        }
        self.completions = batch;
        self.buffers.publish();
    }

    fn complete(&mut self, completion: Completion) {
        let Completion {
            user_data,
            result,
            flags,
        } = completion;
        let index = u32::try_from(user_data & u64::from(u32::MAX)).unwrap_or(0);
        let generation = u32::try_from(user_data >> 32).unwrap_or(0) & GENERATIONS;
        match user_data >> 56 {
            KIND_RECEIVE => self.received(index, generation, result, flags),
            // Only failures are told.
            KIND_SEND if result < 0 => {
                if generation == self.flush & GENERATIONS {
                    self.failed.push((index, -result));
                } else {
                    self.core.counters.send_failed(-result, 1, 0);
                }
            }
            KIND_WAKE => self.wake_armed = false,
            _ => {}
        }
    }

    fn received(&mut self, socket: u32, generation: u32, result: i32, flags: u32) {
        if let Some(buffer) = cqueue::buffer_select(flags).map(u32::from) {
            self.buffers.taken();
            let len = usize::try_from(result).unwrap_or(0);
            if !self.take_message(socket, buffer, len) {
                self.offer(buffer);
            }
        } else if result == -libc::ENOBUFS {
            self.core.counters.buffers_exhausted += 1;
        }
        if !cqueue::more(flags) {
            self.receive_ended(socket, generation, result);
        }
    }

    /// A receive's final completion: it is armed again, or its port is free now.
    fn receive_ended(&mut self, socket: u32, generation: u32, result: i32) {
        self.armed -= 1;
        let Some(slot) = socket.checked_sub(LISTENERS_MAX).map(RelaySlot) else {
            self.rearm_or_rest(socket, result);
            return;
        };
        let Some(relay) = self.core.relays.at_mut(slot) else {
            return;
        };
        debug_assert_eq!(
            u32::from(relay.generation),
            generation,
            "invariant: one receive a slot"
        );
        relay.armed = false;
        match relay.state {
            State::Open => self.rearm_or_rest(socket, result),
            // Cancelled. A port that is yet to be cancelled finds itself unarmed then.
            State::Closing if !self.core.closing.contains(&slot) => {
                self.cancelled = self.cancelled.saturating_sub(1);
                self.unregister(slot);
            }
            State::Closing | State::Free => {}
        }
    }

    /// Arms an ended receive again, or leaves its socket alone for a while if it failed.
    fn rearm_or_rest(&mut self, socket: u32, result: i32) {
        if result < 0 && !matches!(-result, libc::ENOBUFS | libc::ECANCELED | libc::EINTR) {
            let slot = socket.checked_sub(LISTENERS_MAX).map(RelaySlot);
            let anothers = slot.is_some_and(|slot| {
                self.core.read_errors(slot, None) != Found::default() || may_be_anothers(-result)
            });
            if !anothers {
                self.core.rest(socket, -result);
                return;
            }
        }
        self.core.counters.rearmed += 1;
        self.rearm_later(socket);
    }

    /// Takes what a receive put into a buffer; `false`: the buffer is free again.
    fn take_message(&mut self, socket: u32, buffer: u32, len: usize) -> bool {
        if self.core.slot(socket).is_none_or(|slot| !slot.is_open()) {
            return false;
        }
        // SAFETY: the completion handed the buffer back, and it is not offered again yet.
        let head = unsafe { self.core.pool.head(buffer) };
        let Some(message) = parse(head) else {
            return false;
        };
        self.core
            .note_receive(socket, message.control.overflow, message.truncated);
        let payload = message.len.min(len.saturating_sub(HEADROOM_BYTES));
        let Some(from) = message.from else {
            return false;
        };
        let Some((len, stride)) = whole(payload, message.control.stride, message.truncated) else {
            return false;
        };
        let received = Received {
            port: port_of(socket),
            from,
            len,
            stride,
            class: message.control.class,
        };
        self.core.receive(buffer, HEADROOM_BYTES, received);
        true
    }
}

struct Message {
    from: Option<std::net::SocketAddr>,
    control: Control,
    len: usize,
    truncated: bool,
}

/// Reads what stands before a payload.
fn parse(head: &[u8; HEADROOM_BYTES]) -> Option<Message> {
    let word = |i: usize| {
        head[4 * i..]
            .first_chunk()
            .map(|word| u32::from_ne_bytes(*word))
    };
    let name_len = (word(0)? as usize).min(NAME_BYTES);
    let control_len = (word(1)? as usize).min(CONTROL_BYTES);
    let len = word(2)? as usize;
    let flags = word(3)?.cast_signed();
    let control = HEADER_BYTES + NAME_BYTES;
    Some(Message {
        from: sockaddr::decode(&head[HEADER_BYTES..HEADER_BYTES + name_len]),
        control: Control::parse(&head[control..control + control_len]),
        len,
        truncated: flags & libc::MSG_TRUNC != 0,
    })
}

/// Reads any bytes as what stands before a payload.
#[cfg(any(test, fuzzing))]
pub(crate) fn read_any(bytes: &[u8]) {
    let mut head = [0; HEADROOM_BYTES];
    let len = bytes.len().min(head.len());
    head[..len].copy_from_slice(&bytes[..len]);
    if let Some(message) = parse(&head) {
        assert!(
            message
                .control
                .stride
                .is_none_or(|stride| i32::try_from(stride).is_ok())
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn areas_are_found_by_the_lengths_that_were_asked_for() {
        let mut head = [0; HEADROOM_BYTES];
        head[..4].copy_from_slice(&16_u32.to_ne_bytes());
        head[4..8].copy_from_slice(&20_u32.to_ne_bytes());
        head[8..12].copy_from_slice(&1_200_u32.to_ne_bytes());
        head[12..16].copy_from_slice(&libc::MSG_TRUNC.to_ne_bytes());
        head[16..18].copy_from_slice(&2_u16.to_ne_bytes());
        head[18..20].copy_from_slice(&[0x0D, 0x96]);
        head[20..24].copy_from_slice(&[192, 0, 2, 1]);
        head[48..56].copy_from_slice(&20_u64.to_ne_bytes());
        head[56..60].copy_from_slice(&libc::SOL_UDP.to_ne_bytes());
        head[60..64].copy_from_slice(&libc::UDP_GRO.to_ne_bytes());
        head[64..68].copy_from_slice(&400_i32.to_ne_bytes());
        let message = parse(&head).expect("a message");
        assert_eq!(
            message.from,
            Some("192.0.2.1:3478".parse().expect("an address"))
        );
        assert_eq!(message.control.stride, Some(400));
        assert_eq!(message.len, 1_200);
        assert!(message.truncated);
    }

    #[test]
    fn lengths_beyond_the_areas_are_cut() {
        let message = parse(&[0xFF; HEADROOM_BYTES]).expect("a message");
        assert_eq!(message.from, None);
        assert_eq!(message.control, Control::default());
    }
}
