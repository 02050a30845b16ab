//! What there is to say about each key: the one table behind `sterna control explain` and
//! `docs/CONTROL_CONFIG.md`. Defaults are read from `Config::default()`.

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
}

/// The form of a value, which is also how `--set` and the environment spell it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// A text.
    Text,
    /// A path, relative to where the service was started.
    Path,
    /// ADDRESS:PORT.
    Socket,
    /// A whole number between both, inclusive.
    Number(u64, u64),
    /// true or false.
    Flag,
    /// One of these.
    Choice(&'static [&'static str]),
}

impl Kind {
    /// What a value looks like.
    #[must_use]
    pub fn form(self) -> String {
        match self {
            Self::Text => "a text".to_owned(),
            Self::Path => "a path".to_owned(),
            Self::Socket => "ADDRESS:PORT, such as \"127.0.0.1:8478\"".to_owned(),
            Self::Number(min, max) => format!("a whole number from {min} to {max}"),
            Self::Flag => "true or false".to_owned(),
            Self::Choice(choices) => choices
                .iter()
                .map(|choice| format!("\"{choice}\""))
                .collect::<Vec<_>>()
                .join(" or "),
        }
    }
}

impl Key {
    /// The part before the dot.
    #[must_use]
    pub fn section(&self) -> &'static str {
        self.path.split_once('.').map_or("", |(section, _)| section)
    }

    /// The part behind the dot.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.path
            .split_once('.')
            .map_or(self.path, |(_, name)| name)
    }

    /// The environment variable that sets it.
    #[must_use]
    pub fn variable(&self) -> String {
        let name = self.path.strip_prefix("control.").unwrap_or(self.path);
        format!("STERNA_CONTROL_{}", name.replace('.', "_").to_uppercase())
    }
}

/// The key of a path.
#[must_use]
pub fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

/// The key whose path is most like this one.
#[must_use]
pub fn nearest(path: &str) -> &'static Key {
    KEYS.iter()
        .min_by_key(|key| strsim::damerau_levenshtein(key.path, path))
        .expect("invariant: the table of keys is not empty")
}

/// The sections in the order of the documents, with a line on each.
pub const SECTIONS: &[(&str, &str)] = &[
    ("control", "The service itself, and where it listens."),
    (
        "database",
        "Where everything is kept that must survive a restart.",
    ),
    ("heartbeat", "How nodes report."),
    (
        "credentials",
        "How long what devices and people get is good for.",
    ),
    ("limits", "Caps. Each that is hit is counted."),
    ("log", "What is written to standard error."),
];

const fn key(path: &'static str, unit: &'static str, kind: Kind, meaning: &'static str) -> Key {
    Key {
        path,
        meaning,
        unit,
        kind,
    }
}

const MANY: Kind = Kind::Number(1, 1_000_000);

