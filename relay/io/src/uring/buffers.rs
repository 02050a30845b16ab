//! The ring of buffers that the kernel receives into, shared by all sockets of the engine.

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;

/// The group of buffers that receives name.
pub(super) const GROUP: u16 = 0;

/// The table that the kernel takes buffers from. Whoever owns it must outlive the `io_uring` that
/// it is registered with.
pub(super) struct BufferRing {
    base: NonNull<BufRingEntry>,
    entries: u16,
    tail: u16,
    available: usize,
}

impl BufferRing {
    /// An empty table for so many buffers, a power of two.
    pub(super) fn new(count: usize) -> io::Result<Self> {
        let entries = u16::try_from(count).map_err(|_| io::ErrorKind::InvalidInput)?;
        // SAFETY: a fresh private mapping at an address of the kernel's choice, page-aligned as the
        // interface wants it.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                Self::bytes(count),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self {
            base,
            entries,
            tail: 0,
            available: 0,
        })
    }

    pub(super) fn bytes(count: usize) -> usize {
        count * size_of::<BufRingEntry>()
    }

    /// Shows the table to the kernel.
    pub(super) fn register(&self, submitter: &io_uring::Submitter<'_>) -> io::Result<()> {
        let base = self.base.as_ptr() as u64;
        // SAFETY: the table is page-aligned, has so many entries, and its owner keeps it until the
        // `io_uring` is gone.
        unsafe { submitter.register_buf_ring_with_flags(base, self.entries, GROUP, 0) }
    }

    /// Buffers that the kernel has.
    pub(super) fn available(&self) -> usize {
        self.available
    }

    /// Notes that the kernel handed a buffer back.
    pub(super) fn taken(&mut self) {
        self.available -= 1;
    }

    /// Offers a buffer to the kernel, with the next [`publish`](Self::publish).
    pub(super) fn push(&mut self, buffer: u32, start: *mut u8, len: usize) {
        debug_assert!(
            self.available < usize::from(self.entries),
            "invariant: one entry a buffer"
        );
        let index = usize::from(self.tail & (self.entries - 1));
        // SAFETY: within the table, as the number of entries is a power of two. The kernel does not
        // read entries at or behind the published tail, and there are no more buffers than entries.
        let entry = unsafe { self.base.add(index).as_mut() };
        entry.set_addr(start as u64);
        entry.set_len(u32::try_from(len).unwrap_or(u32::MAX));
        entry.set_bid(u16::try_from(buffer).unwrap_or(u16::MAX));
        self.tail = self.tail.wrapping_add(1);
        self.available += 1;
    }

    /// Lets the kernel take what was offered.
    pub(super) fn publish(&self) {
        // SAFETY: the tail lies in the table's first entry, where the kernel reads it atomically.
        // It is aligned, and nobody holds a reference to that field.
        let tail = unsafe {
            let tail = BufRingEntry::tail(self.base.as_ptr()).cast_mut();
            AtomicU16::from_ptr(tail)
        };
        tail.store(self.tail, Ordering::Release);
    }
}

impl Drop for BufferRing {
    fn drop(&mut self) {
        let bytes = Self::bytes(usize::from(self.entries));
        // SAFETY: mapped by `new` with this length; the engine drops its `io_uring` first.
        unsafe { libc::munmap(self.base.as_ptr().cast(), bytes) };
    }
}
