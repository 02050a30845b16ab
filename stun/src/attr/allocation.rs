//! What an Allocate or Refresh asks for (RFC 8656 §18.2, §18.6, §18.8, §18.9, §18.11).

use std::net::IpAddr;

use super::address::{FAMILY_IPV4, FAMILY_IPV6};
use super::{Attribute, AttributeError, AttributeType, exactly, put};
use crate::message::TransactionId;
use crate::writer::Full;

/// How long an allocation lives, in seconds (RFC 8656 §18.2).
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Lifetime(pub u32);

impl Attribute<'_> for Lifetime {
    const TYPE: AttributeType = AttributeType::LIFETIME;

    #[inline]
    fn decode(value: &[u8], _: &TransactionId) -> Result<Self, AttributeError> {
        exactly(value).map(u32::from_be_bytes).map(Self)
    }

    #[inline]
    fn encode(&self, _: &TransactionId, out: &mut [u8]) -> Result<usize, Full> {
        put(out, &self.0.to_be_bytes())
    }
}

/// The protocol between server and peer: IANA's protocol number (RFC 8656 §18.8).
///
/// Any number decodes: the server answers 442 for what it does not relay.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RequestedTransport(pub u8);

impl RequestedTransport {
    /// UDP.
    pub const UDP: Self = Self(17);
    /// TCP (RFC 6062).
    pub const TCP: Self = Self(6);
}

impl Attribute<'_> for RequestedTransport {
    const TYPE: AttributeType = AttributeType::REQUESTED_TRANSPORT;

    #[inline]
    fn decode(value: &[u8], _: &TransactionId) -> Result<Self, AttributeError> {
        // RFC 8656 §18.8: the three bytes of RFFU are ignored by the receiver.
        let [protocol, ..] = exactly::<4>(value)?;
        Ok(Self(protocol))
    }

    #[inline]
    fn encode(&self, _: &TransactionId, out: &mut [u8]) -> Result<usize, Full> {
        put(out, &[self.0, 0, 0, 0])
    }
}

/// An address family as TURN writes it (RFC 8656 §18.6).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum AddressFamily {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

impl AddressFamily {
    /// The family of an address.
    #[inline]
    #[must_use]
    pub const fn of(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(_) => Self::Ipv4,
            IpAddr::V6(_) => Self::Ipv6,
        }
    }

    #[inline]
    pub(super) const fn code(self) -> u8 {
        match self {
            Self::Ipv4 => FAMILY_IPV4,
            Self::Ipv6 => FAMILY_IPV6,
        }
    }

    #[inline]
    pub(super) const fn of_code(code: u8) -> Result<Self, AttributeError> {
        match code {
            FAMILY_IPV4 => Ok(Self::Ipv4),
            FAMILY_IPV6 => Ok(Self::Ipv6),
            _ => Err(AttributeError::Family),
        }
    }
}

/// The family of the relayed address (RFC 8656 §18.6).
///
/// A family that is neither IPv4 nor IPv6 gives [`AttributeError::Family`], for which the server
/// answers 440 (RFC 8656 §7.2 step 7).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RequestedAddressFamily(pub AddressFamily);

/// The family of a second relayed address (RFC 8656 §18.11).
///
/// Also found under 0x8032, as Debian's coturn 4.6 sends it, where 0x8000 is absent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AdditionalAddressFamily(pub AddressFamily);

macro_rules! family {
    ($name:ident, $type:ident, $alias:expr) => {
        impl Attribute<'_> for $name {
            const TYPE: AttributeType = AttributeType::$type;
            const ALIAS: Option<AttributeType> = $alias;

            #[inline]
            fn decode(value: &[u8], _: &TransactionId) -> Result<Self, AttributeError> {
                // The three reserved bytes are ignored by the receiver.
                let [family, ..] = exactly::<4>(value)?;
                AddressFamily::of_code(family).map(Self)
            }

            #[inline]
            fn encode(&self, _: &TransactionId, out: &mut [u8]) -> Result<usize, Full> {
                put(out, &[self.0.code(), 0, 0, 0])
            }
        }
    };
}

family!(RequestedAddressFamily, REQUESTED_ADDRESS_FAMILY, None);
family!(
    AdditionalAddressFamily,
    ADDITIONAL_ADDRESS_FAMILY,
    Some(AttributeType::ADDITIONAL_ADDRESS_FAMILY_COTURN)
);

/// Asks for the DF bit in what goes to the peer (RFC 8656 §18.9).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DontFragment;

impl Attribute<'_> for DontFragment {
    const TYPE: AttributeType = AttributeType::DONT_FRAGMENT;

    #[inline]
    fn decode(value: &[u8], _: &TransactionId) -> Result<Self, AttributeError> {
        exactly::<0>(value).map(|_| Self)
    }

    #[inline]
    fn encode(&self, _: &TransactionId, _: &mut [u8]) -> Result<usize, Full> {
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{TRANSACTION_ID, on_the_wire, refused};
    use super::*;

    #[test]
    fn a_lifetime_is_seconds_in_four_bytes() {
        on_the_wire(Lifetime(600), &[0, 0, 2, 0x58]);
        on_the_wire(Lifetime(u32::MAX), &[0xFF; 4]);
        refused::<Lifetime>(&[0, 0, 2], AttributeError::Length);
        refused::<Lifetime>(&[0, 0, 2, 0x58, 0], AttributeError::Length);
    }

    #[test]
    fn a_requested_transport_is_a_protocol_number_and_ignores_its_reserved_bytes() {
        on_the_wire(RequestedTransport::UDP, &[17, 0, 0, 0]);
        on_the_wire(RequestedTransport::TCP, &[6, 0, 0, 0]);
        assert_eq!(
            RequestedTransport::decode(&[17, 1, 2, 3], &TRANSACTION_ID),
            Ok(RequestedTransport::UDP)
        );
        refused::<RequestedTransport>(&[17], AttributeError::Length);
    }

    #[test]
    fn an_address_family_other_than_ipv4_and_ipv6_is_told_apart_from_a_wrong_length() {
        on_the_wire(RequestedAddressFamily(AddressFamily::Ipv4), &[1, 0, 0, 0]);
        on_the_wire(RequestedAddressFamily(AddressFamily::Ipv6), &[2, 0, 0, 0]);
        on_the_wire(AdditionalAddressFamily(AddressFamily::Ipv6), &[2, 0, 0, 0]);
        refused::<RequestedAddressFamily>(&[3, 0, 0, 0], AttributeError::Family);
        refused::<RequestedAddressFamily>(&[1], AttributeError::Length);
        assert_eq!(
            AdditionalAddressFamily::decode(&[2, 9, 9, 9], &TRANSACTION_ID),
            Ok(AdditionalAddressFamily(AddressFamily::Ipv6))
        );
    }

    #[test]
    fn dont_fragment_has_no_value() {
        on_the_wire(DontFragment, &[]);
        refused::<DontFragment>(&[0], AttributeError::Length);
    }
}
