//! What there is to say about each metric: the one table behind the page and `docs/METRICS.md`.

use std::fmt::Write as _;

use sterna_daemon::metrics::{markdown as rows, values};
use sterna_turn::{DropReason, EndReason};

use crate::stream::CutReason;
use crate::stream::peer::{ConnectResult, PeerEnd};

sterna_daemon::metrics! {
    BUILD_INFO = Gauge "sterna_build_info" Count ["version", "node", "region"] "1; the labels say what runs, and where.";
    STATE = Gauge "sterna_state" Count ["state"] "1 for the state that the node is in, 0 for the others.";
    UPTIME = Gauge "sterna_uptime_seconds" Seconds [] "How long the node has run.";
    RESIDENT = Gauge "process_resident_memory_bytes" Bytes [] "Resident memory of the process.";
    DESCRIPTORS = Gauge "process_open_fds" Count [] "Open file descriptors of the process.";
    DESCRIPTORS_MAX = Gauge "process_max_fds" Count [] "The soft limit of open file descriptors.";
    CPU = Gauge "sterna_process_cpu_seconds" Seconds [] "Processor time of the process so far, user and system. Work that the kernel does for it in other threads is not in it.";
    WORKERS = Gauge "sterna_workers" Count ["state"] "Worker threads that answered in time, and that did not.";
    WORKER_TURNS = Counter "sterna_worker_turns_total" Count [] "Times that a worker's loop went round.";
    ENGINE = Gauge "sterna_io_engine_info" Count ["engine", "gro", "gso"] "1; the labels say which UDP back end runs with which offloads.";
    BUDGET = Gauge "sterna_buffer_budget_bytes" Bytes ["part"] "Memory that all workers' back ends took at start, by what it is for.";
    BUFFERS_FREE = Gauge "sterna_buffer_pool_free" Count ["worker"] "Receive buffers of a worker that are free; few mean that it is behind.";
    WORKER_CPU = Gauge "sterna_worker_cpu_seconds" Seconds ["worker"] "Processor time of a worker's thread so far. Its rate is how busy the worker is; what the kernel receives for it elsewhere is not in it.";
    PACKETS = Counter "sterna_packets_total" Count ["transport", "direction"] "Packets (over TCP and TLS: frames) received and sent, to clients and to peers alike. A datagram that crossed the node in process is counted once in and once out.";
    BYTES = Counter "sterna_bytes_total" Bytes ["transport", "direction"] "Bytes of those, without UDP, TCP and TLS headers.";
    DROPPED = Counter "sterna_packets_dropped_total" Count ["reason"] "Packets that went nowhere, by reason; docs/METRICS.md lists them.";
    IO_CALLS = Counter "sterna_io_operations_total" Count ["direction"] "Receives and sends that carried the UDP packets; the ratio to sterna_packets_total is what offloads save.";
    GSO = Counter "sterna_gso_groups_total" Count ["result"] "Groups of packets handed to the kernel for segmentation, and groups that it refused and that were sent singly.";
    SEND_ERRORS = Counter "sterna_send_errors_total" Count ["reason"] "Datagrams that the kernel did not send.";
    RECEIVE_ERRORS = Counter "sterna_receive_errors_total" Count ["reason"] "Datagrams lost before the node saw them (overflow: the socket's buffer was full; truncated: longer than a buffer), receives that failed, after which a socket is left alone for up to a second (error), and receives that found no free buffer (no_buffer: nothing is lost).";
    SEND_RETRIES = Counter "sterna_send_retries_total" Count [] "Datagrams sent a second time because an ICMP error about an earlier one had failed the first attempt.";
    ICMP = Counter "sterna_icmp_errors_total" Count ["result"] "ICMP errors about what relay ports sent, and the host's own about datagrams that must not be fragmented and are too long (received); those that a client was told (told), and those that no worker came to look at (forgotten). Why others were not told is among sterna_packets_dropped_total.";
    WAKES = Counter "sterna_worker_wakes_total" Count [] "Times that a letter ended or shortened a worker's wait.";
    REARMED = Counter "sterna_receive_rearmed_total" Count [] "Receives of the io_uring back end that ended and were armed again.";
    HANDOVERS = Counter "sterna_handovers_total" Count ["result"] "Packets for an allocation on another worker: handed over (sent; moved: those of clients that have moved, RFC 8016), or dropped because the inbox was full or too many buffers were away.";
    STREAM_GONE = Counter "sterna_stream_gone_total" Count [] "Packets for a TCP or TLS client that was gone by then.";
    REQUESTS = Counter "stun_requests_total" Count ["method"] "STUN messages, by method.";
    RESPONSES = Counter "stun_responses_total" Count ["method", "result"] "What became of them: a success, an error, or silence (the reason is among sterna_packets_dropped_total).";
    ERRORS = Counter "stun_errors_total" Count ["code"] "STUN error responses, by code.";
    DISCOVERY = Counter "stun_discovery_total" Count ["kind"] "Bindings of NAT behaviour discovery (RFC 5780) answered as asked: from another address or port (change_request), to another port of the client (response_port), with PADDING (padding).";
    REPLY_BYTES = Counter "stun_reply_bytes_total" Bytes [] "Bytes of STUN answers.";
    ALLOCATIONS = Gauge "turn_allocations_active" Count [] "Allocations that live now.";
    ALLOCATIONS_TOTAL = Counter "turn_allocations_total" Count ["result"] "Allocations asked for: made, repeated (a retransmitted request), sent to another server (redirected), or refused by a cap or by draining.";
    ALLOCATIONS_BY_ALGORITHM = Counter "turn_allocations_by_password_algorithm_total" Count ["algorithm"] "Allocations made with credentials, by the hash that made the key: sha256 (RFC 8489), or md5 (older clients).";
    ALLOCATIONS_DUAL = Counter "turn_allocations_dual_total" Count ["result"] "Allocations for which both address families were asked: made with both (both), or with one and a reason why not the other (one). A half that ended while the other one lived on is counted as half_ended.";
    ALLOCATIONS_ENDED = Counter "turn_allocations_ended_total" Count ["reason"] "Allocations that ended, by reason; docs/METRICS.md lists them.";
    USERS = Gauge "turn_users_active" Count [] "Users with at least one allocation.";
    PREFIXES = Gauge "turn_prefixes_active" Count [] "Source prefixes (/24, /56) with at least one allocation.";
    RELAYED_PACKETS = Counter "turn_relayed_packets_total" Count ["direction"] "Payloads relayed: to_peer, to_client, and the part of to_peer that went to another client of this node in process.";
    RELAYED_BYTES = Counter "turn_relayed_bytes_total" Bytes ["direction"] "Bytes of those payloads.";
    PERMISSIONS = Counter "turn_permissions_installed_total" Count [] "Permissions installed, refreshes not included.";
    CHANNELS = Counter "turn_channels_bound_total" Count [] "Channels bound, refreshes not included.";
    PEERS_REVOKED = Counter "turn_peers_revoked_total" Count [] "Permissions, channels and TCP connections to peers ended by a change of policy.";
    PORTS = Gauge "turn_ports_in_use" Count [] "Relay ports that are claimed, open or held.";
    PORTS_CAPACITY = Gauge "turn_ports_capacity" Count [] "Relay ports of all relay addresses together.";
    PORTS_FAILED = Counter "turn_ports_failed_total" Count ["reason"] "Relay ports that could not be had: somebody else on the host holds them (another is tried), or descriptors or table space have run out.";
    RESERVATIONS = Gauge "turn_reservations" Count [] "Ports held for a reservation token.";
    RESERVATIONS_TOTAL = Counter "turn_reservations_total" Count ["result"] "Ports reserved by EVEN-PORT, and those that nobody came for.";
    MOBILE = Counter "turn_allocations_mobile_total" Count [] "Allocations made with a mobility ticket (RFC 8016).";
    MOVES = Counter "turn_moves_total" Count ["result"] "Moves of an allocation to another address, port or connection of its client (RFC 8016): granted, repeated (a retransmitted request), completed (the client has sent from there, or closed the connection that it had), refused.";
    TICKETS = Gauge "turn_mobility_tickets" Count [] "Mobility tickets: of each allocation the one to move with, and the one that it was moved with last.";
    MOVED_CLIENTS = Gauge "turn_moved_clients" Count [] "Clients that have moved to another worker, which hands their packets on.";
    AUTH_FAILURES = Counter "turn_auth_failures_total" Count ["reason"] "Answers to requests that did not prove credentials: 401 (none, or wrong ones) and 438 (a nonce that is too old). A first request without credentials is one of them by design.";
    TOKENS = Counter "turn_access_tokens_total" Count ["result"] "Access tokens of third-party authorisation: accepted, or refused since no key of that name is valid now (unknown_key), the token is not in the form of one (malformed), was not sealed by that key for this server (forged), is too old or too new (out_of_time), or is not what the request is signed with (wrong_mac).";
    QUOTA = Counter "turn_quota_rejections_total" Count ["kind"] "Requests refused by a cap of [limits], by cap.";
    RATE_LIMIT = Counter "sterna_ratelimit_rejections_total" Count ["scope"] "Packets dropped by a rate limit of [limits], by limit.";
    CONNECTIONS = Gauge "sterna_stream_connections" Count [] "TCP and TLS connections that are open.";
    ACCEPTED = Counter "sterna_stream_accepted_total" Count ["transport"] "Connections that began to speak STUN over TCP, and whose TLS handshake succeeded.";
    ACCEPT_ERRORS = Counter "sterna_stream_accept_errors_total" Count [] "Connections that could not be accepted, for want of descriptors most of all.";
    CUTS = Counter "sterna_stream_cut_total" Count ["reason"] "Connections that the node refused or ended, by reason; docs/METRICS.md lists them.";
    STREAM_DROPPED = Counter "sterna_stream_frames_dropped_total" Count [] "Frames dropped because their client was behind; the oldest goes first.";
    STREAM_OVER_BUDGET = Counter "sterna_stream_frames_over_budget_total" Count [] "Those of them that were dropped because limits.tcp_queues_bytes_max was reached: many clients read too little.";
    STREAM_QUEUED = Gauge "sterna_stream_queue_bytes" Bytes [] "Memory of what waits for TCP and TLS clients, which limits.tcp_queues_bytes_max bounds.";
    FLOW_SESSIONS = Gauge "flow_sessions" Count ["rung"] "Sessions of the flow relay whose devices have spoken, by what carries them.";
    FLOW_FLOWS = Gauge "flow_flows" Count [] "Ends of flows that are open: two for a pair of devices that are both here.";
    FLOW_SESSIONS_TOTAL = Counter "flow_sessions_total" Count ["rung"] "Sessions that began.";
    FLOW_ENDED = Counter "flow_sessions_ended_total" Count ["reason"] "Sessions that ended, by reason.";
    FLOW_REFUSED = Counter "flow_refusals_total" Count ["code"] "Handshakes and requests of devices that were refused, by code.";
    FLOW_HANDSHAKES = Counter "flow_handshakes_total" Count ["step"] "Handshakes: addresses that were asked to prove themselves (cookie), sessions welcomed (welcome), welcomes repeated for a repeated request (repeated).";
    FLOW_PACKETS = Counter "flow_packets_total" Count ["rung", "direction"] "Data frames taken from devices of a rung and relayed (in), and sent to devices of a rung (out).";
    FLOW_BYTES = Counter "flow_bytes_total" Bytes ["rung", "direction"] "Payload bytes of those.";
    FLOW_DROPPED = Counter "flow_packets_dropped_total" Count ["reason"] "Frames of the flow relay that went nowhere, by reason.";
    FLOW_CROSSED = Counter "flow_crossed_total" Count ["kind"] "Packets handed to another thread: for a device that lives there (payload), or because they reached the wrong worker (datagram).";
    FLOW_MOVED = Counter "flow_sessions_moved_total" Count ["kind"] "Sessions that moved to another address (rebound), became passive because their device has a newer one (displaced), or active again (promoted).";
    FLOW_SOJOURN = Gauge "flow_queue_sojourn_seconds" Seconds ["quantile"] "How long packets waited for QUIC and WebSocket devices since the start, rounded up to a power of two.";
    FLOW_MARKED = Counter "flow_queue_marked_total" Count [] "Packets that waited too long and were marked (ECN) instead of dropped.";
    FLOW_OVERSIZE = Counter "flow_oversize_total" Count ["action"] "Packets longer than what their receiver's path carries, by what was done: dropped.";
    FLOW_CONNECTIONS = Gauge "flow_connections" Count ["rung"] "QUIC connections and WebSockets that are open.";
    FLOW_CONNECTIONS_TOTAL = Counter "flow_connections_total" Count ["result"] "QUIC connections and WebSockets: taken (accepted), refused by a cap, answered because they asked for a page of HTTP instead (health checks), failed in their handshake, sent away for a token under load (retried), or cut because their device said or took nothing.";
    PEER_CONNECTIONS = Gauge "sterna_tcp_peer_connections" Count ["state"] "TCP connections to peers that wait for a client's ConnectionBind, and that are joined with a client's (turn.tcp_allocations).";
    PEER_CONNECTIONS_TOTAL = Counter "turn_tcp_peer_connections_total" Count ["result"] "TCP connections to and from peers by what the node made of them: connected and not_connected (asked by a client), accepted and announced, without_permission or beyond a cap and closed, bound by a client, unbound within 30 s and closed.";
    PEER_CONNECTS = Counter "sterna_tcp_peer_connects_total" Count ["result"] "Attempts to connect to peers, by what came of them; docs/METRICS.md lists them.";
    PEER_ENDS = Counter "sterna_tcp_peer_ended_total" Count ["reason"] "Joined connections of a client and a peer that ended, by reason; docs/METRICS.md lists them.";
    PEER_BYTES = Counter "sterna_tcp_peer_bytes_total" Bytes ["direction"] "Bytes relayed between joined TCP connections.";
    PEER_ACCEPT_ERRORS = Counter "sterna_tcp_peer_accept_errors_total" Count [] "Connections of peers that could not be accepted, for want of descriptors most of all.";
    ALLOCATIONS_TCP = Counter "turn_allocations_tcp_total" Count [] "Allocations made that relay TCP connections.";
    CERTIFICATE = Gauge "sterna_tls_certificate_expiry_timestamp_seconds" Seconds [] "When the TLS certificate ends, in seconds since 1970.";
    CONTROL_REGISTERED = Gauge "sterna_control_registered" Count [] "1 while the control service knows the node and was heard within three heartbeats; 0 else, and on a node without control.url.";
    CONTROL_AGE = Gauge "sterna_control_heartbeat_age_seconds" Seconds [] "Since the control service answered last, or since the node's start where it has not yet; 0 on a node without control.url. A node that it does not answer goes on serving.";
    CONTROL_REACHABLE = Gauge "sterna_control_reachable" Count [] "1 while the node reaches itself at an address that it tells devices. Where it does not, it is left out of the relay map.";
    CONTROL_ORDERS = Gauge "sterna_control_orders_version" Count [] "The version of the control service's orders that the node follows; 0: none yet.";
    CONTROL_REQUESTS = Counter "sterna_control_requests_total" Count ["call", "result"] "Calls of the control service: answered, refused (the log and GET /control say why), or unreachable.";
    ACME_ORDERS = Counter "sterna_acme_orders_total" Count ["result"] "Orders at the ACME authority (tls.acme): issued, or failed, which the log explains. Watch the certificate's end too: a node whose orders fail serves the old one until then.";
}

