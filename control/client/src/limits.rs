//! The caps of what is sent, read and waited for, named.

use std::time::Duration;

use sterna_control_api::limits::RELAY_MAP_BYTES_MAX;

/// The longest answer that is read: a relay map, and a netmap beside it.
pub const ANSWER_BYTES_MAX: usize = 8 << 20;
/// The longest problem document that is read.
pub const PROBLEM_BYTES_MAX: usize = 64 << 10;
/// How long a TCP connection may take.
pub const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How long a call may take, with its connection and its answer.
pub const CALL_MAX: Duration = Duration::from_secs(15);
/// The longest `retry-after` that is believed.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);
/// Silence on a WebSocket after which it is asked whether anybody is there.
pub const SOCKET_IDLE: Duration = Duration::from_secs(30);
/// How long the answer to that may take.
pub const SOCKET_ANSWER_MAX: Duration = Duration::from_secs(15);
/// Connections that are kept for the next call.
pub const IDLE_CONNECTIONS_MAX: usize = 4;

const _: () = assert!(ANSWER_BYTES_MAX > RELAY_MAP_BYTES_MAX);
