//! Waking a worker that waits in the kernel.
//!
//! A wake costs a system call only when the worker is asleep. The worker announces its sleep, then
//! looks for a wake; the waker leaves its wake, then looks for a sleeper. With sequentially
//! consistent order at least one of the two sees the other.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Makes the [`turn`](crate::Engine::turn) of the engine that it belongs to return, the current one
/// or the next.
#[derive(Clone, Debug)]
pub struct Waker {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    wanted: AtomicBool,
    asleep: AtomicBool,
    // None in the simulation, where nothing sleeps.
    event: Option<OwnedFd>,
}

impl Waker {
    /// A waker with an event descriptor to wait for.
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: `eventfd` takes no pointers; the result is checked before it is owned.
        let fd = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` was just opened and nobody else owns it.
        let event = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self::with(Some(event)))
    }

    /// A waker for an engine that never sleeps.
    pub(crate) fn without_event() -> Self {
        Self::with(None)
    }

    fn with(event: Option<OwnedFd>) -> Self {
        Self {
            inner: Arc::new(Inner {
                wanted: AtomicBool::new(false),
                asleep: AtomicBool::new(false),
                event,
            }),
        }
    }

    /// Makes the engine's turn return. One atomic operation or two while its worker is awake.
    pub fn wake(&self) {
        if self.inner.wanted.swap(true, Ordering::SeqCst) {
            return; // Whoever set it has woken the worker, or the worker has yet to look.
        }
        if self.inner.asleep.load(Ordering::SeqCst) {
            self.signal();
        }
    }

    fn signal(&self) {
        let Some(event) = &self.inner.event else {
            return;
        };
        let one = 1_u64.to_ne_bytes();
        // SAFETY: the pointer and the length describe `one`, which outlives the call.
        let written = unsafe { libc::write(event.as_raw_fd(), one.as_ptr().cast(), one.len()) };
        // The only failure left is a full counter, and then the descriptor is readable anyway.
        debug_assert!(
            written == 8 || io::Error::last_os_error().raw_os_error() == Some(libc::EAGAIN)
        );
    }

    /// Announces the worker's sleep. `false`: a wake is there already, do not sleep.
    pub(crate) fn sleep(&self) -> bool {
        self.inner.asleep.store(true, Ordering::SeqCst);
        !self.inner.wanted.load(Ordering::SeqCst)
    }

    /// Ends the worker's sleep; `true` when a wake was left, which is taken.
    pub(crate) fn awake(&self) -> bool {
        self.inner.asleep.store(false, Ordering::SeqCst);
        self.inner.wanted.swap(false, Ordering::SeqCst)
    }

    /// The descriptor that becomes readable with a wake.
    pub(crate) fn event_fd(&self) -> RawFd {
        self.inner.event.as_ref().map_or(-1, AsRawFd::as_raw_fd)
    }

    /// Takes the signal from the descriptor, so that it can be waited for again.
    pub(crate) fn clear_event(&self) {
        let mut count = [0_u8; 8];
        // SAFETY: the pointer and the length describe `count`, which outlives the call. Its result
        // does not matter: empty is what it shall be.
        unsafe { libc::read(self.event_fd(), count.as_mut_ptr().cast(), count.len()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wake_before_the_sleep_is_not_lost() {
        let waker = Waker::without_event();
        waker.clone().wake();
        assert!(!waker.sleep());
        assert!(waker.awake());
        assert!(waker.sleep(), "one wake is taken once");
    }

    #[test]
    fn a_sleeping_worker_is_signalled_and_a_waking_one_is_not() {
        let waker = Waker::new().expect("eventfd");
        waker.wake();
        assert_eq!(readable(&waker), 0, "awake: no system call");
        assert!(waker.awake());
        assert!(waker.sleep());
        waker.wake();
        waker.wake();
        assert_eq!(readable(&waker), 1);
        waker.clear_event();
        assert_eq!(readable(&waker), 0);
        assert!(waker.awake());
    }

    fn readable(waker: &Waker) -> i32 {
        let mut poll = libc::pollfd {
            fd: waker.event_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one initialised `pollfd` that outlives the call.
        unsafe { libc::poll(&raw mut poll, 1, 0) }
    }
}
