//! The codec against `stun-rs`, both ways: what one writes the other reads, byte for byte the same.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

mod model;

use model::{
    COMMON_TEXT, Value, class, framed, hostile, method, read, soup_message, transaction_id, value,
    written,
};
use proptest::collection::vec;
use proptest::prelude::*;
use sterna_stun::attr::{AddressFamily, AttributeType};
use sterna_stun::credentials;
use sterna_stun::integrity::Key;
use sterna_stun::message::{Class, Message, Method, TransactionId};
use stun_rs::attributes::discovery::{
    ChangeRequest, ChangeRequestFlags, OtherAddress, ResponseOrigin, ResponsePort,
};
use stun_rs::attributes::ice::{IceControlled, IceControlling, Priority, UseCandidate};
use stun_rs::attributes::mobility::MobilityTicket;
use stun_rs::attributes::stun::{
    AlternateServer, ErrorCode, Fingerprint, MappedAddress, MessageIntegrity,
    MessageIntegritySha256, Nonce, PasswordAlgorithm, PasswordAlgorithms, Realm, Software,
    UnknownAttributes, UserHash, UserName, XorMappedAddress,
};
use stun_rs::attributes::turn::{
    AdditionalAddressFamily, AddressErrorCode, ChannelNumber, Data, DontFragment, EvenPort, Icmp,
    IcmpCode, IcmpType, LifeTime, RequestedAddressFamily, RequestedTrasport, ReservationToken,
    XorPeerAddress, XorRelayedAddress,
};
use stun_rs::{
    Algorithm, AlgorithmId, DecoderContextBuilder, HMACKey, MessageClass, MessageDecoder,
    MessageDecoderBuilder, MessageEncoderBuilder, MessageMethod, StunAttribute, StunMessage,
    StunMessageBuilder,
};

fn their_family(family: AddressFamily) -> stun_rs::AddressFamily {
    match family {
        AddressFamily::Ipv4 => stun_rs::AddressFamily::IPv4,
        AddressFamily::Ipv6 => stun_rs::AddressFamily::IPv6,
    }
}

fn our_family(family: stun_rs::AddressFamily) -> AddressFamily {
    match family {
        stun_rs::AddressFamily::IPv4 => AddressFamily::Ipv4,
        stun_rs::AddressFamily::IPv6 => AddressFamily::Ipv6,
    }
}

fn their_algorithm((number, parameters): &(u16, Vec<u8>)) -> PasswordAlgorithm {
    let parameters = (!parameters.is_empty()).then_some(parameters.as_slice());
    PasswordAlgorithm::new(Algorithm::new(AlgorithmId::from(*number), parameters))
}