/// `docs/METRICS.md`.
pub fn markdown() -> String {
    let mut text = rows(
        "# Node metrics\n\n\
         <!-- Generated from relay/node/src/metrics by `cargo xtask docs`. -->\n\n\
         `GET /metrics` on the admin listener, in Prometheus' text format. Counters begin at 0 when the node starts and are \
         sums over its workers. No address, no user name and no key is ever a label.\n\n",
        METRICS,
    );
    values(
        &mut text,
        (
            "Why a packet was dropped",
            "`reason` of `sterna_packets_dropped_total`.",
            "reason",
        ),
        DropReason::ALL
            .iter()
            .map(|reason| (reason.as_str(), reason.describe())),
    );
    text.push_str(
        "\n## Why an allocation ended\n\n`reason` of `turn_allocations_ended_total`.\n\n",
    );
    for reason in EndReason::ALL {
        let _ = writeln!(text, "- `{}`", reason.as_str());
    }
    values(
        &mut text,
        (
            "Why a connection was cut",
            "`reason` of `sterna_stream_cut_total`.",
            "reason",
        ),
        CutReason::ALL
            .iter()
            .map(|reason| (reason.as_str(), reason.describe())),
    );
    values(
        &mut text,
        (
            "What came of a connect to a peer",
            "`result` of `sterna_tcp_peer_connects_total`.",
            "result",
        ),
        ConnectResult::ALL
            .iter()
            .map(|result| (result.as_str(), result.describe())),
    );
    values(
        &mut text,
        (
            "Why joined connections ended",
            "`reason` of `sterna_tcp_peer_ended_total`.",
            "reason",
        ),
        PeerEnd::ALL
            .iter()
            .map(|end| (end.as_str(), end.describe())),
    );
    text
}
