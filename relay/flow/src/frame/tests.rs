#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

/// Bytes of an annotated text: hexadecimal digits, comments behind `#`.
pub(crate) fn hex(text: &str) -> Vec<u8> {
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

const NONCE: [u8; 16] = [0xA0; 16];
const COOKIE_VALUE: [u8; 20] = [0xC0; 20];

#[test]
fn data_is_four_bytes_and_the_payload() {
    let bytes = hex("
        8a        # type 0, ecn 2, priority 1, fragment 0
        123456    # flow
        cafe      # payload
    ");
    let (mark, flow) = (Mark::new(2, true), FlowNumber(0x12_3456));
    assert_eq!(
        [Head::data(mark, flow).bytes(), &[0xCA, 0xFE]].concat(),
        bytes
    );
    let payload: &[u8] = &[0xCA, 0xFE];
    assert_eq!(
        Frame::parse(&bytes),
        Ok(Frame::Data {
            mark,
            flow,
            payload
        })
    );
}

#[test]
fn a_half_has_three_bytes_more() {
    let bytes = hex("
        81        # type 0, ecn 0, priority 0, fragment 1
        000001    # flow
        0102      # message
        01        # the second of two
        ff        # half of the payload
    ");
    let head = Head::fragment(Mark::default(), FlowNumber(1), 0x0102, 1);
    assert_eq!([head.bytes(), &[0xFF]].concat(), bytes);
    let Ok(Frame::Data { mark, payload, .. }) = Frame::parse(&bytes) else {
        panic!()
    };
    assert!(mark.is_fragment());
    assert_eq!(split_fragment(payload), Some((0x0102, 1, &[0xFF][..])));
    assert_eq!(
        split_fragment(&[0, 0, 2, 0]),
        None,
        "there is no third half"
    );
    assert_eq!(split_fragment(&[0, 0]), None);
}

#[test]
fn keyed_data_carries_the_other_devices_key() {
    let bytes = hex("
        92        # type 1, ecn 0, priority 1, never a fragment
        818283    # steering: the first bytes of the session id
        1111111111111111111111111111111111111111111111111111111111111111  # device key
        ee        # payload
    ");
    let session = SessionId([0x81, 0x82, 0x83, 4, 5, 6, 7, 8]);
    let (mark, key) = (Mark::new(0, true), DeviceKey([0x11; 32]));
    assert_eq!(
        [Head::keyed(mark, Some(session), &key).bytes(), &[0xEE]].concat(),
        bytes
    );
    let steering = [0x81, 0x82, 0x83];
    let payload: &[u8] = &[0xEE];
    assert_eq!(
        Frame::parse(&bytes),
        Ok(Frame::Keyed {
            mark,
            steering,
            key,
            payload
        })
    );
    let mut fragment = bytes;
    fragment[0] |= 1;
    assert_eq!(Frame::parse(&fragment), Err(FrameError::Unknown));
}

#[test]
fn sealed_control_names_session_and_counter() {
    let mut bytes = hex("
        a0                 # SEALED
        8102030405060708   # session id
        000000000000002a   # counter: 42
    ");
    let session = SessionId([0x81, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(sealed_head(session, 42)[..], bytes);
    bytes.extend([9; 17]);
    let ciphertext: &[u8] = &[9; 17];
    assert_eq!(
        Frame::parse(&bytes),
        Ok(Frame::Sealed {
            session,
            counter: 42,
            ciphertext
        })
    );
    assert_eq!(
        Frame::parse(&bytes[..33]),
        Err(FrameError::CutShort),
        "a tag seals something"
    );
}

#[test]
fn the_frames_of_the_handshake_are_those_of_the_vectors() {
    let n = "a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0";
    let c = "c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0";
    let zeros = "00".repeat(44);
    let hello_bytes = hex(&format!("b0 01 0000 {n} {zeros}"));
    assert_eq!(hello(&NONCE)[..], hello_bytes);
    assert_eq!(
        Frame::parse(&hello_bytes),
        Ok(Frame::Hello { nonce: NONCE })
    );
    let cookie_bytes = hex(&format!("b1 01 0000 {n} {c}"));
    assert_eq!(cookie(&NONCE, &COOKIE_VALUE)[..], cookie_bytes);
    let expected = Frame::Cookie {
        nonce: NONCE,
        cookie: COOKIE_VALUE,
    };
    assert_eq!(Frame::parse(&cookie_bytes), Ok(expected));
    let init_bytes = hex(&format!("b2 01 01 00 {n} {c} 0708"));
    assert_eq!(init(Rung::Udp, &NONCE, &COOKIE_VALUE, &[7, 8]), init_bytes);
    let noise: &[u8] = &[7, 8];
    let (rung, nonce, cookie) = (Rung::Udp, NONCE, COOKIE_VALUE);
    assert_eq!(
        Frame::parse(&init_bytes),
        Ok(Frame::Init {
            rung,
            nonce,
            cookie,
            noise
        })
    );
    let welcome_bytes = hex(&format!("b3 01 03 00 {n} 0708"));
    assert_eq!(welcome(Rung::Wss, &NONCE, &[7, 8]), welcome_bytes);
    let rung = Rung::Wss;
    assert_eq!(
        Frame::parse(&welcome_bytes),
        Ok(Frame::Welcome { rung, nonce, noise })
    );
    let refused_bytes = hex(&format!("b4 01 0b 00 {n} 627573 79"));
    assert_eq!(refused(11, &NONCE, "busy"), refused_bytes);
    let text: &[u8] = b"busy";
    assert_eq!(
        Frame::parse(&refused_bytes),
        Ok(Frame::Refused {
            code: 11,
            nonce,
            text
        })
    );
}

#[test]
fn a_handshake_of_another_version_or_with_reserved_bytes_set_is_not_understood() {
    let good = hello(&NONCE);
    for place in [1, 2, 3] {
        let mut other = good;
        other[place] ^= 0x10;
        assert_eq!(
            Frame::parse(&other),
            Err(FrameError::Unknown),
            "byte {place}"
        );
    }
    assert_eq!(Frame::parse(&good[..63]), Err(FrameError::CutShort));
    assert_eq!(Frame::parse(&[0xB2, 1, 4, 0, 0]), Err(FrameError::CutShort));
}

#[test]
fn a_text_is_cut_between_characters() {
    assert_eq!(cut("äöü", 3), "ä");
    let text = "ä".repeat(40);
    assert!(refused(1, &NONCE, &text).len() <= HELLO_BYTES_MIN);
}

#[test]
fn addresses_of_both_families_survive() {
    for addr in ["192.0.2.1:80", "[2001:db8::1]:443"] {
        let addr: SocketAddr = addr.parse().unwrap();
        assert_eq!(address_of_bytes(&address_bytes(addr)), addr);
    }
}

proptest! {
    #[test]
    fn any_bytes_are_a_frame_of_their_first_byte_or_none(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let is_flow = bytes.first().is_some_and(|first| (0x80..=0xBF).contains(first));
        let parsed = Frame::parse(&bytes);
        prop_assert_eq!(parsed == Err(FrameError::NotFlow), !is_flow);
    }
}
