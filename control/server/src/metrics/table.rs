//! What there is to say about each metric: the one table behind the page and
//! `docs/CONTROL_METRICS.md`.

use sterna_daemon::metrics::{markdown as rows, values};

use crate::service::refusal::Proof;

sterna_daemon::metrics! {
    BUILD_INFO = Gauge "control_build_info" Count ["version", "database"] "1; the labels say what runs, and on which database.";
    UPTIME = Gauge "control_uptime_seconds" Seconds [] "How long the service has run.";
    RESIDENT = Gauge "process_resident_memory_bytes" Bytes [] "Resident memory of the process.";
    DESCRIPTORS = Gauge "process_open_fds" Count [] "Open file descriptors of the process.";
    DESCRIPTORS_MAX = Gauge "process_max_fds" Count [] "The soft limit of open file descriptors.";
    CPU = Gauge "control_process_cpu_seconds" Seconds [] "Processor time of the process so far, user and system.";
    REQUESTS = Counter "control_requests_total" Count ["route", "code"] "Requests answered, by the path's pattern and the status. `route` is `none` where no path matched.";
    LATENCY = Histogram "control_request_seconds" Seconds ["route"] "How long requests took, from their head to their answer's head; without the time for which a heartbeat was held.";
    AUTH_FAILURES = Counter "control_auth_failures_total" Count ["reason"] "Requests without a proof of who calls that holds, by reason; docs/CONTROL_METRICS.md lists them.";
    RATE_LIMITED = Counter "control_ratelimit_rejections_total" Count ["scope"] "Requests and messages refused by a rate of [limits]: of an address (address), its failed proofs (attempts), a caller that has proved itself (caller), a name that logs in (login), a device's messages (signal).";
    CONNECTIONS = Gauge "control_connections" Count [] "HTTP connections that are open, WebSockets among them.";
    CONNECTIONS_REFUSED = Counter "control_connections_refused_total" Count ["reason"] "Connections closed unread: more than limits.connections_max (full), a TLS handshake that failed or took too long (tls), no descriptor left (accept).";
    WEBSOCKETS = Gauge "control_websockets" Count [] "WebSockets that are open on this replica.";
    WEBSOCKETS_TOTAL = Counter "control_websockets_total" Count ["result"] "WebSockets by what came of them: opened, replaced by a newer one of the same device, closed by the device, silent for too long, too_large (a message), too_many (messages), unreadable (a message), full (it did not read what was pushed), revoked, restarting (this replica went away), refused (limits.websockets_max).";
    SIGNALS = Counter "control_signals_total" Count ["result"] "Signalling messages: delivered here, forwarded to the device's replica, or not delivered (unreachable, too_many, full).";
    PUNCHES = Counter "control_punch_orders_total" Count ["order"] "Orders of punching that were given, by what the asking device was told.";
    PUSHES = Counter "control_pushes_total" Count ["kind"] "Messages pushed to devices of this replica, by kind.";
    NODES = Gauge "control_nodes" Count ["status"] "Nodes by what the fleet sees them as.";
    NODES_ORDERS_BEHIND = Gauge "control_nodes_orders_behind" Count [] "Nodes that are there and follow older orders than they should. It returns to 0 a second or two after a change; nodes whose heartbeats are not held need two of them.";
    HEARTBEATS = Counter "control_heartbeats_total" Count ["result"] "Heartbeats of nodes: answered with nothing new (same) or with new orders (orders).";
    HEARTBEATS_HELD = Gauge "control_heartbeats_held" Count [] "Heartbeats whose answer waits for new orders, on this replica: nodes that hear of a change at once.";
    DEVICES = Gauge "control_devices" Count [] "Devices that are registered and not revoked.";
    DEVICES_ONLINE = Gauge "control_devices_online" Count [] "Devices that are connected to this replica.";
    REGISTRATIONS = Counter "control_registrations_total" Count ["kind", "result"] "Registrations of nodes and devices: new, or known ones that came again (again).";
    CREDENTIALS = Counter "control_credentials_issued_total" Count ["kind"] "TURN credentials (turn) and relay tickets (ticket) given out.";
    LOGINS = Counter "control_logins_total" Count ["result"] "Attempts to log in: ok, wrong, or given up because both places for password hashing were taken (busy).";
    MAP_VERSION = Gauge "control_relay_map_version" Count [] "The version of the relay map.";
    ORDERS_VERSION = Gauge "control_orders_version" Count [] "The version of the orders that nodes should follow.";
    KEYS = Gauge "control_keys" Count ["purpose", "stage"] "Keys by purpose and stage.";
    STORE_ERRORS = Counter "control_store_errors_total" Count ["kind"] "Failures of the database: away (unavailable), or a row that is not as it was written (corrupt).";
    AUDIT_PRUNED = Counter "control_audit_pruned_total" Count [] "Entries of the audit log that were deleted because they were older than database.audit_days.";
    FEED_LAG = Counter "control_feed_lagged_total" Count [] "Times that this replica fell behind the changes that others announce, and read everything again.";
    SNAPSHOTS = Counter "control_snapshots_total" Count [] "Times that this replica read regions, nodes, keys and revocations again after a change.";
}

/// `docs/CONTROL_METRICS.md`.
#[must_use]
pub fn markdown() -> String {
    let mut text = rows(
        "# Control service metrics\n\n\
         <!-- Generated from control/server/src/metrics by `cargo xtask docs`. -->\n\n\
         `GET /metrics` of the control service, in Prometheus' text format. Counters begin at 0 when the service starts, and \
         each replica has its own. No address, no name of a node, device or person and no key is ever a label.\n\n",
        METRICS,
    );
    let about = "`reason` of `control_auth_failures_total`. From outside all look the same, but for a clock that is wrong.";
    values(
        &mut text,
        ("Why a proof did not hold", about, "reason"),
        Proof::ALL
            .iter()
            .map(|proof| (proof.as_str(), proof.describe())),
    );
    text
}
