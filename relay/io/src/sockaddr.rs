//! Socket addresses as the kernel writes them, by bytes and without `unsafe`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// A `sockaddr_in` or `sockaddr_in6`.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub(crate) struct SockAddr {
    bytes: [u8; 28],
    len: u32,
}

impl SockAddr {
    pub(crate) fn new(addr: SocketAddr) -> Self {
        let mut bytes = [0; 28];
        bytes[2..4].copy_from_slice(&addr.port().to_be_bytes());
        let len = match addr {
            SocketAddr::V4(v4) => {
                bytes[..2].copy_from_slice(&family(libc::AF_INET));
                bytes[4..8].copy_from_slice(&v4.ip().octets());
                16
            }
            SocketAddr::V6(v6) => {
                bytes[..2].copy_from_slice(&family(libc::AF_INET6));
                bytes[8..24].copy_from_slice(&v6.ip().octets());
                bytes[24..28].copy_from_slice(&v6.scope_id().to_ne_bytes());
                28
            }
        };
        Self { bytes, len }
    }

    pub(crate) fn as_ptr(&self) -> *const u8 {
        self.bytes.as_ptr()
    }

    pub(crate) fn len(&self) -> u32 {
        self.len
    }
}

fn family(family: i32) -> [u8; 2] {
    u16::try_from(family).unwrap_or(0).to_ne_bytes()
}

/// Reads what the kernel wrote. Mapped IPv4 addresses come out as IPv4.
pub(crate) fn decode(bytes: &[u8]) -> Option<SocketAddr> {
    let (family, rest) = bytes.split_first_chunk::<2>()?;
    let (port, rest) = rest.split_first_chunk::<2>()?;
    let port = u16::from_be_bytes(*port);
    match i32::from(u16::from_ne_bytes(*family)) {
        libc::AF_INET => {
            let ip = Ipv4Addr::from(*rest.first_chunk::<4>()?);
            Some(SocketAddr::new(IpAddr::V4(ip), port))
        }
        libc::AF_INET6 => {
            let ip = Ipv6Addr::from(*rest.get(4..)?.first_chunk::<16>()?);
            let scope = u32::from_ne_bytes(*rest.get(20..)?.first_chunk::<4>()?);
            Some(match ip.to_ipv4_mapped() {
                Some(v4) => SocketAddr::new(IpAddr::V4(v4), port),
                None => SocketAddr::V6(SocketAddrV6::new(ip, port, 0, scope)),
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_come_back_as_they_went() {
        for text in ["192.0.2.1:3478", "[2001:db8::1]:49152", "[fe80::1%3]:1"] {
            let addr: SocketAddr = text.parse().expect("an address");
            let raw = SockAddr::new(addr);
            assert_eq!(decode(&raw.bytes[..raw.len() as usize]), Some(addr));
        }
    }

    #[test]
    fn mapped_addresses_are_unmapped_and_strange_families_refused() {
        let mapped = SockAddr::new("[::ffff:192.0.2.1]:7".parse().expect("an address"));
        assert_eq!(
            decode(&mapped.bytes),
            Some("192.0.2.1:7".parse().expect("an address"))
        );
        assert_eq!(decode(&[0; 28]), None);
        assert_eq!(decode(&[]), None);
        assert_eq!(decode(&mapped.bytes[..27]), None);
    }
}
