//! docs/PROTOCOL.md says the numbers that the code has.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

use sterna_flow::message::kind;
use sterna_flow::{CloseReason, DropReason, LimitedBy, PeerState, Refusal, Rung, frame};

const DOCUMENT: &str = include_str!("../../../docs/PROTOCOL.md");

/// The rows of the table that stands under a heading, or first in the document with that header.
fn rows(header: &str) -> Vec<Vec<String>> {
    let (_, rest) = DOCUMENT
        .split_once(header)
        .unwrap_or_else(|| panic!("no {header:?}"));
    rest.lines()
        .skip_while(|line| !line.starts_with("|---"))
        .skip(1)
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let cells = line.trim_matches('|').split(" | ");
            cells
                .map(|cell| cell.trim().trim_matches('`').to_owned())
                .collect()
        })
        .collect()
}

#[test]
fn the_document_has_every_code_with_its_number_and_meaning() {
    macro_rules! check {
        ($heading:literal, $type:ty) => {
            let expected: Vec<Vec<String>> = <$type>::ALL
                .iter()
                .map(|code| {
                    let meaning = code.describe().trim().to_owned();
                    vec![code.byte().to_string(), code.as_str().to_owned(), meaning]
                })
                .collect();
            assert_eq!(rows($heading), expected, $heading);
        };
    }
    check!("### Refusals", Refusal);
    check!("### Close reasons", CloseReason);
    check!("### Peer states", PeerState);
    check!("### Limited by", LimitedBy);
    check!("### Drop reasons", DropReason);
}

#[test]
fn the_document_has_every_message_with_its_kind() {
    let written: Vec<(String, String)> = rows("| kind | message | to | fields |")
        .into_iter()
        .map(|row| (row[0].clone(), row[1].clone()))
        .collect();
    let known = kind::ALL
        .iter()
        .map(|(kind, name)| (kind.to_string(), (*name).to_owned()));
    assert_eq!(written, known.collect::<Vec<_>>());
}

#[test]
fn the_document_has_every_frame_with_its_first_byte() {
    let written: Vec<(String, String)> = rows("| first byte | frame | to | layout |")
        .into_iter()
        .map(|row| (row[0].clone(), row[1].clone()))
        .collect();
    let known = [
        (frame::DATA, "DATA"),
        (frame::KEYED, "KEYED"),
        (frame::SEALED, "SEALED"),
        (frame::HELLO, "HELLO"),
        (frame::COOKIE, "COOKIE"),
        (frame::INIT, "INIT"),
        (frame::WELCOME, "WELCOME"),
        (frame::REFUSED, "REFUSED"),
    ];
    assert_eq!(written.len(), known.len());
    for ((bytes, name), (byte, expected)) in written.iter().zip(known) {
        assert!(
            bytes.starts_with(&format!("0x{byte:02X}")),
            "{bytes} of {name}"
        );
        assert_eq!(name, expected);
    }
}

#[test]
fn the_document_has_the_rungs_and_the_names_that_bind() {
    for (row, rung) in rows("| rung | number | carried by |").iter().zip(Rung::ALL) {
        assert_eq!(
            (row[0].as_str(), row[1].clone()),
            (rung.as_str(), rung.byte().to_string())
        );
    }
    let names = [
        frame::NOISE_PROTOCOL,
        frame::WSS_PATH,
        std::str::from_utf8(frame::ALPN).unwrap(),
        std::str::from_utf8(frame::EXPORTER_LABEL).unwrap(),
        std::str::from_utf8(frame::PROLOGUE).unwrap(),
    ];
    for name in names {
        assert!(DOCUMENT.contains(name), "{name}");
    }
}
