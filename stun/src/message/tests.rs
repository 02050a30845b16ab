use super::*;
use crate::attr::{AdditionalAddressFamily, AddressFamily, Lifetime, XorPeerAddress};

const HEADER: [u8; HEADER_BYTES] = [
    0x00, 0x04, 0, 0, 0x21, 0x12, 0xA4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,
];

fn with(attributes: &[u8]) -> Vec<u8> {
    let mut bytes = [&HEADER[..], attributes].concat();
    let length = u16::try_from(attributes.len())
        .expect("short")
        .to_be_bytes();
    bytes[2..4].copy_from_slice(&length);
    bytes
}

#[test]
fn a_header_alone_is_a_message() {
    let message = Message::parse(&HEADER).expect("a message");
    assert_eq!(
        (message.class(), message.method()),
        (Class::Request, Method::REFRESH)
    );
    assert_eq!(
        message.transaction_id().0,
        [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]
    );
    assert_eq!(message.bytes(), HEADER);
    assert_eq!(message.attributes().count(), 0);
}

#[test]
fn every_prefix_of_a_message_is_refused() {
    let bytes = with(&[0x00, 0x0D, 0, 4, 0, 0, 2, 0x58]);
    assert!(Message::parse(&bytes).is_ok());
    for len in 0..HEADER_BYTES {
        assert_eq!(
            Message::parse(&bytes[..len]).err(),
            Some(ParseError::TooShort)
        );
    }
    for len in HEADER_BYTES..bytes.len() {
        assert_eq!(
            Message::parse(&bytes[..len]).err(),
            Some(ParseError::WrongLength)
        );
    }
    let longer = [&bytes[..], &[0; 4]].concat();
    assert_eq!(Message::parse(&longer).err(), Some(ParseError::WrongLength));
}

// RFC 8489 §5: "The most significant 2 bits of every STUN message MUST be zeroes."
#[test]
fn the_two_highest_bits_must_be_zero() {
    for bits in [0x40, 0x80, 0xC0] {
        let mut bytes = HEADER;
        bytes[0] |= bits;
        assert_eq!(Message::parse(&bytes).err(), Some(ParseError::NotStun));
    }
}

// RFC 8489 §5: "The Magic Cookie field MUST contain the fixed value 0x2112A442 in network byte
// order."
#[test]
fn the_cookie_must_be_right() {
    for at in 4..8 {
        let mut bytes = HEADER;
        bytes[at] ^= 1;
        assert_eq!(Message::parse(&bytes).err(), Some(ParseError::WrongCookie));
    }
}

// RFC 8489 §5: "the last 2 bits of this field are always zero".
#[test]
fn a_length_that_is_no_multiple_of_four_is_refused() {
    for extra in 1..4 {
        let bytes = with(&vec![0; extra]);
        assert_eq!(Message::parse(&bytes).err(), Some(ParseError::WrongLength));
    }
}

#[test]
fn an_attribute_that_reaches_beyond_the_end_is_refused() {
    for attribute in [
        [0, 0x0D, 0, 5, 0, 0, 2, 0x58],
        [0, 0x0D, 0xFF, 0xFF, 0, 0, 2, 0x58],
    ] {
        let bytes = with(&attribute);
        assert_eq!(
            Message::parse(&bytes).err(),
            Some(ParseError::AttributeOverrun)
        );
    }
    // Also where it is one that nobody would look at.
    let behind_integrity = [
        &[0, 0x08, 0, 20][..],
        &[0; 20],
        &[0, 0x0D, 0, 8, 0, 0, 0, 0],
    ]
    .concat();
    let bytes = with(&behind_integrity);
    assert_eq!(
        Message::parse(&bytes).err(),
        Some(ParseError::AttributeOverrun)
    );
}

// RFC 8489 §14.7: "the FINGERPRINT attribute MUST be the last attribute in the message".
#[test]
fn an_attribute_behind_fingerprint_makes_the_message_malformed() {
    let bytes = with(&[0x80, 0x28, 0, 4, 1, 2, 3, 4, 0, 0x0D, 0, 4, 0, 0, 2, 0x58]);
    assert_eq!(
        Message::parse(&bytes).err(),
        Some(ParseError::AfterFingerprint)
    );
}

