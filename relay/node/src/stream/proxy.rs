//! The PROXY protocol, versions 1 and 2 (HAProxy's `proxy-protocol.txt`): a load balancer says, before
//! the first byte of its client, who that client is and where it connected to.
//!
//! Only the prefixes of `tcp.proxy_protocol_from` are believed, and from them the header is a must:
//! whoever else sends one sends garbage. It is read to its last byte and no further, so that what
//! follows is told apart like any connection's beginning.

use std::io;
use std::net::SocketAddr;

use ppp::{v1, v2};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Bytes of a header with all its TLVs. HAProxy's own buffer is four times that; the TLVs of the
/// known load balancers, a client's certificate excepted, fit a tenth.
const HEADER_BYTES_MAX: usize = 4096;

/// The text form is at most this long (§2.1), its line end included.
const V1_BYTES_MAX: usize = 107;

/// The shortest text: `PROXY UNKNOWN\r\n`.
const V1_BYTES_MIN: usize = 15;

/// The binary form before its addresses (§2.2).
const V2_FIXED_BYTES: usize = 16;

/// Version 2, command LOCAL: the proxy's own connection, such as a health check.
const V2_LOCAL: u8 = 0x20;

/// What a header says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Header {
    /// The connection is another's.
    Proxied {
        client: SocketAddr,
        server: SocketAddr,
    },
    /// The socket's own addresses hold: LOCAL, UNKNOWN, UNSPEC, and AF_UNIX, which has none.
    Own,
}

/// The bytes are no header, or one that cannot be true.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct BadHeader;

/// Why no header was read.
#[derive(Debug)]
pub(crate) enum Failure {
    Bad,
    /// The peer went away before its end.
    Closed,
}

/// What the bytes so far amount to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Progress {
    /// At least so many more belong to the header.
    Wants(usize),
    Whole(Header),
}

