use super::*;
use crate::attr::testing::TRANSACTION_ID;
use crate::attr::{Attribute, AttributeType, Lifetime, Nonce};
use crate::message::{Class, Method};
use crate::writer::MessageWriter;

fn key() -> Key {
    Key::new(b"a key")
}

fn message(fill: impl FnOnce(&mut MessageWriter<'_>)) -> Vec<u8> {
    let mut out = vec![0; 512];
    let mut writer = MessageWriter::new(&mut out, Class::Request, Method::REFRESH, TRANSACTION_ID)
        .expect("fits");
    writer.attr(&Lifetime(600)).expect("fits");
    fill(&mut writer);
    let len = writer.finish();
    out.truncate(len);
    out
}

fn parse(bytes: &[u8]) -> Message<'_> {
    Message::parse(bytes).expect("a message")
}

/// Appends an attribute behind whatever stands last, as no writer of ours would.
fn append(bytes: &mut Vec<u8>, type_: AttributeType, value: &[u8]) {
    bytes.extend(type_.0.to_be_bytes());
    bytes.extend(u16::try_from(value.len()).expect("short").to_be_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    let length = u16::try_from(bytes.len() - HEADER_BYTES).expect("short");
    bytes[2..4].copy_from_slice(&length.to_be_bytes());
}

#[test]
fn a_message_without_integrity_says_so() {
    let bytes = message(|_| ());
    assert_eq!(
        key().sha1().verify(&parse(&bytes)),
        Err(IntegrityError::Absent)
    );
    assert_eq!(
        key().sha256().verify(&parse(&bytes)),
        Err(IntegrityError::Absent)
    );
    assert_eq!(verify(&parse(&bytes), &key()), Err(IntegrityError::Absent));
}

#[test]
fn any_changed_bit_that_is_covered_breaks_the_integrity() {
    for sha256 in [false, true] {
        let mut bytes = message(|writer| {
            if sha256 {
                writer.integrity_sha256(&key().sha256()).expect("fits");
            } else {
                writer.integrity_sha1(&key().sha1()).expect("fits");
            }
        });
        assert!(verify(&parse(&bytes), &key()).is_ok());
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            if let Ok(message) = Message::parse(&bytes) {
                assert!(verify(&message, &key()).is_err(), "bit {bit}");
            }
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

// RFC 8489 §14.5: "the Length field in the STUN header must be adjusted to point to the end of
// the MESSAGE-INTEGRITY attribute prior to calculating the HMAC".
#[test]
fn what_follows_the_integrity_does_not_change_it() {
    let bytes = message(|writer| {
        writer.integrity_sha1(&key().sha1()).expect("fits");
        writer.integrity_sha256(&key().sha256()).expect("fits");
        writer.fingerprint().expect("fits");
    });
    let message = parse(&bytes);
    assert_eq!(key().sha1().verify(&message), Ok(()));
    assert_eq!(key().sha256().verify(&message), Ok(()));
    assert_eq!(message.attributes().count(), 4);
}

// RFC 8489 §9.2.4: MESSAGE-INTEGRITY-SHA256 where it is present, otherwise MESSAGE-INTEGRITY.
#[test]
fn where_both_are_present_only_sha256_counts() {
    let bytes = message(|writer| {
        writer
            .integrity_sha1(&Key::new(b"wrong").sha1())
            .expect("fits");
        writer.integrity_sha256(&key().sha256()).expect("fits");
    });
    assert_eq!(verify(&parse(&bytes), &key()), Ok(Verified::Sha256));
    let bytes = message(|writer| {
        writer.integrity_sha1(&key().sha1()).expect("fits");
        writer
            .integrity_sha256(&Key::new(b"wrong").sha256())
            .expect("fits");
    });
    assert_eq!(
        verify(&parse(&bytes), &key()),
        Err(IntegrityError::Mismatch)
    );
}

fn truncated(len: usize) -> Vec<u8> {
    let mut bytes = message(|_| ());
    let at = bytes.len();
    append(
        &mut bytes,
        AttributeType::MESSAGE_INTEGRITY_SHA256,
        &vec![0; len],
    );
    let mac = key().sha256().expected(&parse(&bytes), at, len);
    bytes[at + ATTRIBUTE_HEADER_BYTES..][..len].copy_from_slice(&mac[..len]);
    bytes
}

// RFC 8489 §14.6: "it MUST be at least 16 bytes and MUST be a multiple of 4 bytes. The value
// must be the full 32 bytes unless the STUN Usage explicitly specifies that truncation is
// allowed."
#[test]
fn a_truncated_sha256_passes_only_where_the_usage_allows_that_length() {
    for len in [16, 20, 24, 28, 32] {
        let bytes = truncated(len);
        let full = key().sha256().verify(&parse(&bytes));
        assert_eq!(full.is_ok(), len == 32, "{len}");
        assert_eq!(
            key().sha256().verify_truncated(&parse(&bytes), 0),
            Ok(()),
            "{len}"
        );
        let at_least_24 = key().sha256().verify_truncated(&parse(&bytes), 24);
        assert_eq!(at_least_24.is_ok(), len >= 24, "{len}");
    }
    for len in [0, 4, 12, 15, 17, 18, 19, 30] {
        let bytes = truncated(len);
        let refused = key().sha256().verify_truncated(&parse(&bytes), 0);
        assert_eq!(refused, Err(IntegrityError::Mismatch), "{len}");
    }
}

#[test]
fn an_integrity_of_the_wrong_length_never_passes() {
    for len in [0, 4, 16, 19, 21, 24, 32] {
        let mut bytes = message(|_| ());
        append(&mut bytes, AttributeType::MESSAGE_INTEGRITY, &vec![0; len]);
        let refused = key().sha1().verify(&parse(&bytes));
        assert_eq!(refused, Err(IntegrityError::Mismatch), "{len}");
    }
    for len in [36, 64] {
        let mut bytes = message(|_| ());
        append(
            &mut bytes,
            AttributeType::MESSAGE_INTEGRITY_SHA256,
            &vec![0; len],
        );
        let refused = key().sha256().verify_truncated(&parse(&bytes), 0);
        assert_eq!(refused, Err(IntegrityError::Mismatch), "{len}");
    }
}

// RFC 8489 §9: "agents MUST ignore all attributes that follow MESSAGE-INTEGRITY, with the
// exception of the MESSAGE-INTEGRITY-SHA256 and FINGERPRINT attributes."
#[test]
fn attributes_smuggled_in_behind_the_integrity_are_not_seen() {
    let mut bytes = message(|writer| {
        writer.integrity_sha1(&key().sha1()).expect("fits");
    });
    append(&mut bytes, Lifetime::TYPE, &9u32.to_be_bytes());
    append(&mut bytes, Nonce::TYPE, b"smuggled");
    append(&mut bytes, AttributeType(0x7777), b"required and unknown");
    let message = parse(&bytes);
    assert_eq!(key().sha1().verify(&message), Ok(()));
    assert_eq!(message.find(), Ok(Some(Lifetime(600))));
    assert_eq!(message.find::<Nonce<'_>>(), Ok(None));
    assert!(message.unknown_required(AttributeType::is_known).is_empty());
    assert_eq!(message.attributes().count(), 2);
    assert_eq!(message.find_all::<Lifetime>().count(), 1);
}

// RFC 8489 §9: "agents MUST ignore all attributes that follow the MESSAGE-INTEGRITY-SHA256
// attribute if the MESSAGE-INTEGRITY attribute is not present, with the exception of the
// FINGERPRINT attribute."
#[test]
fn behind_sha256_even_message_integrity_is_not_seen() {
    let mut bytes = message(|writer| {
        writer.integrity_sha256(&key().sha256()).expect("fits");
    });
    let at = bytes.len();
    append(
        &mut bytes,
        AttributeType::MESSAGE_INTEGRITY,
        &[0; SHA1_BYTES],
    );
    let mac = key().sha1().expected(&parse(&bytes), at, SHA1_BYTES);
    bytes[at + ATTRIBUTE_HEADER_BYTES..].copy_from_slice(&mac);
    append(&mut bytes, Nonce::TYPE, b"smuggled");
    let message = parse(&bytes);
    assert_eq!(key().sha1().verify(&message), Err(IntegrityError::Absent));
    assert_eq!(key().sha256().verify(&message), Ok(()));
    assert_eq!(message.find::<Nonce<'_>>(), Ok(None));
    assert_eq!(message.attributes().count(), 2);
}

#[test]
fn keys_are_compared_by_value_and_never_printed() {
    assert_eq!(key(), Key::new(b"a key"));
    assert_ne!(key(), Key::new(b"a kez"));
    let printed = format!("{:?} {:?} {:?}", key(), key().sha1(), key().sha256());
    assert_eq!(printed, "Key(…) KeyedSha1(…) KeyedSha256(…)");
}
