//! Replays the committed corpus of every fuzz target (`relay/preface/fuzz`) on stable.
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
fn the_corpus_of_proxy_holds() {
    replay("proxy", checks::proxy);
}

#[test]
fn the_corpus_of_upgrade_holds() {
    replay("upgrade", checks::upgrade);
}