// RFC 8489 §14: "The padding bits MUST be set to zero on sending and MUST be ignored by the
// receiver."
#[test]
fn padding_is_ignored_whatever_it_holds() {
    let bytes = with(&[
        0x80, 0x22, 0, 1, b'x', 0xFF, 0xFF, 0xFF, 0, 0x0D, 0, 4, 0, 0, 2, 0x58,
    ]);
    let message = Message::parse(&bytes).expect("a message");
    let software = message.raw(AttributeType::SOFTWARE).expect("there");
    assert_eq!(software.value, b"x");
    assert_eq!(message.find(), Ok(Some(Lifetime(600))));
}

// RFC 8489 §14: "only the first occurrence needs to be processed by a receiver".
#[test]
fn the_first_of_several_counts_even_where_it_is_malformed() {
    let bytes = with(&[0, 0x0D, 0, 4, 0, 0, 0, 1, 0, 0x0D, 0, 4, 0, 0, 0, 2]);
    let message = Message::parse(&bytes).expect("a message");
    assert_eq!(message.find(), Ok(Some(Lifetime(1))));
    let both: Vec<_> = message.find_all::<Lifetime>().collect();
    assert_eq!(both, [Ok(Lifetime(1)), Ok(Lifetime(2))]);

    let bytes = with(&[0, 0x0D, 0, 0, 0, 0x0D, 0, 4, 0, 0, 0, 2]);
    let message = Message::parse(&bytes).expect("a message");
    assert_eq!(message.find::<Lifetime>(), Err(AttributeError::Length));
}

// RFC 8489 §6.3: "Unknown comprehension-optional attributes MUST be ignored by the agent."
#[test]
fn only_comprehension_required_types_are_listed_as_unknown() {
    let bytes = with(&[
        0x7F, 0xFF, 0, 0, 0x00, 0x30, 0, 0, 0x80, 0x99, 0, 0, 0x7F, 0xFF, 0, 0, 0, 0x0D, 0, 4, 0,
        0, 0, 1,
    ]);
    let message = Message::parse(&bytes).expect("a message");
    let unknown = message.unknown_required(AttributeType::is_known);
    assert!(
        unknown
            .iter()
            .eq([AttributeType(0x7FFF), AttributeType(0x0030)])
    );
}

#[test]
fn an_alias_counts_only_where_the_type_itself_is_absent() {
    let bytes = with(&[0x80, 0x32, 0, 4, 2, 0, 0, 0]);
    let message = Message::parse(&bytes).expect("a message");
    let ipv6 = AdditionalAddressFamily(AddressFamily::Ipv6);
    assert_eq!(message.find(), Ok(Some(ipv6)));

    let bytes = with(&[0x80, 0x32, 0, 4, 2, 0, 0, 0, 0x80, 0x00, 0, 4, 1, 0, 0, 0]);
    let message = Message::parse(&bytes).expect("a message");
    let ipv4 = AdditionalAddressFamily(AddressFamily::Ipv4);
    assert_eq!(message.find(), Ok(Some(ipv4)));
}

#[test]
fn every_peer_of_a_create_permission_is_found_in_order() {
    let bytes = with(&[
        0, 0x12, 0, 8, 0, 1, 0x21, 0x12, 0x21, 0x12, 0xA4, 0x43, 0, 0x12, 0, 8, 0, 1, 0x21, 0x12,
        0x21, 0x12, 0xA4, 0x40,
    ]);
    let message = Message::parse(&bytes).expect("a message");
    let peers: Result<Vec<_>, _> = message.find_all::<XorPeerAddress>().collect();
    let peers: Vec<_> = peers
        .expect("well-formed")
        .iter()
        .map(|p| p.0.to_string())
        .collect();
    assert_eq!(peers, ["0.0.0.1:0", "0.0.0.2:0"]);
}