/// Their value for ours; None where they have none.
fn theirs(value: &Value) -> Option<StunAttribute> {
    let attribute = match value {
        Value::MappedAddress(addr) => MappedAddress::from(*addr).into(),
        Value::XorMappedAddress(addr) => XorMappedAddress::from(*addr).into(),
        Value::XorPeerAddress(addr) => XorPeerAddress::from(*addr).into(),
        Value::XorRelayedAddress(addr) => XorRelayedAddress::from(*addr).into(),
        Value::AlternateServer(addr) => AlternateServer::from(*addr).into(),
        Value::ResponseOrigin(addr) => ResponseOrigin::from(*addr).into(),
        Value::OtherAddress(addr) => OtherAddress::from(*addr).into(),
        Value::Username(text) => UserName::new(text).unwrap().into(),
        Value::Realm(text) => Realm::new(text).unwrap().into(),
        Value::Nonce(text) => Nonce::new(text).unwrap().into(),
        Value::Software(text) => Software::new(text).unwrap().into(),
        Value::ErrorCode(code, reason) => {
            ErrorCode::new(stun_rs::ErrorCode::new(*code, reason).unwrap()).into()
        }
        Value::AddressErrorCode(family, code, reason) => {
            let code = stun_rs::ErrorCode::new(*code, reason).unwrap();
            AddressErrorCode::new(their_family(*family), code).into()
        }
        Value::UnknownAttributes(types) => UnknownAttributes::from(types.as_slice()).into(),
        Value::Lifetime(seconds) => LifeTime::new(*seconds).into(),
        Value::ChannelNumber(number) => ChannelNumber::new(*number).into(),
        Value::Data(bytes) => Data::new(bytes.as_slice()).into(),
        // They can make no other.
        Value::RequestedTransport(17) => RequestedTrasport::default().into(),
        Value::RequestedAddressFamily(family) => {
            RequestedAddressFamily::new(their_family(*family)).into()
        }
        Value::AdditionalAddressFamily(family) => {
            AdditionalAddressFamily::new(their_family(*family)).into()
        }
        Value::EvenPort(reserve_next) => EvenPort::new(*reserve_next).into(),
        Value::ReservationToken(token) => ReservationToken::from(*token).into(),
        Value::DontFragment => DontFragment::default().into(),
        Value::Icmp(type_, code, data) => Icmp::new(
            IcmpType::new(*type_).unwrap(),
            IcmpCode::new(*code).unwrap(),
            *data,
        )
        .into(),
        // They leave the last algorithm's parameters unpadded and the padding uncounted, where
        // RFC 8489 §14.11 and §14.12 have the parameters "padded to a 32-bit boundary".
        Value::PasswordAlgorithm(_, parameters) if parameters.len() % 4 != 0 => return None,
        Value::PasswordAlgorithms(list) if list.iter().any(|each| each.1.len() % 4 != 0) => {
            return None;
        }
        Value::PasswordAlgorithm(number, parameters) => {
            their_algorithm(&(*number, parameters.clone())).into()
        }
        Value::PasswordAlgorithms(list) => {
            let list: Vec<_> = list.iter().map(their_algorithm).collect();
            PasswordAlgorithms::from(list).into()
        }
        Value::MobilityTicket(bytes) => MobilityTicket::new(bytes.as_slice()).into(),
        Value::Priority(priority) => Priority::new(*priority).into(),
        Value::UseCandidate => UseCandidate::default().into(),
        Value::IceControlled(breaker) => IceControlled::new(*breaker).into(),
        Value::IceControlling(breaker) => IceControlling::new(*breaker).into(),
        Value::ChangeRequest(ip, port) => {
            let mut flags = None;
            for (set, flag) in [
                (*ip, ChangeRequestFlags::ChangeIp),
                (*port, ChangeRequestFlags::ChangePort),
            ] {
                if set {
                    flags = Some(flags.map_or(flag.into(), |flags| flags | flag));
                }
            }
            ChangeRequest::new(flags).into()
        }
        Value::ResponsePort(port) => ResponsePort::new(*port).into(),
        // They make USERHASH out of a name only and take text for PADDING; the others they lack.
        Value::UserHash(_)
        | Value::RequestedTransport(_)
        | Value::Padding(_)
        | Value::AlternateDomain(_)
        | Value::ThirdPartyAuthorization(_)
        | Value::AccessToken(_)
        | Value::ConnectionId(_) => return None,
    };
    Some(attribute)
}

