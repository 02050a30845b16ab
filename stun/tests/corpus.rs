//! Replays the committed corpus of every fuzz target (`stun/fuzz`) on stable.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

#[path = "../fuzz/src/lib.rs"]
#[allow(unreachable_pub, reason = "a library to the fuzz targets")]
mod checks;

#[path = "../fuzz/replay.rs"]
#[allow(unreachable_pub, reason = "shared between crates")]
mod replay;

use replay::replay;

#[test]
fn the_corpus_of_message_holds() {
    replay("message", checks::message);
}

#[test]
fn the_corpus_of_indication_holds() {
    replay("indication", checks::indication);
}

#[test]
fn the_corpus_of_stream_holds() {
    replay("stream", checks::stream);
}

#[test]
fn the_corpus_of_credential_holds() {
    replay("credential", checks::credential);
}

#[test]
fn the_corpus_of_token_holds() {
    replay("token", checks::token);
}