/// Reads a header and nothing behind it.
pub(crate) async fn read(socket: &mut (impl AsyncRead + Unpin)) -> Result<Header, Failure> {
    let mut bytes = Vec::with_capacity(V2_FIXED_BYTES);
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

/// Never asks for a byte that may be behind the header, and refuses at the first wrong byte of what
/// all headers begin with.
fn progress(bytes: &[u8]) -> Result<Progress, BadHeader> {
    let begins = |form: &[u8]| {
        let len = bytes.len().min(form.len());
        bytes[..len] == form[..len]
    };
    if begins(v2::PROTOCOL_PREFIX) {
        binary(bytes)
    } else if begins(b"PROXY ") {
        text(bytes)
    } else {
        Err(BadHeader)
    }
}

fn binary(bytes: &[u8]) -> Result<Progress, BadHeader> {
    let Some(fixed) = bytes.first_chunk::<V2_FIXED_BYTES>() else {
        // Nothing yet may still become the text, which is shorter by a byte.
        let wanted = if bytes.is_empty() {
            V1_BYTES_MIN
        } else {
            V2_FIXED_BYTES - bytes.len()
        };
        return Ok(Progress::Wants(wanted));
    };
    let whole = V2_FIXED_BYTES + usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if whole > HEADER_BYTES_MAX {
        return Err(BadHeader);
    }
    if bytes.len() < whole {
        return Ok(Progress::Wants(whole - bytes.len()));
    }
    // §2.2: the addresses of LOCAL are to be discarded, their family included.
    if fixed[12] == V2_LOCAL {
        return Ok(Progress::Whole(Header::Own));
    }
    let header = v2::Header::try_from(bytes).map_err(|_| BadHeader)?;
    let header = match (header.addresses, header.protocol) {
        (v2::Addresses::Unspecified | v2::Addresses::Unix(_), _) => Header::Own,
        (v2::Addresses::IPv4(of), v2::Protocol::Stream) => proxied(
            (of.source_address, of.source_port).into(),
            (of.destination_address, of.destination_port).into(),
        )?,
        (v2::Addresses::IPv6(of), v2::Protocol::Stream) => proxied(
            (of.source_address, of.source_port).into(),
            (of.destination_address, of.destination_port).into(),
        )?,
        // A datagram's header on a stream.
        _ => return Err(BadHeader),
    };
    Ok(Progress::Whole(header))
}

fn text(bytes: &[u8]) -> Result<Progress, BadHeader> {
    let wanted = match bytes {
        [.., b'\r', b'\n'] => 0,
        [.., b'\r'] => 1,
        _ => 2.max(V1_BYTES_MIN.saturating_sub(bytes.len())),
    };
    if bytes.len() + wanted > V1_BYTES_MAX {
        return Err(BadHeader);
    }
    if wanted > 0 {
        return Ok(Progress::Wants(wanted));
    }
    let header = v1::Header::try_from(bytes).map_err(|_| BadHeader)?;
    if header.header.len() != bytes.len() {
        return Err(BadHeader);
    }
    let header = match header.addresses {
        v1::Addresses::Unknown => Header::Own,
        v1::Addresses::Tcp4(of) => proxied(
            (of.source_address, of.source_port).into(),
            (of.destination_address, of.destination_port).into(),
        )?,
        v1::Addresses::Tcp6(of) => proxied(
            (of.source_address, of.source_port).into(),
            (of.destination_address, of.destination_port).into(),
        )?,
    };
    Ok(Progress::Whole(header))
}

/// No client connects from port 0 or from an address that is nobody's.
fn proxied(client: SocketAddr, server: SocketAddr) -> Result<Header, BadHeader> {
    let unmapped = |addr: SocketAddr| SocketAddr::new(addr.ip().to_canonical(), addr.port());
    let (client, server) = (unmapped(client), unmapped(server));
    if client.port() == 0 || client.ip().is_unspecified() || client.ip().is_multicast() {
        return Err(BadHeader);
    }
    Ok(Header::Proxied { client, server })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

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

    const V4: [u8; 12] = [198, 51, 100, 7, 192, 0, 2, 1, 0x0f, 0xa0, 0x0d, 0x96];

    fn v4() -> Header {
        Header::Proxied {
            client: "198.51.100.7:4000".parse().unwrap(),
            server: "192.0.2.1:3478".parse().unwrap(),
        }
    }

    fn whole(bytes: &[u8]) -> Result<Header, BadHeader> {
        match progress(bytes)? {
            Progress::Whole(header) => Ok(header),
            Progress::Wants(more) => panic!("wants {more} more"),
        }
    }

    #[test]
    fn the_addresses_of_version_2_are_read_and_its_tlvs_skipped() {
        assert_eq!(whole(&v2(0x21, 0x11, &V4)), Ok(v4()));
        let mut with_tlvs = V4.to_vec();
        with_tlvs.extend([0x04, 0, 3, 0, 0, 0, 0xee, 0xff, 0xff]);
        assert_eq!(whole(&v2(0x21, 0x11, &with_tlvs)), Ok(v4()));
        let mut v6 = Vec::new();
        v6.extend(
            "2001:db8::7"
                .parse::<std::net::Ipv6Addr>()
                .unwrap()
                .octets(),
        );
        v6.extend(
            "2001:db8::1"
                .parse::<std::net::Ipv6Addr>()
                .unwrap()
                .octets(),
        );
        v6.extend([0x0f, 0xa0, 0x0d, 0x96]);
        assert_eq!(
            whole(&v2(0x21, 0x21, &v6)),
            Ok(Header::Proxied {
                client: "[2001:db8::7]:4000".parse().unwrap(),
                server: "[2001:db8::1]:3478".parse().unwrap(),
            })
        );
    }

    #[test]
    fn ipv4_clients_in_ipv6_clothing_are_ipv4_clients() {
        let mut mapped = Vec::new();
        for addr in ["::ffff:198.51.100.7", "::ffff:192.0.2.1"] {
            mapped.extend(addr.parse::<std::net::Ipv6Addr>().unwrap().octets());
        }
        mapped.extend(&V4[8..]);
        assert_eq!(whole(&v2(0x21, 0x21, &mapped)), Ok(v4()));
        let text = b"PROXY TCP6 ::ffff:198.51.100.7 ::ffff:192.0.2.1 4000 3478\r\n";
        assert_eq!(whole(text), Ok(v4()));
    }

    #[test]
    fn the_text_form_is_read() {
        assert_eq!(
            whole(b"PROXY TCP4 198.51.100.7 192.0.2.1 4000 3478\r\n"),
            Ok(v4())
        );
        assert_eq!(whole(b"PROXY UNKNOWN\r\n"), Ok(Header::Own));
        let longest = format!("PROXY UNKNOWN {}\r\n", "f".repeat(91));
        assert_eq!(longest.len(), V1_BYTES_MAX);
        assert_eq!(whole(longest.as_bytes()), Ok(Header::Own));
    }

    #[test]
    fn local_and_unspecified_connections_keep_the_socket_s_addresses() {
        for (version_command, family, rest) in [
            (0x20, 0x00, &[][..]),
            (0x20, 0x11, &V4[..]),
            (0x20, 0x01, &[]),
            (0x20, 0xff, b"whatever"),
            (0x21, 0x00, &[]),
            (0x21, 0x01, &[4, 0, 0]),
            (0x21, 0x31, &[b'/'; 216]),
        ] {
            assert_eq!(whole(&v2(version_command, family, rest)), Ok(Header::Own));
        }
    }

    #[test]
    fn what_cannot_be_true_is_refused() {
        for (version_command, family, rest) in [
            (0x11, 0x11, &V4[..]),
            (0x22, 0x11, &V4[..]),
            (0x21, 0x12, &V4[..]),
            (0x21, 0x11, &V4[..11]),
            (0x21, 0x21, &V4[..]),
            (0x21, 0x41, &V4[..]),
            (0x21, 0x11, &[0; 12]),
            (0x21, 0x11, &[224, 0, 0, 1, 192, 0, 2, 1, 1, 1, 1, 1]),
            (0x21, 0x11, &[198, 51, 100, 7, 192, 0, 2, 1, 0, 0, 1, 1]),
            (0x21, 0x00, &[0; HEADER_BYTES_MAX]),
        ] {
            let bytes = v2(version_command, family, rest);
            assert_eq!(progress(&bytes), Err(BadHeader), "{bytes:x?}");
        }
        for text in [
            "PROXY TCP4 198.51.100.7 192.0.2.1 0 3478\r\n",
            "PROXY TCP4 198.51.100.7 192.0.2.1 4000\r\n",
            "PROXY TCP4 2001:db8::7 192.0.2.1 4000 3478\r\n",
            "PROXY TCP4 198.51.100.7 192.0.2.1 4000 65536\r\n",
            "PROXY UDP4 198.51.100.7 192.0.2.1 4000 3478\r\n",
            "PROXY TCP4 198.51.100.7 192.0.2.1 4000 3478 more\r\n",
            "PROXY UNKNOWN\r \r\n",
        ] {
            assert_eq!(progress(text.as_bytes()), Err(BadHeader), "{text}");
        }
        assert_eq!(
            progress(&[b"PROXY ", &[b'x'; 100][..]].concat()),
            Err(BadHeader)
        );
    }

    #[test]
    fn what_begins_otherwise_is_refused_at_its_first_wrong_byte() {
        for bytes in [&b"\x00"[..], b"\x16", b"GET", b"\r\n\r\n\r", b"PROXY\t"] {
            assert_eq!(progress(bytes), Err(BadHeader), "{bytes:x?}");
        }
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
