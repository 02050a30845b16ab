//! Sending the outgoing queue by `sendmmsg`.

use std::io;
use std::os::fd::AsRawFd;

use super::MmsgEngine;
use crate::limits::LISTENERS_MAX;
use crate::outbox::Message;

impl MmsgEngine {
    /// Sends everything queued. `last`: the batch has been handled.
    pub(super) fn flush(&mut self, last: bool) {
        if self.core.outbox.is_empty() {
            return;
        }
        self.core.outbox.lay_out(&mut self.core.pool, last);
        let mut from = 0;
        while let Some(&message) = self.core.outbox.layout().messages().get(from) {
            let run = self.run_of(from, message.socket);
            from += match self.send_run(from, run, message.socket) {
                Ok(sent) => sent,
                Err(errno) => {
                    self.send_failed(from, message, errno);
                    1
                }
            };
        }
        self.core.outbox.reset(&mut self.core.pool);
    }

    /// How many messages from here on are for one socket.
    fn run_of(&mut self, from: usize, socket: u32) -> usize {
        let rest = &self.core.outbox.layout().messages()[from..];
        rest.iter()
            .take_while(|message| message.socket == socket)
            .count()
    }

    /// Sends a run of messages of one socket, and returns how many were taken; or the error of the
    /// first.
    fn send_run(&mut self, from: usize, run: usize, socket: u32) -> Result<usize, i32> {
        let Some(fd) = self.descriptor(socket) else {
            return Err(libc::EBADF);
        };
        let layout = self.core.outbox.layout();
        let sent = send(fd, &mut layout.headers()[from..from + run])?;
        for message in &layout.messages()[from..from + sent] {
            let counters = &mut self.core.counters;
            counters.sends_out += 1;
            counters.packets_out += u64::from(message.packets);
            counters.bytes_out += u64::from(message.bytes);
            counters.gso_groups += u64::from(message.segmented);
        }
        Ok(sent)
    }

    fn send_failed(&mut self, index: usize, message: Message, errno: i32) {
        let counters = &mut self.core.counters;
        counters.sends_out += 1;
        if !(message.segmented && refuses_group(errno)) {
            counters.packets_out += u64::from(message.packets);
            counters.bytes_out += u64::from(message.bytes);
            counters.send_failed(errno, u64::from(message.packets), u64::from(message.bytes));
            return;
        }
        counters.gso_fallbacks += 1;
        let now = self.core.now;
        let fd = self.descriptor(message.socket).unwrap_or(-1);
        let layout = self.core.outbox.split(index, now);
        for i in 0..layout.split_messages().len() {
            let single = layout.split_messages()[i];
            let counters = &mut self.core.counters;
            counters.sends_out += 1;
            counters.packets_out += 1;
            counters.bytes_out += u64::from(single.bytes);
            if let Err(errno) = send(fd, &mut layout.split_headers()[i..=i]) {
                counters.send_failed(errno, 1, u64::from(single.bytes));
            }
        }
    }

    fn descriptor(&self, socket: u32) -> Option<i32> {
        match socket.checked_sub(LISTENERS_MAX) {
            None => Some(self.listeners.get(socket as usize)?.socket.as_raw_fd()),
            // Closing sockets still send what was queued before.
            Some(slot) => Some(self.relays.at(crate::engine::RelaySlot(slot))?.fd),
        }
    }
}

/// Whether an error means that the group is the fault and not its datagrams: segments above the
/// path MTU, or an interface that cannot checksum them.
pub(crate) fn refuses_group(errno: i32) -> bool {
    matches!(errno, libc::EINVAL | libc::EMSGSIZE | libc::EIO)
}

fn send(fd: i32, headers: &mut [libc::mmsghdr]) -> Result<usize, i32> {
    let count = libc::c_uint::try_from(headers.len()).unwrap_or(0);
    loop {
        // SAFETY: the layout points the headers at memory that the outbox and the pool keep until
        // the queue is reset, after this call. Non-blocking.
        let sent =
            unsafe { libc::sendmmsg(fd, headers.as_mut_ptr(), count, libc::MSG_DONTWAIT as _) };
        match usize::try_from(sent) {
            Ok(sent) => return Ok(sent.max(1)),
            Err(_) => match io::Error::last_os_error().raw_os_error() {
                Some(libc::EINTR) => {}
                errno => return Err(errno.unwrap_or(0)),
            },
        }
    }
}
