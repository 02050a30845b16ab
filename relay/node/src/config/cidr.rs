//! Address ranges and addresses, with errors that say what to write instead.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use ipnet::{IpNet, Ipv6Net};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// Reads CIDR ranges; one address alone is a range of itself, host bits are cut off.
pub(super) fn ranges<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    each(deserializer, |text| {
        range(text).ok_or_else(|| {
            format!(
                "{text:?} is not an address range; write ADDRESS/LENGTH with a length of at most 32 (IPv4) or 128 \
                 (IPv6), such as \"10.0.0.0/8\" or \"2001:db8::/32\", or one address"
            )
        })
    })
}

/// Reads the prefixes of NAT64 translators.
pub(super) fn nat64_prefixes<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<Ipv6Net>, D::Error> {
    // RFC 6052 §2.2: a prefix is one of six lengths.
    const LENGTHS: [u8; 6] = [32, 40, 48, 56, 64, 96];
    each(deserializer, |text| match range(text) {
        Some(IpNet::V6(prefix)) if LENGTHS.contains(&prefix.prefix_len()) => Ok(prefix),
        _ => Err(format!(
            "{text:?} is not a NAT64 prefix; write an IPv6 prefix of length 32, 40, 48, 56, 64 or 96, such as \
             \"64:ff9b::/96\""
        )),
    })
}

/// Reads listening addresses with ports.
pub(super) fn sockets<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<SocketAddr>, D::Error> {
    each(deserializer, socket)
}

/// Reads one listening address with its port.
pub(super) fn one_socket<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<SocketAddr, D::Error> {
    socket(&String::deserialize(deserializer)?).map_err(D::Error::custom)
}

/// Reads addresses without ports.
pub(super) fn addresses<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<IpAddr>, D::Error> {
    each(deserializer, |text| {
        text.parse().map_err(|_| {
            format!("{text:?} is not an IP address; write one such as \"192.0.2.1\" or \"2001:db8::1\", without a port")
        })
    })
}

fn each<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, D::Error> {
    Vec::<String>::deserialize(deserializer)?
        .iter()
        .map(|text| parse(text).map_err(D::Error::custom))
        .collect()
}

fn range(text: &str) -> Option<IpNet> {
    let range = text
        .parse::<IpNet>()
        .ok()
        .or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))?;
    Some(range.trunc())
}

fn socket(text: &str) -> Result<SocketAddr, String> {
    let remedy = match text.parse::<IpAddr>() {
        Ok(IpAddr::V6(addr)) => format!("the port is missing, write \"[{addr}]:3478\""),
        Ok(IpAddr::V4(addr)) => format!("the port is missing, write \"{addr}:3478\""),
        Err(_) => "write ADDRESS:PORT such as \"192.0.2.1:3478\" or \"[2001:db8::1]:3478\"; for every address of the \
                   host, \"0.0.0.0:3478\" and \"[::]:3478\""
            .to_owned(),
    };
    let addr = text
        .parse::<SocketAddr>()
        .map_err(|_| format!("{text:?} is not a listening address: {remedy}"))?;
    match addr.ip() {
        IpAddr::V6(ip) if is_mapped(ip) => Err(format!(
            "{text:?} is an IPv4 address in IPv6 clothing: listeners serve one family each, write \"{}:{}\"",
            ip.to_canonical(),
            addr.port()
        )),
        ip if ip.is_multicast() => Err(format!(
            "{text:?} is a multicast address: a listener needs an address of this host"
        )),
        _ => Ok(addr),
    }
}

fn is_mapped(ip: Ipv6Addr) -> bool {
    ip.to_ipv4_mapped().is_some()
}
