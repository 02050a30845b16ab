//! The engine for kernels where `io_uring` is missing or forbidden: `epoll`, `recvmmsg`,
//! `sendmmsg`.
//!
//! `epoll` is level-triggered: a socket that was not read to its end is reported again, so nothing
//! is remembered a socket, and no socket has buffers of its own. What a packet costs is the
//! kernel's UDP stack, not the calls: this engine is within a few per cent of `io_uring` when
//! trains are coalesced.

mod receive;
mod transmit;

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Instant;

use crate::core::{Core, Driver, Source, socket_of};
use crate::engine::{BudgetLine, Config, Description, Engine, EngineKind, OpenError, Port};
use crate::limits::{EPOLL_EVENTS_MAX, RELAY_SOCKETS_MAX};
use crate::memory::table;
use crate::slots::{Slot, Slots};
use crate::waker::Waker;

use receive::Receiver;

const WAKE: u64 = u64::MAX;

/// One worker's sockets, served by `recvmmsg` and `sendmmsg`.
pub struct MmsgEngine {
    core: Core,
    epoll: OwnedFd,
    events: Vec<libc::epoll_event>,
    receiver: Receiver,
    // Whether waits are in milliseconds, because the kernel or a filter does not know better.
    coarse: bool,
}

impl MmsgEngine {
    /// An engine without sockets. Its buffers are touched here.
    ///
    /// # Errors
    /// What the kernel answers to opening its descriptors or mapping its memory.
    pub fn new(config: Config) -> io::Result<Self> {
        // SAFETY: no pointers; the result is checked before it is owned.
        let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if epoll < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: just opened, and nobody else owns it.
        let epoll = unsafe { OwnedFd::from_raw_fd(epoll) };
        let waker = Waker::new()?;
        let relays = Slots::new(config.relay_sockets_max.min(RELAY_SOCKETS_MAX));
        let engine = Self {
            core: Core::new(config, relays, waker, Instant::now())?,
            epoll,
            events: table(EPOLL_EVENTS_MAX),
            receiver: Receiver::new(),
            coarse: false,
        };
        engine.watch(engine.core.waker.event_fd(), WAKE)?;
        Ok(engine)
    }

