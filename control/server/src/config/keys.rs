//! What there is to say about each key: the one table behind `sterna control explain` and
//! `docs/CONTROL_CONFIG.md`. Defaults are read from `Config::default()`.

use sterna_daemon::config::{Key, KeyTable, Kind, Section};

use super::DEFAULT_PORT;

const MANY: Kind = Kind::Number(1, 1_000_000);

/// The service's keys.
pub(super) const TABLE: KeyTable = KeyTable {
    sections: &[CONTROL, DATABASE, HEARTBEAT, CREDENTIALS, LIMITS, LOG],
    prefix: "STERNA_CONTROL_",
    implied: "control",
    // Of a node's section [control], whose variables begin alike.
    foreign: &[
        "STERNA_CONTROL_URL",
        "STERNA_CONTROL_JOIN_TOKEN",
        "STERNA_CONTROL_JOIN_TOKEN_FILE",
        "STERNA_CONTROL_CA_FILE",
        "STERNA_CONTROL_TOKEN",
    ],
    file_introduction: "# A Sterna control service, every key at its default. Keep only what you change.\n\
         # A flag (--set section.key=value) goes over the environment (STERNA_CONTROL_KEY), which goes over this file.\n",
    document_introduction: "# Control service configuration\n\n\
         <!-- Generated from control/server/src/config by `cargo xtask docs`. -->\n\n\
         The service reads one TOML file (`sterna control --config FILE`). Every key has a default, so an empty file is a \
         file. `--set section.key=value` goes over the environment variable, which goes over the file, which goes over the \
         default. Variables are called `STERNA_CONTROL_` and the key's path in capitals, without `control.` where the path \
         begins with it: `STERNA_CONTROL_LISTEN`, `STERNA_CONTROL_DATABASE_URL`.\n\n\
         An unknown key is an error that names the nearest known one. `sterna control check` reads the configuration as the \
         service would and reports everything that is wrong at once; `sterna control explain KEY` prints what is below; \
         `sterna control defaults` prints a file to start from.\n",
};

const CONTROL: Section = Section {
    name: "control",
    about: "The service itself, and where it listens.",
    keys: &[
        Key {
            path: "control.listen",
            meaning: "Where the service listens: the API, the WebSocket, health and metrics.",
            kind: Kind::Socket(DEFAULT_PORT),
            ..Key::PLAIN
        },
        Key {
            path: "control.public_url",
            meaning: "How nodes and devices reach it, such as `https://control.example.org`. Requests are signed over its host and port; empty: the `host` header of the request is taken as it comes.",
            ..Key::PLAIN
        },
        Key {
            path: "control.tls_certificate",
            meaning: "The certificate chain, PEM. Without it the service speaks plain HTTP, which it refuses beyond loopback.",
            kind: Kind::Path,
            ..Key::PLAIN
        },
        Key {
            path: "control.tls_key",
            meaning: "The certificate's key, PEM.",
            kind: Kind::Path,
            ..Key::PLAIN
        },
        Key {
            path: "control.insecure_http",
            meaning: "Listen with plain HTTP beyond loopback, because a proxy in front ends TLS.",
            kind: Kind::Flag,
            ..Key::PLAIN
        },
        Key {
            path: "control.behind_proxy",
            meaning: "Take a caller's address from the last entry of `x-forwarded-for`. Only behind a proxy that sets it; anybody else could choose the address by which rates are counted.",
            kind: Kind::Flag,
            ..Key::PLAIN
        },
        Key {
            path: "control.fleet",
            meaning: "The fleet's name: 1 to 32 of a-z, 0-9, '-', '.' and '_'. Tickets are made out to it, and nodes take it from here.",
            ..Key::PLAIN
        },
        Key {
            path: "control.data_dir",
            meaning: "Where the embedded database and the first administrator's token are kept. A directory that only the service's user can read.",
            kind: Kind::Path,
            ..Key::PLAIN
        },
    ],
};

const DATABASE: Section = Section {
    name: "database",
    about: "Where everything is kept that must survive a restart.",
    keys: &[
        Key {
            path: "database.url",
            meaning: "`sqlite:PATH`, or `postgres://user:password@host/name` for several replicas. Empty: `control.db` in `control.data_dir`.",
            ..Key::PLAIN
        },
        Key {
            path: "database.key_file",
            meaning: "The key that secrets in the database are encrypted with; made at the first start. Not set: `control.key` in `control.data_dir`. All replicas need the same, and a backup of the database is worth nothing without it.",
            kind: Kind::Path,
            ..Key::PLAIN
        },
        Key {
            path: "database.connections_max",
            meaning: "Connections to the database at a time.",
            kind: Kind::Number(2, 256),
            ..Key::PLAIN
        },
        Key {
            path: "database.audit_days",
            meaning: "How long entries of the audit log are kept: what is older is deleted, a thousand entries at a time. 0 keeps all.",
            unit: "days",
            kind: Kind::Number(0, 36_500),
            ..Key::PLAIN
        },
    ],
};

