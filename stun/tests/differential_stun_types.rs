//! The codec against `stun-types`, both ways: the frame, integrity, fingerprint, and the attributes
//! of RFC 8489, which are all that it knows.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

mod model;

use model::{
    COMMON_TEXT, Value, class, hostile, method, read, soup_message, transaction_id, value, written,
};
use proptest::collection::vec;
use proptest::prelude::*;
use sterna_stun::attr::AttributeType;
use sterna_stun::credentials;
use sterna_stun::fingerprint::{self, Fingerprint};
use sterna_stun::integrity::{Key, SHA1_BYTES};
use sterna_stun::message::{Class, Message, Method, TransactionId};
use stun_types::attribute::{
    self as their_attribute, AlternateDomain, AlternateServer, AttributeFromRaw,
    AttributeStaticType, ErrorCode, Nonce, RawAttribute, Realm, Software, Userhash, Username,
    XorMappedAddress,
};
use stun_types::message::{
    IntegrityAlgorithm, IntegrityKey, LongTermCredentials, Message as TheirMessage, MessageClass,
    MessageIntegrityCredentials, MessageType, MessageWrite, MessageWriteExt, MessageWriteVec,
    ShortTermCredentials,
};

fn their_key(password: &str) -> IntegrityKey {
    ShortTermCredentials::new(password.to_owned()).make_key()
}

fn their_id(id: TransactionId) -> stun_types::message::TransactionId {
    let mut wide = [0; 16];
    wide[4..].copy_from_slice(&id.0);
    u128::from_be_bytes(wide).into()
}

fn their_type(class: Class, method: Method) -> MessageType {
    let class = match class {
        Class::Request => MessageClass::Request,
        Class::Indication => MessageClass::Indication,
        Class::Success => MessageClass::Success,
        Class::Error => MessageClass::Error,
    };
    MessageType::from_class_method(class, stun_types::message::Method::new(method.0))
}

/// Adds their attribute for our value; false where they have none.
fn add_theirs(to: &mut MessageWriteVec, value: &Value, id: TransactionId) -> bool {
    let added = match value {
        Value::XorMappedAddress(addr) => {
            to.add_attribute(&XorMappedAddress::new(*addr, their_id(id)))
        }
        Value::AlternateServer(addr) => to.add_attribute(&AlternateServer::new(*addr)),
        Value::Username(text) => to.add_attribute(&Username::new(text).unwrap()),
        Value::UserHash(hash) => to.add_attribute(&Userhash::new(*hash)),
        Value::Realm(text) => to.add_attribute(&Realm::new(text).unwrap()),
        Value::Nonce(text) => to.add_attribute(&Nonce::new(text).unwrap()),
        Value::Software(text) => to.add_attribute(&Software::new(text).unwrap()),
        // They cut an empty or otherwise odd domain; it is text to us.
        Value::AlternateDomain(text) if !text.is_empty() => {
            to.add_attribute(&AlternateDomain::new(text))
        }
        // They replace an empty reason by a default one.
        Value::ErrorCode(code, reason) if !reason.is_empty() => {
            to.add_attribute(&ErrorCode::new(*code, reason).unwrap())
        }
        Value::UnknownAttributes(types) if !types.is_empty() => {
            let types: Vec<_> = types
                .iter()
                .map(|number| their_attribute::AttributeType::new(*number))
                .collect();
            to.add_attribute(&their_attribute::UnknownAttributes::new(&types))
        }
        _ => return false,
    };
    // They take each attribute once.
    added.is_ok()
}

