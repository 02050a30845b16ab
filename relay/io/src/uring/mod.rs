//! The `io_uring` engine.
//!
//! - One ring a worker; it belongs to the thread that makes it, and so does the engine.
//! - Every socket is a registered file, at the index of its port, and has one multishot `recvmsg`
//!   armed on it. All of them take their buffers from one ring of buffers.
//! - A receive can end at any time: a datagram without payload ends it with success, an empty ring
//!   of buffers with ENOBUFS. It is armed again after *every* completion without `F_MORE`.
//! - Sends are `MSG_DONTWAIT`, so that they are over when the call that submits them returns, and
//!   the batch's buffers can be given back then. They complete silently unless they fail.
//! - A port that is closed stays bound while a receive is armed on it: neither closing its
//!   descriptor nor clearing its file frees it. It is cancelled, and its slot is used again only
//!   after the receive's final completion, which carries the slot's generation.
//!
//! Kernel: 6.0 at least, for multishot `recvmsg`; 6.1 for deferred task work.

mod buffers;
mod ports;
pub(crate) mod receive;
mod ring;
mod transmit;

use std::collections::VecDeque;
use std::io;
use std::marker::PhantomData;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use io_uring::{cqueue, opcode, squeue, types};

use crate::core::{Core, Driver, Source, socket_of};
use crate::engine::{BudgetLine, Config, Description, Engine, EngineKind, OpenError, Port};
use crate::limits::{
    CONTROL_BYTES, HEADROOM_BYTES, LISTENERS_MAX, NAME_BYTES, RELAY_SOCKETS_MAX, URING_COMPLETIONS,
    URING_SUBMISSIONS,
};
use crate::memory::table;
use crate::slots::Slots;
use crate::sockets;
use crate::waker::Waker;

use buffers::BufferRing;
use ring::{Completion, Ring};

// What an operation was: the top byte of its `user_data`. Behind it stand 24 bits of a generation
// and 32 bits of an index.
const KIND_RECEIVE: u64 = 1;
const KIND_SEND: u64 = 2;
const KIND_WAKE: u64 = 4;
const KIND_CANCEL: u64 = 5;
const GENERATIONS: u32 = 0x00FF_FFFF;

// The final completion of a cancelled receive follows the cancellation at once. Should a kernel
// ever lose it, a turn does not hang for it.
const CANCEL_PATIENCE: Duration = Duration::from_secs(1);

fn user_data(kind: u64, generation: u32, index: u32) -> u64 {
    kind << 56 | u64::from(generation & GENERATIONS) << 32 | u64::from(index)
}

/// One worker's sockets, served by `io_uring`. It stays on the thread that made it.
pub struct UringEngine {
    // Before what the kernel writes into, so that it is dropped first.
    ring: Ring,
    buffers: BufferRing,
    core: Core,
    // What every receive asks for: an address and control messages of these lengths.
    request: Box<libc::msghdr>,
    wake_count: Box<u64>,
    wake_armed: bool,
    // Sockets whose receive has ended. Listeners go first, relay ports take turns.
    rearm_listeners: Vec<u32>,
    rearm: VecDeque<u32>,
    // Receives that the kernel still has.
    armed: usize,
    // How many of them were cancelled.
    cancelled: usize,
    completions: Vec<Completion>,
    // Which flush of the outgoing queue this is, and which of its messages failed.
    flush: u32,
    failed: Vec<(u32, i32)>,
    one_thread: PhantomData<*const ()>,
}

impl UringEngine {
    /// An engine without sockets, for the calling thread. Its buffers are touched here, and its
    /// table of files gets the size that the limit of open files allows now: raise that first
    /// ([`raise_descriptor_limit`](sockets::raise_descriptor_limit)).
    ///
    /// # Errors
    /// What the kernel answers to setting up the ring, its buffers or its files;
    /// [`probe::choose`](crate::probe::choose) makes sentences of it.
    pub fn new(config: Config) -> io::Result<Self> {
        let ring = Ring::new()?;
        if !ring.params().is_feature_skip_cqe_on_success() || !ring.params().is_feature_nodrop() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let wanted = LISTENERS_MAX + config.relay_sockets_max.min(RELAY_SOCKETS_MAX);
        let allowed = sockets::descriptor_limit()?.rlim_cur;
        let files = wanted.min(u32::try_from(allowed).unwrap_or(u32::MAX));
        if files <= LISTENERS_MAX {
            return Err(io::Error::from_raw_os_error(libc::EMFILE));
        }
        ring.submitter().register_files_sparse(files)?;
        let relays = if files < wanted {
            Slots::clipped(files - LISTENERS_MAX)
        } else {
            Slots::new(files - LISTENERS_MAX)
        };
        let core = Core::new(config, relays, Waker::new()?, Instant::now())?;
        let buffers = BufferRing::new(core.pool.count())?;
        buffers.register(&ring.submitter())?;
        let mut engine = Self {
            ring,
            buffers,
            core,
            request: Box::new(request()),
            wake_count: Box::new(0),
            wake_armed: false,
            rearm_listeners: Vec::new(),
            rearm: VecDeque::new(),
            armed: 0,
            cancelled: 0,
            completions: table(URING_COMPLETIONS as usize),
            flush: 0,
            failed: table(URING_SUBMISSIONS as usize),
            one_thread: PhantomData,
        };
        while let Some(buffer) = engine.core.pool.take() {
            engine.offer(buffer);
        }
        engine.buffers.publish();
        Ok(engine)
    }

