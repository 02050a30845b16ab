//! Sending the outgoing queue through the ring.

use io_uring::squeue::{Entry, Flags};
use io_uring::{opcode, types};

use super::{KIND_SEND, UringEngine, user_data};

impl UringEngine {
    /// Queues everything that the outgoing queue holds. `last`: the batch has been handled.
    pub(super) fn push_sends(&mut self, last: bool) {
        if self.core.outbox.is_empty() {
            return;
        }
        self.flush = self.flush.wrapping_add(1);
        self.core.outbox.lay_out(&mut self.core.pool, last);
        let Self {
            ring, core, flush, ..
        } = self;
        for i in 0..core.outbox.layout().messages().len() {
            let message = core.outbox.layout().messages()[i];
            if core.must_switch(&message) {
                // What is queued leaves as the socket is now.
                ring.submit();
                core.switch(&message);
            }
            let layout = core.outbox.layout();
            let index = u32::try_from(i).unwrap_or(u32::MAX);
            let send = send(&layout.headers()[i].msg_hdr, message.socket)
                .user_data(user_data(KIND_SEND, *flush, index));
            core.counters.send_handed_over(&message);
            // SAFETY: the outbox and the pool keep what the message points at until
            // `finish_sends`, which is called after the submission, and with MSG_DONTWAIT the send
            // is over then.
            unsafe { ring.push(&send) };
        }
        if core.is_interrupted() {
            ring.submit();
            core.restore();
        }
    }

    /// Does what can be done for what the kernel refused, and empties the queue. Everything must have been submitted.
    pub(super) fn finish_sends(&mut self) {
        if self.core.outbox.is_empty() {
            return;
        }
        // In the order in which they were to leave.
        self.failed.sort_unstable();
        for (index, errno) in self.failed.drain(..) {
            self.core.send_refused(index as usize, errno);
        }
        self.core.outbox.reset(&mut self.core.pool);
    }
}

/// The operation that sends a message: the cheaper one when it is one piece and nothing is to be
/// said about it.
fn send(header: &libc::msghdr, socket: u32) -> Entry {
    let socket = types::Fixed(socket);
    let entry = if header.msg_iovlen == 1 && header.msg_controllen == 0 {
        // SAFETY: a laid out message points at its vectors.
        let piece = unsafe { *header.msg_iov };
        let len = u32::try_from(piece.iov_len).unwrap_or(u32::MAX);
        opcode::Send::new(socket, piece.iov_base.cast_const().cast(), len)
            .flags(libc::MSG_DONTWAIT)
            .dest_addr(header.msg_name.cast_const().cast())
            .dest_addr_len(header.msg_namelen)
            .build()
    } else {
        opcode::SendMsg::new(socket, header)
            .flags(libc::MSG_DONTWAIT.cast_unsigned())
            .build()
    };
    entry.flags(Flags::SKIP_SUCCESS)
}
