//! Attributes as plain owned values, and how proptest makes them, messages and hostile bytes.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file takes what it needs"
)]
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::net::{IpAddr, SocketAddr};

use proptest::collection::vec;
use proptest::prelude::*;
use sterna_stun::attr::*;
use sterna_stun::message::{Class, Message, Method, RawAttribute, TransactionId};
use sterna_stun::writer::{Full, MessageWriter};

/// An attribute's value, owned.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    MappedAddress(SocketAddr),
    XorMappedAddress(SocketAddr),
    XorPeerAddress(SocketAddr),
    XorRelayedAddress(SocketAddr),
    AlternateServer(SocketAddr),
    ResponseOrigin(SocketAddr),
    OtherAddress(SocketAddr),
    Username(String),
    UserHash([u8; 32]),
    Realm(String),
    Nonce(String),
    Software(String),
    AlternateDomain(String),
    ThirdPartyAuthorization(String),
    ErrorCode(u16, String),
    AddressErrorCode(AddressFamily, u16, String),
    UnknownAttributes(Vec<u16>),
    Lifetime(u32),
    ChannelNumber(u16),
    Data(Vec<u8>),
    RequestedTransport(u8),
    RequestedAddressFamily(AddressFamily),
    AdditionalAddressFamily(AddressFamily),
    EvenPort(bool),
    ReservationToken([u8; 8]),
    DontFragment,
    Icmp(u8, u16, [u8; 4]),
    PasswordAlgorithm(u16, Vec<u8>),
    PasswordAlgorithms(Vec<(u16, Vec<u8>)>),
    AccessToken(Vec<u8>),
    MobilityTicket(Vec<u8>),
    ConnectionId(u32),
    Priority(u32),
    UseCandidate,
    IceControlled(u64),
    IceControlling(u64),
    ChangeRequest(bool, bool),
    ResponsePort(u16),
    Padding(Vec<u8>),
}

