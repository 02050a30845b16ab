//! Replays the committed corpus of every fuzz target (`relay/turn/fuzz`) on stable.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

#[path = "../fuzz/src/lib.rs"]
#[allow(unreachable_pub, reason = "a library to the fuzz targets")]
mod checks;

#[path = "../../../stun/fuzz/replay.rs"]
#[allow(unreachable_pub, reason = "shared between crates")]
mod replay;

use replay::replay;

#[test]
fn the_corpus_of_unauthenticated_holds() {
    replay("unauthenticated", checks::unauthenticated);
}

#[test]
fn the_corpus_of_authenticated_holds() {
    replay("authenticated", checks::authenticated);
}

#[test]
fn the_corpus_of_client_holds() {
    replay("client", checks::client);
}
