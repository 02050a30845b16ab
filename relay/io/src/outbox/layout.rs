//! The queue as the kernel wants to see it: message headers, vectors and control messages in
//! tables of a fixed size, whose addresses do not change.

use std::ptr;

use super::{Entry, Group};
use crate::engine::BudgetLine;
use crate::limits::{GROUP_SEGMENTS_MAX, OUTBOX_ENTRIES_MAX};
use crate::memory::table;
use crate::sockaddr::SockAddr;

// Header, payload and tail of each datagram.
const VECTORS_MAX: usize = 3 * OUTBOX_ENTRIES_MAX;
const CONTROL_WORDS: usize = 6;
const ZEROS: [u8; 4] = [0; 4];

/// One message of the layout.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message {
    pub(crate) socket: u32,
    /// How many datagrams it makes.
    pub(crate) packets: u32,
    /// How long they are together.
    pub(crate) bytes: u32,
    /// Whether the kernel is to segment it.
    pub(crate) segmented: bool,
    /// Whether it is not to be fragmented.
    pub(crate) whole: bool,
}

/// Tables for the kernel.
pub(crate) struct Layout {
    messages: Vec<Message>,
    headers: Vec<libc::mmsghdr>,
    vectors: Vec<libc::iovec>,
    controls: Vec<[u64; CONTROL_WORDS]>,
    // The single messages of one group that was refused.
    split_messages: Vec<Message>,
    split_headers: Vec<libc::mmsghdr>,
}

impl Layout {
    pub(super) fn new() -> Self {
        Self {
            messages: table(OUTBOX_ENTRIES_MAX),
            headers: table(OUTBOX_ENTRIES_MAX),
            vectors: table(VECTORS_MAX),
            controls: table(OUTBOX_ENTRIES_MAX),
            split_messages: table(usize::from(GROUP_SEGMENTS_MAX)),
            split_headers: table(usize::from(GROUP_SEGMENTS_MAX)),
        }
    }

    /// The messages in the order in which they are to be sent.
    pub(crate) fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// Their headers. The `i`th belongs to the `i`th message.
    pub(crate) fn headers(&mut self) -> &mut [libc::mmsghdr] {
        &mut self.headers
    }

    /// What [`split`](Self::split) made.
    pub(crate) fn split_messages(&self) -> &[Message] {
        &self.split_messages
    }

    /// Their headers.
    pub(crate) fn split_headers(&mut self) -> &mut [libc::mmsghdr] {
        &mut self.split_headers
    }

    /// Fills the tables, one message a group. `frame` may put header and tail of a single datagram
    /// around its payload. Sockets have the traffic class `socket_class` where nothing else is said.
    pub(super) fn fill(
        &mut self,
        arena: &[u8],
        entries: &[Entry],
        groups: &[Group],
        socket_class: u8,
        mut frame: impl FnMut(&Entry) -> Option<*const u8>,
    ) {
        self.clear();
        for group in groups {
            let first_vector = self.vectors.len();
            let first = &entries[group.first as usize];
            let framed = match (group.count, first.header_len, first.tail) {
                (1, 0, 0) => Some(first.payload),
                (1, ..) => frame(first),
                _ => None,
            };
            if let Some(start) = framed {
                self.vectors.push(vector(start, group.bytes as usize));
            } else {
                let mut next = group.first;
                while let Some(entry) = entries.get(next as usize) {
                    self.push_vectors(arena, entry);
                    next = entry.next;
                }
            }
            let segment = if group.count > 1 { group.segment } else { 0 };
            self.controls.push([0; CONTROL_WORDS]);
            let control = &mut self.controls[self.messages.len()];
            let class = Some(group.class).filter(|class| *class != socket_class);
            let control_len = write_control(control, segment, class, group.to.is_ipv4());
            let control = control.as_mut_ptr();
            let vectors = &mut self.vectors[first_vector..];
            self.headers
                .push(header(&group.name, vectors, control, control_len));
            self.messages.push(Message {
                socket: group.socket,
                packets: u32::from(group.count),
                bytes: group.bytes,
                segmented: segment != 0,
                whole: group.whole,
            });
        }
        debug_assert!(
            self.vectors.len() <= VECTORS_MAX,
            "invariant: the tables do not move"
        );
    }

    fn push_vectors(&mut self, arena: &[u8], entry: &Entry) {
        if entry.header_len > 0 {
            let header = &arena[entry.header as usize..][..usize::from(entry.header_len)];
            self.vectors.push(vector(header.as_ptr(), header.len()));
        }
        self.vectors
            .push(vector(entry.payload, entry.payload_len as usize));
        if entry.tail > 0 {
            self.vectors
                .push(vector(ZEROS.as_ptr(), usize::from(entry.tail)));
        }
    }

