//! Datagrams that must not be fragmented: the DF bit of IPv4, by request of each datagram.
//!
//! Linux has the bit as an option of a socket (`IP_MTU_DISCOVER`, `ip(7)`) and not of a send. Three
//! ways were weighed:
//!
//! - A second socket on the same port, with the option. It needs SO_REUSEPORT on both, which opens
//!   every relay port to others of the same user; and the router's "fragmentation needed" comes to
//!   the first socket, whose option says that it wants to hear nothing of it.
//! - The option set before such a datagram and taken back after it. The router's answer comes an
//!   instant later, with the same end.
//! - The option set for good once a port has sent such a datagram, and taken back around whatever
//!   may be fragmented. The answer finds the option set, but for that instant; and when it does not,
//!   the kernel has noted the path's MTU, and refuses the next such datagram with it.
//!
//! This is the third. A port that never sent one pays a comparison a message; one that did pays
//! two system calls for each change of mind within a batch.

use crate::core::Core;
use crate::outbox::Message;
use crate::sockets;

impl Core {
    /// Whether a message's socket has to change its mind about fragments before it is sent.
    #[inline]
    pub(crate) fn must_switch(&self, message: &Message) -> bool {
        (message.whole || self.relays.has_sent_whole())
            && self
                .slot(message.socket)
                .is_some_and(|slot| slot.sends_whole != message.whole)
    }

    /// Changes the mind of a message's socket. What was queued before must have been sent.
    #[cold]
    pub(crate) fn switch(&mut self, message: &Message) {
        let Some(slot) = self.slot_mut(message.socket) else {
            return;
        };
        let first = message.whole && !slot.has_sent_whole;
        slot.has_sent_whole |= message.whole;
        slot.sends_whole = message.whole;
        let set = sockets::set_fragmentation(slot.raw_fd(), !message.whole);
        debug_assert!(set.is_ok(), "invariant: an open socket of UDP");
        if first {
            self.relays.count_whole();
        }
        if !message.whole {
            self.interrupted.push(message.socket);
        }
    }

    /// Whether [`restore`](Self::restore) has something to do.
    #[inline]
    pub(crate) fn is_interrupted(&self) -> bool {
        !self.interrupted.is_empty()
    }

    /// Ends the exceptions of a flush. Everything must have been sent.
    #[cold]
    pub(crate) fn restore(&mut self) {
        while let Some(socket) = self.interrupted.pop() {
            let Some(slot) = self.slot_mut(socket) else {
                continue;
            };
            if slot.has_sent_whole && !slot.sends_whole {
                slot.sends_whole = true;
                let set = sockets::set_fragmentation(slot.raw_fd(), false);
                debug_assert!(set.is_ok(), "invariant: an open socket of UDP");
            }
        }
    }
}
