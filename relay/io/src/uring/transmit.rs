//! Sending the outgoing queue through the ring.

use io_uring::squeue::{Entry, Flags};
use io_uring::{opcode, types};

use super::{KIND_RETRY, KIND_SEND, UringEngine, user_data};
use crate::mmsg::refuses_group;
use crate::outbox::Message;

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
        let layout = core.outbox.layout();
        for i in 0..layout.messages().len() {
            let message = layout.messages()[i];
            let index = u32::try_from(i).unwrap_or(u32::MAX);
            let send = send(&layout.headers()[i].msg_hdr, message.socket)
                .user_data(user_data(KIND_SEND, *flush, index));
            core.counters.sends_out += 1;
            core.counters.packets_out += u64::from(message.packets);
            core.counters.bytes_out += u64::from(message.bytes);
            core.counters.gso_groups += u64::from(message.segmented);
            // SAFETY: the outbox and the pool keep what the message points at until
            // `finish_sends`, which is called after the submission, and with MSG_DONTWAIT the send
            // is over then.
            unsafe { ring.push(&send) };
        }
    }

    /// Sends the groups that the kernel refused as single datagrams, counts what failed, and
    /// empties the queue. Everything must have been submitted.
    pub(super) fn finish_sends(&mut self) {
        if self.core.outbox.is_empty() {
            return;
        }
        while let Some((index, errno)) = self.failed.pop() {
            let index = index as usize;
            let Some(&message) = self.core.outbox.layout().messages().get(index) else {
                continue;
            };
            if message.segmented && refuses_group(errno) {
                self.send_singly(index, message);
            } else {
                let (packets, bytes) = (u64::from(message.packets), u64::from(message.bytes));
                self.core.counters.send_failed(errno, packets, bytes);
            }
        }
        self.core.outbox.reset(&mut self.core.pool);
    }

    fn send_singly(&mut self, index: usize, group: Message) {
        let Self { ring, core, .. } = self;
        core.counters.gso_groups -= 1;
        core.counters.gso_fallbacks += 1;
        // Each of its datagrams is still counted as sent, and is taken back when it fails too.
        core.counters.sends_out += u64::from(group.packets);
        let layout = core.outbox.split(index, core.now);
        for i in 0..layout.split_messages().len() {
            let single = layout.split_messages()[i];
            let send = send(&layout.split_headers()[i].msg_hdr, single.socket)
                .user_data(user_data(KIND_RETRY, 0, single.bytes));
            // SAFETY: as in `push_sends`; it is submitted before the next group is split.
            unsafe { ring.push(&send) };
        }
        ring.submit();
        self.drain();
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
