//! Replays the committed corpus of every fuzz target (`relay/flow/fuzz`) on stable.
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
fn the_corpus_of_frames_holds() {
    replay("frames", checks::frames);
}

#[test]
fn the_corpus_of_machines_holds() {
    replay("machines", checks::machines);
}
