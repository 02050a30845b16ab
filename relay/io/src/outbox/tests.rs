//! The queue against what it was given: every datagram once, whole, in the order of its flow, in
//! groups that the kernel takes.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::limits::HEADROOM_BYTES;

const SEGMENT_MAX: usize = 1_000;

#[derive(Clone, Debug)]
struct Sent {
    socket: u32,
    to: u16,
    header: usize,
    payload: usize,
    tail: usize,
    kind: u8,
}

fn sent() -> impl Strategy<Value = Sent> {
    // Few sizes and destinations, so that groups form.
    let size = prop_oneof![4 => Just(200_usize), 2 => Just(100), 1 => 0..1_200_usize];
    let header = prop_oneof![Just(0_usize), Just(4), 0..=64_usize];
    (0..2_u32, 0..4_u16, header, size, 0..4_usize, 0..3_u8).prop_map(
        |(socket, to, header, payload, tail, kind)| Sent {
            socket,
            to,
            header,
            payload,
            tail,
            kind,
        },
    )
}

/// A pool with one filled buffer a datagram, as after a batch.
fn filled(count: usize) -> (Pool, Vec<Packet>) {
    let mut pool = Pool::new(u32::try_from(count).unwrap_or(1), 2_048).expect("memory");
    let packets = (0..count)
        .map(|i| {
            let buffer = pool.take().expect("free");
            for (at, byte) in pattern(i, 2_048).into_iter().enumerate() {
                // SAFETY: within a buffer that was taken.
                unsafe { pool.start(buffer).add(HEADROOM_BYTES + at).write(byte) };
            }
            pool.deliver(
                buffer,
                HEADROOM_BYTES,
                2_048,
                u8::try_from(i % 7 / 6).unwrap_or(0),
            )
        })
        .collect();
    pool.begin_batch();
    (pool, packets)
}

fn pattern(seed: usize, len: usize) -> Vec<u8> {
    (0..len)
        .map(|i| u8::try_from((i * 13 + seed * 101 + i / 256) % 256).unwrap_or(0))
        .collect()
}

fn addr(to: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 1_000 + to))
}

fn run(datagrams: &[Sent], gso: bool, last: bool) {
    let (mut pool, packets) = filled(datagrams.len());
    let config = Config {
        gso,
        segment_bytes_max: SEGMENT_MAX,
        ..Config::default()
    };
    let mut outbox = Outbox::new(&config);
    let mut expected: BTreeMap<(u32, SocketAddr), Vec<Vec<u8>>> = BTreeMap::new();
    for (i, (sent, packet)) in datagrams.iter().zip(&packets).enumerate() {
        let header = vec![u8::try_from(i % 256).unwrap_or(0); sent.header];
        // From somewhere in the buffer, which two of three datagrams share with nobody.
        let from = if i % 3 == 0 { packets[i / 2] } else { *packet };
        let part = from.slice(8..8 + sent.payload);
        let bytes = pool.bytes(part).expect("held").to_vec();
        let mut payload = match sent.kind {
            0 => Payload::Packet(part),
            1 => Payload::Copy(&bytes),
            _ => pool
                .share(part)
                .map_or(Payload::Copy(&bytes), Payload::Shared),
        };
        let to = addr(sent.to);
        let pushed = outbox.push(
            &mut pool,
            sent.socket,
            to,
            &header,
            &mut payload,
            sent.tail,
            false,
        );
        assert!(matches!(pushed, Pushed::Queued));
        let whole = [&header[..], &bytes, &vec![0; sent.tail]].concat();
        expected.entry((sent.socket, to)).or_default().push(whole);
    }
    outbox.lay_out(&mut pool, last);
    let mut got: BTreeMap<(u32, SocketAddr), Vec<Vec<u8>>> = BTreeMap::new();
    for (i, group) in outbox.groups().iter().enumerate() {
        let parts: Vec<_> = outbox.datagrams(i).collect();
        if parts.len() > 1 {
            assert!(gso && parts.len() <= usize::from(GROUP_SEGMENTS_MAX));
            assert!(parts.iter().map(Vec::len).sum::<usize>() <= GROUP_BYTES_MAX);
            let (end, body) = parts.split_last().expect("two at least");
            assert!(body.iter().all(|part| part.len() == body[0].len()));
            assert!(!end.is_empty() && end.len() <= body[0].len() && body[0].len() <= SEGMENT_MAX);
        }
        got.entry((group.socket, group.to))
            .or_default()
            .extend(parts);
    }
    assert_eq!(got, expected);
    outbox.reset(&mut pool);
    assert!(outbox.is_empty());
    pool.release_to_free();
    assert_eq!(pool.free_count(), packets.len(), "every buffer is back");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_datagram_leaves_once_and_in_the_order_of_its_flow(
        datagrams in prop::collection::vec(sent(), 1..120),
        gso: bool,
        last: bool,
    ) {
        run(&datagrams, gso, last);
    }
}