/// Our value for theirs; None where we have none, or they hold none.
fn ours(attribute: &StunAttribute) -> Option<Value> {
    let algorithm = |each: &PasswordAlgorithm| {
        (
            u16::from(each.algorithm()),
            each.parameters().unwrap_or_default().to_vec(),
        )
    };
    let value = match attribute {
        StunAttribute::MappedAddress(a) => Value::MappedAddress(*a.socket_address()),
        StunAttribute::XorMappedAddress(a) => Value::XorMappedAddress(*a.socket_address()),
        StunAttribute::XorPeerAddress(a) => Value::XorPeerAddress(*a.socket_address()),
        StunAttribute::XorRelayedAddress(a) => Value::XorRelayedAddress(*a.socket_address()),
        StunAttribute::AlternateServer(a) => Value::AlternateServer(*a.socket_address()),
        StunAttribute::ResponseOrigin(a) => Value::ResponseOrigin(*a.socket_address()),
        StunAttribute::OtherAddress(a) => Value::OtherAddress(*a.socket_address()),
        StunAttribute::UserName(a) => Value::Username(a.as_str().into()),
        StunAttribute::UserHash(a) => Value::UserHash(a.hash().try_into().unwrap()),
        StunAttribute::Realm(a) => Value::Realm(a.as_str().into()),
        StunAttribute::Nonce(a) => Value::Nonce(a.as_str().into()),
        StunAttribute::Software(a) => Value::Software(a.as_str().into()),
        StunAttribute::ErrorCode(a) => {
            Value::ErrorCode(a.error_code().error_code(), a.error_code().reason().into())
        }
        StunAttribute::AddressErrorCode(a) => Value::AddressErrorCode(
            our_family(a.family()),
            a.error_code().error_code(),
            a.error_code().reason().into(),
        ),
        StunAttribute::UnknownAttributes(a) => Value::UnknownAttributes(a.attributes().into()),
        StunAttribute::LifeTime(a) => Value::Lifetime(a.as_u32()),
        StunAttribute::ChannelNumber(a) => Value::ChannelNumber(a.number()),
        StunAttribute::Data(a) => Value::Data(a.as_bytes().into()),
        StunAttribute::RequestedTrasport(a) => Value::RequestedTransport(a.protocol().as_u8()),
        StunAttribute::RequestedAddressFamily(a) => {
            Value::RequestedAddressFamily(our_family(a.family()))
        }
        StunAttribute::AdditionalAddressFamily(a) => {
            Value::AdditionalAddressFamily(our_family(a.family()))
        }
        StunAttribute::EvenPort(a) => Value::EvenPort(a.reserve()),
        StunAttribute::ReservationToken(a) => {
            Value::ReservationToken(a.token().try_into().unwrap())
        }
        StunAttribute::DontFragment(_) => Value::DontFragment,
        StunAttribute::Icmp(a) => Value::Icmp(
            a.icmp_type().get(),
            a.icmp_code().get(),
            a.error_data().try_into().unwrap(),
        ),
        StunAttribute::PasswordAlgorithm(a) => {
            let (number, parameters) = algorithm(a);
            Value::PasswordAlgorithm(number, parameters)
        }
        StunAttribute::PasswordAlgorithms(a) => {
            Value::PasswordAlgorithms(a.iter().map(algorithm).collect())
        }
        StunAttribute::MobilityTicket(a) => Value::MobilityTicket(a.value().into()),
        StunAttribute::Priority(a) => Value::Priority(a.as_u32()),
        StunAttribute::UseCandidate(_) => Value::UseCandidate,
        StunAttribute::IceControlled(a) => Value::IceControlled(a.as_u64()),
        StunAttribute::IceControlling(a) => Value::IceControlling(a.as_u64()),
        StunAttribute::ChangeRequest(a) => Value::ChangeRequest(
            a.flags().contains(ChangeRequestFlags::ChangeIp),
            a.flags().contains(ChangeRequestFlags::ChangePort),
        ),
        StunAttribute::ResponsePort(a) => Value::ResponsePort(a.as_u16()),
        StunAttribute::Padding(a) => Value::Padding(a.as_str().into()),
        _ => return None,
    };
    Some(value)
}

fn their_message(
    (class, method, id): (Class, Method, TransactionId),
    attributes: Vec<StunAttribute>,
) -> StunMessage {
    let class = match class {
        Class::Request => MessageClass::Request,
        Class::Indication => MessageClass::Indication,
        Class::Success => MessageClass::SuccessResponse,
        Class::Error => MessageClass::ErrorResponse,
    };
    let method = MessageMethod::try_from(method.0).unwrap();
    let mut builder = StunMessageBuilder::new(method, class).with_transaction_id(id.0.into());
    for attribute in attributes {
        builder = builder.with_attribute(attribute);
    }
    builder.build()
}

fn their_bytes(message: &StunMessage) -> Vec<u8> {
    let mut out = vec![0xEE; 8192];
    let len = MessageEncoderBuilder::default()
        .build()
        .encode(&mut out, message)
        .unwrap();
    out.truncate(len);
    out
}