    /// Offers a buffer to the kernel, tail room left out.
    fn offer(&mut self, buffer: u32) {
        let len = HEADROOM_BYTES + self.core.config.payload_bytes();
        self.buffers.push(buffer, self.core.pool.start(buffer), len);
    }

    /// Ends the hold of the last batch: its buffers go to the kernel.
    fn release(&mut self) {
        let Self { core, buffers, .. } = self;
        let len = HEADROOM_BYTES + core.config.payload_bytes();
        core.pool
            .release(|buffer, start| buffers.push(buffer, start, len));
        buffers.publish();
    }

    fn push_wake(&mut self) {
        if self.wake_armed {
            return;
        }
        let (start, len) = (&raw mut *self.wake_count, 8);
        let read = opcode::Read::new(types::Fd(self.core.waker.event_fd()), start.cast(), len)
            .build()
            .user_data(user_data(KIND_WAKE, 0, 0));
        self.wake_armed = true;
        // SAFETY: eight bytes that the engine keeps until its ring is gone, and does not touch.
        unsafe { self.ring.push(&read) };
    }

    /// Submits what is queued and waits, unless there is something to do already.
    fn wait(&mut self, deadline: Option<Instant>) -> io::Result<()> {
        let busy = self.core.has_incoming() || self.core.has_notices() || self.wants_rearm();
        let may_sleep = self.core.waker.sleep() && !busy;
        let timeout = match self.core.wait_until(deadline) {
            _ if !may_sleep => Some(Duration::ZERO),
            Some(deadline) => Some(deadline.saturating_duration_since(Instant::now())),
            None => None,
        };
        let waited = self.ring.wait(timeout);
        if self.core.waker.awake() {
            self.core.counters.wakes += 1;
        }
        waited
    }
}

/// A multishot receive's message: it only says how much room address and control messages have.
fn request() -> libc::msghdr {
    // SAFETY: a structure of integers and pointers, for which zeros are valid.
    let mut request: libc::msghdr = unsafe { std::mem::zeroed() };
    request.msg_namelen = libc::socklen_t::try_from(NAME_BYTES).unwrap_or(0);
    request.msg_controllen = CONTROL_BYTES as _;
    request
}

impl Driver for UringEngine {
    #[inline]
    fn core(&self) -> &Core {
        &self.core
    }

    #[inline]
    fn core_mut(&mut self) -> &mut Core {
        &mut self.core
    }

    fn attach(&mut self, port: Port, source: Source) -> Result<(), OpenError> {
        let socket = source.socket(port, &self.core.config)?;
        let index = socket_of(port);
        self.ring
            .submitter()
            .register_files_update(index, &[socket.as_raw_fd()])?;
        // Kept beside the registered file, for what is said about a socket and not through it.
        if let Some(slot) = self.core.slot_mut(index) {
            slot.fd = Some(socket.into());
        }
        self.rearm_later(index);
        Ok(())
    }

    fn make_room(&mut self) {
        self.push_sends(false);
        self.ring.submit();
        self.drain();
        self.finish_sends();
    }
}

impl Engine for UringEngine {
    fn turn(&mut self, deadline: Option<Instant>) -> io::Result<()> {
        self.core.counters.turns += 1;
        self.push_sends(true);
        self.push_cancels();
        // A wait gives the kernel this batch's buffers only when it ends. That is too late for
        // receives that lacked one, and when few are left.
        if self.wants_rearm() || self.buffers.available() < self.core.pool.held_count() {
            self.ring.submit();
            self.drain();
            self.finish_sends();
            self.release();
        }
        while let Some(socket) = self.core.rested(self.core.now) {
            self.rearm_later(socket);
        }
        self.push_receives();
        self.push_wake();
        let waited = self.wait(deadline);
        self.core.now = Instant::now();
        self.drain();
        self.finish_sends();
        self.await_cancelled();
        self.release();
        self.core.outbox.expire_refusals(self.core.now);
        self.core.begin_batch();
        waited
    }

