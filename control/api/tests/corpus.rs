//! Replays the committed corpus of the fuzz targets (`control/api/fuzz`) on stable.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

#[path = "../fuzz/src/lib.rs"]
#[allow(unreachable_pub, reason = "a library to the fuzz target")]
mod checks;

#[path = "../../../stun/fuzz/replay.rs"]
#[allow(unreachable_pub, reason = "shared between crates")]
mod replay;

use replay::replay;

#[test]
fn the_corpus_of_signed_holds() {
    replay("signed", checks::signed);
}

#[test]
fn the_corpus_of_requests_holds() {
    replay("requests", checks::requests);
}

#[test]
fn the_corpus_of_messages_holds() {
    replay("messages", checks::messages);
}
