//! What the engines of the kernel do alike on the way out: counting, and what was refused.

use std::io;
use std::net::SocketAddr;

use crate::core::Core;
use crate::counters::Counters;
use crate::engine::RelaySlot;
use crate::errors::may_be_anothers;
use crate::limits::LISTENERS_MAX;
use crate::outbox::Message;

impl Counters {
    /// Counts a message as sent; what fails is taken back by `send_failed`.
    #[inline]
    pub(crate) fn send_handed_over(&mut self, message: &Message) {
        self.sends_out += 1;
        self.packets_out += u64::from(message.packets);
        self.bytes_out += u64::from(message.bytes);
        self.gso_groups += u64::from(message.segmented);
    }
}

impl Core {
    /// Does what can be done for the laid out message that the kernel refused with `errno`: a group
    /// is sent singly, and what another datagram's ICMP error has stopped is sent again. What fails
    /// for good is counted. Everything else must have been sent.
    #[cold]
    pub(crate) fn send_refused(&mut self, index: usize, errno: i32) {
        let Some(&message) = self.outbox.layout().messages().get(index) else {
            return;
        };
        let to = self.outbox.groups()[index].to;
        let fd = self
            .slot(message.socket)
            .map_or(-1, crate::slots::Slot::raw_fd);
        if message.segmented && refuses_group(errno) {
            self.counters.gso_groups -= 1;
            self.counters.gso_fallbacks += 1;
            // Each of its datagrams is still counted as sent.
            self.counters.sends_out += u64::from(message.packets);
            self.outbox.split(index, self.now);
            for i in 0..self.outbox.layout().split_messages().len() {
                let single = self.outbox.layout().split_messages()[i];
                let header = self.outbox.layout().split_headers()[i].msg_hdr;
                self.fit(&single);
                if let Err(errno) = send(fd, &header) {
                    self.retry(fd, single, header, to, errno);
                }
            }
        } else {
            let header = self.outbox.layout().headers()[index].msg_hdr;
            self.fit(&message);
            self.retry(fd, message, header, to, errno);
        }
        self.restore();
    }

    fn fit(&mut self, message: &Message) {
        if self.must_switch(message) {
            self.switch(message);
        }
    }

    /// Sends a message again if it failed for another's ICMP error, or counts its failure.
    fn retry(
        &mut self,
        fd: i32,
        message: Message,
        header: libc::msghdr,
        to: SocketAddr,
        mut errno: i32,
    ) {
        if let Some(slot) = message.socket.checked_sub(LISTENERS_MAX).map(RelaySlot)
            && may_be_anothers(errno)
            // What the host itself has said is about this very datagram.
            && self.read_errors(slot, Some(to)).local == 0
        {
            self.counters.send_retries += 1;
            errno = match send(fd, &header) {
                Ok(()) => return,
                Err(errno) => errno,
            };
            self.read_errors(slot, Some(to));
        }
        let (packets, bytes) = (u64::from(message.packets), u64::from(message.bytes));
        self.counters.send_failed(errno, packets, bytes);
    }
}

/// Whether an error means that the group is the fault and not its datagrams: segments above the
/// path MTU, or an interface that cannot checksum them.
fn refuses_group(errno: i32) -> bool {
    matches!(errno, libc::EINVAL | libc::EMSGSIZE | libc::EIO)
}

fn send(fd: i32, header: &libc::msghdr) -> Result<(), i32> {
    loop {
        // SAFETY: the layout points the header at memory that the outbox and the pool keep until
        // the queue is reset, after this call. Non-blocking.
        let sent = unsafe { libc::sendmsg(fd, header, libc::MSG_DONTWAIT) };
        if sent >= 0 {
            return Ok(());
        }
        match io::Error::last_os_error().raw_os_error() {
            Some(libc::EINTR) => {}
            errno => return Err(errno.unwrap_or(0)),
        }
    }
}
