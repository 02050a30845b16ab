//! Transport addresses, plain and XOR'd (RFC 8489 §14.1, §14.2, §14.15; RFC 8656 §18.3, §18.5;
//! RFC 5780 §7.3, §7.4).
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |0 0 0 0 0 0 0 0|    Family     |           (X-)Port            |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |             (X-)Address (4 or 16 bytes)
//! ```
//!
//! The XOR'd form hides addresses from NATs that rewrite what looks like one: the port is XOR'd
//! with the cookie's high half, the address with the cookie and, for IPv6, the transaction id.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Attribute, AttributeError, AttributeType, exactly};
use crate::message::TransactionId;
use crate::writer::Full;
use crate::{MAGIC_COOKIE, be16};

pub(super) const FAMILY_IPV4: u8 = 0x01;
pub(super) const FAMILY_IPV6: u8 = 0x02;

/// The value's length for IPv4.
pub(crate) const IPV4_BYTES: usize = 8;
/// The value's length for IPv6.
pub(crate) const IPV6_BYTES: usize = 20;

/// The mask of the XOR'd form: zeros for the plain one.
type Mask = [u8; 16];

const NO_MASK: Mask = [0; 16];

#[inline]
fn xor_mask(transaction_id: &TransactionId) -> Mask {
    let mut mask = [0; 16];
    mask[..4].copy_from_slice(&MAGIC_COOKIE.to_be_bytes());
    mask[4..].copy_from_slice(&transaction_id.0);
    mask
}

#[inline]
fn masked<const N: usize>(mut bytes: [u8; N], mask: &Mask) -> [u8; N] {
    for (byte, mask) in bytes.iter_mut().zip(mask) {
        *byte ^= mask;
    }
    bytes
}

#[inline]
fn decode(value: &[u8], mask: &Mask) -> Result<SocketAddr, AttributeError> {
    let Some((head, ip)) = value.split_at_checked(4) else {
        return Err(AttributeError::Length);
    };
    // RFC 8489 §14.1: the first byte "MUST be ignored by receivers".
    let ip = match head[1] {
        FAMILY_IPV4 => IpAddr::V4(Ipv4Addr::from(masked(exactly::<4>(ip)?, mask))),
        FAMILY_IPV6 => IpAddr::V6(Ipv6Addr::from(masked(exactly::<16>(ip)?, mask))),
        _ => return Err(AttributeError::Family),
    };
    let port = be16(head, 2) ^ u16::from_be_bytes([mask[0], mask[1]]);
    Ok(SocketAddr::new(ip, port))
}

#[inline]
fn encode(addr: SocketAddr, mask: &Mask, out: &mut [u8]) -> Result<usize, Full> {
    let port = (addr.port() ^ u16::from_be_bytes([mask[0], mask[1]])).to_be_bytes();
    match addr.ip() {
        IpAddr::V4(ip) => {
            let out = out.first_chunk_mut::<IPV4_BYTES>().ok_or(Full)?;
            out[..4].copy_from_slice(&[0, FAMILY_IPV4, port[0], port[1]]);
            out[4..].copy_from_slice(&masked(ip.octets(), mask));
            Ok(IPV4_BYTES)
        }
        IpAddr::V6(ip) => {
            let out = out.first_chunk_mut::<IPV6_BYTES>().ok_or(Full)?;
            out[..4].copy_from_slice(&[0, FAMILY_IPV6, port[0], port[1]]);
            out[4..].copy_from_slice(&masked(ip.octets(), mask));
            Ok(IPV6_BYTES)
        }
    }
}

macro_rules! addresses {
    ($($(#[$doc:meta])* $name:ident, $type:ident, $mask:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        pub struct $name(pub SocketAddr);

        impl Attribute<'_> for $name {
            const TYPE: AttributeType = AttributeType::$type;

            #[inline]
            fn decode(value: &[u8], id: &TransactionId) -> Result<Self, AttributeError> {
                let mask: fn(&TransactionId) -> Mask = $mask;
                decode(value, &mask(id)).map(Self)
            }

            #[inline]
            fn encode(&self, id: &TransactionId, out: &mut [u8]) -> Result<usize, Full> {
                let mask: fn(&TransactionId) -> Mask = $mask;
                encode(self.0, &mask(id), out)
            }
        }
    )*};
}