#[test]
fn a_full_queue_leaves_the_payload_with_the_caller() {
    let (mut pool, packets) = filled(1);
    let mut outbox = Outbox::new(&Config::default());
    for _ in 0..OUTBOX_ENTRIES_MAX {
        let mut payload = Payload::Copy(&[1]);
        let pushed = outbox.push(&mut pool, 0, addr(1), &[], &mut payload, 0, false);
        assert!(matches!(pushed, Pushed::Queued));
    }
    let mut payload = Payload::Shared(pool.share(packets[0]).expect("room"));
    let pushed = outbox.push(&mut pool, 0, addr(1), &[], &mut payload, 0, false);
    assert!(matches!(pushed, Pushed::Full));
    assert!(matches!(payload, Payload::Shared(_)), "still there");
}

#[test]
fn a_packet_of_an_earlier_batch_is_stale() {
    let (mut pool, packets) = filled(1);
    pool.release_to_free();
    pool.begin_batch();
    let mut outbox = Outbox::new(&Config::default());
    let mut payload = Payload::Packet(packets[0]);
    let pushed = outbox.push(&mut pool, 0, addr(1), &[], &mut payload, 0, false);
    assert!(matches!(pushed, Pushed::Stale));
    assert!(pool.bytes(packets[0]).is_none());
    assert!(pool.share(packets[0]).is_none());
}

#[test]
fn a_single_packet_is_framed_in_its_own_buffer_and_two_of_a_buffer_are_not() {
    let (mut pool, packets) = filled(2);
    let mut outbox = Outbox::new(&Config {
        gso: false,
        ..Config::default()
    });
    let (one, shared) = (packets[0], packets[1]);
    let parts = [one.slice(4..50), shared.slice(0..20), shared.slice(20..40)];
    for part in parts {
        let mut payload = Payload::Packet(part);
        outbox.push(&mut pool, 0, addr(1), &[9; 36], &mut payload, 1, false);
    }
    outbox.lay_out(&mut pool, true);
    let pieces: Vec<_> = outbox
        .layout()
        .headers()
        .iter()
        .map(|header| header.msg_hdr.msg_iovlen)
        .collect();
    assert_eq!(pieces, [1, 3, 3]);
    // While the batch is being handled, none is.
    outbox.lay_out(&mut pool, false);
    assert_eq!(outbox.layout().headers()[0].msg_hdr.msg_iovlen, 3);
}

#[test]
fn nothing_overtakes_a_datagram_that_no_group_takes() {
    for alone in [SEGMENT_MAX + 1, 0] {
        let (mut pool, _) = filled(1);
        let config = Config {
            segment_bytes_max: SEGMENT_MAX,
            ..Config::default()
        };
        let mut outbox = Outbox::new(&config);
        for len in [200, alone, 200, 200] {
            let bytes = vec![1; len];
            let mut payload = Payload::Copy(&bytes);
            outbox.push(&mut pool, 0, addr(1), &[], &mut payload, 0, false);
        }
        let groups: Vec<_> = outbox
            .groups()
            .iter()
            .map(|group| (group.count, group.segment as usize))
            .collect();
        assert_eq!(groups, [(1, 200), (1, alone), (2, 200)]);
    }
}
