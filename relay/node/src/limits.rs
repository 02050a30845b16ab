//! Every bound of the node that is not the machine's or the back end's own.

use std::time::Duration;

/// Packets that may wait at a worker for one of its allocations, from all other workers: for its
/// client, or from a client that has moved.
/// Four completion batches: a worker that is further behind is overloaded, and drops.
pub const RELAYED_LETTERS_MAX: usize = 1024;

/// Frames of TCP and TLS clients that may wait at a worker; their readers wait beyond that.
pub const STREAM_LETTERS_MAX: usize = 1024;

/// Control letters that may wait at a worker; their senders wait beyond that.
pub const CONTROL_LETTERS_MAX: usize = 64;

/// How long a worker waits until it says again that a moved client's connection is gone, to a worker
/// whose inbox was full.
pub const TELL_CLOSED_RETRY: Duration = Duration::from_millis(10);

/// Letters of one kind that a worker handles before it looks at its sockets again.
pub const LETTERS_PER_TURN_MAX: usize = 128;

/// How long a worker's log is silent about failed receives after a line about one.
pub const RECEIVE_WARNING_PAUSE: Duration = Duration::from_secs(10);

/// The longest reply of the machine.
pub const REPLY_BYTES_MAX: usize = sterna_turn::limits::REPLY_BYTES_MAX;

/// How long a worker may take to answer a control letter before the admin side gives up on it.
pub const CONTROL_ANSWER_MAX: Duration = Duration::from_secs(2);

/// How long the answer to a reload waits for every thread to take it over.
pub const RELOAD_ANSWER_MAX: Duration = Duration::from_secs(2);

/// How long a node that starts waits for a UDP port that is taken: a predecessor that was killed may
/// still hold it.
pub const LISTEN_PATIENCE: Duration = Duration::from_secs(1);

/// How often it looks meanwhile.
pub const LISTEN_RETRY: Duration = Duration::from_millis(20);

/// Letters of the flow relay's machines that may wait at a shard: more than devices can cause in the
/// time that a shard needs for a turn.
pub const FLOW_LETTERS_MAX: usize = 8192;

/// Control frames that may wait for one QUIC or WebSocket device; one that takes none is cut off.
pub const FLOW_CONTROL_FRAMES_MAX: usize = 256;

/// WebSocket pings that a connection may send at once; each second brings another. Our devices send
/// none.
pub const FLOW_PINGS_MAX: u32 = 16;

/// How long TLS, HTTP's upgrade and the flow relay's own handshake may take, each.
pub const FLOW_HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// QUIC handshakes that a thread has under way before clients must prove their address first.
pub const FLOW_HANDSHAKES_RETRY: usize = 64;

/// QUIC handshakes that may wait at a thread to be looked at.
pub const FLOW_HANDSHAKES_MAX: usize = 1024;

/// Datagrams that quinn holds of one connection, in bytes: what waits belongs into our own queue.
pub const FLOW_QUIC_SEND_BYTES: usize = 16 * 1024;

/// The longest message of a WebSocket.
pub const FLOW_MESSAGE_BYTES_MAX: usize = 16 * 1024;

/// Bytes that the kernel holds unsent of one WebSocket: what waits belongs into our own queue.
pub const FLOW_TCP_UNSENT_BYTES: u32 = 16 * 1024;

/// How long a WebSocket's device may acknowledge nothing. Devices themselves give up after two
/// seconds; a node that did would cut those that only cross a tunnel.
pub const FLOW_TCP_USER_TIMEOUT: Duration = Duration::from_secs(10);

/// How often the machine is told what the queues have done.
pub const FLOW_QUEUE_LOOK: Duration = Duration::from_secs(1);

/// How long a node that ends waits for its last words to be sent.
pub const FLOW_FAREWELL_MAX: Duration = Duration::from_millis(500);

/// Workers that one node may have: [`sterna_turn::WorkerId`] is a byte.
pub const WORKERS_MAX: usize = 255;

/// Addresses of one service that a node tells its control service, which takes no more.
pub const ADDRESSES_TOLD_MAX: usize = 16;
