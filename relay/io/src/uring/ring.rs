//! The ring itself: set up with what the kernel grants, entered with what it needs.

use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use io_uring::types::Timespec;
use io_uring::{IoUring, Parameters, squeue};

use crate::limits::{URING_COMPLETIONS, URING_SUBMISSIONS};

// `io_uring_enter(2)` and `io_uring_register(2)`.
const ENTER_GETEVENTS: u32 = 1;
const ENTER_EXT_ARG: u32 = 1 << 3;
const ENTER_REGISTERED_RING: u32 = 1 << 4;
const REGISTER_RING_FDS: u32 = 20;
const UNREGISTER_RING_FDS: u32 = 21;

// How often a refused submission is tried again before its entries are given up. The kernel refuses
// for want of memory or of room for completions, and each attempt makes some.
const SUBMIT_ATTEMPTS_MAX: u32 = 1_000;

/// A completion: whose it is, its result, its flags.
#[derive(Clone, Copy, Debug)]
pub(super) struct Completion {
    pub(super) user_data: u64,
    pub(super) result: i32,
    pub(super) flags: u32,
}

/// A ring of one thread.
pub(super) struct Ring {
    ring: IoUring,
    // The ring's index among the thread's registered rings, or its descriptor.
    fd: i32,
    fd_flags: u32,
    detail: &'static str,
    // Completions that had to be read before the kernel took more submissions.
    early: Vec<Completion>,
}

/// `struct io_uring_getevents_arg`.
#[repr(C)]
struct WaitArg {
    sigmask: u64,
    sigmask_size: u32,
    min_wait_us: u32,
    timespec: u64,
}

/// `struct io_uring_rsrc_update`.
#[repr(C)]
struct RingUpdate {
    offset: u32,
    reserved: u32,
    data: u64,
}

impl Ring {
    /// Sets up a ring with as many of our flags as the kernel knows. An older kernel refuses all of
    /// them for one that it does not know, so they are given up one by one, the youngest first.
    pub(super) fn new() -> io::Result<Self> {
        let mut refused = io::Error::from_raw_os_error(libc::EINVAL);
        for (level, detail) in DETAILS.iter().enumerate() {
            match build(level) {
                Ok(ring) => return Ok(Self::with(ring, detail)),
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => refused = error,
                Err(error) => return Err(error),
            }
        }
        Err(refused)
    }

    fn with(ring: IoUring, detail: &'static str) -> Self {
        let mut ring = Self {
            fd: ring.as_raw_fd(),
            fd_flags: 0,
            ring,
            detail,
            early: Vec::new(),
        };
        if let Some(index) = ring.register_itself() {
            ring.fd = index;
            ring.fd_flags = ENTER_REGISTERED_RING;
        }
        ring
    }

    /// Registers the ring with its thread, which saves a look-up a call. Kernels before 5.18 can't.
    fn register_itself(&self) -> Option<i32> {
        let data = u64::try_from(self.ring.as_raw_fd()).ok()?;
        let mut update = RingUpdate {
            offset: u32::MAX,
            reserved: 0,
            data,
        };
        let (fd, opcode) = (self.ring.as_raw_fd(), REGISTER_RING_FDS);
        // SAFETY: one initialised structure that outlives the call, as the last argument says.
        let done = unsafe {
            libc::syscall(
                libc::SYS_io_uring_register,
                fd,
                opcode,
                &raw mut update,
                1_u32,
            )
        };
        if done == 1 {
            i32::try_from(update.offset).ok()
        } else {
            None
        }
    }