const HEARTBEAT: Section = Section {
    name: "heartbeat",
    about: "How nodes report.",
    keys: &[Key {
        path: "heartbeat.interval_s",
        meaning: "Time between two heartbeats of a node. One that misses three leaves the relay map.",
        unit: "seconds",
        kind: Kind::Number(1, 300),
        ..Key::PLAIN
    }],
};

const CREDENTIALS: Section = Section {
    name: "credentials",
    about: "How long what devices and people get is good for.",
    keys: &[
        Key {
            path: "credentials.turn_ttl_s",
            meaning: "How long TURN credentials let a device make allocations, unless it asks for less.",
            unit: "seconds",
            kind: Kind::Number(60, 604_800),
            ..Key::PLAIN
        },
        Key {
            path: "credentials.turn_session_max_s",
            meaning: "The largest `auth.session_max_s` of the fleet's nodes. A TURN secret that is no longer used can be retired when \
         this and `turn_ttl_s` have passed, since its retirement ends the sessions that it has let in.",
            unit: "seconds",
            kind: Kind::Number(0, 2_592_000),
            ..Key::PLAIN
        },
        Key {
            path: "credentials.ticket_ttl_s",
            meaning: "How long a relay ticket is valid, unless a device asks for less.",
            unit: "seconds",
            kind: Kind::Number(60, 3600),
            ..Key::PLAIN
        },
        Key {
            path: "credentials.map_ttl_s",
            meaning: "How long a device may use a relay map that it cannot renew.",
            unit: "seconds",
            kind: Kind::Number(300, 2_592_000),
            ..Key::PLAIN
        },
        Key {
            path: "credentials.key_overlap_s",
            meaning: "How long a device's keys before a rotation still count beside the new ones.",
            unit: "seconds",
            kind: Kind::Number(60, 604_800),
            ..Key::PLAIN
        },
        Key {
            path: "credentials.session_ttl_s",
            meaning: "When a person who has logged in does so again.",
            unit: "seconds",
            kind: Kind::Number(300, 2_592_000),
            ..Key::PLAIN
        },
        Key {
            path: "credentials.turn_nodes_max",
            meaning: "Nodes that the URIs of TURN credentials name.",
            unit: "nodes",
            kind: Kind::Number(1, 16),
            ..Key::PLAIN
        },
    ],
};

const LIMITS: Section = Section {
    name: "limits",
    about: "Caps. Each that is hit is counted.",
    keys: &[
        Key {
            path: "limits.connections_max",
            meaning: "Connections at a time, WebSockets among them; more are closed unread.",
            unit: "connections",
            kind: MANY,
            ..Key::PLAIN
        },
        Key {
            path: "limits.websockets_max",
            meaning: "WebSockets at a time; more are answered 503.",
            unit: "connections",
            kind: MANY,
            ..Key::PLAIN
        },
        Key {
            path: "limits.request_s_max",
            meaning: "How long a request may take, its body's arrival included.",
            unit: "seconds",
            kind: Kind::Number(1, 300),
            ..Key::PLAIN
        },
        Key {
            path: "limits.requests_per_address_per_s",
            meaning: "Requests of one address (IPv6: its /56), ten seconds' worth at once; more are answered 429. Nodes and devices behind one NAT share it.",
            unit: "requests a second",
            kind: MANY,
            ..Key::PLAIN
        },
        Key {
            path: "limits.requests_per_caller_per_s",
            meaning: "Requests of one node, device, token or session that has proved who it is, ten seconds' worth at once.",
            unit: "requests a second",
            kind: MANY,
            ..Key::PLAIN
        },
        Key {
            path: "limits.attempts_per_address_per_min",
            meaning: "Requests of one address that show no proof which holds: wrong passwords, signatures and tokens. Beyond it the address is answered 429 without a look at its proof.",
            unit: "attempts a minute",
            kind: MANY,
            ..Key::PLAIN
        },
        Key {
            path: "limits.logins_per_name_per_min",
            meaning: "Attempts to log in with one name, whether there is such a person or not.",
            unit: "attempts a minute",
            kind: MANY,
            ..Key::PLAIN
        },
        Key {
            path: "limits.signals_per_device_per_s",
            meaning: "Messages that one device may send over its WebSocket, ten seconds' worth at once; one that goes on is closed with 4008.",
            unit: "messages a second",
            kind: MANY,
            ..Key::PLAIN
        },
        Key {
            path: "limits.signals_queued_max",
            meaning: "Messages that wait for a device which does not keep up; more are refused to their sender.",
            unit: "messages",
            kind: Kind::Number(4, 4096),
            ..Key::PLAIN
        },
    ],
};

const LOG: Section = Section {
    name: "log",
    about: "What is written to standard error.",
    keys: &[
        Key {
            path: "log.level",
            meaning: "What is written.",
            kind: Kind::Choice(&["error", "warn", "info", "debug", "trace"]),
            ..Key::PLAIN
        },
        Key {
            path: "log.format",
            meaning: "How it is written: for people, or an object a line for collectors.",
            kind: Kind::Choice(&["text", "json"]),
            ..Key::PLAIN
        },
    ],
};
