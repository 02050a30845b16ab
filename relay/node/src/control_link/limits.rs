//! The times of the link.

use std::time::Duration;

use sterna_control_api::limits::HEARTBEAT_WAIT_MS_MAX;

/// The shortest interval between heartbeats that a service may ask for.
pub(super) const INTERVAL_MIN: Duration = Duration::from_secs(1);

/// What is taken for it until the service has said.
pub(super) const INTERVAL_DEFAULT: Duration = Duration::from_secs(5);

/// The longest one.
pub(super) const INTERVAL_MAX: Duration = Duration::from_secs(300);

/// Heartbeats that a service misses before it takes a node for lost.
pub(super) const INTERVALS_MISSED_MAX: u32 = 3;

/// The bound of the first pause after a failure; it doubles with each.
pub(super) const RETRY_FIRST: Duration = Duration::from_secs(1);

/// The bound of every pause.
pub(super) const RETRY_MAX: Duration = Duration::from_secs(60);

/// The same in intervals: a node that reports often is also missed soon.
pub(super) const RETRY_INTERVALS_MAX: u32 = 6;

/// The longest time for which the answer to a heartbeat is held.
pub(super) const WAIT_MAX: Duration = Duration::from_millis(HEARTBEAT_WAIT_MS_MAX as u64);

/// Between two heartbeats that say that new orders are followed, where one order follows the other.
pub(super) const NEWS_APART: Duration = Duration::from_millis(500);

/// How long a call may take.
pub(super) const CALL_MAX: Duration = Duration::from_secs(10);

/// How long the answer to a heartbeat may take behind the time for which it is held; a call never has
/// less than [`CALL_MAX`] in all. Shorter, for a connection that has died is noticed by nothing else.
pub(super) const ANSWER_MAX: Duration = Duration::from_secs(5);

/// How often a node that is reached makes sure that it still is.
pub(super) const PROBE_EVERY: Duration = Duration::from_secs(60);

/// How soon a probe that failed is repeated before the node believes it.
pub(super) const PROBE_AGAIN: Duration = Duration::from_secs(1);

/// How soon a node that is not reached tries again.
pub(super) const PROBE_RETRY: Duration = Duration::from_secs(5);

/// When the requests of one probe are sent (RFC 8489 §6.2.1 begins with 500 ms and doubles; a public
/// address of one's own is near).
pub(super) const PROBE_SENDS: [Duration; 4] = [
    Duration::from_millis(0),
    Duration::from_millis(250),
    Duration::from_millis(750),
    Duration::from_millis(1750),
];

/// How long one probe waits in all.
pub(super) const PROBE_MAX: Duration = Duration::from_millis(3000);

/// Addresses that one probe asks.
pub(super) const PROBE_ADDRS_MAX: usize = 8;