    fn watch(&self, fd: i32, key: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, key)
    }

    fn control(&self, what: i32, fd: i32, key: u64) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: libc::EPOLLIN.cast_unsigned(),
            u64: key,
        };
        // SAFETY: an initialised event that outlives the call.
        let done = unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), what, fd, &raw mut event) };
        if done == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// Lays a socket to rest that cannot be received from: `epoll` would report it for ever.
    #[cold]
    fn rest(&mut self, port: Port, fd: i32, errno: i32) {
        let socket = socket_of(port);
        self.core.rest(socket, errno);
        // When it is not watched, as after a failed attempt to watch it again, all is well too.
        let _ = self.control(libc::EPOLL_CTL_DEL, fd, socket.into());
    }

    /// Watches what has rested long enough.
    fn wake_rested(&mut self) {
        while let Some(socket) = self.core.rested(self.core.now) {
            let fd = self.core.slot(socket).map_or(-1, Slot::raw_fd);
            if let Err(error) = self.watch(fd, socket.into()) {
                self.core.rest(socket, error.raw_os_error().unwrap_or(0));
            }
        }
    }

    /// Waits until a socket is readable; the events are then in `events`.
    fn wait(&mut self, deadline: Option<Instant>) -> io::Result<()> {
        let may_sleep = self.core.waker.sleep() && !self.core.has_notices();
        let timeout = match self.core.wait_until(deadline) {
            _ if !may_sleep => Some(libc::timespec {
                tv_sec: 0,
                tv_nsec: 0,
            }),
            None => None,
            Some(deadline) => Some(until(deadline)),
        };
        let ready = if self.coarse {
            self.wait_coarsely(timeout.as_ref())
        } else {
            self.wait_finely(timeout.as_ref())
        };
        if self.core.waker.awake() {
            self.core.counters.wakes += 1;
        }
        match ready {
            Ok(ready) => {
                // SAFETY: the kernel wrote so many events, of plain integers.
                unsafe { self.events.set_len(ready) };
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Waits with a timeout in nanoseconds (Linux 5.11).
    fn wait_finely(&mut self, timeout: Option<&libc::timespec>) -> io::Result<usize> {
        let timeout_ptr = timeout.map_or(std::ptr::null(), |timeout| &raw const *timeout);
        let max = i32::try_from(EPOLL_EVENTS_MAX).unwrap_or(i32::MAX);
        // SAFETY: `events` has room for `max` events, and the timeout, when there is one, outlives
        // the call. The C library may be older than it.
        let ready = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.epoll.as_raw_fd(),
                self.events.as_mut_ptr(),
                max,
                timeout_ptr,
                std::ptr::null::<libc::sigset_t>(),
                size_of::<u64>(),
            )
        };
        if let Ok(ready) = usize::try_from(ready) {
            return Ok(ready);
        }
        let error = io::Error::last_os_error();
        // Filters that do not know the call answer EPERM.
        if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) {
            self.coarse = true;
            return self.wait_coarsely(timeout);
        }
        Err(error)
    }

    /// Waits with a timeout in milliseconds, rounded up.
    fn wait_coarsely(&mut self, timeout: Option<&libc::timespec>) -> io::Result<usize> {
        let timeout_ms = timeout.map_or(-1, |timeout| {
            let ms = timeout.tv_sec.saturating_mul(1_000) + (timeout.tv_nsec + 999_999) / 1_000_000;
            i32::try_from(ms).unwrap_or(i32::MAX)
        });
        let max = i32::try_from(EPOLL_EVENTS_MAX).unwrap_or(i32::MAX);
        let events = self.events.as_mut_ptr();
        // SAFETY: `events` has room for `max` events.
        let ready = unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), events, max, timeout_ms) };
        usize::try_from(ready).map_err(|_| io::Error::last_os_error())
    }

    /// Closes what was to be closed: the port is free at once, the slot too, since the batch that
    /// may have named it is over.
    fn close_sockets(&mut self) {
        while let Some(slot) = self.core.closing.pop() {
            self.core.relays.free(slot);
        }
    }
}

/// The time left, never negative.
fn until(deadline: Instant) -> libc::timespec {
    let left = deadline.saturating_duration_since(Instant::now());
    libc::timespec {
        tv_sec: libc::time_t::try_from(left.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: libc::c_long::from(left.subsec_nanos().cast_signed()),
    }
}

impl Driver for MmsgEngine {
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
        self.watch(socket.as_raw_fd(), index.into())?;
        if let Some(slot) = self.core.slot_mut(index) {
            slot.fd = Some(socket.into());
        }
        Ok(())
    }

    fn make_room(&mut self) {
        self.flush(false);
    }
}

impl Engine for MmsgEngine {
    fn turn(&mut self, deadline: Option<Instant>) -> io::Result<()> {
        self.core.counters.turns += 1;
        self.flush(true);
        self.close_sockets();
        self.core.pool.release_to_free();
        let waited = self.wait(deadline);
        self.core.now = Instant::now();
        self.core.outbox.expire_refusals(self.core.now);
        self.wake_rested();
        self.receive();
        self.core.begin_batch();
        waited
    }

    fn buffers_free(&self) -> usize {
        self.core.pool.free_count() + self.receiver.prepared()
    }

    fn budget(&self) -> Vec<BudgetLine> {
        let mut lines = self.core.budget();
        lines.push(self.receiver.budget());
        lines
    }

    fn describe(&self) -> Description {
        let Config { gro, gso, .. } = self.core.config;
        Description {
            engine: EngineKind::Mmsg,
            gro,
            gso,
            detail: "epoll",
        }
    }
}

impl Drop for MmsgEngine {
    fn drop(&mut self) {
        self.flush(true);
    }
}
