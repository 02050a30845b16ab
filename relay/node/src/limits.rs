//! Every bound of the node that is not the machine's or the back end's own.

use std::time::Duration;

/// Packets that may wait at a worker for delivery to one of its allocations, from all other workers.
/// Four completion batches: a worker that is further behind is overloaded, and drops.
pub const RELAYED_LETTERS_MAX: usize = 1024;

/// Frames of TCP and TLS clients that may wait at a worker; their readers wait beyond that.
pub const STREAM_LETTERS_MAX: usize = 1024;

/// Control letters that may wait at a worker; their senders wait beyond that.
pub const CONTROL_LETTERS_MAX: usize = 64;

/// Letters of one kind that a worker handles before it looks at its sockets again.
pub const LETTERS_PER_TURN_MAX: usize = 128;

/// The longest reply of the machine.
pub const REPLY_BYTES_MAX: usize = sterna_turn::limits::REPLY_BYTES_MAX;

/// How long a worker may take to answer a control letter before the admin side gives up on it.
pub const CONTROL_ANSWER_MAX: Duration = Duration::from_secs(2);

/// How long a node that starts waits for a UDP port that is taken: a predecessor that was killed may
/// still hold it.
pub const LISTEN_PATIENCE: Duration = Duration::from_secs(1);

/// How often it looks meanwhile.
pub const LISTEN_RETRY: Duration = Duration::from_millis(20);

/// Workers that one node may have: [`sterna_turn::WorkerId`] is a byte.
pub const WORKERS_MAX: usize = 255;
