//! What there is to say about each metric: the one table behind the page and `docs/METRICS.md`.

use std::fmt::Write as _;

use metrics::Unit;
use sterna_turn::{DropReason, EndReason};

use crate::stream::CutReason;

/// One metric.
#[derive(Clone, Copy, Debug)]
pub(super) struct Metric {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) unit: Unit,
    pub(super) labels: &'static [&'static str],
    pub(super) help: &'static str,
}

/// How a metric moves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// Grows until the node restarts.
    Counter,
    /// Goes up and down.
    Gauge,
}

const fn counter(
    name: &'static str,
    unit: Unit,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric {
        name,
        kind: Kind::Counter,
        unit,
        labels,
        help,
    }
}

const fn gauge(
    name: &'static str,
    unit: Unit,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric {
        name,
        kind: Kind::Gauge,
        unit,
        labels,
        help,
    }
}

macro_rules! metrics {
    ($($const:ident = $kind:ident $name:literal $unit:ident [$($label:literal),*] $help:literal;)+) => {
        $(pub(super) const $const: Metric = $kind($name, Unit::$unit, &[$($label),*], $help);)+
        /// Every metric, in the order of the document.
        pub(super) const METRICS: &[Metric] = &[$($const),+];
    };
}

metrics! {
    BUILD_INFO = gauge "sterna_build_info" Count ["version", "node", "region"] "1; the labels say what runs, and where.";
    STATE = gauge "sterna_state" Count ["state"] "1 for the state that the node is in, 0 for the others.";
    UPTIME = gauge "sterna_uptime_seconds" Seconds [] "How long the node has run.";
    RESIDENT = gauge "process_resident_memory_bytes" Bytes [] "Resident memory of the process.";
    DESCRIPTORS = gauge "process_open_fds" Count [] "Open file descriptors of the process.";
    DESCRIPTORS_MAX = gauge "process_max_fds" Count [] "The soft limit of open file descriptors.";
    CPU = gauge "sterna_process_cpu_seconds" Seconds [] "Processor time of the process so far, user and system. Work that the kernel does for it in other threads is not in it.";
    WORKERS = gauge "sterna_workers" Count ["state"] "Worker threads that answered in time, and that did not.";
    WORKER_TURNS = counter "sterna_worker_turns_total" Count [] "Times that a worker's loop went round.";
    ENGINE = gauge "sterna_io_engine_info" Count ["engine", "gro", "gso"] "1; the labels say which UDP back end runs with which offloads.";
    BUDGET = gauge "sterna_buffer_budget_bytes" Bytes ["part"] "Memory that all workers' back ends took at start, by what it is for.";
    BUFFERS_FREE = gauge "sterna_buffer_pool_free" Count ["worker"] "Receive buffers of a worker that are free; few mean that it is behind.";
    WORKER_CPU = gauge "sterna_worker_cpu_seconds" Seconds ["worker"] "Processor time of a worker's thread so far. Its rate is how busy the worker is; what the kernel receives for it elsewhere is not in it.";
    PACKETS = counter "sterna_packets_total" Count ["transport", "direction"] "Packets (over TCP and TLS: frames) received and sent, to clients and to peers alike. A datagram that crossed the node in process is counted once in and once out.";
    BYTES = counter "sterna_bytes_total" Bytes ["transport", "direction"] "Bytes of those, without UDP, TCP and TLS headers.";
    DROPPED = counter "sterna_packets_dropped_total" Count ["reason"] "Packets that went nowhere, by reason; docs/METRICS.md lists them.";
    IO_CALLS = counter "sterna_io_operations_total" Count ["direction"] "Receives and sends that carried the UDP packets; the ratio to sterna_packets_total is what offloads save.";
    GSO = counter "sterna_gso_groups_total" Count ["result"] "Groups of packets handed to the kernel for segmentation, and groups that it refused and that were sent singly.";
    SEND_ERRORS = counter "sterna_send_errors_total" Count ["reason"] "Datagrams that the kernel did not send.";
    RECEIVE_ERRORS = counter "sterna_receive_errors_total" Count ["reason"] "Datagrams lost before the node saw them (overflow: the socket's buffer was full; truncated: longer than a buffer; error: any other), and receives that found no free buffer (no_buffer: nothing is lost).";
    WAKES = counter "sterna_worker_wakes_total" Count [] "Times that a letter ended or shortened a worker's wait.";
    REARMED = counter "sterna_receive_rearmed_total" Count [] "Receives of the io_uring back end that ended and were armed again.";
    HANDOVERS = counter "sterna_handovers_total" Count ["result"] "Packets for an allocation on another worker: handed over, or dropped because the inbox was full or too many buffers were away.";
    STREAM_GONE = counter "sterna_stream_gone_total" Count [] "Packets for a TCP or TLS client that was gone by then.";
    REQUESTS = counter "stun_requests_total" Count ["method"] "STUN messages, by method.";
    RESPONSES = counter "stun_responses_total" Count ["method", "result"] "What became of them: a success, an error, or silence (the reason is among sterna_packets_dropped_total).";
    ERRORS = counter "stun_errors_total" Count ["code"] "STUN error responses, by code.";
    DISCOVERY = counter "stun_discovery_total" Count ["kind"] "Bindings of NAT behaviour discovery (RFC 5780) answered as asked: from another address or port (change_request), to another port of the client (response_port), with PADDING (padding).";
    REPLY_BYTES = counter "stun_reply_bytes_total" Bytes [] "Bytes of STUN answers.";
    ALLOCATIONS = gauge "turn_allocations_active" Count [] "Allocations that live now.";
    ALLOCATIONS_TOTAL = counter "turn_allocations_total" Count ["result"] "Allocations asked for: made, repeated (a retransmitted request), or refused by a cap or by draining.";
    ALLOCATIONS_BY_ALGORITHM = counter "turn_allocations_by_password_algorithm_total" Count ["algorithm"] "Allocations made with credentials, by the hash that made the key: sha256 (RFC 8489), or md5 (older clients).";
    ALLOCATIONS_ENDED = counter "turn_allocations_ended_total" Count ["reason"] "Allocations that ended, by reason; docs/METRICS.md lists them.";
    USERS = gauge "turn_users_active" Count [] "Users with at least one allocation.";
    PREFIXES = gauge "turn_prefixes_active" Count [] "Source prefixes (/24, /56) with at least one allocation.";
    RELAYED_PACKETS = counter "turn_relayed_packets_total" Count ["direction"] "Payloads relayed: to_peer, to_client, and the part of to_peer that went to another client of this node in process.";
    RELAYED_BYTES = counter "turn_relayed_bytes_total" Bytes ["direction"] "Bytes of those payloads.";
    PERMISSIONS = counter "turn_permissions_installed_total" Count [] "Permissions installed, refreshes not included.";
    CHANNELS = counter "turn_channels_bound_total" Count [] "Channels bound, refreshes not included.";
    PEERS_REVOKED = counter "turn_peers_revoked_total" Count [] "Permissions and channels ended by a change of policy.";
    PORTS = gauge "turn_ports_in_use" Count [] "Relay ports that are claimed, open or held.";
    PORTS_CAPACITY = gauge "turn_ports_capacity" Count [] "Relay ports of all relay addresses together.";
    PORTS_FAILED = counter "turn_ports_failed_total" Count ["reason"] "Relay ports that could not be had: somebody else on the host holds them (another is tried), or descriptors or table space have run out.";
    RESERVATIONS = gauge "turn_reservations" Count [] "Ports held for a reservation token.";
    RESERVATIONS_TOTAL = counter "turn_reservations_total" Count ["result"] "Ports reserved by EVEN-PORT, and those that nobody came for.";
    AUTH_FAILURES = counter "turn_auth_failures_total" Count ["reason"] "Answers to requests that did not prove credentials: 401 (none, or wrong ones) and 438 (a nonce that is too old). A first request without credentials is one of them by design.";
    QUOTA = counter "turn_quota_rejections_total" Count ["kind"] "Requests refused by a cap of [limits], by cap.";
    RATE_LIMIT = counter "sterna_ratelimit_rejections_total" Count ["scope"] "Packets dropped by a rate limit of [limits], by limit.";
    CONNECTIONS = gauge "sterna_stream_connections" Count [] "TCP and TLS connections that are open.";
    ACCEPTED = counter "sterna_stream_accepted_total" Count ["transport"] "Connections that began to speak STUN over TCP, and whose TLS handshake succeeded.";
    ACCEPT_ERRORS = counter "sterna_stream_accept_errors_total" Count [] "Connections that could not be accepted, for want of descriptors most of all.";
    CUTS = counter "sterna_stream_cut_total" Count ["reason"] "Connections that the node refused or ended, by reason; docs/METRICS.md lists them.";
    STREAM_DROPPED = counter "sterna_stream_frames_dropped_total" Count [] "Frames dropped because their client was behind; the oldest goes first.";
    STREAM_OVER_BUDGET = counter "sterna_stream_frames_over_budget_total" Count [] "Those of them that were dropped because limits.tcp_queues_bytes_max was reached: many clients read too little.";
    STREAM_QUEUED = gauge "sterna_stream_queue_bytes" Bytes [] "Memory of what waits for TCP and TLS clients, which limits.tcp_queues_bytes_max bounds.";
    CERTIFICATE = gauge "sterna_tls_certificate_expiry_timestamp_seconds" Seconds [] "When the TLS certificate ends, in seconds since 1970.";
}

