#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

const NOW: u64 = 1_700_000_000;

fn key() -> SigningKey {
    SigningKey::from_seed(&[42; 32])
}

fn keys() -> KeySet {
    KeySet::new([key().verifying_key()]).unwrap()
}

fn fleet() -> Fleet {
    Fleet::new("example").unwrap()
}

fn ticket() -> Ticket {
    Ticket {
        tenant: TenantId(0x0102_0304_0506_0708),
        ticket_id: TicketId(0x1112_1314_1516_1718),
        device_id: DeviceId([0xD1; 16]),
        device_key: DeviceKey([0xDE; 32]),
        relay_key: RelayKey([0x5E; 32]),
        not_before: NOW,
        expires: NOW + 3600,
        rate: RateClass {
            bytes_per_s: 1_250_000,
            packets_per_s: 2_000,
            flows: 100,
        },
        audience: fleet(),
        groups: Groups::new(&[GroupId(7), GroupId(0xFFFF_FFFF)]).unwrap(),
    }
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .lines()
        .flat_map(|line| line.split('#').next().unwrap_or("").bytes())
        .filter(u8::is_ascii_hexdigit)
        .collect();
    let pairs = digits.chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

fn verify(bytes: &[u8]) -> Result<Ticket, TicketError> {
    Ticket::verify(bytes, &keys(), &fleet(), NOW, 0)
}

/// Everything before the signature, which is that of the key of 32 times 42.
const VECTOR: &str = "
    01                                # version
    197f6b23                          # key id
    0102030405060708                  # tenant
    1112131415161718                  # ticket id
    d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1  # device id
    dededededededededededededededededededededededededededededededede  # device key
    5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e  # relay key
    000000006553f100                  # not before: 1700000000
    000000006553ff10                  # expiry: 1700003600
    00000000001312d0                  # bytes a second: 1250000
    000007d0                          # packets a second: 2000
    0064                              # flows: 100
    07 6578616d706c65                 # audience: example
    02 00000007 ffffffff              # groups
";

#[test]
fn a_ticket_is_the_bytes_of_the_annotated_vector_and_a_signature() {
    let bytes = ticket().issue(&key()).unwrap();
    let (body, signature) = bytes.split_at(bytes.len() - SIGNATURE_BYTES);
    assert_eq!(body, hex(VECTOR));
    let context = [CONTEXT, body].concat();
    assert!(
        key()
            .verifying_key()
            .verify(&context, signature.try_into().unwrap())
    );
    assert_eq!(verify(&bytes), Ok(ticket()));
    let text = ticket().issue_text(&key()).unwrap();
    assert_eq!(Ticket::bytes_of_text(&text), Ok(bytes));
}

#[test]
fn each_way_of_being_wrong_has_its_own_reason() {
    let good = ticket().issue(&key()).unwrap();
    let at = |unix_s, grace_s| Ticket::verify(&good, &keys(), &fleet(), unix_s, grace_s);
    assert_eq!(at(NOW + 3599, 0), Ok(ticket()));
    assert_eq!(at(NOW + 3600, 0), Err(TicketError::Expired));
    assert_eq!(at(NOW + 3600, 60), Ok(ticket()));
    assert_eq!(at(NOW + 3660, 60), Err(TicketError::Expired));
    assert_eq!(at(NOW - CLOCK_SKEW_MAX_S, 0), Ok(ticket()));
    assert_eq!(at(NOW - CLOCK_SKEW_MAX_S - 1, 0), Err(TicketError::NotYet));
    let elsewhere = Fleet::new("other").unwrap();
    let audience = Ticket::verify(&good, &keys(), &elsewhere, NOW, 0);
    assert_eq!(audience, Err(TicketError::Audience));
    let stranger = SigningKey::from_seed(&[1; 32]);
    assert_eq!(
        verify(&ticket().issue(&stranger).unwrap()),
        Err(TicketError::UnknownKey)
    );
    let mut other_version = good.clone();
    other_version[0] = 2;
    assert_eq!(verify(&other_version), Err(TicketError::Version));
    assert_eq!(
        verify(&[&good[..], &[0]].concat()),
        Err(TicketError::Malformed)
    );
    for len in 0..good.len() {
        assert_eq!(
            verify(&good[..len]),
            Err(TicketError::CutShort),
            "{len} bytes"
        );
    }
}

#[test]
fn no_bit_of_a_ticket_can_be_changed() {
    let good = ticket().issue(&key()).unwrap();
    for bit in 0..good.len() * 8 {
        let mut changed = good.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(verify(&changed).is_err(), "bit {bit}");
    }
}

#[test]
fn old_and_new_keys_verify_side_by_side() {
    let next = SigningKey::from_seed(&[43; 32]);
    let both = KeySet::new([next.verifying_key(), key().verifying_key()]).unwrap();
    for signer in [key(), next] {
        let bytes = ticket().issue(&signer).unwrap();
        assert_eq!(
            Ticket::verify(&bytes, &both, &fleet(), NOW, 0),
            Ok(ticket())
        );
    }
}

#[test]
fn a_ticket_that_no_node_would_take_is_not_issued() {
    for (not_before, expires) in [(NOW, NOW), (NOW, NOW - 1), (NOW, NOW + 3601)] {
        let wrong = Ticket {
            not_before,
            expires,
            ..ticket()
        };
        assert_eq!(wrong.issue(&key()), Err(IssueError::Lifetime));
        // Nor taken, whoever has signed it.
        let mut bytes = wrong.encode(key().id());
        bytes.extend_from_slice(&key().sign(&signed(&bytes)));
        assert_eq!(verify(&bytes), Err(TicketError::Malformed));
    }
}

#[test]
fn the_largest_ticket_fits() {
    let groups: Vec<GroupId> = (0..8).map(GroupId).collect();
    let largest = Ticket {
        audience: Fleet::new(&"x".repeat(32)).unwrap(),
        groups: Groups::new(&groups).unwrap(),
        ..ticket()
    };
    assert!(largest.issue(&key()).unwrap().len() <= TICKET_BYTES_MAX);
    let too_many: Vec<GroupId> = (0..9).map(GroupId).collect();
    assert_eq!(Groups::new(&too_many), Err(TooManyGroups));
}

proptest! {
    #[test]
    fn every_ticket_survives_the_wire(
        numbers: (u64, u64, u64, u32, u16),
        bytes: ([u8; 16], [u8; 32], [u8; 32]),
        groups in prop::collection::vec(any::<u32>(), 0..=8),
        lifetime in 1..=3600_u64,
        audience in "[a-z0-9._-]{1,32}",
    ) {
        let groups: Vec<GroupId> = groups.into_iter().map(GroupId).collect();
        let ticket = Ticket {
            tenant: TenantId(numbers.0),
            ticket_id: TicketId(numbers.1),
            device_id: DeviceId(bytes.0),
            device_key: DeviceKey(bytes.1),
            relay_key: RelayKey(bytes.2),
            not_before: NOW,
            expires: NOW + lifetime,
            rate: RateClass { bytes_per_s: numbers.2, packets_per_s: numbers.3, flows: numbers.4 },
            audience: Fleet::new(&audience).unwrap(),
            groups: Groups::new(&groups).unwrap(),
        };
        let bytes = ticket.issue(&key()).unwrap();
        prop_assert_eq!(Ticket::verify(&bytes, &keys(), &ticket.audience, NOW, 0), Ok(ticket));
    }

    #[test]
    fn whatever_bytes_come_they_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        if let Ok((ticket, key_id)) = Ticket::read_unverified(&bytes) {
            let signed_len = bytes.len() - SIGNATURE_BYTES;
            prop_assert_eq!(ticket.encode(key_id), &bytes[..signed_len]);
        }
    }
}
