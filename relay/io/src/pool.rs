//! Packet buffers: one mapping an engine, touched at the start, never grown.
//!
//! A buffer is in one of four hands: free (here, or in the kernel's ring), filled for the batch
//! being received, held by the batch being handled, or shared with other workers. A [`Packet`] is
//! a view into a held buffer and names its batch, so that a view kept too long is noticed instead
//! of showing somebody else's bytes.
//!
//! A [`SharedPacket`] keeps its buffer away from the pool until it is dropped. It comes back through
//! a bounded queue whose length is the number of packets that may be out, so that giving back never
//! fails and never blocks.

use std::fmt;
use std::io;
use std::ops::{Deref, Range};
use std::ptr::NonNull;
use std::sync::Arc;

use crossbeam_queue::ArrayQueue;

use crate::engine::BudgetLine;
use crate::limits::{HEADROOM_BYTES, SHARED_BUFFERS_DIVISOR, SHARES_MAX, TAILROOM_BYTES};
use crate::memory::table;
use crate::packet::Packet;

/// A packet that has left its batch: it lives as long as it is kept, on any thread.
pub struct SharedPacket {
    memory: Arc<Memory>,
    buffer: u32,
    offset: u32,
    len: u32,
    // The traffic class of its IP header.
    class: u8,
}

impl SharedPacket {
    /// The traffic class that it came with.
    pub(crate) fn class(&self) -> u8 {
        self.class
    }

    /// A part of it; what lies beyond its end is left out.
    #[must_use]
    pub fn slice(mut self, range: Range<usize>) -> Self {
        let end = u32::try_from(range.end).unwrap_or(u32::MAX).min(self.len);
        let start = u32::try_from(range.start).unwrap_or(u32::MAX).min(end);
        self.offset += start;
        self.len = end - start;
        self
    }
}

impl Deref for SharedPacket {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `Pool::share` checked the bounds, and slicing only narrows them. The buffer goes
        // to nobody who writes before this packet's drop has told its pool, and the `Arc` keeps the
        // mapping.
        unsafe { self.memory.slice(self.buffer, self.offset, self.len) }
    }
}

impl Drop for SharedPacket {
    fn drop(&mut self) {
        let given_back = self.memory.returns.push(self.buffer);
        debug_assert!(
            given_back.is_ok(),
            "invariant: the queue is as long as shares are many"
        );
    }
}

impl fmt::Debug for SharedPacket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedPacket")
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

/// The mapping, and the way back for what was shared.
struct Memory {
    base: NonNull<u8>,
    bytes: usize,
    buffer_bytes: usize,
    returns: ArrayQueue<u32>,
}

// SAFETY: `base` is plain memory owned by this value. Who may read or write a buffer is decided by
// `Pool` and `SharedPacket`: writers have it alone, sharers only read.
unsafe impl Send for Memory {}
// SAFETY: as above; `ArrayQueue` is made for many threads.
unsafe impl Sync for Memory {}

impl Memory {
    /// # Safety
    /// The range must lie in the buffer, and nobody may write it while the slice lives.
    unsafe fn slice(&self, buffer: u32, offset: u32, len: u32) -> &[u8] {
        let start = buffer as usize * self.buffer_bytes + offset as usize;
        // SAFETY: in bounds and unwritten by the caller's word; a fresh mapping is zeroed, so
        // every byte is initialised.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr().add(start), len as usize) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: mapped by `Pool::new` with this length, and nobody refers to it any more.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.bytes) };
    }
}

#[derive(Clone, Copy, Default)]
struct State {
    // The batch that holds the buffer; 0 for none.
    batch: u32,
    // Packets of it that other workers have.
    shares: u32,
    // Datagrams of it in the outgoing queue.
    queued: u16,
    // The traffic class of its IP headers.
    class: u8,
}

/// The buffers of one engine.
pub(crate) struct Pool {
    memory: Arc<Memory>,
    states: Box<[State]>,
    // Buffers in nobody's hands. Stays empty where the kernel's ring holds them.
    free: Vec<u32>,
    incoming: Vec<u32>,
    held: Vec<u32>,
    // Buffers of earlier batches whose last shared packet was dropped.
    returned: Vec<u32>,
    batch: u32,
    shares_out: usize,
    buffers_shared: usize,
}

