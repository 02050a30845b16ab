//! The outgoing queue: datagrams of a whole batch, gathered into groups that leave as one.
//!
//! A group has one socket, one destination, one size (the last datagram may be shorter, and ends
//! it) and one traffic class. A datagram looks for the last group of its flow: it joins it or opens
//! the next, so the order within a flow is kept. The last group of a flow is found in a small table
//! by a hash; flows that share a place in it displace each other, and then make more groups than
//! they could, in order still.
//!
//! The path MTU is respected by three rules. No datagram above `segment_bytes_max` joins a group,
//! and by default that is an Ethernet frame less headers. The kernel knows the path MTU and refuses
//! a group whose segments exceed it (EINVAL, EMSGSIZE): its datagrams are sent singly, which the
//! kernel fragments or refuses as the socket says. And the destination is remembered for a minute,
//! so that the detour is not made for every batch.

mod layout;
mod refusals;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::time::Instant;

pub(crate) use layout::{Layout, Message};

use crate::engine::{BudgetLine, Config};
use crate::limits::{
    GROUP_BYTES_MAX, GROUP_PLACES, GROUP_SEGMENTS_MAX, HEADER_BYTES_MAX, OUTBOX_ARENA_BYTES,
    OUTBOX_ENTRIES_MAX, TAIL_BYTES_MAX,
};
use crate::memory::table;
use crate::packet::Packet;
use crate::pool::{Pool, SharedPacket};
use crate::sockaddr::SockAddr;

use refusals::Refusals;

const NONE: u32 = u32::MAX;

/// Where a datagram's payload lies.
pub(crate) enum Payload<'a> {
    /// In a buffer of this batch.
    Packet(Packet),
    /// Anywhere: it is copied.
    Copy(&'a [u8]),
    /// In a buffer that was shared.
    Shared(SharedPacket),
}

/// What became of a datagram.
#[derive(Debug)]
pub(crate) enum Pushed {
    /// It is queued.
    Queued,
    /// The queue is full: flush it and come again.
    Full,
    /// Its packet is not of this batch.
    Stale,
}

/// One queued datagram.
pub(crate) struct Entry {
    /// The next of its group, or [`NONE`].
    next: u32,
    header: u32,
    header_len: u8,
    tail: u8,
    payload: *const u8,
    payload_len: u32,
    /// For a payload in a buffer of this batch.
    packet: Option<Packet>,
}

impl Entry {
    fn bytes(&self) -> usize {
        usize::from(self.header_len) + self.payload_len as usize + usize::from(self.tail)
    }
}

/// Datagrams that leave as one.
pub(crate) struct Group {
    pub(crate) socket: u32,
    pub(crate) count: u16,
    pub(crate) class: u8,
    /// Its datagram is not to be fragmented; it is alone then.
    pub(crate) whole: bool,
    open: bool,
    pub(crate) segment: u32,
    pub(crate) bytes: u32,
    first: u32,
    last: u32,
    pub(crate) to: SocketAddr,
    name: SockAddr,
}

/// The queue and what the kernel is shown of it.
pub(crate) struct Outbox {
    gso: bool,
    // Which bits of a traffic class are kept, and which every datagram has.
    class_kept: u8,
    class_fixed: u8,
    segment_bytes_max: usize,
    arena: Box<[u8]>,
    arena_used: usize,
    entries: Vec<Entry>,
    groups: Vec<Group>,
    // By the hash of a flow, the last group of it or of another with the same place. What is left of
    // the last flush does no harm: a group of this one must match.
    latest: Box<[u16; GROUP_PLACES]>,
    shared: Vec<SharedPacket>,
    refusals: Refusals,
    layout: Layout,
}

// SAFETY: the pointers in entries and in the layout point into the arena, which the outbox owns,
// into the pool of the same engine, which moves with it, and into shared packets, which it keeps;
// all of them may be sent.
unsafe impl Send for Outbox {}