    fn buffers_free(&self) -> usize {
        self.core.pool.free_count() + self.buffers.available()
    }

    fn budget(&self) -> Vec<BudgetLine> {
        let mut lines = self.core.budget();
        lines.push(BudgetLine {
            what: "ring of receive buffers",
            count: self.core.pool.count(),
            bytes_each: BufferRing::bytes(1),
        });
        lines.push(BudgetLine {
            what: "submissions",
            count: URING_SUBMISSIONS as usize,
            bytes_each: size_of::<squeue::Entry>(),
        });
        lines.push(BudgetLine {
            what: "completions",
            count: URING_COMPLETIONS as usize,
            bytes_each: size_of::<cqueue::Entry>(),
        });
        lines.push(BudgetLine {
            what: "completions of a batch",
            count: URING_COMPLETIONS as usize,
            bytes_each: size_of::<Completion>(),
        });
        lines
    }

    fn describe(&self) -> Description {
        let Config { gro, gso, .. } = self.core.config;
        Description {
            engine: EngineKind::Uring,
            gro,
            gso,
            detail: self.ring.detail(),
        }
    }
}

impl Drop for UringEngine {
    /// The kernel tears a ring down behind our back, and could still write into its buffers
    /// meanwhile. So every receive is ended here first.
    fn drop(&mut self) {
        self.push_sends(true);
        let all = types::CancelBuilder::any().all();
        let cancel = opcode::AsyncCancel2::new(all)
            .build()
            .user_data(user_data(KIND_CANCEL, 0, 0));
        // SAFETY: the entry points at nothing.
        unsafe { self.ring.push(&cancel) };
        self.ring.submit();
        let start = Instant::now();
        self.drain();
        while (self.armed > 0 || self.wake_armed) && start.elapsed() < CANCEL_PATIENCE {
            if self.ring.wait(Some(CANCEL_PATIENCE)).is_err() {
                break;
            }
            self.drain();
        }
        // Frees the ports now, and not when the kernel comes to tearing the ring down.
        let _ = self.ring.submitter().unregister_files();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notice::Notice;
    use crate::sockets::bind_relay;

    /// A file that is no socket stands for whatever makes a receive fail each time.
    #[test]
    fn a_receive_that_always_fails_is_tried_ever_more_seldom_and_told() {
        let Ok(mut engine) = UringEngine::new(Config {
            buffers: 8,
            ..Config::default()
        }) else {
            return; // Where io_uring is forbidden, the probe's own tests say so.
        };
        let addr = "127.0.0.1:0".parse().expect("an address");
        let port = Port::Relay(engine.open_relay(addr).expect("a port"));
        let peer = bind_relay(addr, 1 << 20).expect("a port");
        let healthy = bind_relay(addr, 1 << 20).expect("a port");
        let to = healthy.local_addr().expect("bound");
        let working = engine.adopt_relay(healthy).expect("room");
        let broken = engine.core.waker.event_fd();
        let files = engine.ring.submitter();
        files
            .register_files_update(socket_of(port), &[broken])
            .expect("a slot");
        let start = Instant::now();
        let (mut turns, mut rests) = (0, Vec::new());
        while start.elapsed() < Duration::from_millis(200) {
            turns += 1;
            engine
                .turn(Some(start + Duration::from_millis(200)))
                .expect("a turn");
            while let Some(notice) = engine.next_notice() {
                let Notice::ReceiveFailed {
                    port: of,
                    errno,
                    rest,
                } = notice
                else {
                    panic!("{notice:?}");
                };
                assert_eq!((of, errno), (port, libc::ENOTSOCK));
                rests.push(rest);
            }
        }
        assert!(
            rests.len() >= 3 && rests.is_sorted() && turns < 60,
            "{turns}, {rests:?}"
        );
        assert_eq!(engine.core.counters.receive_errors, rests.len() as u64);
        peer.send_to(b"still served", to).expect("sent");
        engine.turn(None).expect("a turn");
        assert_eq!(
            engine.next_train().map(|train| train.port),
            Some(Port::Relay(working))
        );
    }
}
