//! Whatever is written is read back, and nothing that is read makes the codec panic.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

#[path = "../fuzz/src/lib.rs"]
#[allow(unreachable_pub, reason = "a library to the fuzz targets")]
mod checks;
mod model;

use model::{
    ANY_TEXT, Value, addr, class, hostile, method, read, sound_message, soup_message,
    transaction_id, value, written,
};
use proptest::collection::vec;
use proptest::prelude::*;
use sterna_stun::attr::AttributeType;
use sterna_stun::channel_data::{self, ChannelData};
use sterna_stun::data_indication::{self, HEADER_BYTES_MAX};
use sterna_stun::demux::{Kind, classify};
use sterna_stun::fingerprint::{self, Fingerprint};
use sterna_stun::framing::next_frame;
use sterna_stun::integrity::{self, Key, Verified};
use sterna_stun::message::{Class, Message, Method};
use sterna_stun::nonce::{Check, Features, NonceKey, NonceKeys};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_written_message_reads_back_as_it_was(
        head in (class(), method(), transaction_id()),
        values in vec(value(ANY_TEXT), 0..10),
    ) {
        let bytes = written(head, &values, |_| ());
        let message = Message::parse(&bytes).unwrap();
        prop_assert_eq!((message.class(), message.method(), message.transaction_id()), head);
        prop_assert_eq!(read(&message), Ok(values));
        prop_assert_eq!(classify(bytes[0]), Kind::Stun);
        prop_assert_eq!(next_frame(&bytes), Ok(Some(bytes.len())));
        prop_assert!(message.unknown_required(AttributeType::is_known).is_empty());
    }

    #[test]
    fn a_sealed_message_verifies_with_its_key_and_no_other(
        head in (class(), method(), transaction_id()),
        values in vec(value(ANY_TEXT), 0..5),
        key in vec(any::<u8>(), 0..100),
        other in vec(any::<u8>(), 0..100),
        seals in any::<[bool; 3]>(),
    ) {
        // An HMAC key that is shorter than a block equals the same key with zeros behind it.
        prop_assume!(key.iter().rev().skip_while(|b| **b == 0).ne(other.iter().rev().skip_while(|b| **b == 0)));
        let (key, other) = (Key::new(&key), Key::new(&other));
        let bytes = written(head, &values, |writer| {
            if seals[0] {
                writer.integrity_sha1(&key.sha1()).unwrap();
            }
            if seals[1] {
                writer.integrity_sha256(&key.sha256()).unwrap();
            }
            if seals[2] {
                writer.fingerprint().unwrap();
            }
        });
        let message = Message::parse(&bytes).unwrap();
        let expected = match seals {
            [_, true, _] => Ok(Verified::Sha256),
            [true, false, _] => Ok(Verified::Sha1),
            _ => Err(integrity::IntegrityError::Absent),
        };
        prop_assert_eq!(integrity::verify(&message, &key), expected);
        prop_assert!(integrity::verify(&message, &other).is_err());
        prop_assert_eq!(key.sha1().verify(&message).is_ok(), seals[0]);
        prop_assert_eq!(key.sha256().verify(&message).is_ok(), seals[1]);
        let fingerprint = if seals[2] { Fingerprint::Valid } else { Fingerprint::Absent };
        prop_assert_eq!(fingerprint::check(&message), fingerprint);
        prop_assert_eq!(read(&message), Ok(values));
    }

    #[test]
    fn what_was_read_is_written_again_as_it_stood(bytes in sound_message(ANY_TEXT)) {
        let message = Message::parse(&bytes).unwrap();
        let head = (message.class(), message.method(), message.transaction_id());
        let again = written(head, &read(&message).unwrap(), |_| ());
        prop_assert_eq!(&again[20..], &bytes[20..again.len()]);
    }

    #[test]
    fn hostile_bytes_are_refused_or_read_but_never_panic(bytes in hostile()) {
        checks::message(&bytes);
        checks::indication(&bytes);
        checks::stream(&bytes);
        checks::credential(&bytes);
        checks::token(&bytes);
    }

    #[test]
    fn the_integrity_attributes_hide_everything_behind_them(bytes in soup_message()) {
        let Ok(message) = Message::parse(&bytes) else { return Ok(()) };
        let types: Vec<_> = message.attributes().map(|raw| raw.type_).collect();
        let sha1 = types.iter().position(|t| *t == AttributeType::MESSAGE_INTEGRITY);
        let sha256 = types.iter().position(|t| *t == AttributeType::MESSAGE_INTEGRITY_SHA256);
        let behind = |at: Option<usize>| at.map_or(&[][..], |at| &types[at + 1..]);
        let allowed = [AttributeType::MESSAGE_INTEGRITY_SHA256, AttributeType::FINGERPRINT];
        prop_assert!(behind(sha1).iter().all(|type_| allowed.contains(type_)));
        prop_assert!(behind(sha256).iter().all(|type_| *type_ == AttributeType::FINGERPRINT));
        // What is visible in front is a prefix of what stands in the message.
        let mut visible = message.attributes();
        let mut at = 20;
        while at < bytes.len() {
            let type_ = AttributeType(u16::from_be_bytes([bytes[at], bytes[at + 1]]));
            let len = usize::from(u16::from_be_bytes([bytes[at + 2], bytes[at + 3]]));
            if [
                AttributeType::MESSAGE_INTEGRITY,
                AttributeType::MESSAGE_INTEGRITY_SHA256,
                AttributeType::FINGERPRINT,
            ].contains(&type_) {
                break;
            }
            let raw = visible.next().unwrap();
            prop_assert_eq!((raw.type_, raw.value), (type_, &bytes[at + 4..at + 4 + len]));
            at += 4 + len.next_multiple_of(4);
        }
    }

    #[test]
    fn the_fast_indications_agree_with_the_generic_parser(
        bytes in prop_oneof![indication(), hostile()],
    ) {
        checks::indication(&bytes);
    }

    #[test]
    fn an_indications_header_agrees_with_the_writer(
        id in transaction_id(),
        peer in addr(),
        payload in vec(any::<u8>(), 0..50),
    ) {
        let mut head = [0xEE; HEADER_BYTES_MAX];
        let len = data_indication::header(id, peer, payload.len(), &mut head).unwrap();
        let mut ours = [&head[..len], &payload].concat();
        ours.resize(ours.len() + data_indication::tail(payload.len()), 0);
        let values = [Value::XorPeerAddress(peer), Value::Data(payload)];
        prop_assert_eq!(ours, written((Class::Indication, Method::DATA, id), &values, |_| ()));
    }

    #[test]
    fn channel_data_reads_back_with_and_without_its_tail(
        number in 0x4000u16..=0x4FFF,
        data in vec(any::<u8>(), 0..50),
        tail in 0usize..5,
    ) {
        let header = channel_data::header(number, u16::try_from(data.len()).unwrap());
        let bytes = [&header[..], &data, &vec![0xEE; tail]].concat();
        prop_assert_eq!(ChannelData::parse(&bytes), Ok(ChannelData { number, data: &data }));
        prop_assert_eq!(classify(bytes[0]), Kind::ChannelData);
        let frame = next_frame(&bytes).unwrap().unwrap();
        prop_assert_eq!(frame, header.len() + data.len() + channel_data::tail(data.len()));
    }

    // However a stream is cut into reads, the same frames come out of it.
    #[test]
    fn a_stream_is_framed_alike_however_it_is_cut(
        messages in vec(sound_message(ANY_TEXT), 1..4),
        number in 0x4000u16..=0x4FFF,
        data in vec(any::<u8>(), 0..50),
        step in 1usize..50,
    ) {
        let mut channel = channel_data::header(number, u16::try_from(data.len()).unwrap()).to_vec();
        channel.extend(&data);
        channel.resize(channel.len() + channel_data::tail(data.len()), 0);
        let mut frames = messages;
        frames.insert(1, channel);
        let stream = frames.concat();
        let (mut held, mut seen) = (Vec::new(), Vec::new());
        for read in stream.chunks(step) {
            held.extend(read);
            while let Some(len) = next_frame(&held).unwrap() {
                if held.len() < len {
                    break;
                }
                seen.push(held.drain(..len).collect::<Vec<_>>());
            }
        }
        prop_assert_eq!(seen, frames);
        prop_assert!(held.is_empty());
    }

    #[test]
    fn a_nonce_is_valid_for_its_client_only(
        ends in (addr(), addr(), addr()),
        key in any::<[u8; 32]>(),
        now in 0u64..1 << 40,
        features in any::<(bool, bool)>(),
        age in 0u64..10_000,
    ) {
        let keys = NonceKeys::new(NonceKey::new(1, &key), None);
        let features = Features { password_algorithms: features.0, username_anonymity: features.1 };
        let (client, server, other) = ends;
        let nonce = keys.issue(client, server, now, features);
        let fresh = Check::Valid(features);
        prop_assert_eq!(keys.check(nonce.as_bytes(), client, server, now), fresh);
        prop_assert_eq!(keys.check(nonce.as_bytes(), client, server, now + 3_600), fresh);
        if other != client {
            prop_assert_eq!(keys.check(nonce.as_bytes(), other, server, now), Check::Stale);
        }
        if age > 3_660 {
            prop_assert_eq!(keys.check(nonce.as_bytes(), client, server, now + age), Check::Stale);
        }
    }

    #[test]
    fn any_bytes_for_a_nonce_are_stale(nonce in vec(any::<u8>(), 0..60), ends in (addr(), addr())) {
        let keys = NonceKeys::new(NonceKey::new(1, &[7; 32]), None);
        prop_assert_eq!(keys.check(&nonce, ends.0, ends.1, 1 << 30), Check::Stale);
        let _ = Features::of(&nonce);
    }
}

/// Indications that are nearly right.
fn indication() -> impl Strategy<Value = Vec<u8>> {
    let relevant = prop_oneof![
        addr().prop_map(Value::XorPeerAddress),
        vec(any::<u8>(), 0..20).prop_map(Value::Data),
        Just(Value::DontFragment),
        Just(Value::Icmp(3, 4, [0, 0, 5, 0])),
        value(ANY_TEXT),
    ];
    let method = prop_oneof![Just(Method::SEND), Just(Method::DATA)];
    (
        method,
        transaction_id(),
        vec(relevant, 0..5),
        any::<bool>(),
        any::<Option<u16>>(),
    )
        .prop_map(|(method, id, values, seal, stranger)| {
            written((Class::Indication, method, id), &values, |writer| {
                if let Some(type_) = stranger.map(AttributeType) {
                    // The three that depend on what stands before them are not anybody's to add.
                    if !matches!(type_.0, 0x0008 | 0x001C | 0x8028) {
                        writer.raw(type_, b"stranger").unwrap();
                    }
                }
                if seal {
                    writer.fingerprint().unwrap();
                }
            })
        })
}
