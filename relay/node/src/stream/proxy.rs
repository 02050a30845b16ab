//! Reads the PROXY header of a load balancer's connection ([`sterna_preface::proxy`]).
//!
//! Only the prefixes of `tcp.proxy_protocol_from` are believed, and from them the header is a must:
//! whoever else sends one sends garbage. It is read to its last byte and no further, so that what
//! follows is told apart like any connection's beginning.

use std::io;

pub(crate) use sterna_preface::proxy::Header;
use sterna_preface::proxy::{BadHeader, Progress, progress};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Room for the shortest binary header; most are little longer.
const CAPACITY_BYTES: usize = 64;

/// Why no header was read.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The bytes are no header, or one that cannot be true.
    Bad,
    /// The peer went away before its end.
    Closed,
}

/// Reads a header and nothing behind it.
pub(crate) async fn read(socket: &mut (impl AsyncRead + Unpin)) -> Result<Header, Failure> {
    let mut bytes = Vec::with_capacity(CAPACITY_BYTES);
    loop {
        let wanted = match progress(&bytes) {
            Ok(Progress::Whole(header)) => return Ok(header),
            Ok(Progress::Wants(wanted)) => wanted,
            Err(BadHeader) => return Err(Failure::Bad),
        };
        let mut piece = (&mut *socket).take(wanted as u64);
        match piece.read_buf(&mut bytes).await {
            Ok(0) => return Err(Failure::Closed),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Err(Failure::Closed),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;
    use sterna_preface::proxy::HEADER_BYTES_MAX;

    use super::*;

    const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

    /// A version 2 header of literal bytes.
    fn v2(version_command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([version_command, family]);
        bytes.extend(u16::try_from(rest.len()).unwrap().to_be_bytes());
        bytes.extend(rest);
        bytes
    }

    fn headers() -> impl Strategy<Value = Vec<u8>> {
        let small = proptest::collection::vec(any::<u8>(), 0..300);
        prop_oneof![
            (any::<u8>(), any::<u8>(), small.clone()).prop_map(|(a, b, rest)| v2(a, b, &rest)),
            (
                prop_oneof![Just(0x20), Just(0x21)],
                prop_oneof![Just(0x00), Just(0x11), Just(0x21), Just(0x31)],
                small.clone()
            )
                .prop_map(|(a, b, rest)| v2(a, b, &rest)),
            "PROXY (TCP4|TCP6|UNKNOWN)[ -~\r\n]{0,110}\r\n".prop_map(String::into_bytes),
            (
                any::<[u8; 4]>(),
                any::<[u8; 4]>(),
                any::<u16>(),
                any::<u16>()
            )
                .prop_map(|(from, to, from_port, to_port)| {
                    let [from, to] = [from, to].map(std::net::Ipv4Addr::from);
                    format!("PROXY TCP4 {from} {to} {from_port} {to_port}\r\n").into_bytes()
                }),
            small,
        ]
    }

    proptest! {
        /// Whatever comes, and however it is cut on the way: no panic, the same verdict, bounded,
        /// and not a byte read of what follows.
        #[test]
        fn any_bytes_in_any_pieces_get_one_verdict_and_what_follows_is_left(
            bytes in headers(),
            pieces in proptest::collection::vec(1usize..20, 1..40),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let at_once = read_to_verdict(&runtime, &bytes, &[bytes.len().max(1)]);
            let in_pieces = read_to_verdict(&runtime, &bytes, &pieces);
            prop_assert_eq!(at_once, in_pieces);
            if let Some((_, used)) = at_once {
                prop_assert!(used <= HEADER_BYTES_MAX);
                prop_assert_eq!(progress(&bytes[..used]).map(|last| matches!(last, Progress::Whole(_))), Ok(true));
            }
        }
    }

    /// The header and its length, where there is one.
    fn read_to_verdict(
        runtime: &tokio::runtime::Runtime,
        bytes: &[u8],
        pieces: &[usize],
    ) -> Option<(Header, usize)> {
        let mut socket = reader(bytes, pieces);
        let read = runtime.block_on(read(&mut socket));
        let left = runtime.block_on(async {
            let mut left = Vec::new();
            socket.read_to_end(&mut left).await.unwrap();
            left.len()
        });
        read.ok().map(|header| (header, bytes.len() - left))
    }

    /// A stream that hands out bytes in pieces of given lengths.
    fn reader(bytes: &[u8], pieces: &[usize]) -> impl AsyncRead + Unpin {
        let (mut rest, mut chained): (_, Box<dyn AsyncRead + Unpin>) =
            (bytes.to_vec(), Box::new(tokio::io::empty()));
        for len in pieces.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let later = rest.split_off((*len).min(rest.len()));
            let piece = io::Cursor::new(std::mem::replace(&mut rest, later));
            chained = Box::new(chained.chain(piece));
        }
        chained
    }
}
