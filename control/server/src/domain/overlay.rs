//! Addresses of devices in their tenant's overlay network.
//!
//! A device has one place within its tenant, from 1 on, and the place makes both addresses: IPv4 out
//! of the shared address space (RFC 6598: 100.64.0.0/10), IPv6 out of a unique local prefix of the
//! tenant's own (RFC 4193). Tenants never meet, so that they may all use the same IPv4 addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sha2::{Digest, Sha256};
use sterna_control_api::TenantId;

/// 100.64.0.0.
const FIRST: u32 = 0x6440_0000;
/// How many addresses 100.64.0.0/10 has.
const SPACE: u32 = 1 << 22;
/// 100.100.100.0/24 from the beginning of the space: clouds serve their metadata there.
const TAKEN: u32 = (36 << 16) | (100 << 8);
const TAKEN_LEN: u32 = 256;

/// The greatest place: all of the space but its first and last address and what is taken in it.
pub const PLACE_MAX: u32 = SPACE - 2 - TAKEN_LEN;

/// The addresses of a place: IPv4, then IPv6.
#[must_use]
pub fn addresses(tenant: TenantId, place: u32) -> [IpAddr; 2] {
    let place = place.min(PLACE_MAX);
    let offset = if place < TAKEN {
        place
    } else {
        place + TAKEN_LEN
    };
    let v4 = Ipv4Addr::from(FIRST + offset);
    let v6 = prefix(tenant) | u128::from(place);
    [v4.into(), Ipv6Addr::from(v6).into()]
}

/// The tenant's /48: fd and 40 bits of its own (RFC 4193 §3.1).
fn prefix(tenant: TenantId) -> u128 {
    let digest = Sha256::new()
        .chain_update(b"sterna overlay 1\0")
        .chain_update(tenant.0.to_be_bytes())
        .finalize();
    let mut bytes = [0; 16];
    bytes[0] = 0xfd;
    bytes[1..6].copy_from_slice(&digest[..5]);
    u128::from_be_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn places_make_addresses_of_the_shared_space_and_of_the_tenants_prefix() {
        let [v4, v6] = addresses(TenantId(1), 1);
        assert_eq!(v4, IpAddr::from([100, 64, 0, 1]));
        let IpAddr::V6(v6) = v6 else {
            unreachable!("the second is IPv6")
        };
        assert!(v6.is_unique_local());
        assert_eq!(v6.segments()[3..], [0, 0, 0, 0, 1]);
        let [_, other] = addresses(TenantId(2), 1);
        assert_ne!(other, IpAddr::from(v6), "another tenant has another prefix");
    }

    #[test]
    fn the_last_place_is_the_last_usable_address() {
        let [v4, _] = addresses(TenantId(1), PLACE_MAX);
        assert_eq!(v4, IpAddr::from([100, 127, 255, 254]));
    }

    #[test]
    fn no_two_places_share_an_address_and_none_is_that_of_a_clouds_metadata() {
        let around = (1..5_000)
            .chain(TAKEN - 2_000..TAKEN + 2_000)
            .chain(PLACE_MAX - 2_000..=PLACE_MAX);
        let mut seen = HashSet::new();
        for place in around {
            for address in addresses(TenantId(7), place) {
                assert!(seen.insert(address), "{address} of place {place}");
                if let IpAddr::V4(v4) = address {
                    assert_ne!(v4.octets()[..3], [100, 100, 100]);
                }
            }
        }
    }
}