/// Our value for their attribute.
fn ours(raw: &RawAttribute<'_>, id: TransactionId) -> Option<Value> {
    use their_attribute::Attribute;
    fn get<'a, A: AttributeFromRaw<'a>>(raw: &RawAttribute<'a>) -> Option<A> {
        A::from_raw_ref(raw).ok()
    }
    Some(match raw.get_type() {
        XorMappedAddress::TYPE => {
            Value::XorMappedAddress(get::<XorMappedAddress>(raw)?.addr(their_id(id)))
        }
        AlternateServer::TYPE => Value::AlternateServer(get::<AlternateServer>(raw)?.server()),
        Username::TYPE => Value::Username(get::<Username>(raw)?.username().into()),
        Userhash::TYPE => Value::UserHash(*get::<Userhash>(raw)?.hash()),
        Realm::TYPE => Value::Realm(get::<Realm>(raw)?.realm().into()),
        Nonce::TYPE => Value::Nonce(get::<Nonce>(raw)?.nonce().into()),
        Software::TYPE => Value::Software(get::<Software>(raw)?.software().into()),
        AlternateDomain::TYPE => {
            Value::AlternateDomain(get::<AlternateDomain>(raw)?.domain().into())
        }
        ErrorCode::TYPE => {
            let error = get::<ErrorCode>(raw)?;
            Value::ErrorCode(error.code(), error.reason().into())
        }
        _ => return None,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn both_write_the_same_bytes_and_verify_each_others(
        head in (class(), method(), transaction_id()),
        values in vec(value(COMMON_TEXT), 0..12),
        password in "[a-zA-Z0-9]{1,40}",
        seals in any::<[bool; 3]>(),
    ) {
        let (class, method, id) = head;
        let mut theirs =
            TheirMessage::builder(their_type(class, method), their_id(id), MessageWriteVec::new());
        let values: Vec<_> =
            values.into_iter().filter(|value| add_theirs(&mut theirs, value, id)).collect();
        let key = Key::new(password.as_bytes());
        if seals[0] {
            let sealed = theirs
                .add_message_integrity_with_key(&their_key(&password), IntegrityAlgorithm::Sha1);
            sealed.unwrap();
        }
        if seals[1] {
            let sealed = theirs
                .add_message_integrity_with_key(&their_key(&password), IntegrityAlgorithm::Sha256);
            sealed.unwrap();
        }
        if seals[2] {
            theirs.add_fingerprint().unwrap();
        }
        let theirs = theirs.finish();
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
        prop_assert_eq!(&bytes, &theirs);

        let decoded = TheirMessage::from_bytes(&bytes).unwrap();
        let decoded_values: Vec<_> =
            decoded.iter_attributes().filter_map(|(_, raw)| ours(&raw, id)).collect();
        let known: Vec<_> = values
            .iter()
            .filter(|value| !matches!(value, Value::UnknownAttributes(_)))
            .cloned()
            .collect();
        prop_assert_eq!(decoded_values, known);
        let verified = decoded.validate_integrity_with_key(&their_key(&password));
        prop_assert_eq!(verified.is_ok(), seals[0] || seals[1]);
        let message = Message::parse(&theirs).unwrap();
        prop_assert_eq!(key.sha1().verify(&message).is_ok(), seals[0]);
        prop_assert_eq!(key.sha256().verify(&message).is_ok(), seals[1]);
        prop_assert_eq!(read(&message), Ok(values));
    }

    #[test]
    fn of_hostile_bytes_both_see_the_same_attributes(
        bytes in prop_oneof![soup_message(), hostile()],
        password in "[a-z]{1,8}",
    ) {
        // They take the first message of a longer datagram, and any length that fits.
        let whole = bytes.len() >= 20
            && usize::from(u16::from_be_bytes([bytes[2], bytes[3]])) + 20 == bytes.len()
            && bytes.len().is_multiple_of(4);
        let theirs = TheirMessage::from_bytes(&bytes);
        let Ok(message) = Message::parse(&bytes) else {
            // What we refuse they refuse, but for a wrong length and for what they no longer look
            // at: whatever stands behind the first attribute that they ignore.
            let ignored = |theirs: &TheirMessage<'_>| {
                let seen: usize =
                    theirs.iter_attributes().map(|(_, raw)| padded(&raw)).sum();
                seen + 20 < bytes.len()
            };
            prop_assert!(!whole || theirs.is_err() || theirs.is_ok_and(|theirs| ignored(&theirs)));
            return Ok(());
        };
        let Ok(theirs) = theirs else {
            // They check FINGERPRINT while they read. We leave that to whoever uses it.
            let checked = fingerprint::check(&message) == Fingerprint::Invalid;
            prop_assert!(checked, "{:?}", theirs);
            return Ok(());
        };
        prop_assert_eq!(theirs.method().value(), message.method().0);
        prop_assert_eq!(theirs.transaction_id(), their_id(message.transaction_id()));
        let visible: Vec<_> = message.attributes().map(|raw| (raw.type_.0, raw.value)).collect();
        let theirs_visible: Vec<_> = theirs
            .iter_attributes()
            .map(|(_, raw)| {
                use their_attribute::Attribute;
                (raw.get_type().value(), raw.value.to_vec())
            })
            .collect();
        // They stop at the first attribute behind the integrity that is to be ignored. We ignore
        // that one only: RFC 8489 §9 has MESSAGE-INTEGRITY-SHA256 and FINGERPRINT count behind it.
        let agree = visible
            .iter()
            .zip(&theirs_visible)
            .all(|(ours, theirs)| ours.0 == theirs.0 && ours.1 == theirs.1);
        prop_assert!(agree && theirs_visible.len() <= visible.len());
        let trailing = [
            AttributeType::MESSAGE_INTEGRITY_SHA256.0,
            AttributeType::FINGERPRINT.0,
        ];
        prop_assert!(visible[theirs_visible.len()..].iter().all(|(type_, _)| trailing.contains(type_)));

        // Nobody knows the key, so nobody verifies; also not by a MAC of another length.
        let key = Key::new(password.as_bytes());
        prop_assert!(key.sha1().verify(&message).is_err());
        prop_assert!(key.sha256().verify(&message).is_err());
        prop_assert!(theirs.validate_integrity_with_key(&their_key(&password)).is_err());
    }

    // A MAC cut down by whoever sits on the path.
    #[test]
    fn a_mac_that_is_cut_down_on_the_path_passes_with_neither(
        id in transaction_id(),
        len in 0usize..=40,
    ) {
        let key = Key::new(b"password");
        let full = written((Class::Request, Method::BINDING, id), &[], |writer| {
            writer.integrity_sha256(&key.sha256()).unwrap();
        });
        let mut bytes = full[..24 + len.min(32)].to_vec();
        bytes.resize((24 + len).next_multiple_of(4), 0);
        let length = u16::try_from(bytes.len() - 20).unwrap();
        bytes[2..4].copy_from_slice(&length.to_be_bytes());
        bytes[22..24].copy_from_slice(&u16::try_from(len).unwrap().to_be_bytes());
        let message = Message::parse(&bytes).unwrap();
        // The header's length is under the MAC, so that only the whole one is right.
        prop_assert_eq!(key.sha256().verify(&message).is_ok(), len == 32);
        prop_assert_eq!(key.sha256().verify_truncated(&message, 16).is_ok(), len == 32);
        let theirs = TheirMessage::from_bytes(&bytes).unwrap();
        let verified = theirs.validate_integrity_with_key(&their_key("password"));
        prop_assert_eq!(verified.is_ok(), len == 32);
    }

    #[test]
    fn keys_and_hashes_are_the_same(
        id in transaction_id(),
        user in "[ -~]{1,40}",
        realm in "[a-zA-Z0-9.-]{1,40}",
        password in "[ -~]{1,40}",
    ) {
        prop_assert_eq!(credentials::userhash(&user, &realm), Userhash::compute(&user, &realm));
        // Their keys are not to be seen, so one seals and the other verifies.
        let long_term = LongTermCredentials::new(user.clone(), password.clone());
        let credentials: MessageIntegrityCredentials = long_term.to_key(realm.clone()).into();
        let md5 = credentials::long_term_key_md5(&user, &realm, &password);
        let bytes = written((Class::Request, Method::ALLOCATE, id), &[], |writer| {
            writer.integrity_sha1(&md5.sha1()).unwrap();
        });
        prop_assert_eq!(bytes.len(), 24 + SHA1_BYTES);
        let theirs = TheirMessage::from_bytes(&bytes).unwrap();
        prop_assert!(theirs.validate_integrity(&credentials).is_ok());
        let sha256 = credentials::long_term_key_sha256(&user, &realm, &password);
        let bytes = written((Class::Request, Method::ALLOCATE, id), &[], |writer| {
            writer.integrity_sha256(&sha256.sha256()).unwrap();
        });
        let theirs = TheirMessage::from_bytes(&bytes).unwrap();
        prop_assert!(theirs.validate_integrity(&credentials).is_ok());
    }
}

fn padded(raw: &RawAttribute<'_>) -> usize {
    4 + raw.value.len().next_multiple_of(4)
}
