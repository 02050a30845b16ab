//! Nothing that is done with a packet allocates: reading, verifying, answering, nonces.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

use std::hint::black_box;
use std::net::SocketAddr;

use sterna_stun::attr::{
    AttributeType, Data, ErrorCode, Lifetime, Nonce, PasswordAlgorithms, Realm, Username,
    XorMappedAddress, XorPeerAddress,
};
use sterna_stun::channel_data::{self, ChannelData};
use sterna_stun::data_indication::{self, HEADER_BYTES_MAX, SendIndication};
use sterna_stun::fingerprint::{self, Fingerprint};
use sterna_stun::framing::next_frame;
use sterna_stun::integrity::Key;
use sterna_stun::message::{Class, Message, Method, TransactionId};
use sterna_stun::nonce::{Check, Features, NonceKey, NonceKeys};
use sterna_stun::writer::MessageWriter;

const ID: TransactionId = TransactionId([7; 12]);

/// Runs `packet_work` and asserts that it took no memory.
fn assert_takes_no_memory(packet_work: impl FnOnce()) {
    let taken = allocation_counter::measure(packet_work);
    assert_eq!(taken.count_total, 0, "{taken:?}");
}

#[test]
fn a_request_is_read_verified_and_answered_without_an_allocation() {
    let peer: SocketAddr = "[2001:db8::1]:5000".parse().unwrap();
    let key = Key::new(b"key");
    let (sha1, sha256) = (key.sha1(), key.sha256());
    let (mut request, mut answer) = ([0; 512], [0; 512]);
    assert_takes_no_memory(|| {
        let mut writer =
            MessageWriter::new(&mut request, Class::Request, Method::CREATE_PERMISSION, ID)
                .unwrap();
        writer.attr(&XorPeerAddress(peer)).unwrap();
        writer.attr(&Username("1762000000:alice")).unwrap();
        writer.attr(&Realm("example.org")).unwrap();
        writer.attr(&Nonce(&[b'n'; 33])).unwrap();
        writer.raw(AttributeType(0x7777), b"unknown").unwrap();
        writer.integrity_sha1(&sha1).unwrap();
        writer.integrity_sha256(&sha256).unwrap();
        writer.fingerprint().unwrap();
        let len = writer.finish();

        assert_eq!(next_frame(&request), Ok(Some(len)));
        let message = Message::parse(&request[..len]).unwrap();
        assert_eq!(fingerprint::check(&message), Fingerprint::Valid);
        assert_eq!(sha1.verify(&message), Ok(()));
        assert_eq!(sha256.verify(&message), Ok(()));
        assert_eq!(message.find(), Ok(Some(Username("1762000000:alice"))));
        assert_eq!(message.find::<Lifetime>(), Ok(None));
        assert_eq!(message.find_all::<XorPeerAddress>().count(), 1);
        assert_eq!(message.attributes().count(), 8);
        let unknown = message.unknown_required(AttributeType::is_known);
        assert_eq!(unknown.len(), 1);

        let id = message.transaction_id();
        let mut writer =
            MessageWriter::new(&mut answer, Class::Error, message.method(), id).unwrap();
        let code = ErrorCode::UNKNOWN_ATTRIBUTE;
        writer.attr(&ErrorCode { code, reason: "" }).unwrap();
        writer.attr(&unknown).unwrap();
        writer.attr(&PasswordAlgorithms::SHA256_MD5).unwrap();
        writer.attr(&XorMappedAddress(peer)).unwrap();
        writer.integrity_sha1(&sha1).unwrap();
        black_box(writer.finish());
    });
}

#[test]
fn data_is_relayed_without_an_allocation() {
    let peer: SocketAddr = "192.0.2.1:5000".parse().unwrap();
    let (mut send, mut header) = ([0; 256], [0; HEADER_BYTES_MAX]);
    assert_takes_no_memory(|| {
        let mut writer =
            MessageWriter::new(&mut send, Class::Indication, Method::SEND, ID).unwrap();
        writer.attr(&XorPeerAddress(peer)).unwrap();
        writer.attr(&Data(&[1; 172])).unwrap();
        let len = writer.finish();
        let indication = SendIndication::parse(&send[..len]).unwrap();
        assert_eq!(indication.payload.len(), 172);
        assert_eq!(
            data_indication::header(ID, peer, 172, &mut header),
            Some(36)
        );
        assert_eq!(channel_data::header(0x4001, 172), [0x40, 1, 0, 172]);
        let channel = ChannelData::parse(&[0x40, 1, 0, 2, 5, 6, 0, 0]).unwrap();
        assert_eq!(channel.data, [5, 6]);
    });
}

#[test]
fn strangers_get_their_nonces_without_an_allocation() {
    let keys = NonceKeys::new(NonceKey::new(1, &[7; 32]), None);
    let client: SocketAddr = "192.0.2.1:5000".parse().unwrap();
    let server: SocketAddr = "192.0.2.2:3478".parse().unwrap();
    assert_takes_no_memory(|| {
        let nonce = keys.issue(client, server, 1 << 30, Features::NONE);
        let check = keys.check(nonce.as_bytes(), client, server, 1 << 30);
        assert_eq!(check, Check::Valid(Features::NONE));
        assert_eq!(
            keys.check(b"made up", client, server, 1 << 30),
            Check::Stale
        );
    });
}