addresses! {
    /// The client's address as the server saw it, in the clear (RFC 8489 §14.1).
    MappedAddress, MAPPED_ADDRESS, |_| NO_MASK;
    /// The client's address as the server saw it (RFC 8489 §14.2).
    XorMappedAddress, XOR_MAPPED_ADDRESS, xor_mask;
    /// A peer's address as the server sees it (RFC 8656 §18.3).
    XorPeerAddress, XOR_PEER_ADDRESS, xor_mask;
    /// The relayed transport address (RFC 8656 §18.5).
    XorRelayedAddress, XOR_RELAYED_ADDRESS, xor_mask;
    /// Where to go instead (RFC 8489 §14.15).
    AlternateServer, ALTERNATE_SERVER, |_| NO_MASK;
    /// The address that the answer was sent from (RFC 5780 §7.3).
    ResponseOrigin, RESPONSE_ORIGIN, |_| NO_MASK;
    /// The address that CHANGE-REQUEST would answer from (RFC 5780 §7.4).
    OtherAddress, OTHER_ADDRESS, |_| NO_MASK;
}

#[cfg(test)]
mod tests {
    use super::super::testing::{on_the_wire, refused};
    use super::*;

    fn addr(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_mapped_address_stands_in_the_clear() {
        on_the_wire(
            MappedAddress(addr("192.0.2.1:32853")),
            &[0, 1, 0x80, 0x55, 192, 0, 2, 1],
        );
        on_the_wire(
            AlternateServer(addr("[2001:db8::1]:3478")),
            &[
                0, 2, 0x0D, 0x96, 0x20, 1, 0x0D, 0xB8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
            ],
        );
        on_the_wire(
            ResponseOrigin(addr("10.0.0.1:1")),
            &[0, 1, 0, 1, 10, 0, 0, 1],
        );
        on_the_wire(OtherAddress(addr("10.0.0.2:2")), &[0, 1, 0, 2, 10, 0, 0, 2]);
    }

    // The bytes of RFC 5769 §2.2 and §2.3.
    #[test]
    fn an_xored_address_is_hidden_by_cookie_and_transaction_id() {
        let ipv4 = [0, 1, 0xA1, 0x47, 0xE1, 0x12, 0xA6, 0x43];
        let ipv6 = [
            0x00, 0x02, 0xA1, 0x47, 0x01, 0x13, 0xA9, 0xFA, 0xA5, 0xD3, 0xF1, 0x79, 0xBC, 0x25,
            0xF4, 0xB5, 0xBE, 0xD2, 0xB9, 0xD9,
        ];
        let v4 = addr("192.0.2.1:32853");
        let v6 = addr("[2001:db8:1234:5678:11:2233:4455:6677]:32853");
        on_the_wire(XorMappedAddress(v4), &ipv4);
        on_the_wire(XorMappedAddress(v6), &ipv6);
        on_the_wire(XorPeerAddress(v4), &ipv4);
        on_the_wire(XorRelayedAddress(v6), &ipv6);
    }

    #[test]
    fn the_first_byte_of_an_address_is_ignored() {
        let value = [0xFF, 1, 0x80, 0x55, 192, 0, 2, 1];
        let id = TransactionId([0; 12]);
        assert_eq!(
            MappedAddress::decode(&value, &id),
            Ok(MappedAddress(addr("192.0.2.1:32853")))
        );
    }

    #[test]
    fn an_address_of_the_wrong_length_or_family_is_refused() {
        refused::<XorPeerAddress>(&[], AttributeError::Length);
        refused::<XorPeerAddress>(&[0, 1, 0], AttributeError::Length);
        refused::<XorPeerAddress>(&[0, 1, 0, 1, 1, 2, 3], AttributeError::Length);
        refused::<XorPeerAddress>(&[0, 1, 0, 1, 1, 2, 3, 4, 5], AttributeError::Length);
        refused::<XorPeerAddress>(&[0, 2, 0, 1, 1, 2, 3, 4], AttributeError::Length);
        refused::<XorPeerAddress>(&[0, 3, 0, 1, 1, 2, 3, 4], AttributeError::Family);
    }
}