/// Every key, section by section.
pub const KEYS: &[Key] = &[
    key(
        "control.listen",
        "",
        Kind::Socket,
        "Where the service listens: the API, the WebSocket, health and metrics.",
    ),
    key(
        "control.public_url",
        "",
        Kind::Text,
        "How nodes and devices reach it, such as `https://control.example.org`. Requests are signed over its host and port; empty: the `host` header of the request is taken as it comes.",
    ),
    key(
        "control.tls_certificate",
        "",
        Kind::Path,
        "The certificate chain, PEM. Without it the service speaks plain HTTP, which it refuses beyond loopback.",
    ),
    key(
        "control.tls_key",
        "",
        Kind::Path,
        "The certificate's key, PEM.",
    ),
    key(
        "control.insecure_http",
        "",
        Kind::Flag,
        "Listen with plain HTTP beyond loopback, because a proxy in front ends TLS.",
    ),
    key(
        "control.behind_proxy",
        "",
        Kind::Flag,
        "Take a caller's address from the last entry of `x-forwarded-for`. Only behind a proxy that sets it; anybody else could choose the address by which rates are counted.",
    ),
    key(
        "control.fleet",
        "",
        Kind::Text,
        "The fleet's name: 1 to 32 of a-z, 0-9, '-', '.' and '_'. Tickets are made out to it, and nodes take it from here.",
    ),
    key(
        "control.data_dir",
        "",
        Kind::Path,
        "Where the embedded database and the first administrator's token are kept. A directory that only the service's user can read.",
    ),
    key(
        "database.url",
        "",
        Kind::Text,
        "`sqlite:PATH`, or `postgres://user:password@host/name` for several replicas. Empty: `control.db` in `control.data_dir`.",
    ),
    key(
        "database.key_file",
        "",
        Kind::Path,
        "The key that secrets in the database are encrypted with; made at the first start. Not set: `control.key` in `control.data_dir`. All replicas need the same, and a backup of the database is worth nothing without it.",
    ),
    key(
        "database.connections_max",
        "",
        Kind::Number(2, 256),
        "Connections to the database at a time.",
    ),
    key(
        "database.audit_days",
        "days",
        Kind::Number(0, 36_500),
        "How long entries of the audit log are kept: what is older is deleted, a thousand entries at a time. 0 keeps all.",
    ),
    key(
        "heartbeat.interval_s",
        "seconds",
        Kind::Number(1, 300),
        "Time between two heartbeats of a node. One that misses three leaves the relay map.",
    ),
    key(
        "credentials.turn_ttl_s",
        "seconds",
        Kind::Number(60, 604_800),
        "How long TURN credentials let a device make allocations, unless it asks for less.",
    ),
    key(
        "credentials.turn_session_max_s",
        "seconds",
        Kind::Number(0, 2_592_000),
        "The largest `auth.session_max_s` of the fleet's nodes. A TURN secret that is no longer used can be retired when \
         this and `turn_ttl_s` have passed, since its retirement ends the sessions that it has let in.",
    ),
    key(
        "credentials.ticket_ttl_s",
        "seconds",
        Kind::Number(60, 3600),
        "How long a relay ticket is valid, unless a device asks for less.",
    ),
    key(
        "credentials.map_ttl_s",
        "seconds",
        Kind::Number(300, 2_592_000),
        "How long a device may use a relay map that it cannot renew.",
    ),
    key(
        "credentials.key_overlap_s",
        "seconds",
        Kind::Number(60, 604_800),
        "How long a device's keys before a rotation still count beside the new ones.",
    ),
    key(
        "credentials.session_ttl_s",
        "seconds",
        Kind::Number(300, 2_592_000),
        "When a person who has logged in does so again.",
    ),
    key(
        "credentials.turn_nodes_max",
        "nodes",
        Kind::Number(1, 16),
        "Nodes that the URIs of TURN credentials name.",
    ),
    key(
        "limits.connections_max",
        "connections",
        MANY,
        "Connections at a time, WebSockets among them; more are closed unread.",
    ),
    key(
        "limits.websockets_max",
        "connections",
        MANY,
        "WebSockets at a time; more are answered 503.",
    ),
    key(
        "limits.request_s_max",
        "seconds",
        Kind::Number(1, 300),
        "How long a request may take, its body's arrival included.",
    ),
    key(
        "limits.requests_per_address_per_s",
        "requests a second",
        MANY,
        "Requests of one address (IPv6: its /56), ten seconds' worth at once; more are answered 429. Nodes and devices behind one NAT share it.",
    ),
    key(
        "limits.requests_per_caller_per_s",
        "requests a second",
        MANY,
        "Requests of one node, device, token or session that has proved who it is, ten seconds' worth at once.",
    ),
    key(
        "limits.attempts_per_address_per_min",
        "attempts a minute",
        MANY,
        "Requests of one address that show no proof which holds: wrong passwords, signatures and tokens. Beyond it the address is answered 429 without a look at its proof.",
    ),
    key(
        "limits.logins_per_name_per_min",
        "attempts a minute",
        MANY,
        "Attempts to log in with one name, whether there is such a person or not.",
    ),
    key(
        "limits.signals_per_device_per_s",
        "messages a second",
        MANY,
        "Messages that one device may send over its WebSocket, ten seconds' worth at once; one that goes on is closed with 4008.",
    ),
    key(
        "limits.signals_queued_max",
        "messages",
        Kind::Number(4, 4096),
        "Messages that wait for a device which does not keep up; more are refused to their sender.",
    ),
    key(
        "log.level",
        "",
        Kind::Choice(&["error", "warn", "info", "debug", "trace"]),
        "What is written.",
    ),
    key(
        "log.format",
        "",
        Kind::Choice(&["text", "json"]),
        "How it is written: for people, or an object a line for collectors.",
    ),
];
