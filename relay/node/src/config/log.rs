//! `[log]`: what is written to standard error, and how.

use sterna_daemon::config::{Key, Kind, Section};

/// The section's keys.
pub(super) const SECTION: Section = Section {
    name: "log",
    about: "What is written to standard error.",
    keys: &[
        Key {
            path: "log.level",
            meaning: "The least important level that is written. Client addresses are shown at debug and trace only.",
            kind: Kind::Choice(&["error", "warn", "info", "debug", "trace"]),
            advice: "info",
            reload: true,
            ..Key::PLAIN
        },
        Key {
            path: "log.format",
            meaning: "One line a record, for people or for machines.",
            kind: Kind::Choice(&["text", "json"]),
            ..Key::PLAIN
        },
    ],
};
