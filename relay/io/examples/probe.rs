//! Says which engine would run here, and why.

use sterna_io::probe::{EngineChoice, choose};

fn main() {
    for choice in [EngineChoice::Auto, EngineChoice::Uring, EngineChoice::Mmsg] {
        match choose(choice) {
            Ok(chosen) => println!("{choice:?}: {chosen}"),
            Err(error) => println!("{choice:?}: no engine: {error}"),
        }
    }
}
