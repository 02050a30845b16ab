//! Replays the committed corpus of the fuzz targets (`control/api/fuzz`) on stable.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

#[path = "../fuzz/src/lib.rs"]
#[allow(unreachable_pub, reason = "a library to the fuzz target")]
mod checks;

use std::fs;
use std::path::Path;

#[test]
fn the_corpus_of_signed_holds() {
    replay("signed", checks::signed);
}

#[test]
fn the_corpus_of_requests_holds() {
    replay("requests", checks::requests);
}

fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() >= 5, "{} is committed", folder.display());
    for file in files {
        println!("{}", file.display());
        check(&fs::read(&file).unwrap());
    }
}
