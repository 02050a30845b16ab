//! One address, many spellings: what a peer address really reaches.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::Ipv6Net;

/// What an address reaches.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Canonical {
    /// The IPv4 address inside, if there is one; else the address itself.
    pub(super) ip: IpAddr,
    /// The outer address only serves as an envelope (IPv4-mapped, -compatible, NAT64): nothing but
    /// the inner one is reached. An ISATAP address is an address in its own right.
    pub(super) translated: bool,
}

/// Looks inside IPv4-mapped (RFC 4291 §2.5.5.2), IPv4-compatible (§2.5.5.1), NAT64 (RFC 6052, the
/// well-known prefix and the operator's) and ISATAP (RFC 5214 §6.1) addresses.
pub(super) fn canonicalise(ip: IpAddr, nat64_prefixes: &[Ipv6Net]) -> Canonical {
    let IpAddr::V6(v6) = ip else {
        return Canonical {
            ip,
            translated: false,
        };
    };
    let envelope = mapped_or_compatible(v6)
        .or_else(|| well_known_nat64(v6))
        .or_else(|| {
            nat64_prefixes
                .iter()
                .find_map(|prefix| embedded(v6, prefix))
        });
    if let Some(v4) = envelope {
        return Canonical {
            ip: v4.into(),
            translated: true,
        };
    }
    let inner = isatap(v6).map_or(ip, IpAddr::V4);
    Canonical {
        ip: inner,
        translated: false,
    }
}

fn mapped_or_compatible(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    // `::` and `::1` are the unspecified and the loopback address, not 0.0.0.0 and 0.0.0.1.
    if ip.is_unspecified() || ip.is_loopback() {
        return None;
    }
    ip.to_ipv4()
}

fn well_known_nat64(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let segments = ip.segments();
    (segments[..6] == [0x64, 0xff9b, 0, 0, 0, 0]).then(|| low_32(ip))
}

/// RFC 6052 §2.2: where the IPv4 address stands depends on the length of the prefix; bits 64 to 71
/// are skipped.
fn embedded(ip: Ipv6Addr, prefix: &Ipv6Net) -> Option<Ipv4Addr> {
    if !prefix.contains(&ip) {
        return None;
    }
    let octets = ip.octets();
    let at: [usize; 4] = match prefix.prefix_len() {
        32 => [4, 5, 6, 7],
        40 => [5, 6, 7, 9],
        48 => [6, 7, 9, 10],
        56 => [7, 9, 10, 11],
        64 => [9, 10, 11, 12],
        _ => [12, 13, 14, 15],
    };
    Some(Ipv4Addr::from(at.map(|place| octets[place])))
}

fn isatap(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let segments = ip.segments();
    // ::0:5efe:a.b.c.d, and with the universal bit ::200:5efe:a.b.c.d; the group bit is ignored.
    let identifier = segments[4] & !0x0300 == 0 && segments[5] == 0x5efe;
    identifier.then(|| low_32(ip))
}

fn low_32(ip: Ipv6Addr) -> Ipv4Addr {
    let [.., a, b, c, d] = ip.octets();
    Ipv4Addr::new(a, b, c, d)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn inner(ip: &str, prefixes: &[&str]) -> (String, bool) {
        let prefixes: Vec<Ipv6Net> = prefixes.iter().map(|text| text.parse().unwrap()).collect();
        let Canonical { ip, translated } = canonicalise(ip.parse().unwrap(), &prefixes);
        (ip.to_string(), translated)
    }

    #[test]
    fn every_spelling_of_an_ipv4_address_is_seen_through() {
        for (spelled, translated) in [
            ("::ffff:192.0.2.33", true),
            ("::192.0.2.33", true),
            ("64:ff9b::192.0.2.33", true),
            ("2620:1::5efe:192.0.2.33", false),
            ("2620:1::200:5efe:192.0.2.33", false),
        ] {
            assert_eq!(
                inner(spelled, &[]),
                ("192.0.2.33".into(), translated),
                "{spelled}"
            );
        }
    }

    #[test]
    fn the_examples_of_rfc_6052_section_2_4_are_seen_through() {
        for (prefix, spelled) in [
            ("2001:db8::/32", "2001:db8:c000:221::"),
            ("2001:db8:100::/40", "2001:db8:1c0:2:21::"),
            ("2001:db8:122::/48", "2001:db8:122:c000:2:2100::"),
            ("2001:db8:122:300::/56", "2001:db8:122:3c0:0:221::"),
            ("2001:db8:122:344::/64", "2001:db8:122:344:c0:2:2100::"),
            ("2001:db8:122:344::/96", "2001:db8:122:344::192.0.2.33"),
        ] {
            assert_eq!(
                inner(spelled, &[prefix]),
                ("192.0.2.33".into(), true),
                "{prefix}"
            );
        }
    }

    #[test]
    fn an_ordinary_address_is_left_alone() {
        for ip in ["::", "::1", "2620:1::1", "192.0.2.33"] {
            assert_eq!(inner(ip, &["2001:db8::/32"]), (ip.into(), false));
        }
    }
}