/// A list of algorithms as it stands on the wire.
fn algorithms(list: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (number, parameters) in list {
        bytes.extend(number.to_be_bytes());
        bytes.extend(u16::try_from(parameters.len()).unwrap().to_be_bytes());
        bytes.extend(parameters);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    bytes
}

impl Value {
    /// Writes the value through the crate's own type.
    pub fn write(&self, to: &mut MessageWriter<'_>) -> Result<(), Full> {
        match self {
            Self::MappedAddress(addr) => to.attr(&MappedAddress(*addr)),
            Self::XorMappedAddress(addr) => to.attr(&XorMappedAddress(*addr)),
            Self::XorPeerAddress(addr) => to.attr(&XorPeerAddress(*addr)),
            Self::XorRelayedAddress(addr) => to.attr(&XorRelayedAddress(*addr)),
            Self::AlternateServer(addr) => to.attr(&AlternateServer(*addr)),
            Self::ResponseOrigin(addr) => to.attr(&ResponseOrigin(*addr)),
            Self::OtherAddress(addr) => to.attr(&OtherAddress(*addr)),
            Self::Username(text) => to.attr(&Username(text)),
            Self::UserHash(hash) => to.attr(&UserHash(*hash)),
            Self::Realm(text) => to.attr(&Realm(text)),
            Self::Nonce(text) => to.attr(&Nonce(text.as_bytes())),
            Self::Software(text) => to.attr(&Software(text)),
            Self::AlternateDomain(text) => to.attr(&AlternateDomain(text)),
            Self::ThirdPartyAuthorization(text) => to.attr(&ThirdPartyAuthorization(text)),
            Self::ErrorCode(code, reason) => to.attr(&ErrorCode {
                code: *code,
                reason,
            }),
            Self::AddressErrorCode(family, code, reason) => to.attr(&AddressErrorCode {
                family: *family,
                code: *code,
                reason,
            }),
            Self::UnknownAttributes(types) => {
                let mut list = UnknownAttributes::default();
                types
                    .iter()
                    .for_each(|number| list.push(AttributeType(*number)));
                to.attr(&list)
            }
            Self::Lifetime(seconds) => to.attr(&Lifetime(*seconds)),
            Self::ChannelNumber(number) => to.attr(&ChannelNumber(*number)),
            Self::Data(bytes) => to.attr(&Data(bytes)),
            Self::RequestedTransport(protocol) => to.attr(&RequestedTransport(*protocol)),
            Self::RequestedAddressFamily(family) => to.attr(&RequestedAddressFamily(*family)),
            Self::AdditionalAddressFamily(family) => to.attr(&AdditionalAddressFamily(*family)),
            Self::EvenPort(reserve_next) => to.attr(&EvenPort {
                reserve_next: *reserve_next,
            }),
            Self::ReservationToken(token) => to.attr(&ReservationToken(*token)),
            Self::DontFragment => to.attr(&DontFragment),
            Self::Icmp(type_, code, data) => to.attr(&Icmp {
                type_: *type_,
                code: *code,
                data: *data,
            }),
            Self::PasswordAlgorithm(number, parameters) => to.attr(&PasswordAlgorithm {
                algorithm: Algorithm(*number),
                parameters,
            }),
            Self::PasswordAlgorithms(list) => {
                let bytes = algorithms(list);
                to.attr(&PasswordAlgorithms::decode(&bytes, &TransactionId([0; 12])).unwrap())
            }
            Self::AccessToken(bytes) => to.attr(&AccessToken(bytes)),
            Self::MobilityTicket(bytes) => to.attr(&MobilityTicket(bytes)),
            Self::ConnectionId(id) => to.attr(&ConnectionId(*id)),
            Self::Priority(priority) => to.attr(&Priority(*priority)),
            Self::UseCandidate => to.attr(&UseCandidate),
            Self::IceControlled(breaker) => to.attr(&IceControlled(*breaker)),
            Self::IceControlling(breaker) => to.attr(&IceControlling(*breaker)),
            Self::ChangeRequest(ip, port) => to.attr(&ChangeRequest {
                ip: *ip,
                port: *port,
            }),
            Self::ResponsePort(port) => to.attr(&ResponsePort(*port)),
            Self::Padding(bytes) => to.attr(&Padding(bytes)),
        }
    }

    /// Decodes an attribute through the crate's own type; None where it has none for it.
    pub fn read(raw: RawAttribute<'_>, id: &TransactionId) -> Result<Option<Self>, AttributeError> {
        type T = AttributeType;
        fn get<'a, A: Attribute<'a>>(
            raw: RawAttribute<'a>,
            id: &TransactionId,
        ) -> Result<A, AttributeError> {
            A::decode(raw.value, id)
        }
        let value = match raw.type_ {
            T::MAPPED_ADDRESS => Self::MappedAddress(get::<MappedAddress>(raw, id)?.0),
            T::XOR_MAPPED_ADDRESS => Self::XorMappedAddress(get::<XorMappedAddress>(raw, id)?.0),
            T::XOR_PEER_ADDRESS => Self::XorPeerAddress(get::<XorPeerAddress>(raw, id)?.0),
            T::XOR_RELAYED_ADDRESS => Self::XorRelayedAddress(get::<XorRelayedAddress>(raw, id)?.0),
            T::ALTERNATE_SERVER => Self::AlternateServer(get::<AlternateServer>(raw, id)?.0),
            T::RESPONSE_ORIGIN => Self::ResponseOrigin(get::<ResponseOrigin>(raw, id)?.0),
            T::OTHER_ADDRESS => Self::OtherAddress(get::<OtherAddress>(raw, id)?.0),
            T::USERNAME => Self::Username(get::<Username<'_>>(raw, id)?.0.into()),
            T::USERHASH => Self::UserHash(get::<UserHash>(raw, id)?.0),
            T::REALM => Self::Realm(get::<Realm<'_>>(raw, id)?.0.into()),
            T::NONCE => {
                let nonce = get::<Nonce<'_>>(raw, id)?.0;
                Self::Nonce(String::from_utf8_lossy(nonce).into_owned())
            }
            T::SOFTWARE => Self::Software(get::<Software<'_>>(raw, id)?.0.into()),
            T::ALTERNATE_DOMAIN => {
                Self::AlternateDomain(get::<AlternateDomain<'_>>(raw, id)?.0.into())
            }
            T::THIRD_PARTY_AUTHORIZATION => {
                let name = get::<ThirdPartyAuthorization<'_>>(raw, id)?.0;
                Self::ThirdPartyAuthorization(name.into())
            }
            T::ERROR_CODE => {
                let error = get::<ErrorCode<'_>>(raw, id)?;
                Self::ErrorCode(error.code, error.reason.into())
            }
            T::ADDRESS_ERROR_CODE => {
                let error = get::<AddressErrorCode<'_>>(raw, id)?;
                Self::AddressErrorCode(error.family, error.code, error.reason.into())
            }
            T::UNKNOWN_ATTRIBUTES => {
                let list = get::<UnknownAttributes>(raw, id)?;
                Self::UnknownAttributes(list.iter().map(|each| each.0).collect())
            }
            T::LIFETIME => Self::Lifetime(get::<Lifetime>(raw, id)?.0),
            T::CHANNEL_NUMBER => Self::ChannelNumber(get::<ChannelNumber>(raw, id)?.0),
            T::DATA => Self::Data(get::<Data<'_>>(raw, id)?.0.into()),
            T::REQUESTED_TRANSPORT => {
                Self::RequestedTransport(get::<RequestedTransport>(raw, id)?.0)
            }
            T::REQUESTED_ADDRESS_FAMILY => {
                Self::RequestedAddressFamily(get::<RequestedAddressFamily>(raw, id)?.0)
            }
            T::ADDITIONAL_ADDRESS_FAMILY => {
                Self::AdditionalAddressFamily(get::<AdditionalAddressFamily>(raw, id)?.0)
            }
            T::EVEN_PORT => Self::EvenPort(get::<EvenPort>(raw, id)?.reserve_next),
            T::RESERVATION_TOKEN => Self::ReservationToken(get::<ReservationToken>(raw, id)?.0),
            T::DONT_FRAGMENT => {
                get::<DontFragment>(raw, id)?;
                Self::DontFragment
            }
            T::ICMP => {
                let icmp = get::<Icmp>(raw, id)?;
                Self::Icmp(icmp.type_, icmp.code, icmp.data)
            }
            T::PASSWORD_ALGORITHM => {
                let one = get::<PasswordAlgorithm<'_>>(raw, id)?;
                Self::PasswordAlgorithm(one.algorithm.0, one.parameters.into())
            }
            T::PASSWORD_ALGORITHMS => {
                let list = get::<PasswordAlgorithms<'_>>(raw, id)?;
                let list = list
                    .iter()
                    .map(|one| (one.algorithm.0, one.parameters.into()));
                Self::PasswordAlgorithms(list.collect())
            }
            T::ACCESS_TOKEN => Self::AccessToken(get::<AccessToken<'_>>(raw, id)?.0.into()),
            T::MOBILITY_TICKET => {
                Self::MobilityTicket(get::<MobilityTicket<'_>>(raw, id)?.0.into())
            }
            T::CONNECTION_ID => Self::ConnectionId(get::<ConnectionId>(raw, id)?.0),
            T::PRIORITY => Self::Priority(get::<Priority>(raw, id)?.0),
            T::USE_CANDIDATE => {
                get::<UseCandidate>(raw, id)?;
                Self::UseCandidate
            }
            T::ICE_CONTROLLED => Self::IceControlled(get::<IceControlled>(raw, id)?.0),
            T::ICE_CONTROLLING => Self::IceControlling(get::<IceControlling>(raw, id)?.0),
            T::CHANGE_REQUEST => {
                let change = get::<ChangeRequest>(raw, id)?;
                Self::ChangeRequest(change.ip, change.port)
            }
            T::RESPONSE_PORT => Self::ResponsePort(get::<ResponsePort>(raw, id)?.0),
            T::PADDING => Self::Padding(get::<Padding<'_>>(raw, id)?.0.into()),
            _ => return Ok(None),
        };
        Ok(Some(value))
    }
}

pub fn addr() -> impl Strategy<Value = SocketAddr> {
    (any::<IpAddr>(), any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip, port))
}

pub fn transaction_id() -> impl Strategy<Value = TransactionId> {
    any::<[u8; 12]>().prop_map(TransactionId)
}

pub fn class() -> impl Strategy<Value = Class> {
    prop_oneof![
        Just(Class::Request),
        Just(Class::Indication),
        Just(Class::Success),
        Just(Class::Error)
    ]
}

/// Higher ones are reserved, so that STUN's first byte stays below 4 (RFC 7983 §7).
pub fn method() -> impl Strategy<Value = Method> {
    (0u16..=0xFF).prop_map(Method)
}

fn family() -> impl Strategy<Value = AddressFamily> {
    prop_oneof![Just(AddressFamily::Ipv4), Just(AddressFamily::Ipv6)]
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..64)
}

/// Text that every codec takes: RFC 3261's qdtext without what PRECIS would change.
pub const COMMON_TEXT: &str = "[a-zA-Z0-9./:=+-]{1,60}";
/// Any text that is short enough.
pub const ANY_TEXT: &str = "\\PC{0,60}";

/// Values whose texts match `text`.
pub fn value(text: &'static str) -> impl Strategy<Value = Value> {
    let algorithm = || (any::<u16>(), vec(any::<u8>(), 0..9));
    let code = || 300u16..=699;
    let unknown = vec(any::<u16>(), 0..8).prop_map(|mut types| {
        let mut seen = Vec::new();
        types.retain(|each| {
            !seen.contains(each) && {
                seen.push(*each);
                true
            }
        });
        types
    });
    prop_oneof![
        prop_oneof![
            addr().prop_map(Value::MappedAddress),
            addr().prop_map(Value::XorMappedAddress),
            addr().prop_map(Value::XorPeerAddress),
            addr().prop_map(Value::XorRelayedAddress),
            addr().prop_map(Value::AlternateServer),
            addr().prop_map(Value::ResponseOrigin),
            addr().prop_map(Value::OtherAddress),
        ],
        prop_oneof![
            text.prop_map(Value::Username),
            any::<[u8; 32]>().prop_map(Value::UserHash),
            text.prop_map(Value::Realm),
            text.prop_map(Value::Nonce),
            text.prop_map(Value::Software),
            "[a-z0-9.-]{0,60}".prop_map(Value::AlternateDomain),
            text.prop_map(Value::ThirdPartyAuthorization),
            (code(), text).prop_map(|(code, reason)| Value::ErrorCode(code, reason)),
            (family(), code(), text).prop_map(|(f, c, r)| Value::AddressErrorCode(f, c, r)),
        ],
        prop_oneof![
            unknown.prop_map(Value::UnknownAttributes),
            any::<u32>().prop_map(Value::Lifetime),
            any::<u16>().prop_map(Value::ChannelNumber),
            bytes().prop_map(Value::Data),
            any::<u8>().prop_map(Value::RequestedTransport),
            family().prop_map(Value::RequestedAddressFamily),
            family().prop_map(Value::AdditionalAddressFamily),
            any::<bool>().prop_map(Value::EvenPort),
            any::<[u8; 8]>().prop_map(Value::ReservationToken),
            Just(Value::DontFragment),
        ],
        prop_oneof![
            (0u8..=127, 0u16..=511, any::<[u8; 4]>()).prop_map(|(t, c, d)| Value::Icmp(t, c, d)),
            algorithm()
                .prop_map(|(number, parameters)| { Value::PasswordAlgorithm(number, parameters) }),
            vec(algorithm(), 0..4).prop_map(Value::PasswordAlgorithms),
            bytes().prop_map(Value::AccessToken),
            bytes().prop_map(Value::MobilityTicket),
            any::<u32>().prop_map(Value::ConnectionId),
            any::<u32>().prop_map(Value::Priority),
            Just(Value::UseCandidate),
            any::<u64>().prop_map(Value::IceControlled),
        ],
        prop_oneof![
            any::<u64>().prop_map(Value::IceControlling),
            any::<(bool, bool)>().prop_map(|(ip, port)| Value::ChangeRequest(ip, port)),
            any::<u16>().prop_map(Value::ResponsePort),
            bytes().prop_map(Value::Padding),
        ],
    ]
}

/// Writes a message of these values; `seal` adds integrity and fingerprint.
pub fn written(
    head: (Class, Method, TransactionId),
    values: &[Value],
    seal: impl FnOnce(&mut MessageWriter<'_>),
) -> Vec<u8> {
    let mut out = vec![0xEE; 8192];
    let mut writer = MessageWriter::new(&mut out, head.0, head.1, head.2).unwrap();
    for value in values {
        value.write(&mut writer).unwrap();
    }
    seal(&mut writer);
    let len = writer.finish();
    out.truncate(len);
    out
}

/// What a message says, where all that the crate knows in it is well-formed.
pub fn read(message: &Message<'_>) -> Result<Vec<Value>, AttributeError> {
    let id = message.transaction_id();
    let values = message
        .attributes()
        .filter_map(|raw| Value::read(raw, &id).transpose());
    values.collect()
}

/// A type that is often one that matters.
fn attribute_type() -> impl Strategy<Value = AttributeType> {
    prop_oneof![
        6 => proptest::sample::select(AttributeType::KNOWN),
        1 => Just(AttributeType::MESSAGE_INTEGRITY),
        1 => Just(AttributeType::MESSAGE_INTEGRITY_SHA256),
        1 => Just(AttributeType::FINGERPRINT),
        1 => any::<u16>().prop_map(AttributeType),
    ]
}

/// Attributes of any type with any value, well-framed: every padding byte is random.
fn soup() -> impl Strategy<Value = Vec<u8>> {
    let attribute = (attribute_type(), vec(any::<u8>(), 0..40), any::<[u8; 3]>());
    vec(attribute, 0..8).prop_map(|attributes| {
        let mut bytes = Vec::new();
        for (type_, value, pad) in attributes {
            bytes.extend(type_.0.to_be_bytes());
            bytes.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
            bytes.extend(&value);
            bytes.extend(&pad[..sterna_stun::padding(value.len())]);
        }
        bytes
    })
}

/// A right header before any bytes.
pub fn framed(type_: u16, id: TransactionId, attributes: &[u8]) -> Vec<u8> {
    let mut bytes = type_.to_be_bytes().to_vec();
    bytes.extend(u16::try_from(attributes.len()).unwrap().to_be_bytes());
    bytes.extend(sterna_stun::MAGIC_COOKIE.to_be_bytes());
    bytes.extend(id.0);
    bytes.extend(attributes);
    bytes
}

/// A well-framed message of whatever attributes.
pub fn soup_message() -> impl Strategy<Value = Vec<u8>> {
    (class(), method(), transaction_id(), soup())
        .prop_map(|(class, method, id, soup)| framed(class.message_type(method), id, &soup))
}

/// A message that was right once, or nearly: sealed or not.
pub fn sound_message(text: &'static str) -> impl Strategy<Value = Vec<u8>> {
    let key = sterna_stun::integrity::Key::new(b"key");
    let head = (class(), method(), transaction_id());
    (head, vec(value(text), 0..6), any::<[bool; 3]>()).prop_map(move |(head, values, seals)| {
        written(head, &values, |writer| {
            if seals[0] {
                writer.integrity_sha1(&key.sha1()).unwrap();
            }
            if seals[1] {
                writer.integrity_sha256(&key.sha256()).unwrap();
            }
            if seals[2] {
                writer.fingerprint().unwrap();
            }
        })
    })
}

/// Bytes as an enemy or a broken cable would send them.
pub fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let flips = || vec((any::<proptest::sample::Index>(), any::<u8>()), 0..6);
    let mutated = (
        prop_oneof![sound_message(ANY_TEXT), soup_message()],
        flips(),
        any::<proptest::sample::Index>(),
        any::<bool>(),
    )
        .prop_map(|(mut bytes, flips, cut, truncate)| {
            for (at, with) in flips {
                let at = at.index(bytes.len());
                bytes[at] ^= with;
            }
            if truncate {
                bytes.truncate(cut.index(bytes.len() + 1));
            }
            bytes
        });
    prop_oneof![
        1 => vec(any::<u8>(), 0..80),
        2 => soup_message(),
        4 => mutated,
    ]
}
