//! The PROXY protocol, versions 1 and 2 (HAProxy's `proxy-protocol.txt`): a load balancer says, before
//! the first byte of its client, who that client is and where it connected to.

use std::net::SocketAddr;

use ppp::{v1, v2};

/// Bytes of a header with all its TLVs. HAProxy's own buffer is four times that; the TLVs of the
/// known load balancers, a client's certificate excepted, fit a tenth.
pub const HEADER_BYTES_MAX: usize = 4096;

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
pub enum Header {
    /// The connection is another's.
    Proxied {
        /// Who connected to the load balancer.
        client: SocketAddr,
        /// Where it connected to.
        server: SocketAddr,
    },
    /// The socket's own addresses hold: LOCAL, UNKNOWN, UNSPEC, and AF_UNIX, which has none.
    Own,
}

/// The bytes are no header, or one that cannot be true.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BadHeader;

/// What the bytes so far amount to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Progress {
    /// At least so many more belong to the header.
    Wants(usize),
    /// The bytes are the header, all of it and nothing behind it.
    Whole(Header),
}

/// Reads the bytes of a stream's beginning, as many of them as have been asked for so far.
///
/// Never asks for a byte that may be behind the header, and refuses at the first wrong byte of what
/// all headers begin with.
///
/// # Errors
/// [`BadHeader`]: the stream begins with something else.
pub fn progress(bytes: &[u8]) -> Result<Progress, BadHeader> {
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
    // A line that has ended before the shortest one could is none, whatever came along behind it.
    let end = bytes.windows(2).position(|pair| pair == b"\r\n");
    if end.is_some_and(|end| end + 2 < bytes.len()) {
        return Err(BadHeader);
    }
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
    fn a_line_that_ends_too_early_is_refused_however_it_was_cut() {
        let stream = b"PROXY \r\n\r\n\0\r\nQUIT";
        assert_eq!(progress(&stream[..6]), Ok(Progress::Wants(9)));
        for len in 8..stream.len() {
            assert_eq!(progress(&stream[..len]), Err(BadHeader), "{len}");
        }
    }

    #[test]
    fn what_begins_otherwise_is_refused_at_its_first_wrong_byte() {
        for bytes in [&b"\x00"[..], b"\x16", b"GET", b"\r\n\r\n\r", b"PROXY\t"] {
            assert_eq!(progress(bytes), Err(BadHeader), "{bytes:x?}");
        }
    }
}
