//! What must hold for any bytes: the bodies of the fuzz targets.
//!
//! `tests/corpus.rs` of `sterna-stun` includes this file and replays the corpus of each target, so
//! that what a fuzzer once found is checked by every ordinary test run.

use std::net::SocketAddr;
use std::ops::Range;

use aes_gcm::Aes128Gcm;
use aes_gcm::aead::{AeadInOut, KeyInit};
use sterna_stun::access_token::{
    NONCE_BYTES, TOKEN_BYTES_MAX, TokenAlgorithm, TokenError, TokenKey,
};
use sterna_stun::attr::{
    AccessToken, AdditionalAddressFamily, AddressErrorCode, AlternateDomain, AlternateServer,
    Attribute, AttributeType, ChangeRequest, ChannelNumber, ConnectionId, Data, DontFragment,
    ErrorCode, EvenPort, IceControlled, IceControlling, Icmp, Lifetime, MappedAddress,
    MobilityTicket, Nonce, OtherAddress, Padding, PasswordAlgorithm, PasswordAlgorithms, Priority,
    Realm, RequestedAddressFamily, RequestedTransport, ReservationToken, ResponseOrigin,
    ResponsePort, Software, ThirdPartyAuthorization, UnknownAttributes, UseCandidate, UserHash,
    Username, XorMappedAddress, XorPeerAddress, XorRelayedAddress,
};
use sterna_stun::channel_data::{self, ChannelData};
use sterna_stun::credentials;
use sterna_stun::data_indication::{DataIndication, IndicationError, SendIndication};
use sterna_stun::demux::{Kind, classify};
use sterna_stun::fingerprint::{self, Fingerprint};
use sterna_stun::framing::{MAX_FRAME, next_frame};
use sterna_stun::integrity::{self, Key};
use sterna_stun::message::{Class, Message, Method, RawAttribute, TransactionId};
use sterna_stun::nonce::{Check, Features, NonceKey, NonceKeys};
use sterna_stun::ticket::TicketKey;
use sterna_stun::writer::MessageWriter;

/// The generic parser: attributes tile the message, what they say survives being written again,
/// nothing is seen behind the integrity, and nobody passes for somebody who knows the key.
pub fn message(bytes: &[u8]) {
    let Ok(message) = Message::parse(bytes) else {
        return;
    };
    if classify(bytes[0]) == Kind::Stun {
        assert_eq!(next_frame(bytes), Ok(Some(bytes.len())));
    }
    let id = message.transaction_id();
    let mut trailing = 0;
    for raw in message.attributes() {
        let rank = rank(raw.type_);
        assert!(
            rank == 0 && trailing == 0 || rank > trailing,
            "{:?} is out of place",
            raw.type_
        );
        trailing = rank;
        every_attribute(raw, &id);
    }
    let unknown = message.unknown_required(AttributeType::is_known);
    for type_ in unknown.iter() {
        assert!(type_.is_required() && !type_.is_known() && message.has(type_));
    }
    let key = Key::new(b"a key that the fuzzer does not know");
    assert!(integrity::verify(&message, &key).is_err());
    assert!(key.sha1().verify(&message).is_err());
    assert!(key.sha256().verify_truncated(&message, 0).is_err());
    copied(&message);
}

/// 0 for what may stand anywhere; then the order of what stands at the end.
fn rank(type_: AttributeType) -> u8 {
    match type_ {
        AttributeType::MESSAGE_INTEGRITY => 1,
        AttributeType::MESSAGE_INTEGRITY_SHA256 => 2,
        AttributeType::FINGERPRINT => 3,
        _ => 0,
    }
}

/// Copies what is visible into a new message and seals that.
fn copied(message: &Message<'_>) {
    let mut out = vec![0xEE; message.bytes().len() + 64];
    let (class, method, id) = (message.class(), message.method(), message.transaction_id());
    let mut writer = MessageWriter::new(&mut out, class, method, id).expect("a header fits");
    let plain = || message.attributes().filter(|raw| rank(raw.type_) == 0);
    for raw in plain() {
        if writer.raw(raw.type_, raw.value).is_err() {
            return;
        }
    }
    let key = Key::new(b"ours");
    if writer.integrity_sha1(&key.sha1()).is_err()
        || writer.integrity_sha256(&key.sha256()).is_err()
        || writer.fingerprint().is_err()
    {
        return;
    }
    let len = writer.finish();
    let copy = Message::parse(&out[..len]).expect("what is written is a message");
    assert!(
        copy.attributes()
            .filter(|raw| rank(raw.type_) == 0)
            .eq(plain())
    );
    assert_eq!(key.sha1().verify(&copy), Ok(()));
    assert_eq!(key.sha256().verify(&copy), Ok(()));
    assert_eq!(fingerprint::check(&copy), Fingerprint::Valid);
}