/// `docs/METRICS.md`.
pub fn markdown() -> String {
    let mut text = String::from(
        "# Node metrics\n\n\
         <!-- Generated from relay/node/src/metrics by `cargo xtask docs`. -->\n\n\
         `GET /metrics` on the admin listener, in Prometheus' text format. Counters begin at 0 when the node starts and are \
         sums over its workers. No address, no user name and no key is ever a label.\n\n\
         | metric | type | labels | meaning |\n|---|---|---|---|\n",
    );
    for metric in METRICS {
        let labels: Vec<_> = metric
            .labels
            .iter()
            .map(|label| format!("`{label}`"))
            .collect();
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        let _ = writeln!(
            text,
            "| `{}` | {kind} | {} | {} |",
            metric.name,
            labels.join(", "),
            metric.help
        );
    }
    text.push_str("\n## Why a packet was dropped\n\n`reason` of `sterna_packets_dropped_total`.\n\n| reason | meaning |\n|---|---|\n");
    for reason in DropReason::ALL {
        let _ = writeln!(
            text,
            "| `{}` | {} |",
            reason.as_str(),
            reason.describe().trim()
        );
    }
    text.push_str(
        "\n## Why an allocation ended\n\n`reason` of `turn_allocations_ended_total`.\n\n",
    );
    for reason in EndReason::ALL {
        let _ = writeln!(text, "- `{}`", reason.as_str());
    }
    text.push_str("\n## Why a connection was cut\n\n`reason` of `sterna_stream_cut_total`.\n\n| reason | meaning |\n|---|---|\n");
    for reason in CutReason::ALL {
        let _ = writeln!(text, "| `{}` | {} |", reason.as_str(), reason.describe());
    }
    text
}