impl Pool {
    /// `count` buffers for payloads of `payload_bytes`, all free.
    pub(crate) fn new(count: u32, payload_bytes: usize) -> io::Result<Self> {
        let buffer_bytes = HEADROOM_BYTES + payload_bytes + TAILROOM_BYTES;
        let bytes = buffer_bytes * count as usize;
        // SAFETY: a fresh private mapping at an address of the kernel's choice. MAP_POPULATE
        // touches every page, so that the memory at boot is the memory under load.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self {
            memory: Arc::new(Memory {
                base,
                bytes,
                buffer_bytes,
                returns: ArrayQueue::new(SHARES_MAX),
            }),
            states: vec![State::default(); count as usize].into(),
            free: (0..count).rev().collect(),
            incoming: table(count as usize),
            held: table(count as usize),
            returned: table(count as usize),
            batch: 1,
            shares_out: 0,
            buffers_shared: 0,
        })
    }

    pub(crate) fn count(&self) -> usize {
        self.states.len()
    }

    /// Buffers that wait in the pool itself.
    pub(crate) fn free_count(&self) -> usize {
        self.free.len()
    }

    /// Buffers that the batch holds and the next turn takes back.
    pub(crate) fn held_count(&self) -> usize {
        self.held.len()
    }

    /// Takes a free buffer to fill; [`deliver`](Self::deliver) or [`put_back`](Self::put_back) ends
    /// that.
    pub(crate) fn take(&mut self) -> Option<u32> {
        self.free.pop()
    }

    /// Gives back a buffer that was taken and not used.
    pub(crate) fn put_back(&mut self, buffer: u32) {
        self.free.push(buffer);
    }

    /// Where a buffer starts. Writing there is for whoever took it, or for the kernel that was
    /// given it.
    pub(crate) fn start(&self, buffer: u32) -> *mut u8 {
        assert!(
            (buffer as usize) < self.states.len(),
            "invariant: buffers are numbered by the pool"
        );
        // SAFETY: within the mapping, by the assertion.
        unsafe {
            self.memory
                .base
                .as_ptr()
                .add(buffer as usize * self.memory.buffer_bytes)
        }
    }

    /// What stands before a payload in a filled buffer.
    ///
    /// # Safety
    /// The buffer must be in nobody's hands but the caller's: the kernel gave it back.
    pub(crate) unsafe fn head(&self, buffer: u32) -> &[u8; HEADROOM_BYTES] {
        // SAFETY: every buffer is longer, its bytes are initialised, and nobody writes them, by the
        // caller's word.
        unsafe { &*self.start(buffer).cast::<[u8; HEADROOM_BYTES]>() }
    }

    /// A buffer that was filled: it belongs to the batch that is being received.
    pub(crate) fn deliver(&mut self, buffer: u32, offset: usize, len: usize, class: u8) -> Packet {
        let batch = next_batch(self.batch);
        let state = &mut self.states[buffer as usize];
        debug_assert!(
            state.batch == 0 && state.shares == 0,
            "invariant: it was free"
        );
        *state = State {
            batch,
            class,
            ..State::default()
        };
        self.incoming.push(buffer);
        let offset = u32::try_from(offset.min(self.memory.buffer_bytes)).unwrap_or(0);
        let room = u32::try_from(self.memory.buffer_bytes).unwrap_or(u32::MAX) - offset;
        let len = u32::try_from(len).unwrap_or(u32::MAX).min(room);
        Packet {
            buffer,
            offset,
            len,
            batch,
        }
    }

    /// The bytes of a packet of the current batch.
    #[inline]
    pub(crate) fn bytes(&self, packet: Packet) -> Option<&[u8]> {
        if !self.is_held(packet) {
            return None;
        }
        // SAFETY: the batch holds the buffer, so the kernel does not have it, and writing into it
        // takes `&mut self`. The bounds are those of `deliver`, which slicing only narrows; a
        // packet of another pool is caught by `is_held`.
        Some(unsafe { self.memory.slice(packet.buffer, packet.offset, packet.len) })
    }

    /// Whether the packet is of the current batch. A packet of another pool may pass for one, and
    /// then shows bytes of a buffer that this batch holds.
    #[inline]
    pub(crate) fn is_held(&self, packet: Packet) -> bool {
        self.states
            .get(packet.buffer as usize)
            .is_some_and(|state| state.batch == packet.batch)
            && packet.offset as usize + packet.len as usize <= self.memory.buffer_bytes
            && packet.batch == self.batch
    }

    /// The traffic class that a held packet came with.
    pub(crate) fn class(&self, packet: Packet) -> u8 {
        self.states[packet.buffer as usize].class
    }

    /// Notes that a packet stands in the outgoing queue, and returns where its bytes are; `None`
    /// when it is not of this batch.
    pub(crate) fn enqueue(&mut self, packet: Packet) -> Option<*const u8> {
        if !self.is_held(packet) {
            return None;
        }
        let state = &mut self.states[packet.buffer as usize];
        state.queued = state.queued.saturating_add(1);
        let start = self.start(packet.buffer);
        // SAFETY: within the buffer, by `is_held`.
        Some(unsafe { start.add(packet.offset as usize) })
    }

    /// Writes `header` and `tail` zero bytes around a queued packet, in its own buffer. `None` when
    /// somebody else may look at the bytes around it, or when there is no room.
    ///
    /// Only for when the batch has been handled: the bytes before the packet may be another's.
    pub(crate) fn frame(
        &mut self,
        packet: Packet,
        header: &[u8],
        tail: usize,
    ) -> Option<*const u8> {
        let (start, len) = (packet.offset as usize, packet.len as usize);
        let state = self.states.get(packet.buffer as usize)?;
        let alone = state.queued == 1 && state.shares == 0 && self.is_held(packet);
        if !alone || start < header.len() || start + len + tail > self.memory.buffer_bytes {
            return None;
        }
        let buffer = self.start(packet.buffer);
        // SAFETY: both ranges lie in the buffer, as just checked. The batch holds the buffer, no
        // shared packet looks into it, and `&mut self` excludes views of it.
        unsafe {
            let first = buffer.add(start - header.len());
            first.copy_from_nonoverlapping(header.as_ptr(), header.len());
            buffer.add(start + len).write_bytes(0, tail);
            Some(first)
        }
    }

    /// Forgets that datagrams of this buffer are queued: they were sent.
    pub(crate) fn dequeue(&mut self, packet: Packet) {
        if let Some(state) = self.states.get_mut(packet.buffer as usize) {
            state.queued = 0;
        }
    }

    /// Lets a held packet outlive its batch; `None` at one of the two limits.
    pub(crate) fn share(&mut self, packet: Packet) -> Option<SharedPacket> {
        if self.shares_out >= SHARES_MAX {
            self.collect_returns();
        }
        if !self.is_held(packet) || self.shares_out >= SHARES_MAX {
            return None;
        }
        let buffers_max = (self.states.len() / SHARED_BUFFERS_DIVISOR).max(1);
        let state = &mut self.states[packet.buffer as usize];
        if state.shares == 0 {
            if self.buffers_shared >= buffers_max {
                return None;
            }
            self.buffers_shared += 1;
        }
        state.shares += 1;
        let class = state.class;
        self.shares_out += 1;
        Some(SharedPacket {
            memory: Arc::clone(&self.memory),
            buffer: packet.buffer,
            offset: packet.offset,
            len: packet.len,
            class,
        })
    }

    /// Ends the hold of the current batch: each buffer that is not shared, and each that has come
    /// back meanwhile, goes to `give_back`.
    pub(crate) fn release(&mut self, mut give_back: impl FnMut(u32, *mut u8)) {
        self.collect_returns();
        while let Some(buffer) = self.returned.pop() {
            give_back(buffer, self.start(buffer));
        }
        while let Some(buffer) = self.held.pop() {
            let state = &mut self.states[buffer as usize];
            state.batch = 0;
            if state.shares == 0 {
                give_back(buffer, self.start(buffer));
            }
        }
    }

    /// As [`release`](Self::release), into the pool itself.
    pub(crate) fn release_to_free(&mut self) {
        let mut free = std::mem::take(&mut self.free);
        self.release(|buffer, _| free.push(buffer));
        self.free = free;
    }

    /// Makes what was delivered the current batch. The last one must have been released.
    pub(crate) fn begin_batch(&mut self) {
        debug_assert!(self.held.is_empty(), "invariant: released first");
        std::mem::swap(&mut self.held, &mut self.incoming);
        self.batch = next_batch(self.batch);
    }

    /// Takes note of shared packets that were dropped.
    fn collect_returns(&mut self) {
        while let Some(buffer) = self.memory.returns.pop() {
            self.shares_out -= 1;
            let state = &mut self.states[buffer as usize];
            state.shares -= 1;
            if state.shares == 0 {
                self.buffers_shared -= 1;
                if state.batch == 0 {
                    self.returned.push(buffer);
                }
            }
        }
    }

    pub(crate) fn budget(&self) -> [BudgetLine; 3] {
        [
            BudgetLine {
                what: "receive buffers",
                count: self.count(),
                bytes_each: self.memory.buffer_bytes,
            },
            BudgetLine {
                what: "receive buffer tables",
                count: self.count(),
                bytes_each: size_of::<State>() + 4 * size_of::<u32>(),
            },
            BudgetLine {
                what: "ways back from other workers",
                count: SHARES_MAX,
                // The queue numbers its places.
                bytes_each: size_of::<(usize, u32)>(),
            },
        ]
    }
}

fn next_batch(batch: u32) -> u32 {
    batch.wrapping_add(1).max(1)
}