/// Decodes by the type that is meant: what decodes and may be sent survives being sent.
fn every_attribute(raw: RawAttribute<'_>, id: &TransactionId) {
    macro_rules! decode {
        ($($attribute:ty),* $(,)?) => {$(
            if raw.type_ == <$attribute>::TYPE
                && let Ok(value) = <$attribute>::decode(raw.value, id)
            {
                let mut out = vec![0; raw.value.len() + 8];
                if let Ok(len) = value.encode(id, &mut out) {
                    assert_eq!(<$attribute>::decode(&out[..len], id), Ok(value));
                }
            }
        )*};
    }
    decode!(
        MappedAddress,
        XorMappedAddress,
        XorPeerAddress,
        XorRelayedAddress,
        AlternateServer,
        ResponseOrigin,
        OtherAddress,
        Lifetime,
        RequestedTransport,
        RequestedAddressFamily,
        AdditionalAddressFamily,
        DontFragment,
        AccessToken<'_>,
        ThirdPartyAuthorization<'_>,
        Username<'_>,
        UserHash,
        Realm<'_>,
        Nonce<'_>,
        ChangeRequest,
        ResponsePort,
        Padding<'_>,
        ErrorCode<'_>,
        AddressErrorCode<'_>,
        UnknownAttributes,
        Priority,
        UseCandidate,
        IceControlled,
        IceControlling,
        Icmp,
        PasswordAlgorithm<'_>,
        PasswordAlgorithms<'_>,
        ChannelNumber,
        Data<'_>,
        EvenPort,
        ReservationToken,
        MobilityTicket<'_>,
        ConnectionId,
        Software<'_>,
        AlternateDomain<'_>,
    );
}

/// The fast views of indications against the generic parser.
pub fn indication(bytes: &[u8]) {
    assert_eq!(SendIndication::parse(bytes), slow_send(bytes));
    assert_eq!(DataIndication::parse(bytes), slow_data(bytes));
}

/// What `SendIndication::parse` should say, by way of the generic parser.
fn slow_send(bytes: &[u8]) -> Result<SendIndication, IndicationError> {
    let message = generic(bytes, Method::SEND)?;
    let peer = message
        .find::<XorPeerAddress>()
        .map_err(|_| IndicationError::NoPeer)?;
    let peer = peer.ok_or(IndicationError::NoPeer)?.0;
    let data = message
        .find::<Data<'_>>()
        .map_err(|_| IndicationError::NoData)?;
    let data = data.ok_or(IndicationError::NoData)?.0;
    let dont_fragment = message
        .find::<DontFragment>()
        .map_err(|_| IndicationError::Malformed)?;
    Ok(SendIndication {
        peer,
        payload: place(bytes, data),
        dont_fragment: dont_fragment.is_some(),
    })
}

/// What `DataIndication::parse` should say, by way of the generic parser.
fn slow_data(bytes: &[u8]) -> Result<DataIndication, IndicationError> {
    let message = generic(bytes, Method::DATA)?;
    let peer = message
        .find::<XorPeerAddress>()
        .map_err(|_| IndicationError::NoPeer)?;
    let peer = peer.ok_or(IndicationError::NoPeer)?.0;
    let icmp = message
        .find::<Icmp>()
        .map_err(|_| IndicationError::Malformed)?;
    let data = message
        .find::<Data<'_>>()
        .map_err(|_| IndicationError::NoData)?;
    let payload = data.map(|data| place(bytes, data.0));
    if payload.is_none() && icmp.is_none() {
        return Err(IndicationError::NoData);
    }
    Ok(DataIndication {
        peer,
        payload,
        icmp,
    })
}

fn generic(bytes: &[u8], method: Method) -> Result<Message<'_>, IndicationError> {
    let message = Message::parse(bytes).map_err(|_| IndicationError::NotThis)?;
    if (message.class(), message.method()) != (Class::Indication, method) {
        return Err(IndicationError::NotThis);
    }
    if !message.unknown_required(AttributeType::is_known).is_empty() {
        return Err(IndicationError::UnknownRequired);
    }
    Ok(message)
}

/// Where a slice of the message stands in it.
fn place(bytes: &[u8], part: &[u8]) -> Range<usize> {
    let start = part.as_ptr().addr() - bytes.as_ptr().addr();
    start..start + part.len()
}

/// A stream: however it is cut, the frames are the same ones, and each is what its first byte says.
///
/// The first byte of the input is the size of the reads.
pub fn stream(bytes: &[u8]) {
    let Some((step, stream)) = bytes.split_first() else {
        return;
    };
    let whole = frames(stream, stream.len().max(1));
    let cut = frames(stream, usize::from(*step).max(1));
    assert_eq!(whole, cut);
    for frame in whole {
        if classify(frame[0]) == Kind::ChannelData {
            let channel = ChannelData::parse(frame).expect("a whole frame of a channel");
            assert_eq!(
                frame.len(),
                4 + channel.data.len() + channel_data::tail(channel.data.len())
            );
            let len = u16::try_from(channel.data.len()).expect("16 bits told its length");
            assert_eq!(channel_data::header(channel.number, len), frame[..4]);
        }
    }
    if let Ok(channel) = ChannelData::parse(stream) {
        assert!((0x4000..=0x7FFF).contains(&channel.number));
        assert_eq!(classify(stream[0]), Kind::ChannelData);
    }
}

