//! Reading the sockets that `epoll` reported, into buffers of the pool.

use std::io;
use std::ptr;

use super::{MmsgEngine, WAKE};
use crate::core::{Received, port_of, socket_of};
use crate::engine::{BudgetLine, Port};
use crate::errors::may_be_anothers;
use crate::limits::{CONTROL_BYTES, HEADROOM_BYTES, RECEIVE_BURST_MAX};
use crate::memory::table;
use crate::receive::{Control, whole};
use crate::sockaddr;

// Stands in a place whose buffer went to the batch.
const HANDED_OUT: u32 = u32::MAX;

/// Where the kernel writes addresses and control messages: one burst of one socket.
///
/// The places stay prepared between bursts, each with its buffer. A burst of one packet, which is
/// the rule where flows are many, costs the preparation of one place.
pub(super) struct Receiver {
    headers: Box<[libc::mmsghdr]>,
    vectors: Box<[libc::iovec]>,
    names: Box<[[u8; 28]]>,
    controls: Box<[[u64; CONTROL_BYTES / 8]]>,
    // The buffer of each prepared place, from the first on.
    buffers: Vec<u32>,
}

// SAFETY: the pointers in headers and vectors point into the other tables of this very value, whose
// memory does not move with it, and into buffers that it took from the engine's pool.
unsafe impl Send for Receiver {}

impl Receiver {
    pub(super) fn new() -> Self {
        let empty = libc::iovec {
            iov_base: ptr::null_mut(),
            iov_len: 0,
        };
        // SAFETY: a structure of integers and pointers, for which zeros are valid.
        let header: libc::mmsghdr = unsafe { std::mem::zeroed() };
        Self {
            headers: vec![header; RECEIVE_BURST_MAX].into(),
            vectors: vec![empty; RECEIVE_BURST_MAX].into(),
            names: vec![[0; 28]; RECEIVE_BURST_MAX].into(),
            controls: vec![[0; CONTROL_BYTES / 8]; RECEIVE_BURST_MAX].into(),
            buffers: table(RECEIVE_BURST_MAX),
        }
    }

    pub(super) fn budget(&self) -> BudgetLine {
        BudgetLine {
            what: "one receive call",
            count: RECEIVE_BURST_MAX,
            bytes_each: size_of::<libc::mmsghdr>()
                + size_of::<libc::iovec>()
                + 28
                + CONTROL_BYTES
                + size_of::<u32>(),
        }
    }

    /// Buffers that wait in prepared places.
    pub(super) fn prepared(&self) -> usize {
        self.buffers.len()
    }

    /// Prepares a place for the next receive, with the buffer that starts there.
    fn prepare(&mut self, place: usize, start: *mut u8, payload_bytes: usize) {
        self.vectors[place] = libc::iovec {
            iov_base: start.wrapping_add(HEADROOM_BYTES).cast(),
            iov_len: payload_bytes,
        };
        let header = &mut self.headers[place].msg_hdr;
        header.msg_name = self.names[place].as_mut_ptr().cast();
        header.msg_namelen = 28;
        header.msg_iov = &raw mut self.vectors[place];
        header.msg_iovlen = 1;
        header.msg_control = self.controls[place].as_mut_ptr().cast();
        header.msg_controllen = CONTROL_BYTES as _;
        header.msg_flags = 0;
    }
}

impl MmsgEngine {
    /// Reads every socket that was reported, a burst each, until the pool is empty.
    pub(super) fn receive(&mut self) {
        for event in 0..self.events.len() {
            let key = self.events[event].u64;
            if key == WAKE {
                self.core.waker.clear_event();
                continue;
            }
            if self.core.pool.free_count() + self.receiver.prepared() == 0 {
                // The sockets keep their packets, and `epoll` will report them again.
                return;
            }
            let socket = u32::try_from(key).unwrap_or(u32::MAX);
            let Some(fd) = self.core.slot(socket).filter(|slot| slot.is_open()) else {
                continue;
            };
            let (port, fd) = (port_of(socket), fd.raw_fd());
            if self.events[event].events & libc::EPOLLERR.cast_unsigned() != 0
                && let Port::Relay(slot) = port
            {
                self.core.read_errors(slot, None);
            }
            self.receive_burst(port, fd);
        }
    }

