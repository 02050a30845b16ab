//! One behavioural suite over all engines.
#![allow(clippy::unwrap_used, reason = "tests")]

#[allow(dead_code, reason = "the suite grows")]
mod suite;

use suite::ground::{Loopback, Simulated};
use suite::traffic;

macro_rules! suite {
    ($($part:ident :: $test:ident),* $(,)?) => {
        mod mmsg {
            use super::*;
            $(#[test] fn $test() { $part::$test::<Loopback<sterna_io::mmsg::MmsgEngine>>(); })*
        }
        mod uring {
            use super::*;
            $(#[test] fn $test() { $part::$test::<Loopback<sterna_io::uring::UringEngine>>(); })*
        }
        mod sim {
            use super::*;
            $(#[test] fn $test() { $part::$test::<Simulated>(); })*
        }
    };
}

suite! {
    traffic::a_datagram_comes_back_as_it_was_sent,
    traffic::a_train_comes_in_as_its_segments_and_leaves_with_headers_and_tails,
}