/// The frames that a reader finds who gets `step` bytes at a time.
fn frames(stream: &[u8], step: usize) -> Vec<&[u8]> {
    let (mut start, mut end, mut found) = (0, 0, Vec::new());
    while end < stream.len() {
        end = (end + step).min(stream.len());
        loop {
            match next_frame(&stream[start..end]) {
                Ok(Some(len)) => {
                    assert!((1..=MAX_FRAME).contains(&len));
                    if end - start < len {
                        break;
                    }
                    found.push(&stream[start..start + len]);
                    start += len;
                }
                Ok(None) => break,
                Err(_) => return found,
            }
        }
    }
    found
}

/// Nonces and names that somebody made up.
pub fn credential(bytes: &[u8]) {
    let keys = NonceKeys::new(NonceKey::new(1, &[7; 32]), Some(NonceKey::new(0, &[8; 32])));
    let client = SocketAddr::from(([192, 0, 2, 1], 4000));
    let server = SocketAddr::from(([192, 0, 2, 2], 3478));
    assert_eq!(keys.check(bytes, client, server, 1 << 30), Check::Stale);
    let features = Features::of(bytes).unwrap_or(Features::NONE);
    let nonce = keys.issue(client, server, 1 << 30, features);
    assert_eq!(
        keys.check(nonce.as_bytes(), client, server, 1 << 30),
        Check::Valid(features)
    );

    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Some(parts) = credentials::parse_rest_username(text) {
        assert!(text.ends_with(parts.user));
    }
    assert_eq!(credentials::rest_password(bytes, text).len(), 28);
    if let Ok(prepared) = credentials::opaque_string(text) {
        assert!(!prepared.is_empty());
        assert_eq!(
            credentials::opaque_string(&prepared).as_deref(),
            Ok(&*prepared)
        );
    }
    let key = credentials::long_term_key_md5(text, text, text);
    assert_eq!(key.as_bytes().len(), 16);
}

/// Tickets and access tokens: made up, changed on the way, or sealed by somebody who has the key and
/// writes nonsense.
///
/// The first byte of the input is the place of a bit that is changed.
pub fn token(bytes: &[u8]) {
    let Some((place, inside)) = bytes.split_first() else {
        return;
    };
    let tickets = TicketKey::new(&[7; 32]);
    assert_eq!(tickets.open(MobilityTicket(inside)), None);
    if let Some(handle) = inside.first_chunk() {
        let handle = u64::from_be_bytes(*handle);
        let ticket = tickets.seal(handle);
        assert_eq!(tickets.open(ticket.attribute()), Some(handle));
        let changed = with_a_bit_changed(ticket.attribute().0, *place);
        assert_eq!(tickets.open(MobilityTicket(&changed)), None);
    }

    const KEY: [u8; 16] = [9; 16];
    const NONCE: [u8; NONCE_BYTES] = [4; NONCE_BYTES];
    const NAME: &str = "turn.example.org";
    let key = TokenKey::new(TokenAlgorithm::A128Gcm, &KEY).expect("16 bytes");
    assert!(key.open(NAME, inside).is_err());
    let mut sealed = [&[0, 12], &NONCE[..], inside].concat();
    let cipher = Aes128Gcm::new_from_slice(&KEY).expect("16 bytes");
    let block = &mut sealed[2 + NONCE_BYTES..];
    let tag = cipher.encrypt_inout_detached(&NONCE.into(), NAME.as_bytes(), block.into());
    sealed.extend_from_slice(&tag.expect("far below what GCM may seal"));
    match key.open(NAME, &sealed) {
        Ok(token) => {
            let mut again = [0; TOKEN_BYTES_MAX];
            let len = key.seal(NAME, &NONCE, &token, &mut again);
            assert_eq!(again[..len], sealed);
            for unix_s in [0, token.timestamp() >> 16, u64::MAX] {
                let left_s = token.left_s(unix_s);
                assert!(
                    left_s.is_err() || left_s.is_ok_and(|s| (1..=token.lifetime_s()).contains(&s))
                );
            }
            let changed = with_a_bit_changed(&sealed, *place);
            assert!(key.open(NAME, &changed).is_err());
            assert_eq!(key.open("another", &sealed), Err(TokenError::Forged));
        }
        Err(error) => assert_eq!(error, TokenError::Malformed, "the seal is good"),
    }
}

fn with_a_bit_changed(bytes: &[u8], place: u8) -> Vec<u8> {
    let mut changed = bytes.to_vec();
    let at = usize::from(place) % changed.len();
    changed[at] ^= 1 << (place % 8);
    changed
}
