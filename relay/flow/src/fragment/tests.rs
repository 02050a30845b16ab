#![allow(clippy::unwrap_used)]

use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn half(message: u16, index: u8, bytes: &[u8]) -> Vec<u8> {
    [&message.to_be_bytes()[..], &[index], bytes].concat()
}

fn at_ms(ms: u64) -> Tick {
    Tick::default().plus(Duration::from_millis(ms))
}

#[test]
fn two_halves_are_one_whole_in_either_order() {
    for order in [[0, 1], [1, 0]] {
        let mut reassembly = Reassembly::default();
        let parts = [half(1, 0, b"first "), half(1, 1, b"second")];
        assert_eq!(reassembly.take(at_ms(0), &parts[order[0]]), Ok(None));
        let whole = reassembly.take(at_ms(249), &parts[order[1]]);
        assert_eq!(whole, Ok(Some(b"first second".to_vec())));
    }
}

#[test]
fn a_half_waits_250_ms_and_among_sixteen() {
    let mut reassembly = Reassembly::default();
    assert_eq!(reassembly.take(at_ms(0), &half(1, 0, b"a")), Ok(None));
    assert_eq!(
        reassembly.take(at_ms(250), &half(1, 1, b"b")),
        Ok(None),
        "too late"
    );
    assert_eq!(reassembly.lost, 1);
    for message in 2..=17 {
        assert_eq!(
            reassembly.take(at_ms(260), &half(message, 0, b"a")),
            Ok(None)
        );
    }
    assert_eq!(reassembly.lost, 2, "the seventeenth pushes the oldest out");
    assert_eq!(reassembly.take(at_ms(260), &half(1, 0, b"a")), Ok(None));
}

#[test]
fn a_duplicate_is_no_other_half() {
    let mut reassembly = Reassembly::default();
    assert_eq!(reassembly.take(at_ms(0), &half(1, 0, b"a")), Ok(None));
    assert_eq!(
        reassembly.take(at_ms(0), &half(1, 0, b"a")),
        Err(DropReason::HalfUnfit)
    );
    assert_eq!(
        reassembly.take(at_ms(0), &half(1, 2, b"a")),
        Err(DropReason::HalfUnfit)
    );
    assert_eq!(reassembly.take(at_ms(0), b"xy"), Err(DropReason::HalfUnfit));
    assert_eq!(
        reassembly.take(at_ms(0), &half(1, 1, b"b")),
        Ok(Some(b"ab".to_vec()))
    );
}

proptest! {
    #[test]
    fn both_halves_fit_and_nothing_is_split_that_does_not_have_to_be(len in 1_usize..5000, max in 10_u16..2000) {
        match split(len, max) {
            Split::Whole => prop_assert!(len <= max.into()),
            Split::Halves(at) => {
                prop_assert!(len > max.into() && at >= len - at && len > at);
                prop_assert!(at + FRAGMENT_BYTES <= max.into());
            }
            Split::TooLong => prop_assert!(len > 2 * (usize::from(max) - FRAGMENT_BYTES)),
        }
    }
}
