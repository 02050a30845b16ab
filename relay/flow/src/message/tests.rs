#![allow(clippy::unwrap_used)]

use crate::SessionId;
use proptest::prelude::*;

use super::*;
use crate::frame::tests::hex;

#[test]
fn the_messages_are_those_of_the_annotated_vectors() {
    let peer = DeviceKey([0x11; 32]);
    let key = "11".repeat(32);
    let node = "22".repeat(32);
    let address = "0000 0000 0000 0000 0000 ffff c0000201 0fa0";
    let vectors = [
        (
            Message::Ping { id: 1, echo: true },
            "01 00000001 01".to_owned(),
        ),
        (
            Message::Pong { id: 1, len: 1200 },
            "02 00000001 04b0".to_owned(),
        ),
        (
            Message::Open { request: 2, peer },
            format!("03 00000002 {key}"),
        ),
        (
            Message::Opened {
                request: 2,
                notice: 3,
                flow: FlowNumber(0x12_3456),
                peer,
                state: PeerState::Online,
                payload_max: 1312,
            },
            format!("04 00000002 00000003 00123456 {key} 01 0520"),
        ),
        (
            Message::Peer {
                notice: 3,
                flow: FlowNumber(1),
                state: PeerState::Gone,
                payload_max: 0,
            },
            "05 00000003 00000001 02 0000".to_owned(),
        ),
        (
            Message::CloseFlow {
                request: 4,
                flow: FlowNumber(1),
            },
            "06 00000004 00000001".to_owned(),
        ),
        (
            Message::Done {
                request: 4,
                refusal: None,
            },
            "07 00000004 00".to_owned(),
        ),
        (
            Message::Done {
                request: 4,
                refusal: Some(Refusal::TooManyFlows),
            },
            "07 00000004 0d".to_owned(),
        ),
        (Message::Rebind, "08".to_owned()),
        (
            Message::Challenge { token: [0x77; 16] },
            format!("09 {}", "77".repeat(16)),
        ),
        (
            Message::Response { token: [0x77; 16] },
            format!("0a {}", "77".repeat(16)),
        ),
        (
            Message::Rebound {
                observed: "192.0.2.1:4000".parse().unwrap(),
            },
            format!("0b {address}"),
        ),
        (
            Message::Stats(Stats {
                limited_by: Some(LimitedBy::Rate),
                sojourn_p95_us: 4096,
                dropped: vec![(DropReason::ByteRate, 9)],
            }),
            "0c 01 00001000 01 0f 0000000000000009".to_owned(),
        ),
        (
            Message::Restarting {
                notice: 5,
                restarting: Restarting {
                    reconnect_in_ms: 1000,
                    spread_ms: 500,
                    alternates: vec![NodeId([0x22; 32])],
                },
            },
            format!("0d 00000005 000003e8 000001f4 01 {node}"),
        ),
        (
            Message::Close {
                reason: CloseReason::Revoked,
                text: "hi".to_owned(),
            },
            "0e 03 6869".to_owned(),
        ),
        (Message::Ack { notice: 5 }, "0f 00000005".to_owned()),
        (
            Message::Standing {
                notice: 6,
                active: true,
            },
            "10 00000006 01".to_owned(),
        ),
        (
            Message::Limit {
                request: 7,
                payload_max: 1312,
            },
            "11 00000007 0520".to_owned(),
        ),
        (
            Message::Renew {
                request: 8,
                ticket: vec![1, 2],
            },
            "12 00000008 0002 0102".to_owned(),
        ),
    ];
    let mut kinds = std::collections::BTreeSet::new();
    for (message, bytes) in vectors {
        let bytes = hex(&bytes);
        assert_eq!(message.to_bytes(), bytes, "{message:?}");
        assert_eq!(Message::parse(&bytes), Some(message.clone()));
        kinds.insert(bytes[0]);
        // What follows the known fields is passed over, and less than they take is no message.
        if !matches!(message, Message::Close { .. }) {
            let padded = [&bytes[..], &[0; 7]].concat();
            assert_eq!(Message::parse(&padded), Some(message));
            assert_eq!(Message::parse(&bytes[..bytes.len() - 1]), None);
        }
    }
    assert!(
        kind::ALL.iter().all(|(kind, _)| kinds.contains(kind)),
        "a vector for each kind"
    );
    assert_eq!(Message::parse(&[200, 1, 2]), Some(Message::Unknown));
}

#[test]
fn the_welcome_is_that_of_the_annotated_vector() {
    let welcome = WelcomePayload::Accepted(Welcome {
        session: SessionId([1, 2, 3, 4, 5, 6, 7, 8]),
        node: NodeId([0x22; 32]),
        observed: "192.0.2.1:4000".parse().unwrap(),
        payload_max: 1312,
        flows: 100,
        bytes_per_s: 1_250_000,
        packets_per_s: 2000,
        idle_s: 30,
        expires: 1_700_003_600,
    });
    let node = "22".repeat(32);
    let bytes = hex(&format!(
        "00                                              # accepted
         0102030405060708                                # session id
         {node}                                          # node id
         00000000000000000000ffffc0000201 0fa0           # observed address: 192.0.2.1:4000
         0520 0064                                       # payload max 1312, flows 100
         00000000001312d0 000007d0                       # bytes and packets a second
         001e 000000006553ff10                           # idle time, ticket's expiry"
    ));
    assert_eq!(welcome.to_bytes(), bytes);
    assert_eq!(WelcomePayload::parse(&bytes), Some(welcome));
    let refused = WelcomePayload::Refused {
        refusal: Some(Refusal::TicketExpired),
        text: "late".to_owned(),
    };
    assert_eq!(refused.to_bytes(), hex("01 08 6c617465"));
    assert_eq!(WelcomePayload::parse(&refused.to_bytes()), Some(refused));
    let init = InitPayload {
        payload_max: 1158,
        ticket: &[9, 9],
    };
    assert_eq!(init.to_bytes(), hex("01 0486 0002 0909"));
    assert_eq!(InitPayload::parse(&init.to_bytes()), Some(init));
}

#[test]
fn what_limits_in_a_later_version_is_not_taken_for_nothing() {
    let bytes = hex("0c 04 00000000 00");
    let message = Message::parse(&bytes).unwrap();
    let Message::Stats(stats) = &message else {
        panic!("{message:?}");
    };
    assert_eq!(stats.limited_by, None);
    assert_eq!(Message::parse(&message.to_bytes()), Some(message));
    // Reasons that are said again and again are read as often as there are reasons.
    let again = [&hex("0c 00 00000000 ff")[..], &[0; 255 * 9]].concat();
    let message = Message::parse(&again).unwrap();
    assert_eq!(Message::parse(&message.to_bytes()), Some(message));
}

proptest! {
    #[test]
    fn what_is_read_can_be_written_and_read_again(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Some(message) = Message::parse(&bytes) {
            prop_assert_eq!(Message::parse(&message.to_bytes()), Some(message));
        }
        if let Some(payload) = WelcomePayload::parse(&bytes) {
            prop_assert_eq!(WelcomePayload::parse(&payload.to_bytes()), Some(payload));
        }
        let _ = InitPayload::parse(&bytes);
    }
}