fn their_decoder(key: Option<HMACKey>) -> MessageDecoder {
    let mut context = DecoderContextBuilder::default();
    if let Some(key) = key {
        context = context.with_key(key).with_validation();
    }
    MessageDecoderBuilder::default()
        .with_context(context.build())
        .build()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn both_write_the_same_bytes_and_read_the_same_values(
        head in (class(), method(), transaction_id()),
        values in vec(value(COMMON_TEXT), 0..8),
        password in "[a-zA-Z0-9]{1,40}",
        seals in any::<[bool; 3]>(),
    ) {
        let values: Vec<_> = values.into_iter().filter(|value| theirs(value).is_some()).collect();
        let mut attributes: Vec<_> = values.iter().filter_map(theirs).collect();
        let their_key = HMACKey::new_short_term(&password).unwrap();
        if seals[0] {
            attributes.push(MessageIntegrity::new(their_key.clone()).into());
        }
        if seals[1] {
            attributes.push(MessageIntegritySha256::new(their_key.clone()).into());
        }
        if seals[2] {
            attributes.push(Fingerprint::default().into());
        }
        let key = Key::new(password.as_bytes());
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
        prop_assert_eq!(&bytes, &their_bytes(&their_message(head, attributes)));

        // They verify what we sealed, and read what we wrote.
        let (decoded, len) = their_decoder(Some(their_key)).decode(&bytes).unwrap();
        prop_assert_eq!(len, bytes.len());
        let decoded: Vec<_> = decoded.attributes().iter().filter_map(ours).collect();
        prop_assert_eq!(&decoded, &values);
        // We verify and read what they wrote, which is the same bytes.
        let message = Message::parse(&bytes).unwrap();
        prop_assert_eq!(key.sha1().verify(&message).is_ok(), seals[0]);
        prop_assert_eq!(key.sha256().verify(&message).is_ok(), seals[1]);
        prop_assert_eq!(read(&message), Ok(values));
    }

    // What they accept of anything, we accept, and it says the same.
    #[test]
    fn of_hostile_bytes_we_read_what_they_read(bytes in prop_oneof![soup_message(), hostile()]) {
        let Ok((decoded, len)) = their_decoder(None).decode(&bytes) else { return Ok(()) };
        // They take the first message of a longer datagram; we take a datagram whole or not at all.
        // They do not look at the length's last two bits, which RFC 8489 §5 has zero.
        if len != bytes.len() || !len.is_multiple_of(4) {
            prop_assert!(Message::parse(&bytes).is_err());
            return Ok(());
        }
        let Ok(message) = Message::parse(&bytes) else {
            // The one other message that we refuse: FINGERPRINT stands somewhere but last.
            prop_assert!(fingerprint_is_not_last(&bytes));
            return Ok(());
        };
        let id = message.transaction_id();
        prop_assert_eq!(decoded.transaction_id().as_bytes(), &id.0);
        prop_assert_eq!(decoded.method().as_u16(), message.method().0);
        let visible: Vec<_> = message.attributes().collect();
        let types: Vec<_> = visible.iter().map(|raw| raw.type_.0).collect();
        let decoded_types: Vec<_> = decoded
            .attributes()
            .iter()
            .map(|each| each.attribute_type().as_u16())
            .collect();
        prop_assert_eq!(types, decoded_types);
        for (raw, theirs) in visible.iter().zip(decoded.attributes()) {
            let (Some(theirs), Ok(Some(value))) = (ours(theirs), Value::read(*raw, &id)) else {
                // Who refuses which value is the next test's matter.
                continue;
            };
            match (&theirs, &value) {
                // They read an unknown list without end, we its first eight.
                (Value::UnknownAttributes(theirs), Value::UnknownAttributes(value)) => {
                    prop_assert_eq!(&theirs[..theirs.len().min(8)], &value[..]);
                }
                // They normalise a name where they read it; to us it is bytes.
                (Value::Username(_), Value::Username(value)) if !value.is_ascii() => {}
                _ => prop_assert_eq!(theirs, value),
            }
        }
    }

    // Attribute by attribute: where both read a value, it is the same one; where only one does,
    // it is for a reason that is listed here.
    #[test]
    fn each_attribute_is_accepted_by_both_or_by_one_for_a_known_reason(
        type_ in proptest::sample::select(AttributeType::KNOWN),
        bytes in prop_oneof![
            vec(any::<u8>(), 0..40),
            // Values that are nearly right: small numbers in front.
            (0u8..4, 0u8..4, vec(any::<u8>(), 0..30))
                .prop_map(|(a, b, rest)| [&[a, b][..], &rest].concat()),
            "[ -~]{0,40}".prop_map(String::into_bytes),
        ],
    ) {
        let mut attribute = type_.0.to_be_bytes().to_vec();
        attribute.extend(u16::try_from(bytes.len()).unwrap().to_be_bytes());
        attribute.extend(&bytes);
        attribute.resize(attribute.len().next_multiple_of(4), 0);
        let datagram = framed(1, TransactionId([7; 12]), &attribute);
        let message = Message::parse(&datagram).unwrap();
        let raw = message.attributes().next().unwrap();
        let ours_read = Value::read(raw, &message.transaction_id());
        let theirs_read = their_decoder(None)
            .decode(&datagram)
            .ok()
            .and_then(|(decoded, _)| decoded.attributes().first().and_then(ours));
        match (ours_read, theirs_read) {
            (Ok(Some(Value::UnknownAttributes(value))), Some(Value::UnknownAttributes(theirs))) => {
                prop_assert_eq!(&theirs[..theirs.len().min(8)], &value[..]);
            }
            (Ok(Some(value)), Some(theirs)) => prop_assert_eq!(value, theirs),
            (Ok(Some(value)), None) => prop_assert!(only_ours(&value, &bytes), "{:?}", value),
            (Err(_), Some(theirs)) => prop_assert!(only_theirs(&theirs, &bytes), "{:?}", theirs),
            (Err(_), None) | (Ok(None), _) => {}
        }
    }

    #[test]
    fn keys_and_hashes_are_the_same(
        user in "[ -~]{1,40}",
        realm in "[a-zA-Z0-9.-]{1,40}",
        password in "[ -~]{1,40}",
    ) {
        let key = |id: AlgorithmId| {
            let key = HMACKey::new_long_term(&user, &realm, &password, Algorithm::from(id));
            key.unwrap().as_bytes().to_vec()
        };
        let md5 = credentials::long_term_key_md5(&user, &realm, &password);
        prop_assert_eq!(md5.as_bytes(), key(AlgorithmId::MD5));
        let sha256 = credentials::long_term_key_sha256(&user, &realm, &password);
        prop_assert_eq!(sha256.as_bytes(), key(AlgorithmId::SHA256));
        let hash = UserHash::new(&user, &realm).unwrap();
        prop_assert_eq!(&credentials::userhash(&user, &realm)[..], hash.hash());
    }
}

