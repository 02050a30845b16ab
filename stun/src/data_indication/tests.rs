use super::*;
use crate::attr::testing::TRANSACTION_ID;
use crate::attr::{Data, DontFragment, Lifetime};
use crate::writer::MessageWriter;

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn indication(method: Method, fill: impl FnOnce(&mut MessageWriter<'_>)) -> Vec<u8> {
    let mut out = vec![0; 512];
    let mut writer =
        MessageWriter::new(&mut out, Class::Indication, method, TRANSACTION_ID).expect("fits");
    fill(&mut writer);
    let len = writer.finish();
    out.truncate(len);
    out
}

#[test]
fn header_payload_and_tail_are_what_the_writer_writes() {
    for peer in [addr("192.0.2.9:5000"), addr("[2001:db8::9]:5000")] {
        for payload in [&b""[..], b"a", b"ab", b"abc", b"abcd", b"abcde"] {
            let mut head = [0xEE; HEADER_BYTES_MAX];
            let len = header(TRANSACTION_ID, peer, payload.len(), &mut head).expect("fits");
            let mut ours = [&head[..len], payload].concat();
            ours.resize(ours.len() + tail(payload.len()), 0);
            let written = indication(Method::DATA, |writer| {
                writer.attr(&XorPeerAddress(peer)).expect("fits");
                writer.attr(&Data(payload)).expect("fits");
            });
            assert_eq!(ours, written);
            let read = DataIndication::parse(&ours).expect("a Data indication");
            assert_eq!((read.peer, read.icmp), (peer, None));
            assert_eq!(&ours[read.payload.expect("data")], payload);
        }
    }
}

#[test]
fn a_send_indication_written_by_a_client_is_read_by_the_server() {
    let peer = addr("192.0.2.9:5000");
    let mut head = [0; HEADER_BYTES_MAX];
    let len = send_header(TRANSACTION_ID, peer, 4, &mut head).expect("fits");
    let bytes = [&head[..len], b"ping"].concat();
    let read = SendIndication::parse(&bytes).expect("a Send indication");
    assert_eq!(
        read,
        SendIndication {
            peer,
            payload: 36..40,
            dont_fragment: false
        }
    );
}

#[test]
fn the_longest_payload_fits_and_a_longer_one_does_not() {
    let mut head = [0; HEADER_BYTES_MAX];
    let peer = addr("[2001:db8::9]:5000");
    let len = header(TRANSACTION_ID, peer, PAYLOAD_BYTES_MAX, &mut head).expect("fits");
    let mut bytes = head[..len].to_vec();
    bytes.resize(len + PAYLOAD_BYTES_MAX + tail(PAYLOAD_BYTES_MAX), 7);
    assert!(DataIndication::parse(&bytes).is_ok());
    assert_eq!(
        header(TRANSACTION_ID, peer, PAYLOAD_BYTES_MAX + 1, &mut head),
        None
    );
    assert_eq!(header(TRANSACTION_ID, peer, usize::MAX, &mut head), None);
}

#[test]
fn a_send_indication_may_order_its_attributes_as_it_likes() {
    let peer = addr("192.0.2.9:5000");
    let bytes = indication(Method::SEND, |writer| {
        writer.attr(&Data(b"xyz")).expect("fits");
        writer.attr(&DontFragment).expect("fits");
        writer.attr(&XorPeerAddress(peer)).expect("fits");
        writer
            .attr(&XorPeerAddress(addr("10.0.0.1:1")))
            .expect("fits");
        writer.attr(&Data(b"second")).expect("fits");
    });
    let read = SendIndication::parse(&bytes).expect("a Send indication");
    assert_eq!(
        read,
        SendIndication {
            peer,
            payload: 24..27,
            dont_fragment: true
        }
    );
}

// RFC 8656 §11.2: "The Send indication MUST contain both an XOR-PEER-ADDRESS attribute and a
// DATA attribute. If one of these attributes is missing or invalid, then the message is
// discarded."
#[test]
fn a_send_indication_without_peer_or_data_is_refused() {
    let peer = XorPeerAddress(addr("192.0.2.9:5000"));
    let no_data = indication(Method::SEND, |writer| writer.attr(&peer).expect("fits"));
    assert_eq!(
        SendIndication::parse(&no_data),
        Err(IndicationError::NoData)
    );
    let no_peer = indication(Method::SEND, |writer| {
        writer.attr(&Data(b"x")).expect("fits");
    });
    assert_eq!(
        SendIndication::parse(&no_peer),
        Err(IndicationError::NoPeer)
    );
    let not_send = indication(Method::DATA, |writer| writer.attr(&peer).expect("fits"));
    assert_eq!(
        SendIndication::parse(&not_send),
        Err(IndicationError::NotThis)
    );
}

// RFC 8489 §6.3.2: "If the indication contains unknown comprehension-required attributes, the
// indication is discarded and processing ceases."
#[test]
fn a_send_indication_with_an_unknown_required_attribute_is_refused() {
    let build = |type_| {
        indication(Method::SEND, |writer| {
            writer
                .attr(&XorPeerAddress(addr("192.0.2.9:5000")))
                .expect("fits");
            writer.raw(type_, b"?").expect("fits");
            writer.attr(&Data(b"x")).expect("fits");
        })
    };
    let unknown = SendIndication::parse(&build(AttributeType(0x7777)));
    assert_eq!(unknown, Err(IndicationError::UnknownRequired));
    assert!(
        SendIndication::parse(&build(AttributeType(0x9999))).is_ok(),
        "optional"
    );
    assert!(
        SendIndication::parse(&build(Lifetime::TYPE)).is_ok(),
        "known, but unexpected"
    );
}

#[test]
fn a_data_indication_may_bring_an_icmp_error_instead_of_data() {
    let peer = addr("192.0.2.9:5000");
    let icmp = Icmp {
        type_: 3,
        code: 3,
        data: [0; 4],
    };
    let bytes = indication(Method::DATA, |writer| {
        writer.attr(&XorPeerAddress(peer)).expect("fits");
        writer.attr(&icmp).expect("fits");
    });
    let read = DataIndication::parse(&bytes).expect("a Data indication");
    assert_eq!(
        read,
        DataIndication {
            peer,
            payload: None,
            icmp: Some(icmp)
        }
    );
}

#[test]
fn dont_fragment_stands_between_peer_and_payload() {
    for peer in ["192.0.2.1:9", "[2001:db8::1]:9"] {
        let peer = peer.parse().expect("an address");
        let mut out = [0; WHOLE_HEADER_BYTES_MAX];
        let len = whole_send_header(TransactionId([7; 12]), peer, 5, &mut out).expect("fits");
        let message = [&out[..len], b"hello", &[0; 3]].concat();
        let read = SendIndication::parse(&message).expect("well formed");
        assert_eq!((read.peer, read.dont_fragment), (peer, true));
        assert_eq!(&message[read.payload], b"hello");
        let too_long = whole_send_header(TransactionId([7; 12]), peer, PAYLOAD_BYTES_MAX, &mut out);
        assert_eq!(too_long.is_none(), peer.is_ipv6());
    }
}
