//! What must hold for any bytes: checks for the fuzzer, and for the replay of its corpus.

use std::net::{IpAddr, SocketAddr};

use sterna_preface::proxy::{self, BadHeader, HEADER_BYTES_MAX, Header};
use sterna_preface::upgrade::{self, Answer, HEAD_BYTES_MAX, Site};

/// A stream behind a load balancer: however it is cut, the header is the same, and it is read to its
/// last byte and no further.
pub fn proxy(bytes: &[u8]) {
    let whole = header(bytes, usize::MAX);
    assert_eq!(header(bytes, 1), whole);
    let Some(Ok((read, len))) = whole else {
        return;
    };
    assert!(len <= HEADER_BYTES_MAX);
    assert_eq!(
        proxy::progress(&bytes[..len]),
        Ok(proxy::Progress::Whole(read))
    );
    if let Header::Proxied { client, server } = read {
        assert!(client.port() != 0 && !client.ip().is_unspecified());
        assert!(!client.ip().is_multicast());
        assert!([client, server].iter().all(is_canonical));
    }
}

fn is_canonical(addr: &SocketAddr) -> bool {
    !matches!(addr.ip(), IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some())
}

/// The header that a reader finds who gets at most `step` bytes at a time, and its length. None: the
/// stream ends before it does.
fn header(bytes: &[u8], step: usize) -> Option<Result<(Header, usize), BadHeader>> {
    let mut len = 0;
    loop {
        match proxy::progress(&bytes[..len]) {
            Ok(proxy::Progress::Whole(header)) => return Some(Ok((header, len))),
            Err(bad) => return Some(Err(bad)),
            Ok(proxy::Progress::Wants(more)) => {
                assert!(more > 0 && len + more <= HEADER_BYTES_MAX);
                if len == bytes.len() {
                    return None;
                }
                len = (len + more.min(step)).min(bytes.len());
            }
        }
    }
}

/// Whoever comes to the `wss` port: the answer does not depend on how the request is cut, but that
/// nothing may stand behind an upgrade, and no request breaks out of its answer.
///
/// The first byte of the input is the size of the reads, and says by its lowest bit whether the node
/// goes away.
pub fn upgrade(bytes: &[u8]) {
    let Some((&first, stream)) = bytes.split_first() else {
        return;
    };
    let site = Site {
        path: "/flow",
        is_draining: first % 2 == 1,
    };
    let whole = answer(stream, site, usize::MAX);
    let cut = answer(stream, site, usize::from(first).max(1));
    let Some((answer, is_head, len)) = cut else {
        assert_eq!(whole, None);
        return;
    };
    let (at_once, _, _) = whole.expect("the same bytes have an answer");
    if answer.switches() && at_once != answer {
        assert!(len < stream.len(), "something stands behind the request");
        assert!(matches!(at_once, Answer::Plain("400 Bad Request", ..)));
    } else {
        assert_eq!(at_once, answer);
    }
    let text = answer.to_text(is_head);
    let (head, body) = text.split_once("\r\n\r\n").expect("a head has an end");
    assert!(head.starts_with("HTTP/1.1 "));
    match &answer {
        Answer::Switch(accept) => {
            assert!(accept.len() == 28 && body.is_empty() && !is_head);
        }
        Answer::Plain(_, _, text) => assert_eq!(body, if is_head { "" } else { text }),
    }
}

/// The answer that a reader gives who gets at most `step` bytes at a time, whether it is one without
/// its text, and how much he has read. None: the stream ends first.
fn answer(stream: &[u8], site: Site<'_>, step: usize) -> Option<(Answer, bool, usize)> {
    let mut len = 0;
    loop {
        match upgrade::progress(&stream[..len], site) {
            upgrade::Progress::Whole(answer, is_head) => return Some((answer, is_head, len)),
            upgrade::Progress::Wants(room) => {
                assert!(room > 0 && len + room <= HEAD_BYTES_MAX);
                if len == stream.len() {
                    return None;
                }
                len = (len + room.min(step)).min(stream.len());
            }
        }
    }
}
