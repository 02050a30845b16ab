//! What went wrong in other servers' parsers, replayed here (docs/SECURITY.md lists them).
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

use sterna_stun::attr::{Data, Software, Username, XorPeerAddress};
use sterna_stun::channel_data::ChannelData;
use sterna_stun::data_indication::SendIndication;
use sterna_stun::framing::{MAX_FRAME, next_frame};
use sterna_stun::integrity::{self, Key};
use sterna_stun::message::{Class, Message, Method, TransactionId};
use sterna_stun::writer::MessageWriter;

const ID: TransactionId = TransactionId([7; 12]);

fn send_indication() -> Vec<u8> {
    let mut out = vec![0; 256];
    let mut writer = MessageWriter::new(&mut out, Class::Indication, Method::SEND, ID).unwrap();
    writer.attr(&Software("seven b")).unwrap();
    let peer = XorPeerAddress("[2001:db8::7]:4000".parse().unwrap());
    writer.attr(&peer).unwrap();
    writer.attr(&Data(b"odd bytes")).unwrap();
    writer.integrity_sha1(&Key::new(b"key").sha1()).unwrap();
    writer.fingerprint().unwrap();
    let len = writer.finish();
    out.truncate(len);
    out
}

/// coturn, until 4.9: reads of 16, 32 and 64 bits straight from the packet, wherever it lay.
#[test]
fn a_message_is_read_alike_wherever_it_lies_in_memory() {
    let bytes = send_indication();
    let mut channel_data = vec![0x40, 0, 0, 5];
    channel_data.extend(b"hello");
    for offset in 0..16 {
        let mut shifted = vec![0xEE; offset];
        shifted.extend(&bytes);
        let here = &shifted[offset..];
        let message = Message::parse(here).unwrap();
        let read = (
            message.find::<XorPeerAddress>().unwrap().unwrap().0,
            message.find::<Data<'_>>().unwrap().unwrap().0,
        );
        assert_eq!(read.0, "[2001:db8::7]:4000".parse().unwrap());
        assert_eq!(read.1, b"odd bytes");
        assert!(integrity::verify(&message, &Key::new(b"key")).is_ok());
        assert_eq!(SendIndication::parse(here).unwrap().peer, read.0);
        assert_eq!(next_frame(here), Ok(Some(bytes.len())));

        shifted.truncate(offset);
        shifted.extend(&channel_data);
        let read = ChannelData::parse(&shifted[offset..]).unwrap();
        assert_eq!((read.number, read.data), (0x4000, &b"hello"[..]));
    }
}

/// coturn, until 4.12: a length of 64 KiB and its header wrapped at 16 bits, and a short read was
/// taken for a whole message.
#[test]
fn lengths_at_the_end_of_16_bits_never_reach_beyond_the_packet() {
    for told in [0x7FFC_u16, 0x8000, 0xFFEC, 0xFFF0, 0xFFFC, 0xFFFF] {
        // A message whose header, and one whose attribute, promises more than there is.
        let mut header = send_indication();
        header[2..4].copy_from_slice(&told.to_be_bytes());
        assert!(Message::parse(&header).is_err(), "{told:#x}");
        let mut attribute = send_indication();
        attribute[22..24].copy_from_slice(&told.to_be_bytes());
        assert!(Message::parse(&attribute).is_err(), "{told:#x}");

        // The whole of it is a message of exactly that length where there can be one.
        let len = 20 + usize::from(told);
        let mut whole = send_indication();
        whole.resize(len, 0);
        whole.truncate(20);
        whole[2..4].copy_from_slice(&told.to_be_bytes());
        whole.resize(len, 0);
        let is_whole = Message::parse(&whole).is_ok();
        assert_eq!(
            is_whole,
            told % 4 == 0,
            "{told:#x}: attributes of type 0 and length 0"
        );
        if let Ok(Some(frame)) = next_frame(&whole) {
            assert_eq!(frame, len);
            assert!(frame <= MAX_FRAME);
        }

        // ChannelData over UDP that is shorter than it says, by one byte and by all.
        let mut channel_data = vec![0x40, 0];
        channel_data.extend(told.to_be_bytes());
        assert!(ChannelData::parse(&channel_data).is_err(), "{told:#x}");
        channel_data.resize(4 + usize::from(told) - 1, 0);
        assert!(ChannelData::parse(&channel_data).is_err(), "{told:#x}");
        channel_data.push(0);
        let read = ChannelData::parse(&channel_data).unwrap();
        assert_eq!(read.data.len(), usize::from(told));
        if let Ok(Some(frame)) = next_frame(&channel_data) {
            assert_eq!(frame, 4 + usize::from(told).next_multiple_of(4));
        }
    }
}

/// Directives of printf and of Rust's formatting, quotes and line ends are bytes like any others.
#[test]
fn a_name_full_of_directives_is_read_as_it_was_written() {
    let name = "%s%n%x{}{0:?}\"\\\r\n\u{1b}[31m";
    let mut out = [0; 128];
    let mut writer = MessageWriter::new(&mut out, Class::Request, Method::ALLOCATE, ID).unwrap();
    writer.attr(&Username(name)).unwrap();
    let len = writer.finish();
    let message = Message::parse(&out[..len]).unwrap();
    assert_eq!(message.find::<Username<'_>>().unwrap().unwrap().0, name);
}