    pub(super) fn detail(&self) -> &'static str {
        self.detail
    }

    pub(super) fn params(&self) -> &Parameters {
        self.ring.params()
    }

    pub(super) fn submitter(&self) -> io_uring::Submitter<'_> {
        self.ring.submitter()
    }

    /// Queues an operation; when there is no room, what is queued is submitted first.
    ///
    /// # Safety
    /// What the entry points at must stay valid until its completion, or until it was submitted
    /// when the kernel is done with it then.
    pub(super) unsafe fn push(&mut self, entry: &squeue::Entry) {
        // SAFETY: by the caller's word.
        if unsafe { self.ring.submission().push(entry) }.is_err() {
            self.submit();
            // SAFETY: as above. It fits now, or the ring is dead, which the next wait says.
            let pushed = unsafe { self.ring.submission().push(entry) };
            debug_assert!(pushed.is_ok(), "invariant: a submission makes room");
        }
    }

    /// Submits what is queued, and waits for nothing.
    pub(super) fn submit(&mut self) {
        let mut attempts = 0;
        while !self.ring.submission().is_empty() && attempts < SUBMIT_ATTEMPTS_MAX {
            if self.enter(0, ENTER_GETEVENTS, None).is_err() {
                attempts += 1;
                let mut early = std::mem::take(&mut self.early);
                self.collect_into(&mut early);
                self.early = early;
            }
        }
        debug_assert!(
            attempts < SUBMIT_ATTEMPTS_MAX,
            "invariant: one thread, and a live ring"
        );
    }

    /// Submits what is queued and waits for a completion, or so long; `None` waits for ever.
    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let want = u32::from(timeout != Some(Duration::ZERO));
        let result = self.enter(want, ENTER_GETEVENTS, timeout);
        self.submit();
        match result.map_err(|error| (error.raw_os_error(), error)) {
            Ok(()) => Ok(()),
            // The time is up, a signal came, or completions have to be read first.
            Err((Some(libc::ETIME | libc::EINTR | libc::EAGAIN | libc::EBUSY), _)) => Ok(()),
            Err((_, error)) => Err(error),
        }
    }

    fn enter(&mut self, want: u32, flags: u32, timeout: Option<Duration>) -> io::Result<()> {
        let submit = u32::try_from(self.ring.submission().len()).unwrap_or(u32::MAX);
        let timespec = timeout.map(Timespec::from);
        let timespec = timespec
            .as_ref()
            .map_or(std::ptr::null(), |timespec| &raw const *timespec);
        let arg = WaitArg {
            sigmask: 0,
            sigmask_size: 0,
            min_wait_us: 0,
            timespec: timespec as u64,
        };
        // SAFETY: the argument and the time it points at outlive the call, and its size is given.
        // What the queued entries point at is valid by the word of those who pushed them.
        let entered = unsafe {
            libc::syscall(
                libc::SYS_io_uring_enter,
                self.fd,
                submit,
                want,
                flags | self.fd_flags | ENTER_EXT_ARG,
                &raw const arg,
                size_of::<WaitArg>(),
            )
        };
        if entered < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    }

    /// Moves all completions into `batch`.
    pub(super) fn collect(&mut self, batch: &mut Vec<Completion>) {
        batch.append(&mut self.early);
        self.collect_into(batch);
    }

    fn collect_into(&mut self, batch: &mut Vec<Completion>) {
        batch.extend(self.ring.completion().map(|entry| Completion {
            user_data: entry.user_data(),
            result: entry.result(),
            flags: entry.flags(),
        }));
    }
}

impl Drop for Ring {
    /// The registration holds the ring open until its thread ends.
    fn drop(&mut self) {
        if self.fd_flags & ENTER_REGISTERED_RING != 0 {
            let mut update = RingUpdate {
                offset: self.fd.cast_unsigned(),
                reserved: 0,
                data: 0,
            };
            let (fd, opcode) = (self.ring.as_raw_fd(), UNREGISTER_RING_FDS);
            // SAFETY: one initialised structure that outlives the call, as the last argument says.
            unsafe {
                libc::syscall(
                    libc::SYS_io_uring_register,
                    fd,
                    opcode,
                    &raw mut update,
                    1_u32,
                )
            };
        }
    }
}

// What `Description` says, by how many flags were given up.
const DETAILS: [&str; 5] = [
    "single_issuer, defer_taskrun, coop_taskrun, submit_all",
    "single_issuer, coop_taskrun, submit_all",
    "coop_taskrun, submit_all",
    "submit_all",
    "no setup flags",
];

fn build(level: usize) -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    builder.dontfork();
    if level < 1 {
        builder.setup_defer_taskrun(); // Linux 6.1.
    }
    if level < 2 {
        builder.setup_single_issuer(); // Linux 6.0.
    }
    if level < 3 {
        builder.setup_coop_taskrun(); // Linux 5.19.
    }
    if level < 4 {
        builder.setup_submit_all(); // Linux 5.18.
        builder.setup_cqsize(URING_COMPLETIONS);
    }
    builder.build(URING_SUBMISSIONS)
}
