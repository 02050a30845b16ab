//! Sending the outgoing queue by `sendmmsg`.

use std::io;

use super::MmsgEngine;
use crate::slots::Slot;

impl MmsgEngine {
    /// Sends everything queued. `last`: the batch has been handled.
    pub(super) fn flush(&mut self, last: bool) {
        if self.core.outbox.is_empty() {
            return;
        }
        self.core.outbox.lay_out(&mut self.core.pool, last);
        let mut from = 0;
        while let Some(&message) = self.core.outbox.layout().messages().get(from) {
            if self.core.must_switch(&message) {
                self.core.switch(&message);
            }
            let run = self.run_from(from);
            // Closing sockets still send what was queued before.
            let fd = self.core.slot(message.socket).map_or(-1, Slot::raw_fd);
            let layout = self.core.outbox.layout();
            match send(fd, &mut layout.headers()[from..from + run]) {
                Ok(sent) => {
                    for message in &layout.messages()[from..from + sent] {
                        self.core.counters.send_handed_over(message);
                    }
                    from += sent;
                }
                Err(errno) => {
                    self.core.counters.send_handed_over(&message);
                    self.core.send_refused(from, errno);
                    from += 1;
                }
            }
        }
        self.core.restore();
        self.core.outbox.reset(&mut self.core.pool);
    }

    /// How many messages from here on are for one socket as it is.
    fn run_from(&mut self, from: usize) -> usize {
        let rest = &self.core.outbox.layout().messages()[from..];
        let alike = |(socket, whole)| {
            rest.iter()
                .take_while(|message| (message.socket, message.whole) == (socket, whole))
                .count()
        };
        rest.first()
            .map_or(0, |first| alike((first.socket, first.whole)))
    }
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