impl Outbox {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            gso: config.gso,
            class_kept: config.class_kept(),
            class_fixed: config.class_fixed(),
            segment_bytes_max: config.segment_bytes_max,
            // Not zeros: those would be mapped when they are first used.
            arena: vec![1; OUTBOX_ARENA_BYTES].into(),
            arena_used: 0,
            entries: table(OUTBOX_ENTRIES_MAX),
            groups: table(OUTBOX_ENTRIES_MAX),
            latest: Box::new([0; GROUP_PLACES]),
            shared: table(OUTBOX_ENTRIES_MAX),
            refusals: Refusals::new(),
            layout: Layout::new(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// Queues one datagram. One look at a few groups, no allocation, and no copy but of the header
    /// (and of [`Payload::Copy`]).
    ///
    /// `payload` is left as it was when the queue is full. `whole`: it is not to be fragmented.
    #[allow(clippy::too_many_arguments)] // a datagram is what all of them say
    pub(crate) fn push(
        &mut self,
        pool: &mut Pool,
        socket: u32,
        to: SocketAddr,
        header: &[u8],
        payload: &mut Payload<'_>,
        tail: usize,
        whole: bool,
    ) -> Pushed {
        debug_assert!(header.len() <= HEADER_BYTES_MAX && tail <= TAIL_BYTES_MAX);
        let header = &header[..header.len().min(HEADER_BYTES_MAX)];
        let tail = tail.min(TAIL_BYTES_MAX);
        let in_arena = header.len()
            + match payload {
                Payload::Copy(bytes) => bytes.len() + tail,
                _ => 0,
            };
        if self.entries.len() == OUTBOX_ENTRIES_MAX || self.arena.len() - self.arena_used < in_arena
        {
            // A copy that could never fit is longer than any datagram.
            return if in_arena > self.arena.len() {
                Pushed::Stale
            } else {
                Pushed::Full
            };
        }
        let at = self.arena_used;
        let mut entry = Entry {
            next: NONE,
            header: u32::try_from(at).unwrap_or(0),
            // At most 64, and at most 3.
            header_len: u8::try_from(header.len()).unwrap_or(0),
            tail: u8::try_from(tail).unwrap_or(0),
            payload: std::ptr::null(),
            payload_len: 0,
            packet: None,
        };
        let mut class = 0;
        match &*payload {
            Payload::Packet(packet) => {
                let Some(start) = pool.enqueue(*packet) else {
                    return Pushed::Stale;
                };
                entry.payload = start;
                entry.payload_len = u32::try_from(packet.len()).unwrap_or(0);
                entry.packet = Some(*packet);
                class = pool.class(*packet);
            }
            Payload::Copy(bytes) => {
                let body = at + header.len();
                self.arena[body..body + bytes.len()].copy_from_slice(bytes);
                self.arena[body + bytes.len()..body + bytes.len() + tail].fill(0);
                entry.payload = self.arena[at..].as_ptr();
                entry.payload_len = u32::try_from(in_arena).unwrap_or(0);
                entry.header_len = 0;
                entry.tail = 0;
            }
            Payload::Shared(packet) => {
                class = packet.class();
                entry.payload = packet.as_ptr();
                entry.payload_len = u32::try_from(packet.len()).unwrap_or(0);
            }
        }
        self.arena[at..at + header.len()].copy_from_slice(header);
        self.arena_used += in_arena;
        if let Payload::Shared(packet) = std::mem::replace(payload, Payload::Copy(&[])) {
            self.shared.push(packet);
        }
        let class = class & self.class_kept | self.class_fixed;
        self.group(socket, to, class, whole, entry);
        Pushed::Queued
    }

    fn group(&mut self, socket: u32, to: SocketAddr, class: u8, whole: bool, entry: Entry) {
        let index = u32::try_from(self.entries.len()).unwrap_or(NONE);
        let size = entry.bytes();
        // No datagram is longer than 64 KiB and some bytes.
        let bytes = u32::try_from(size).unwrap_or(u32::MAX);
        self.entries.push(entry);
        let groupable = self.gso && !whole && size > 0 && size <= self.segment_bytes_max;
        if self.gso {
            let place = &mut self.latest[place_of(socket, to)];
            let flow = self
                .groups
                .get_mut(usize::from(*place))
                .filter(|group| group.socket == socket && group.to == to);
            if let Some(group) = flow
                && groupable
                && group.takes(bytes, class)
                && (group.count > 1 || self.refusals.allow(to, group.segment))
            {
                group.count += 1;
                group.bytes += bytes;
                group.open = bytes == group.segment;
                self.entries[group.last as usize].next = index;
                group.last = index;
                return;
            }
            // Also for one that nothing can join: what comes later must not overtake it.
            *place = u16::try_from(self.groups.len()).unwrap_or(u16::MAX);
        }
        self.groups.push(Group {
            socket,
            count: 1,
            class,
            whole,
            open: groupable,
            segment: bytes,
            bytes,
            first: index,
            last: index,
            to,
            name: SockAddr::new(to),
        });
    }

    /// Prepares everything queued for the kernel. `last`: the batch has been handled, and headers
    /// may be written into its buffers.
    pub(crate) fn lay_out(&mut self, pool: &mut Pool, last: bool) {
        let (arena, entries) = (&self.arena, &self.entries);
        let fixed = self.class_fixed;
        self.layout
            .fill(arena, entries, &self.groups, fixed, |entry| {
                let packet = entry.packet.filter(|_| last)?;
                let header = &arena[entry.header as usize..][..usize::from(entry.header_len)];
                pool.frame(packet, header, usize::from(entry.tail))
            });
    }

    /// What [`lay_out`](Self::lay_out) prepared; one message a group.
    pub(crate) fn layout(&mut self) -> &mut Layout {
        &mut self.layout
    }

    /// Prepares a group's datagrams as single messages, because the kernel refused the group, and
    /// remembers its destination.
    pub(crate) fn split(&mut self, group: usize, now: Instant) -> &mut Layout {
        let refused = &self.groups[group];
        self.refusals.insert(refused.to, refused.segment, now);
        self.layout.split(group, &self.entries, refused);
        &mut self.layout
    }

    /// Forgets refusals that are too old.
    pub(crate) fn expire_refusals(&mut self, now: Instant) {
        self.refusals.expire(now);
    }

    /// The datagrams that a laid out group makes, as the kernel would cut them: for the simulated
    /// network.
    pub(crate) fn datagrams(&self, group: usize) -> impl Iterator<Item = Vec<u8>> {
        let bytes = self.layout.gather(group);
        let segment = match self.groups[group].segment as usize {
            0 => 1,
            segment => segment,
        };
        let count = usize::from(self.groups[group].count);
        (0..count).map(move |i| {
            let start = i * segment;
            bytes[start..bytes.len().min(start + segment)].to_vec()
        })
    }

    /// Empties the queue after the kernel took it.
    pub(crate) fn reset(&mut self, pool: &mut Pool) {
        for entry in self.entries.drain(..) {
            if let Some(packet) = entry.packet {
                pool.dequeue(packet);
            }
        }
        self.groups.clear();
        self.shared.clear();
        self.arena_used = 0;
        self.layout.clear();
    }

    pub(crate) fn budget(&self) -> [BudgetLine; 4] {
        let entry = size_of::<Entry>() + size_of::<Group>() + size_of::<SharedPacket>();
        [
            BudgetLine {
                what: "headers and copies to send",
                count: 1,
                bytes_each: self.arena.len(),
            },
            BudgetLine {
                what: "places of flows",
                count: GROUP_PLACES,
                bytes_each: size_of::<u16>(),
            },
            BudgetLine {
                what: "datagrams to send",
                count: OUTBOX_ENTRIES_MAX,
                bytes_each: entry,
            },
            self.layout.budget(),
        ]
    }
}

/// Where a flow's last group is noted. Multiplicative hashing (Knuth): the top bits depend on all.
fn place_of(socket: u32, to: SocketAddr) -> usize {
    const ODD: u64 = 0x9E37_79B9_7F4A_7C15;
    let host = match to {
        SocketAddr::V4(to) => u64::from(to.ip().to_bits()),
        SocketAddr::V6(to) => {
            let [a, b, c, d, e, f, g, h, rest @ ..] = to.ip().octets();
            let network = u64::from_ne_bytes([a, b, c, d, e, f, g, h]);
            u64::from_ne_bytes(rest) ^ network.wrapping_mul(ODD)
        }
    };
    let flow = u64::from(socket) << 16 | u64::from(to.port());
    let hash = (host.wrapping_mul(ODD) ^ flow).wrapping_mul(ODD);
    usize::try_from(hash >> (u64::BITS - GROUP_PLACES.ilog2())).unwrap_or(0)
}

impl Group {
    fn takes(&self, bytes: u32, class: u8) -> bool {
        self.open
            && self.class == class
            && bytes <= self.segment
            && self.count < GROUP_SEGMENTS_MAX
            && self.bytes as usize + bytes as usize <= GROUP_BYTES_MAX
    }
}
