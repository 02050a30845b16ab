//! Every bound of this crate, with its reasoning.

use std::time::Duration;

/// Listening sockets of one engine: both families of some dozens of local addresses.
pub const LISTENERS_MAX: u32 = 256;

/// Relay sockets of one engine, unless the configuration or the descriptor limit says less: every
/// port of one address.
pub const RELAY_SOCKETS_MAX: u32 = 65_536;

/// Receive buffers of one engine when the kernel coalesces trains (`UDP_GRO`): 33 MiB.
pub const BUFFERS_GRO: u32 = 512;

/// Receive buffers of one engine without coalescing: one a datagram, so more and smaller: 18 MiB.
pub const BUFFERS_PLAIN: u32 = 2_048;

/// The kernel indexes provided buffers with 16 bits, and their number must be a power of two.
pub const BUFFERS_MAX: u32 = 32_768;

/// The largest train that the kernel hands over: one maximal IP packet's worth of segments.
pub const PAYLOAD_GRO_BYTES: usize = 65_536;

/// The largest datagram that is received without coalescing: a jumbo frame. Longer ones are cut,
/// counted and dropped.
pub const PAYLOAD_PLAIN_BYTES: usize = 9_216;

/// Room before each payload: `io_uring` writes its header, the source address and the control
/// messages there, and a header may be written over them later.
pub const HEADROOM_BYTES: usize = 128;

/// Room behind each payload, for the zero bytes of a tail.
pub const TAILROOM_BYTES: usize = 128;

/// The longest header that can be put before a payload.
pub const HEADER_BYTES_MAX: usize = 64;

/// The longest tail that can be put behind a payload.
pub const TAIL_BYTES_MAX: usize = 3;

/// Room for a source address in each receive buffer, a multiple of eight so that the control
/// messages behind it are aligned.
pub const NAME_BYTES: usize = 32;

/// Room for control messages in each receive buffer: segment size, traffic class and overflow
/// count take 24 bytes each.
pub const CONTROL_BYTES: usize = 80;

/// Datagrams in the outgoing queue; the next one flushes it first.
pub const OUTBOX_ENTRIES_MAX: usize = 4_096;

/// Headers and copied packets in the outgoing queue; what does not fit flushes it first.
pub const OUTBOX_ARENA_BYTES: usize = 512 * 1_024;

/// Places in which the last group of each flow of a batch is noted. A power of two; flows beyond
/// this, and some before, leave in smaller groups.
pub const GROUP_PLACES: usize = 2_048;

/// Segments of one group: the kernel's own limit was 64 before 6.9, less some slack.
pub const GROUP_SEGMENTS_MAX: u16 = 60;

/// Bytes of one group: the kernel builds one IP packet of it, of at most 65,535 bytes with headers.
pub const GROUP_BYTES_MAX: usize = 64_000;

/// The largest segment that leaves in a group: an Ethernet frame less IPv6 and UDP headers. The
/// kernel refuses groups of segments beyond the path MTU; those destinations are remembered.
pub const SEGMENT_BYTES_MAX: usize = 1_452;

/// Destinations remembered for having refused a group.
pub const REFUSALS_MAX: usize = 64;

/// How long a destination that refused a group is served singly: path MTUs change rarely.
pub const REFUSAL_LIFETIME: Duration = Duration::from_secs(60);

/// Packets that other workers may hold at one time; also the length of the queue back.
pub const SHARES_MAX: usize = 4_096;

/// Buffers that other workers may hold at one time: one in this many of the pool.
pub const SHARED_BUFFERS_DIVISOR: usize = 2;

/// Submissions that are prepared before the kernel is called.
pub const URING_SUBMISSIONS: u32 = 1_024;

/// Completions that the kernel can queue: a batch from every buffer, and sends that failed.
pub const URING_COMPLETIONS: u32 = 8_192;

/// Ready sockets that one `epoll_wait` reports; the rest keep their turn.
pub const EPOLL_EVENTS_MAX: usize = 512;

/// Datagrams or trains that one `recvmmsg` takes from one socket, so that one flow cannot take
/// the whole batch from the others.
pub const RECEIVE_BURST_MAX: usize = 64;

/// Asked for as send and receive buffer of every socket; the kernel's default of 208 KiB holds 270
/// small packets. It bounds memory under flood, it is not reserved.
pub const SOCKET_BUFFER_BYTES: usize = 2 * 1_024 * 1_024;

/// The same of a listening socket, which all clients of a worker share: at 40,000 small packets a second
/// it holds what comes while the worker does not run for half a second.
pub const LISTENER_BUFFER_BYTES: usize = 4 * SOCKET_BUFFER_BYTES;

/// Errors that are taken from one socket's error queue at a time, so that a flood of ICMP keeps a
/// turn short. What is left fails the next receive, which comes back for it.
pub const ERRORS_PER_READ_MAX: usize = 16;

/// Notices that wait to be taken; one more is counted and forgotten.
pub const NOTICES_MAX: usize = 256;

/// How long a socket is left alone when a receive on it failed for no datagram's fault; twice as
/// long each time in a row.
pub const RECEIVE_REST_MIN: Duration = Duration::from_millis(1);

/// The longest of those rests.
pub const RECEIVE_REST_MAX: Duration = Duration::from_secs(1);

/// Datagrams that wait for one simulated endpoint; the next one is dropped, as a socket would.
pub const SIM_QUEUE_MAX: usize = 65_536;

const _: () = assert!(16 + NAME_BYTES + CONTROL_BYTES == HEADROOM_BYTES);
const _: () = assert!(HEADROOM_BYTES >= HEADER_BYTES_MAX);
const _: () = assert!(TAILROOM_BYTES >= TAIL_BYTES_MAX);
const _: () = assert!(GROUP_PLACES.is_power_of_two() && GROUP_PLACES > 1);
const _: () = assert!(OUTBOX_ENTRIES_MAX < u16::MAX as usize);
const _: () = assert!(GROUP_BYTES_MAX + 48 <= 65_535);
const _: () = assert!(BUFFERS_GRO.is_power_of_two() && BUFFERS_PLAIN.is_power_of_two());
const _: () = assert!(OUTBOX_ARENA_BYTES >= OUTBOX_ENTRIES_MAX * HEADER_BYTES_MAX);