    fn receive_burst(&mut self, port: Port, fd: i32) {
        let pool = &mut self.core.pool;
        let receiver = &mut self.receiver;
        let payload_bytes = self.core.config.payload_bytes();
        while receiver.prepared() < RECEIVE_BURST_MAX {
            let Some(buffer) = pool.take() else { break };
            receiver.buffers.push(buffer);
            receiver.prepare(receiver.prepared() - 1, pool.start(buffer), payload_bytes);
        }
        let count = libc::c_uint::try_from(receiver.buffers.len()).unwrap_or(0);
        // SAFETY: the first `count` headers are prepared: they point at tables of the receiver and at
        // buffers taken from the pool, which nobody else reads or writes; all outlive the call. Non-blocking.
        let got = unsafe {
            libc::recvmmsg(
                fd,
                receiver.headers.as_mut_ptr(),
                count,
                libc::MSG_DONTWAIT as _,
                ptr::null_mut(),
            )
        };
        let Ok(got) = usize::try_from(got) else {
            let errno = io::Error::last_os_error().raw_os_error().unwrap_or(0);
            self.receive_failed(port, fd, errno);
            return;
        };
        if got == self.receiver.prepared() && self.core.pool.free_count() == 0 {
            // There may be more, and there is no buffer for it.
            self.core.counters.buffers_exhausted += 1;
        }
        for place in 0..got {
            if self.take_message(place, self.receiver.buffers[place], port) {
                self.receiver.buffers[place] = HANDED_OUT;
            }
        }
        // Backwards, so that whatever moves into a gap is prepared or done.
        for place in (0..got).rev() {
            let receiver = &mut self.receiver;
            if receiver.buffers[place] == HANDED_OUT {
                receiver.buffers.swap_remove(place);
            }
            if let Some(&buffer) = receiver.buffers.get(place) {
                receiver.prepare(place, self.core.pool.start(buffer), payload_bytes);
            }
        }
    }

    #[cold]
    fn receive_failed(&mut self, port: Port, fd: i32, errno: i32) {
        match port {
            _ if errno == libc::EAGAIN || errno == libc::EINTR => {}
            // An ICMP error came since the queue was read: `epoll` reports the socket again.
            Port::Relay(_) if may_be_anothers(errno) => {}
            _ => self.rest(port, fd, errno),
        }
    }

    /// Takes the `i`th message of a burst; `false`: its buffer is free again.
    fn take_message(&mut self, i: usize, buffer: u32, port: Port) -> bool {
        let header = &self.receiver.headers[i];
        let truncated = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
        let control_len = header.msg_hdr.msg_controllen;
        let name_len = header.msg_hdr.msg_namelen as usize;
        let control = Control::parse(control_bytes(&self.receiver.controls[i], control_len));
        let socket = socket_of(port);
        self.core.note_receive(socket, control.overflow, truncated);
        let name = &self.receiver.names[i];
        let from = sockaddr::decode(&name[..name_len.min(name.len())]);
        let carried = whole(header.msg_len as usize, control.stride, truncated);
        let (Some(from), Some((len, stride))) = (from, carried) else {
            return false;
        };
        let received = Received {
            port,
            from,
            len,
            stride,
            class: control.class,
        };
        self.core.receive(buffer, HEADROOM_BYTES, received);
        true
    }
}

fn control_bytes(words: &[u64; CONTROL_BYTES / 8], len: usize) -> &[u8] {
    let len = len.min(CONTROL_BYTES);
    // SAFETY: any eight bytes of an integer are eight valid bytes, and `len` is within them.
    unsafe { std::slice::from_raw_parts(words.as_ptr().cast(), len) }
}
