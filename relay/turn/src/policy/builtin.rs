//! Addresses that are not the public Internet's, and those that are never a peer.

use std::net::IpAddr;

/// What no peer may be unless `allow` names it: the special-purpose registries of IANA
/// (RFC 6890), multicast, and what was deprecated before it was harmless.
pub(super) const LIST: &[&str] = &[
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::/128",
    "::1/128",
    "100::/64",
    "64:ff9b:1::/48",
    "2001:db8::/32",
    "3fff::/20",
    "5f00::/16",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
];

/// RFC 8656 §21.4: 6to4 and Teredo would carry packets past the policy, into any IPv4 network.
pub(super) fn is_never(ip: IpAddr) -> bool {
    let IpAddr::V6(ip) = ip else { return false };
    let [first, second, ..] = ip.segments();
    first == 0x2002 || (first == 0x2001 && second == 0)
}
