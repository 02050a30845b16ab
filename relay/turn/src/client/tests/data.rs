//! Data of peers, both ways.

#![allow(clippy::unwrap_used)]

use sterna_stun::{attr::Icmp, data_indication::SendIndication};

use super::*;

#[test]
fn a_refused_channel_is_not_used() {
    let mut bench = Bench::new().allocated();
    let number = bench.client.bind_channel(bench.now, addr(PEER)).unwrap();
    assert_eq!(
        bench.client.channel_prefix(number, 5),
        Err(ClientError::NotPermitted)
    );
    let request = bench.sent_one();
    assert_eq!(
        request.message().find().unwrap(),
        Some(ChannelNumber(number))
    );
    assert_eq!(
        request.message().find().unwrap(),
        Some(XorPeerAddress(addr(PEER)))
    );
    bench.give(&request.error(403, None));
    let request = Request::ChannelBind {
        number,
        peer: addr(PEER),
    };
    assert_eq!(
        bench.events(),
        [Event::Failed {
            request,
            error: ClientError::Refused(403)
        }]
    );
    assert_eq!(
        bench.client.channel_prefix(number, 5),
        Err(ClientError::NotPermitted)
    );
    assert_eq!(
        bench.client.prefix(addr(PEER), 5),
        Err(ClientError::NotPermitted)
    );
}

#[test]
fn data_goes_out_by_the_channel_padded_on_streams_only() {
    for (link, tail) in [(Link::Datagram, 0), (Link::Stream, 3)] {
        let mut bench = Bench::with_link(link).with_channel();
        let prefix = bench.client.prefix(addr(PEER), 5).unwrap();
        assert_eq!(
            (prefix.bytes(), prefix.tail()),
            (&[0x40, 0, 0, 5][..], tail)
        );
    }
}

#[test]
fn data_goes_out_in_an_indication_where_there_is_no_channel() {
    let mut bench = Bench::new().allocated();
    let peer = addr(PEER);
    assert_eq!(bench.client.prefix(peer, 5), Err(ClientError::NotPermitted));
    bench.client.permit(bench.now, &[peer.ip()]).unwrap();
    let request = bench.sent_one();
    bench.give(&request.success(0));
    let prefix = bench.client.prefix(peer, 5).unwrap();
    let bytes = [prefix.bytes(), b"hello", &[0; 3][..prefix.tail()]].concat();
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(
        (message.class(), message.method()),
        (Class::Indication, Method::SEND)
    );
    assert_eq!(message.find().unwrap(), Some(XorPeerAddress(peer)));
    assert_eq!(message.find().unwrap(), Some(Data(b"hello")));
    assert_eq!(bench.client.prefix(peer, 65_536), Err(ClientError::TooLong));
}

#[test]
fn data_comes_in_where_it_lies() {
    let mut bench = Bench::new().with_channel();
    let (peer, carrier) = (addr(PEER), Carrier::Channel);
    let data = Received::Data {
        peer,
        payload: 4..9,
        carrier,
    };
    assert_eq!(bench.give(b"\x40\x00\x00\x05hello"), data);
    assert_eq!(bench.give(b"\x40\x00\x00\x05hello\0\0\0"), data);
    assert_eq!(
        bench.give(b"\x40\x01\x00\x05hello"),
        Received::Ignored(Ignored::UnknownChannel)
    );
    assert_eq!(
        bench.give(b"\x40\x00\x00\x05hell"),
        Received::Ignored(Ignored::Malformed)
    );
    assert_eq!(bench.give(b""), Received::Ignored(Ignored::Malformed));

    let indication = |peer| {
        let mut out = [0; 128];
        let id = TransactionId([9; 12]);
        let mut writer = MessageWriter::new(&mut out, Class::Indication, Method::DATA, id).unwrap();
        writer.attr(&XorPeerAddress(peer)).unwrap();
        writer.attr(&Data(b"hello")).unwrap();
        let len = writer.finish();
        out[..len].to_vec()
    };
    let carrier = Carrier::Indication;
    assert_eq!(
        bench.give(&indication(peer)),
        Received::Data {
            peer,
            payload: 36..41,
            carrier
        }
    );
    let stranger = addr("192.0.2.10:9000");
    assert_eq!(
        bench.give(&indication(stranger)),
        Received::Ignored(Ignored::UnknownPeer)
    );
}

// RFC 8656 §11.6: "the client signals the application of the error condition along with an
// indication that it was received from the peer".
#[test]
fn an_icmp_error_is_told_with_its_peer_and_ends_nothing() {
    let mut bench = Bench::new().with_channel();
    let icmp = Icmp {
        type_: 3,
        code: 4,
        data: [0, 0, 5, 0],
    };
    let indication = |peer| {
        let mut out = [0; 128];
        let id = TransactionId([9; 12]);
        let mut writer = MessageWriter::new(&mut out, Class::Indication, Method::DATA, id).unwrap();
        writer.attr(&XorPeerAddress(peer)).unwrap();
        writer.attr(&icmp).unwrap();
        let len = writer.finish();
        out[..len].to_vec()
    };
    let peer = addr(PEER);
    let told = bench.give(&indication(peer));
    assert_eq!(told, Received::Icmp { peer, icmp });
    let stranger = bench.give(&indication(addr("192.0.2.10:9000")));
    assert_eq!(stranger, Received::Ignored(Ignored::UnknownPeer));
    assert_eq!(bench.events(), []);
    assert!(bench.client.prefix(peer, 5).is_ok(), "the channel stands");
}

#[test]
fn what_must_stay_whole_goes_in_a_send_indication_with_dont_fragment() {
    let mut bench = Bench::new().with_channel();
    let peer = addr(PEER);
    let prefix = bench.client.whole_prefix(peer, 5).unwrap();
    let bytes = [prefix.bytes(), b"hello", &[0; 3][..prefix.tail()]].concat();
    let sent = SendIndication::parse(&bytes).unwrap();
    assert_eq!((sent.peer, sent.dont_fragment), (peer, true));
    assert_eq!(&bytes[sent.payload], b"hello");
    let stranger = bench.client.whole_prefix(addr("192.0.2.10:9000"), 5);
    assert_eq!(stranger, Err(ClientError::NotPermitted));
}

#[test]
fn no_packet_of_random_bytes_makes_it_stumble() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut bench = Bench::new().with_channel();
    for _ in 0..20_000 {
        let mut packet = [0u8; 64];
        rng.fill(&mut packet[..]);
        packet[0] &= 0x43;
        let len = rng.random_range(0..64);
        bench.give(&packet[..len]);
    }
    assert_eq!(bench.events(), []);
}
