//! What there is to say about each key: the one table behind `config explain`, `config defaults`
//! and `docs/CONFIG.md`.
//!
//! Defaults are not here: they are read from `Config::default()`, so that they cannot differ from
//! what the node does.

/// One configuration key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// `section.key`.
    pub path: &'static str,
    /// What it does, in a sentence or two.
    pub meaning: &'static str,
    /// The unit of its value, or nothing.
    pub unit: &'static str,
    /// The form of its value.
    pub kind: Kind,
    /// What is sensible, where the form alone does not say it.
    pub advice: &'static str,
    /// Whether SIGHUP and `POST /reload` apply it; otherwise a restart does.
    pub reload: bool,
}

/// The form of a value, which is also how `--set` and the environment spell it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// A text.
    Text,
    /// A text that is never shown.
    Secret,
    /// A path, relative to where the node was started.
    Path,
    /// ADDRESS:PORT.
    Socket,
    /// A whole number between both, inclusive.
    Number(u64, u64),
    /// true or false.
    Flag,
    /// One of these.
    Choice(&'static [&'static str]),
    /// `copy`, or six bits.
    Dscp,
    /// LOW-HIGH.
    PortRange,
    /// Texts; in the environment separated by commas.
    List,
    /// Texts that are never shown; in the environment separated by commas.
    SecretList,
    /// `{ name, password }`; in the environment `name:password`, separated by commas.
    Users,
    /// Tables of several keys, such as this one; in the environment as TOML.
    Tables(&'static str),
    /// Address = address; in the environment `internal=public`, separated by commas.
    AddressMap,
    /// A table, `{ … }`, in the environment too.
    Table,
}

impl Key {
    /// The part before the dot.
    pub fn section(&self) -> &'static str {
        self.path.split_once('.').map_or("", |(section, _)| section)
    }

    /// The part behind the dot.
    pub fn name(&self) -> &'static str {
        self.path
            .split_once('.')
            .map_or(self.path, |(_, name)| name)
    }

    /// The environment variable that sets it.
    pub fn variable(&self) -> String {
        format!("STERNA_{}", self.path.replace('.', "_").to_uppercase())
    }
}

/// The sections in the order of the documents, with a line on each.
pub const SECTIONS: &[(&str, &str)] = &[
    ("node", "The process itself."),
    ("turn", "Where the node listens, and what it relays from."),
    (
        "flow",
        "The relay between devices that know each other by public key: over UDP, QUIC and WebSocket. Off without `ticket_keys`, here or from the control service.",
    ),
    (
        "tcp",
        "TCP and TLS clients that come through a load balancer.",
    ),
    (
        "auth",
        "Who may relay. Without users, secrets or keys the node does not start, unless `open_relay` is set.",
    ),
    (
        "peers",
        "Whom the node relays to: `deny`, then `allow`, then the built-in list of private and special addresses.",
    ),
    (
        "limits",
        "Caps. Where 0 is allowed, it means no cap but what ports, descriptors and the buffer pool allow.",
    ),
    (
        "tls",
        "The certificate of the TLS listeners: files, or `acme`; without either, a self-signed one is made in `node.data_dir`. The files are watched: a renewed certificate is served within some ten seconds, once both files fit each other.",
    ),
    (
        "admin",
        "Health, metrics and administration, on a listener of their own.",
    ),
    (
        "control",
        "The control service of the fleet that the node belongs to: it sends TURN secrets, ticket keys, limits and what is revoked, and shows devices the way here. What it sent last lies in `orders.json` in `node.data_dir`, so that the node serves, and starts, without it.",
    ),
    ("log", "What is written to standard error."),
];

const U32: u64 = u32::MAX as u64;