    /// Makes single messages of a group of the layout, from its own vectors.
    #[allow(clippy::unnecessary_cast)] // the length has 32 bits in some C libraries
    pub(super) fn split(&mut self, group_index: usize, entries: &[Entry], group: &Group) {
        self.split_messages.clear();
        self.split_headers.clear();
        let mut vectors = self.headers[group_index].msg_hdr.msg_iov;
        let mut next = group.first;
        while let Some(entry) = entries.get(next as usize) {
            next = entry.next;
            let count = 1 + usize::from(entry.header_len > 0) + usize::from(entry.tail > 0);
            let mut single = self.headers[group_index];
            single.msg_hdr.msg_iov = vectors;
            single.msg_hdr.msg_iovlen = count as _;
            // Without the segment size, which comes first and takes three words; behind it stands
            // the traffic class, if any.
            let segment_bytes = 3 * size_of::<u64>();
            let rest = (single.msg_hdr.msg_controllen as usize).saturating_sub(segment_bytes);
            single.msg_hdr.msg_control = match rest {
                0 => ptr::null_mut(),
                // Arithmetic on the address only, within the group's control messages.
                _ => single.msg_hdr.msg_control.wrapping_byte_add(segment_bytes),
            };
            single.msg_hdr.msg_controllen = rest as _;
            // Arithmetic on the address only: the kernel reads what `push_vectors` wrote there.
            vectors = vectors.wrapping_add(count);
            self.split_headers.push(single);
            self.split_messages.push(Message {
                socket: group.socket,
                packets: 1,
                bytes: u32::try_from(entry.bytes()).unwrap_or(u32::MAX),
                segmented: false,
                whole: group.whole,
            });
        }
    }

    /// All bytes of a message, as the kernel would gather them.
    pub(super) fn gather(&self, message: usize) -> Vec<u8> {
        let header = &self.headers[message].msg_hdr;
        // SAFETY: the vectors of a laid out message lie in `vectors`, and what they point at is
        // kept until the queue is reset: a held buffer, the arena, a shared packet, the zeros.
        let vectors = unsafe { std::slice::from_raw_parts(header.msg_iov, header.msg_iovlen as _) };
        let mut bytes = Vec::with_capacity(self.messages[message].bytes as usize);
        for vector in vectors {
            // SAFETY: as above.
            let part =
                unsafe { std::slice::from_raw_parts(vector.iov_base.cast::<u8>(), vector.iov_len) };
            bytes.extend_from_slice(part);
        }
        bytes
    }

    pub(super) fn clear(&mut self) {
        self.messages.clear();
        self.headers.clear();
        self.vectors.clear();
        self.controls.clear();
    }

    pub(super) fn budget(&self) -> BudgetLine {
        BudgetLine {
            what: "messages to send",
            count: OUTBOX_ENTRIES_MAX,
            bytes_each: size_of::<Message>()
                + size_of::<libc::mmsghdr>()
                + 3 * size_of::<libc::iovec>()
                + size_of::<[u64; CONTROL_WORDS]>(),
        }
    }
}

fn vector(start: *const u8, len: usize) -> libc::iovec {
    libc::iovec {
        iov_base: start.cast_mut().cast(),
        iov_len: len,
    }
}

fn header(
    name: &SockAddr,
    vectors: &mut [libc::iovec],
    control: *mut u64,
    control_len: usize,
) -> libc::mmsghdr {
    // SAFETY: a structure of integers and pointers, for which zeros are valid; some C libraries have
    // padding in it that cannot be named.
    let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
    header.msg_hdr.msg_name = name.as_ptr().cast_mut().cast();
    header.msg_hdr.msg_namelen = name.len();
    header.msg_hdr.msg_iov = vectors.as_mut_ptr();
    header.msg_hdr.msg_iovlen = vectors.len() as _;
    if control_len > 0 {
        header.msg_hdr.msg_control = control.cast();
        header.msg_hdr.msg_controllen = control_len as _;
    }
    header
}

/// Writes the control messages of a group and returns their length: the segment size as a 16-bit
/// number, the traffic class as an int, each behind its header and padded to eight bytes.
fn write_control(
    control: &mut [u64; CONTROL_WORDS],
    segment: u32,
    class: Option<u8>,
    v4: bool,
) -> usize {
    let mut used = 0;
    let mut message = |level: i32, kind: i32, data: u64, len: u64| {
        // The length, then level and kind as two ints side by side, then the data.
        control[used] = 16 + len;
        control[used + 1] = pair(level, kind);
        control[used + 2] = data;
        used += 3;
    };
    if segment != 0 {
        let segment = u16::try_from(segment).unwrap_or(u16::MAX);
        message(
            libc::SOL_UDP,
            libc::UDP_SEGMENT,
            first_bytes(&segment.to_ne_bytes()),
            2,
        );
    }
    if let Some(class) = class {
        let (level, kind) = if v4 {
            (libc::SOL_IP, libc::IP_TOS)
        } else {
            (libc::SOL_IPV6, libc::IPV6_TCLASS)
        };
        message(level, kind, first_bytes(&i32::from(class).to_ne_bytes()), 4);
    }
    used * size_of::<u64>()
}

fn pair(first: i32, second: i32) -> u64 {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&first.to_ne_bytes());
    bytes[4..].copy_from_slice(&second.to_ne_bytes());
    u64::from_ne_bytes(bytes)
}

fn first_bytes(data: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    bytes[..data.len()].copy_from_slice(data);
    u64::from_ne_bytes(bytes)
}

// The control messages above are laid out for this header.
const _: () = assert!(size_of::<libc::cmsghdr>() == 16 && size_of::<usize>() == 8);
