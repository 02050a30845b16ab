#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::Mark;

#[allow(clippy::disallowed_methods, reason = "any instant will do")]
fn start() -> Instant {
    Instant::now()
}

fn head(flow: u32, mark: Mark) -> Head {
    Head::data(mark, FlowNumber(flow))
}

fn push(queue: &mut SessionQueue<Vec<u8>>, now: Instant, flow: u32, bytes: usize) {
    queue.push(
        now,
        FlowNumber(flow),
        head(flow, Mark::default()),
        vec![0; bytes],
    );
}

/// Drains at so many bytes a second while each of `flows` pushes what it wants each millisecond;
/// gives the payload bytes that each flow got, and the longest sojourn of a sent packet.
fn run(
    flows: &[(u32, usize, usize)],
    bytes_per_ms: usize,
    ms: u64,
) -> (BTreeMap<FlowNumber, usize>, SessionQueue<Vec<u8>>) {
    let begin = start();
    let mut queue = SessionQueue::new(begin, 0, 1);
    let mut got = BTreeMap::new();
    let mut credit = 0_usize;
    for step in 0..ms {
        let now = begin + Duration::from_millis(step);
        for &(flow, packets, bytes) in flows {
            for _ in 0..packets {
                push(&mut queue, now, flow, bytes);
            }
        }
        credit += bytes_per_ms;
        while credit >= 1500 {
            let Some((head, payload)) = queue.pop(now) else {
                break;
            };
            credit -= payload.len();
            let [_, a, b, c, ..] = *head.bytes() else {
                panic!()
            };
            *got.entry(FlowNumber(u32::from_be_bytes([0, a, b, c])))
                .or_default() += payload.len();
        }
        credit = credit.min(3000);
    }
    (got, queue)
}

#[test]
fn flows_share_the_link_by_bytes_and_a_modest_one_loses_nothing() {
    // 1,000 bytes a millisecond: one wants twice that in large packets, one in small ones, one a tenth.
    let (got, _) = run(&[(1, 2, 1000), (2, 20, 100), (3, 1, 100)], 1000, 2000);
    let [large, small, modest] = [1, 2, 3].map(|flow| got[&FlowNumber(flow)]);
    assert!(modest >= 195_000, "{modest} of 200,000");
    // What a packet costs besides its bytes counts too, so small packets get somewhat less.
    let ratio = small as f64 / large as f64;
    assert!((0.5..=1.1).contains(&ratio), "{small} against {large}");
}

#[test]
fn at_150_per_cent_of_the_link_the_wait_stays_under_50_ms() {
    let (_, queue) = run(&[(1, 3, 500)], 1000, 5000);
    let counters = queue.counters();
    assert!(
        counters.sojourn_percentile_us(99) <= 65_536,
        "rounded up to a power of two"
    );
    let above_50ms: u64 = counters.sojourn_us[17..].iter().sum();
    assert_eq!(above_50ms, 0, "{:?}", counters.sojourn_us);
    let dropped = counters.dropped_sojourn + counters.dropped_full;
    assert!(counters.dropped_sojourn > 0 && dropped < counters.pushed / 2);
}

#[test]
fn one_that_can_be_marked_is_marked_and_not_dropped() {
    let begin = start();
    let mut queue = SessionQueue::new(begin, 0, 1);
    let mut marked = 0;
    for step in 0..1000 {
        let now = begin + Duration::from_millis(step);
        let ect = Head::data(Mark::new(2, false), FlowNumber(1));
        for _ in 0..2 {
            queue.push(now, FlowNumber(1), ect, vec![0; 1000]);
        }
        if let Some((head, _)) = queue.pop(now) {
            marked += u64::from(head.mark().ecn() == 3);
        }
    }
    assert!(marked > 0 && marked == queue.counters().marked);
    assert_eq!(queue.counters().dropped_sojourn, 0);
}

#[test]
fn when_it_is_full_the_longest_flow_loses_its_oldest_packet() {
    let now = start();
    let mut queue = SessionQueue::new(now, 0, 1);
    push(&mut queue, now, 2, 100);
    for number in 0..100_u8 {
        queue.push(
            now,
            FlowNumber(1),
            head(1, Mark::default()),
            vec![number; 1000],
        );
    }
    assert!(queue.bytes() <= QUEUE_BYTES_MAX);
    let dropped = queue.counters().dropped_full;
    assert!(dropped > 0);
    let (mut first_of_long, mut short) = (None, 0);
    while let Some((_, payload)) = queue.pop(now) {
        if payload.len() == 1000 {
            first_of_long.get_or_insert(payload[0]);
        } else {
            short += 1;
        }
    }
    assert_eq!((first_of_long.map(u64::from), short), (Some(dropped), 1));
    assert!(queue.is_empty() && queue.bytes() == 0);
}

#[test]
fn handshakes_go_first_within_a_tenth_of_the_rate() {
    let now = start();
    let mut queue = SessionQueue::new(now, 100_000, 1);
    for _ in 0..20 {
        push(&mut queue, now, 1, 1000);
    }
    let urgent = head(1, Mark::new(0, true));
    queue.push(now, FlowNumber(1), urgent, vec![1; 148]);
    assert_eq!(queue.pop(now).unwrap().1, vec![1; 148]);
    // A tenth is 10,000 bytes a second; the bucket holds a quarter of a second of it.
    for _ in 0..100 {
        queue.push(now, FlowNumber(1), urgent, vec![1; 148]);
    }
    assert!(queue.counters().dropped_priority > 80);
}

proptest! {
    #[test]
    fn every_packet_is_sent_or_dropped_once_and_each_flow_keeps_its_order(
        steps in prop::collection::vec((0_u32..4, 1_usize..3000, 0_u64..20, any::<bool>()), 1..300),
    ) {
        let begin = start();
        let mut queue = SessionQueue::new(begin, 0, 7);
        let mut now = begin;
        let mut last = BTreeMap::new();
        let mut sent = 0_u64;
        let mut check = |popped: Option<(Head, Vec<u8>)>| {
            let Some((head, payload)) = popped else { return true };
            sent += 1;
            let number = u32::from_be_bytes(payload[..4].try_into().unwrap());
            let before = last.insert((head.bytes()[3], head.mark().is_priority()), number);
            before.is_none_or(|before| before < number)
        };
        for (number, (flow, bytes, ms, pops)) in (0_u32..).zip(steps) {
            now += Duration::from_millis(ms);
            let mut payload = number.to_be_bytes().to_vec();
            payload.resize(bytes.max(4), 0);
            let mark = Mark::new(0, bytes % 7 == 0);
            queue.push(now, FlowNumber(flow), head(flow, mark), payload);
            prop_assert!(queue.bytes() <= QUEUE_BYTES_MAX);
            if pops {
                prop_assert!(check(queue.pop(now)));
            }
        }
        while !queue.is_empty() {
            prop_assert!(check(queue.pop(now)));
        }
        let counters = queue.counters();
        let dropped: u64 = counters.drops().map(|(_, packets)| packets).sum();
        prop_assert_eq!(counters.pushed, counters.popped + dropped);
        prop_assert_eq!((counters.popped, queue.bytes()), (sent, 0));
    }
}