/// Every key, section by section.
pub const KEYS: &[Key] = &[
    Key {
        path: "node.name",
        meaning: "What the operator calls this node, in logs and metrics. Empty: the host's name.",
        unit: "",
        kind: Kind::Text,
        advice: "",
        reload: false,
    },
    Key {
        path: "node.region",
        meaning: "Where the node stands, in logs and metrics; of a node with `control.url` the code of its region in the fleet.",
        unit: "",
        kind: Kind::Text,
        advice: "",
        reload: false,
    },
    Key {
        path: "node.data_dir",
        meaning: "Where the node keeps what must survive a restart, such as the self-signed certificate.",
        unit: "",
        kind: Kind::Path,
        advice: "a directory that only the node's user can read",
        reload: false,
    },
    Key {
        path: "node.workers",
        meaning: "Worker threads, each with its own sockets, buffers and allocations. 0: one a core.",
        unit: "threads",
        kind: Kind::Number(0, 64),
        advice: "0, or fewer than cores where the host does other work",
        reload: false,
    },
    Key {
        path: "node.engine",
        meaning: "The UDP back end. `auto` takes io_uring where the kernel lets it and says which one runs and why.",
        unit: "",
        kind: Kind::Choice(&["auto", "uring", "mmsg"]),
        advice: "auto",
        reload: false,
    },
    Key {
        path: "node.drain_deadline_s",
        meaning: "How long a drain waits for sessions to end by themselves; what is left then is ended.",
        unit: "seconds",
        kind: Kind::Number(0, 86_400),
        advice: "600 to 3600",
        reload: true,
    },
    Key {
        path: "turn.listen",
        meaning: "UDP and TCP listeners for STUN and TURN. A TLS handshake on the TCP side is recognised and served. An unspecified address means every address of the host.",
        unit: "ADDRESS:PORT",
        kind: Kind::List,
        advice: "",
        reload: false,
    },
    Key {
        path: "turn.tls_listen",
        meaning: "Listeners that take nothing but TLS over TCP.",
        unit: "ADDRESS:PORT",
        kind: Kind::List,
        advice: "port 5349, or 443 to pass strict firewalls",
        reload: false,
    },
    Key {
        path: "turn.alternate_listen",
        meaning: "The second address and port of NAT behaviour discovery (RFC 5780), at most one IPv4 and one IPv6; empty: off. With the first concrete address of its family in turn.listen, it makes four UDP sockets: both addresses on both ports. Binding answers then tell of them, and are sent from another one when asked.",
        unit: "ADDRESS:PORT",
        kind: Kind::List,
        advice: "another address of this host than in turn.listen, on another port, such as 3479; UDP to both addresses on both ports must pass the firewall",
        reload: false,
    },
    Key {
        path: "turn.alternate_server",
        meaning: "Servers that new clients are sent to which this node does not take (300, ALTERNATE-SERVER): one of the client's address family at random, by `turn.alternate_when`. Only clients that have shown credentials are sent away, so those must be good there too; whoever has an allocation keeps it. Empty: such clients get 508.",
        unit: "ADDRESS:PORT",
        kind: Kind::List,
        advice: "one of each address family that clients have, in its public form",
        reload: true,
    },
    Key {
        path: "turn.alternate_tls_server",
        meaning: "The same for clients over TLS. Empty: those of `turn.alternate_server`.",
        unit: "ADDRESS:PORT",
        kind: Kind::List,
        advice: "needed where the other server's TLS has a port of its own, such as 5349",
        reload: true,
    },
    Key {
        path: "turn.alternate_domain",
        meaning: "The name in the certificate of those TLS servers, where it differs from this node's (ALTERNATE-DOMAIN). TLS clients older than RFC 8489 would check this node's name there, and get 508. Empty: the same name.",
        unit: "",
        kind: Kind::Text,
        advice: "",
        reload: true,
    },
    Key {
        path: "turn.alternate_when",
        meaning: "When clients are sent to the alternate servers: while the node drains (draining); then and when `limits.allocations_max` is reached or no port or socket is left (full); or always, on a node that is to take nobody any more.",
        unit: "",
        kind: Kind::Choice(&["draining", "full", "always"]),
        advice: "",
        reload: true,
    },
    Key {
        path: "turn.realm",
        meaning: "The realm of the long-term credentials. Passwords are hashed with it: a change locks out clients that cached a key.",
        unit: "",
        kind: Kind::Text,
        advice: "at most 12 characters: a longer one leaves no room for PASSWORD-ALGORITHMS within the amplification budget",
        reload: false,
    },
    Key {
        path: "turn.software",
        meaning: "The SOFTWARE attribute of answers over TCP and TLS and of authenticated ones. Empty leaves it out.",
        unit: "",
        kind: Kind::Text,
        advice: "no version number",
        reload: true,
    },
    Key {
        path: "turn.relay_ports",
        meaning: "Ports of relayed addresses; the firewall must let UDP to them pass.",
        unit: "LOW-HIGH",
        kind: Kind::PortRange,
        advice: "1024 or above, at least as many as allocations on one address",
        reload: false,
    },
    Key {
        path: "turn.lifetime_max_s",
        meaning: "The longest lifetime that an allocation or its refresh gets; clients refresh before it ends.",
        unit: "seconds",
        kind: Kind::Number(600, 86_400),
        advice: "600 to 3600: a client that vanished holds its port that long",
        reload: true,
    },
    Key {
        path: "turn.relay_addresses",
        meaning: "Addresses to relay from. A client gets the one that its packet came in on where that is among them, else any of its family. Empty: the addresses that are listened on.",
        unit: "ADDRESS",
        kind: Kind::List,
        advice: "",
        reload: false,
    },
    Key {
        path: "turn.external_addresses",
        meaning: "Addresses of this host as the outside knows them: internal = public. The public one is told to clients, and is understood when a peer names it.",
        unit: "ADDRESS = ADDRESS",
        kind: Kind::AddressMap,
        advice: "needed behind a one-to-one NAT, as at most cloud providers",
        reload: false,
    },
    Key {
        path: "turn.rfc5766_channels",
        meaning: "Lets clients bind channel numbers up to 0x7FFF, as RFC 5766 had it and older clients such as coturn's do; otherwise up to 0x4FFF (RFC 8656).",
        unit: "",
        kind: Kind::Flag,
        advice: "",
        reload: true,
    },
    Key {
        path: "turn.mobility",
        meaning: "Gives tickets to clients that ask, with which they take their allocation along to another address, port or connection (RFC 8016). Switched off, such clients get 405 and allocate anew; never in force on an open relay.",
        unit: "",
        kind: Kind::Flag,
        advice: "",
        reload: true,
    },
    Key {
        path: "turn.dscp",
        meaning: "The DSCP of relayed packets: `copy` keeps that of the packet that came in (RFC 8656 §14), a number sets the same for all, STUN answers too. ECN bits are kept either way. What came over TCP or TLS leaves with 0 under `copy`.",
        unit: "",
        kind: Kind::Dscp,
        advice: "`0` where clients' marks must not count in your network, `46` (EF) where it honours that for media",
        reload: false,
    },
    Key {
        path: "turn.tcp_allocations",
        meaning: "Relays TCP connections too (RFC 6062), for clients over TCP and TLS: a client then asks the node to connect to peers, and peers that it has permitted can connect to the relayed address. A port is used for datagrams or for connections, never for both.",
        unit: "",
        kind: Kind::Flag,
        advice: "off unless a client needs it: browsers do not. Switching it off leaves allocations that live",
        reload: true,
    },
    Key {
        path: "turn.nat64_prefixes",
        meaning: "NAT64 prefixes of this network. Peers inside them are judged by the IPv4 address that they contain; `64:ff9b::/96` always is.",
        unit: "CIDR",
        kind: Kind::List,
        advice: "",
        reload: true,
    },
    Key {
        path: "flow.udp",
        meaning: "Whether devices may send flow frames to the UDP listeners of [turn].",
        unit: "",
        kind: Kind::Flag,
        advice: "true, also where the other rungs are served: it costs least",
        reload: false,
    },
    Key {
        path: "flow.quic_listen",
        meaning: "UDP listeners of the QUIC rung, for networks that let UDP pass to port 443 only.",
        unit: "",
        kind: Kind::List,
        advice: "[\"0.0.0.0:443\", \"[::]:443\"]",
        reload: false,
    },
    Key {
        path: "flow.wss_listen",
        meaning: "TCP listeners of the WebSocket rung, for networks that let no UDP pass.",
        unit: "",
        kind: Kind::List,
        advice: "[\"0.0.0.0:443\", \"[::]:443\"]",
        reload: false,
    },
    Key {
        path: "flow.ticket_keys",
        meaning: "The public keys whose tickets admit devices, old and new ones side by side, and beside those of the control service. None at all: the flow relay is off. `sterna token ticket-key` makes one.",
        unit: "",
        kind: Kind::List,
        advice: "a new key here before it signs; the old one out when its last ticket has expired",
        reload: true,
    },
    Key {
        path: "flow.fleet",
        meaning: "The fleet that tickets must be made out to. The control service, where there is one, says which instead.",
        unit: "",
        kind: Kind::Text,
        advice: "1 to 32 of a-z, 0-9, '-', '.' and '_'",
        reload: true,
    },
    Key {
        path: "flow.ticket_grace_s",
        meaning: "How long after its ticket's expiry a known device is served, for when the control service is down.",
        unit: "seconds",
        kind: Kind::Number(0, 604_800),
        advice: "0, or the longest outage to be bridged",
        reload: true,
    },
    Key {
        path: "flow.alternates",
        meaning: "Nodes that devices are sent to when this one drains, by their ids (`sterna token relay-node`). A device that has a link to a spare node goes there; the others go to one of these that they know from their map.",
        unit: "",
        kind: Kind::List,
        advice: "none where every device has a spare; at most 8",
        reload: true,
    },
    Key {
        path: "tcp.proxy_protocol_from",
        meaning: "Load balancers. A TCP, TLS or WebSocket connection from one of these ranges must begin with a PROXY header (version 1 or 2), and the client's address is taken from it, for caps, quotas and XOR-MAPPED-ADDRESS alike; without a valid one it is cut. From anywhere else a PROXY header is garbage.",
        unit: "CIDR",
        kind: Kind::List,
        advice: "the load balancer's own addresses and nothing more: whoever connects from there can claim to be anybody",
        reload: true,
    },
    Key {
        path: "auth.users",
        meaning: "Users of long-term credentials: `[{ name = \"…\", password = \"…\" }]`.",
        unit: "",
        kind: Kind::Users,
        advice: "passwords of 16 random characters or more",
        reload: true,
    },
    Key {
        path: "auth.secrets",
        meaning: "Shared secrets of time-limited credentials (TURN REST), newest first; all are accepted, so that one can be rolled over. A reload that removes one ends the allocations that were made with it at once.",
        unit: "",
        kind: Kind::SecretList,
        advice: "32 random characters or more; to roll over, put the next one in front and keep the old one as long as its sessions may last",
        reload: true,
    },
    Key {
        path: "auth.oauth_keys",
        meaning: "Keys shared with authorisation servers, whose access tokens clients may bring instead of a password (RFC 7635): `[{ kid = \"…\", key = \"…\" }]`, the key in base64, `algorithm` `A256GCM` (the default) or `A128GCM`, and for rollover `not_before_unix_s` and `not_after_unix_s`, outside of which its tokens are refused. A reload that removes a key, or gives its kid another one, ends the allocations of its tokens at once.",
        unit: "",
        kind: Kind::Tables("[{ kid = \"2026-11\", key = \"…\" }]"),
        advice: "one key for each authorisation server; to roll one over, list the next one beside it a token's lifetime ahead (`sterna token oauth-key` makes one)",
        reload: true,
    },
    Key {
        path: "auth.oauth_server_name",
        meaning: "The name of this server that access tokens are sealed for, and that 401 answers tell (THIRD-PARTY-AUTHORIZATION) where `auth.oauth_keys` is set. Empty: the realm.",
        unit: "",
        kind: Kind::Text,
        advice: "short: over UDP it is told where it fits into 3.5 times the request's length; over TCP and TLS always",
        reload: true,
    },
    Key {
        path: "auth.session_max_s",
        meaning: "How long an allocation may live in all, refreshes included. Time-limited credentials make no new one once their time is over, but one that lives goes on up to this.",
        unit: "seconds",
        kind: Kind::Number(600, 31_536_000),
        advice: "a day",
        reload: true,
    },
    Key {
        path: "auth.password_algorithms",
        meaning: "Offers clients a choice of password algorithms, SHA-256 before MD5, and, where there are no `auth.secrets`, to hash their user name (RFC 8489). Older clients do not notice and go on with MD5; off is for one that stumbles over the offer.",
        unit: "",
        kind: Kind::Flag,
        advice: "true",
        reload: true,
    },
    Key {
        path: "auth.open_relay",
        meaning: "Relays for everybody, without credentials. For closed networks and tests only: anybody can send packets through this host.",
        unit: "",
        kind: Kind::Flag,
        advice: "false",
        reload: true,
    },
    Key {
        path: "peers.allow",
        meaning: "Peers that the built-in list would refuse. An address that is named here may also be reached on ports below 1024.",
        unit: "CIDR",
        kind: Kind::List,
        advice: "as narrow as possible: what is allowed here can be reached by every user",
        reload: true,
    },
    Key {
        path: "peers.deny",
        meaning: "Peers that are refused, whatever `allow` says. A reload cuts off sessions with them at once.",
        unit: "CIDR",
        kind: Kind::List,
        advice: "the networks behind this host",
        reload: true,
    },
    Key {
        path: "peers.users",
        meaning: "What differs for single accounts: `[{ name = \"…\", allow = […], deny = […] }]`, with limits of their own where given: `allocations_max`, `session_packets_per_s`, `session_bytes_per_s`. The name is a user's, of time-limited names the part behind the colon, of access tokens their kid. The order is: `deny` of the node and of the account, then `allow` of both, then the built-in list. The node's own listeners, 6to4 and Teredo are refused to everybody, and its relayed addresses lead to living relays only.",
        unit: "",
        kind: Kind::Tables("[{ name = \"alice\", allow = [\"10.1.0.0/16\"] }]"),
        advice: "as narrow as possible",
        reload: true,
    },
    Key {
        path: "limits.allocations_max",
        meaning: "Allocations of the node. 0: no cap.",
        unit: "allocations",
        kind: Kind::Number(0, U32),
        advice: "",
        reload: true,
    },
    Key {
        path: "limits.allocations_per_user_max",
        meaning: "Allocations of one user; of time-limited names, the part behind the colon is the user. 0: no cap.",
        unit: "allocations",
        kind: Kind::Number(0, U32),
        advice: "",
        reload: true,
    },
    Key {
        path: "limits.allocations_per_prefix_max",
        meaning: "Allocations of one source prefix (/24, /56). 0: no cap.",
        unit: "allocations",
        kind: Kind::Number(0, U32),
        advice: "",
        reload: true,
    },
    Key {
        path: "limits.permissions_per_allocation_max",
        meaning: "Permissions that one allocation holds at a time.",
        unit: "permissions",
        kind: Kind::Number(1, 65_535),
        advice: "",
        reload: true,
    },
    Key {
        path: "limits.channels_per_allocation_max",
        meaning: "Channels that one allocation holds at a time.",
        unit: "channels",
        kind: Kind::Number(1, 4096),
        advice: "",
        reload: true,
    },
    Key {
        path: "limits.new_peers_per_allocation_per_s",
        meaning: "Peers that one allocation may name anew within a second, so that a relay is no port scanner. 0: no cap.",
        unit: "peers a second",
        kind: Kind::Number(0, U32),
        advice: "",
        reload: true,
    },
    Key {
        path: "limits.tcp_connections_max",
        meaning: "TCP and TLS connections of the node. One more is closed at once.",
        unit: "connections",
        kind: Kind::Number(1, 1_000_000),
        advice: "below the descriptor limit, which relay sockets share",
        reload: true,
    },
    Key {
        path: "limits.tcp_connections_per_prefix_max",
        meaning: "TCP and TLS connections of one source prefix (/24, /56). 0: no cap.",
        unit: "connections",
        kind: Kind::Number(0, U32),
        advice: "",
        reload: true,
    },
    Key {
        path: "limits.tcp_unauthenticated_idle_s",
        meaning: "How long a connection without an allocation may send no whole frame before it is closed.",
        unit: "seconds",
        kind: Kind::Number(1, 3600),
        advice: "10 to 60",
        reload: true,
    },
    Key {
        path: "limits.tcp_handshake_s",
        meaning: "How long a TLS handshake may take, and a PROXY header before it.",
        unit: "seconds",
        kind: Kind::Number(1, 300),
        advice: "5 to 15",
        reload: true,
    },
    Key {
        path: "limits.tcp_write_stall_s",
        meaning: "How long a client may take nothing of what is queued for it before it is cut off.",
        unit: "seconds",
        kind: Kind::Number(1, 3600),
        advice: "10 to 60",
        reload: true,
    },
    Key {
        path: "limits.tcp_queue_bytes_max",
        meaning: "Bytes that wait for the client of one connection. Beyond, the oldest whole frame is dropped: late media is worth less than new.",
        unit: "bytes",
        kind: Kind::Number(70_000, 16_777_216),
        advice: "the rate of a session times the delay that is still of use",
        reload: true,
    },
    Key {
        path: "limits.tcp_queues_bytes_max",
        meaning: "Memory of what waits for the clients of all connections together. Beyond, a connection that has more than 16 KiB waiting loses its oldest frames for each new one, so that many clients that read nothing neither take the host's memory nor starve the others.",
        unit: "bytes",
        kind: Kind::Number(1_048_576, 1 << 40),
        advice: "a quarter of the memory that the node may use, at most",
        reload: true,
    },
    Key {
        path: "limits.tcp_peer_connections_max",
        meaning: "TCP connections between the node and peers (`turn.tcp_allocations`). One more to a peer is refused, one more from a peer is closed at once. 0: no cap.",
        unit: "connections",
        kind: Kind::Number(0, U32),
        advice: "each takes a descriptor beside its client's, and at worst half a MiB of the kernel's memory",
        reload: true,
    },
    Key {
        path: "limits.tcp_peer_connections_per_allocation_max",
        meaning: "TCP connections between one allocation and peers, likewise. 0: no cap.",
        unit: "connections",
        kind: Kind::Number(0, U32),
        advice: "",
        reload: true,
    },
    Key {
        path: "limits.tcp_peer_idle_s",
        meaning: "How long no byte may pass between a client and a peer whose TCP connections are joined before both are closed; 30 s at most where one of them has closed its half.",
        unit: "seconds",
        kind: Kind::Number(1, 86_400),
        advice: "more than the keep-alive of what is relayed",
        reload: true,
    },
    Key {
        path: "limits.unauthenticated_replies_per_prefix_per_s",
        meaning: "Answers over UDP to sources of one prefix (/24, /56) that have proved nothing yet. 0: no cap.",
        unit: "answers a second",
        kind: Kind::Number(0, U32),
        advice: "",
        reload: true,
    },
    Key {
        path: "limits.failed_credentials_per_client_per_s",
        meaning: "Error answers to one address that holds a valid nonce and shows wrong credentials. 0: no cap.",
        unit: "answers a second",
        kind: Kind::Number(0, U32),
        advice: "",
        reload: true,
    },
    Key {
        path: "limits.icmp_per_allocation_per_s",
        meaning: "ICMP errors from peers' sides that one allocation's client is told. 0: no cap.",
        unit: "errors a second",
        kind: Kind::Number(0, 4_294_967_295),
        advice: "they can be forged; a few are enough to learn that a peer is gone or a path narrow",
        reload: true,
    },
    Key {
        path: "limits.session_packets_per_s",
        meaning: "Packets of one allocation, both ways together; relayed TCP connections have none. 0: no cap.",
        unit: "packets a second",
        kind: Kind::Number(0, U32),
        advice: "",
        reload: true,
    },
    Key {
        path: "limits.session_bytes_per_s",
        meaning: "Payload bytes of one allocation, both ways together. Beyond, packets are dropped, and relayed TCP connections slowed down. 0: no cap.",
        unit: "bytes a second",
        kind: Kind::Number(0, i64::MAX as u64),
        advice: "",
        reload: true,
    },
    Key {
        path: "limits.flow_sessions_max",
        meaning: "Sessions of the flow relay. 0: no cap.",
        unit: "sessions",
        kind: Kind::Number(0, U32),
        advice: "",
        reload: true,
    },
    Key {
        path: "limits.flow_sessions_per_tenant_max",
        meaning: "Sessions of one tenant of the flow relay. 0: no cap.",
        unit: "sessions",
        kind: Kind::Number(0, U32),
        advice: "",
        reload: true,
    },
    Key {
        path: "limits.flow_flows_per_session_max",
        meaning: "Flows that one session may have open, where its ticket does not say less.",
        unit: "flows",
        kind: Kind::Number(1, 65_535),
        advice: "the number of peers that a device talks to at a time",
        reload: true,
    },
    Key {
        path: "limits.flow_handshakes_per_prefix_per_s",
        meaning: "Handshakes of the flow relay of one source prefix (/24, /56) in a second, on each thread; beyond, silence. 0: no cap.",
        unit: "handshakes a second",
        kind: Kind::Number(0, U32),
        advice: "",
        reload: true,
    },
    Key {
        path: "limits.flow_handshakes_per_s",
        meaning: "Handshakes of the flow relay in a second, on each thread; beyond, devices are told that the node is busy. 0: no cap.",
        unit: "handshakes a second",
        kind: Kind::Number(0, U32),
        advice: "what a core can do beside relaying",
        reload: true,
    },
    Key {
        path: "limits.flow_connections_max",
        meaning: "QUIC connections and WebSockets of the flow relay.",
        unit: "connections",
        kind: Kind::Number(1, U32),
        advice: "",
        reload: false,
    },
    Key {
        path: "limits.flow_connections_per_prefix_max",
        meaning: "QUIC connections and WebSockets of one source prefix (/24, /56). 0: no cap.",
        unit: "connections",
        kind: Kind::Number(0, U32),
        advice: "",
        reload: false,
    },
    Key {
        path: "tls.certificate",
        meaning: "PEM file with the certificate and its chain.",
        unit: "",
        kind: Kind::Path,
        advice: "together with `tls.key`; both are read again on reload, and when they have changed",
        reload: true,
    },
    Key {
        path: "tls.key",
        meaning: "PEM file with the private key of the certificate.",
        unit: "",
        kind: Kind::Path,
        advice: "readable by the node's user only",
        reload: true,
    },
    Key {
        path: "tls.acme",
        meaning: "Obtain the certificate from an ACME authority (RFC 8555) instead, and renew it at two thirds of its life; setting this agrees to the authority's terms. `domains`: names, or addresses, that lead to this node. `directory`: the authority's URL (Let's Encrypt's by default). `contact`: mail addresses. `challenge`: `\"tls-alpn-01\"` (the default; the authority connects to port 443, which turn.tls_listen or a forwarded port must serve) or `\"http-01\"` (port 80, answered on `http_listen`, by default port 80 of every address). `ca_file`: roots for the directory's own certificate instead of the system's. `profile`: what to order where there are several. `external_account = { key_id, hmac_key }`: where the authority asks for one. Account and certificate are kept in `node.data_dir`/acme. Until the first certificate has come, a self-signed one is served.",
        unit: "",
        kind: Kind::Table,
        advice: "{ domains = [\"relay.example.org\"], contact = [\"ops@example.org\"] }, first with the authority's staging directory",
        reload: false,
    },
    Key {
        path: "admin.listen",
        meaning: "Where health, metrics and administration are served. Beyond loopback, `admin.token` must be set.",
        unit: "ADDRESS:PORT",
        kind: Kind::Socket,
        advice: "loopback or a monitoring network",
        reload: false,
    },
    Key {
        path: "admin.token",
        meaning: "The bearer token of administration. Health and metrics need none.",
        unit: "",
        kind: Kind::Secret,
        advice: "32 random characters or more",
        reload: true,
    },
    Key {
        path: "control.url",
        meaning: "Where the control service is. Empty: the node stands alone.",
        unit: "",
        kind: Kind::Text,
        advice: "https://HOST or https://HOST:PORT; plain http:// on this host only",
        reload: true,
    },
    Key {
        path: "control.join_token",
        meaning: "What the node shows to be let into the fleet, the first time; from then on it proves itself with the key in `node.data_dir`.",
        unit: "",
        kind: Kind::Secret,
        advice: "from `sterna token join --region REGION`; remove it once the node has registered",
        reload: true,
    },
    Key {
        path: "control.join_token_file",
        meaning: "A file that holds the join token instead; read whenever the token is needed.",
        unit: "",
        kind: Kind::Path,
        advice: "readable by the node's user only",
        reload: true,
    },
    Key {
        path: "control.insecure_http",
        meaning: "Lets `control.url` be http:// on another host: TURN secrets go over the network in clear.",
        unit: "",
        kind: Kind::Flag,
        advice: "false, but where something else protects the way, such as a tunnel",
        reload: true,
    },
    Key {
        path: "control.ca_file",
        meaning: "PEM file with the authorities that the service's certificate may be from, instead of the system's.",
        unit: "",
        kind: Kind::Path,
        advice: "for a service with a certificate of your own authority",
        reload: true,
    },
    Key {
        path: "log.level",
        meaning: "The least important level that is written. Client addresses are shown at debug and trace only.",
        unit: "",
        kind: Kind::Choice(&["error", "warn", "info", "debug", "trace"]),
        advice: "info",
        reload: true,
    },
    Key {
        path: "log.format",
        meaning: "One line a record, for people or for machines.",
        unit: "",
        kind: Kind::Choice(&["text", "json"]),
        advice: "",
        reload: false,
    },
];

/// Looks a key up by its path.
pub fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

/// The known key nearest to a path that is not one.
///
/// The same name in another section comes first: `turn.users` is a slip for `auth.users`.
pub fn nearest(path: &str) -> &'static Key {
    let path = path.to_lowercase().replace('-', "_");
    let name = path
        .rsplit_once('.')
        .map_or(path.as_str(), |(_, name)| name);
    let same_name = KEYS.iter().find(|key| key.name() == name);
    same_name
        .or_else(|| {
            KEYS.iter()
                .min_by_key(|key| strsim::damerau_levenshtein(key.path, &path))
        })
        .expect("invariant: the table of keys is not empty")
}