/// Values that we read and they do not.
fn only_ours(value: &Value, bytes: &[u8]) -> bool {
    match value {
        // They lack these.
        Value::AlternateDomain(_)
        | Value::ThirdPartyAuthorization(_)
        | Value::AccessToken(_)
        | Value::ConnectionId(_) => true,
        // They insist on RFC 3261's quoted-string and on PRECIS where they read; we compare bytes.
        Value::Realm(_) | Value::Nonce(_) | Value::Username(_) => true,
        // They take text only; it is whatever it is.
        Value::Padding(_) => std::str::from_utf8(bytes).is_err(),
        _ => false,
    }
}

/// Values that they read and we do not.
fn only_theirs(value: &Value, bytes: &[u8]) -> bool {
    match value {
        // They read the front of a value that is too long.
        Value::MappedAddress(addr)
        | Value::XorMappedAddress(addr)
        | Value::XorPeerAddress(addr)
        | Value::XorRelayedAddress(addr)
        | Value::AlternateServer(addr)
        | Value::ResponseOrigin(addr)
        | Value::OtherAddress(addr) => bytes.len() > if addr.is_ipv4() { 8 } else { 20 },
        Value::Lifetime(_)
        | Value::ChannelNumber(_)
        | Value::RequestedTransport(_)
        | Value::RequestedAddressFamily(_)
        | Value::AdditionalAddressFamily(_)
        | Value::Priority(_)
        | Value::ChangeRequest(..) => bytes.len() > 4,
        Value::PasswordAlgorithm(..) => bytes.len() > 4,
        Value::ReservationToken(_)
        | Value::Icmp(..)
        | Value::IceControlled(_)
        | Value::IceControlling(_) => bytes.len() > 8,
        Value::EvenPort(_) => bytes.len() > 1,
        Value::DontFragment | Value::UseCandidate => !bytes.is_empty(),
        Value::ResponsePort(_) => bytes.len() > 2,
        _ => false,
    }
}

fn fingerprint_is_not_last(bytes: &[u8]) -> bool {
    let mut at = 20;
    while at < bytes.len() {
        let len = usize::from(u16::from_be_bytes([bytes[at + 2], bytes[at + 3]]));
        let next = at + 4 + len.next_multiple_of(4);
        if bytes[at..at + 2] == AttributeType::FINGERPRINT.0.to_be_bytes() && next < bytes.len() {
            return true;
        }
        at = next;
    }
    false
}
