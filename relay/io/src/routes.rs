//! The routes that lead to this host itself (`rtnetlink(7)`).
//!
//! An address is not all that a host answers for: a route of type `local` delivers a whole prefix to
//! it, and a `broadcast` or `anycast` address reaches it among others. They stand in the kernel's
//! table `local`, beside one route for each address of an interface.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::IpAddr;

use crate::interfaces::netlink;

/// A prefix whose packets this host takes for itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq, PartialOrd, Ord)]
pub struct OwnRoute {
    /// The prefix's address.
    pub addr: IpAddr,
    /// The prefix's length.
    pub prefix_len: u8,
}

const HEADER_BYTES: usize = 16;
const ROUTE_BYTES: usize = 12;
const ATTRIBUTE_HEADER_BYTES: usize = 4;
/// What one read takes; the kernel packs its answer accordingly.
const ANSWER_BYTES: usize = 64 * 1024;
/// Routes that are kept at most: a host with more is told so, and has other means.
pub const OWN_ROUTES_MAX: usize = 65_536;

/// The prefixes that this host takes for its own, its addresses among them.
///
/// # Errors
/// What the kernel answers to the question.
pub fn own_routes() -> io::Result<Vec<OwnRoute>> {
    let socket = netlink(0)?;
    // Newer kernels send the one table then, and not every route of a router; for others it is a hint.
    crate::interfaces::ask_strictly(&socket);
    let mut socket = File::from(socket);
    socket.write_all(&question())?;
    let mut routes = Vec::new();
    let mut answer = vec![0; ANSWER_BYTES];
    loop {
        let len = match socket.read(&mut answer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if read_answer(&answer[..len], &mut routes)? {
            routes.sort_unstable();
            routes.dedup();
            return Ok(routes);
        }
    }
}

/// RTM_GETROUTE for the table `local`, of all families.
fn question() -> [u8; HEADER_BYTES + ROUTE_BYTES] {
    let mut message = [0; HEADER_BYTES + ROUTE_BYTES];
    let len = u32::try_from(message.len()).unwrap_or(0);
    let flags = u16::try_from(libc::NLM_F_REQUEST | libc::NLM_F_DUMP).unwrap_or(0);
    message[..4].copy_from_slice(&len.to_ne_bytes());
    message[4..6].copy_from_slice(&libc::RTM_GETROUTE.to_ne_bytes());
    message[6..8].copy_from_slice(&flags.to_ne_bytes());
    message[HEADER_BYTES + 4] = libc::RT_TABLE_LOCAL;
    message
}

/// Takes the routes of one read; tells whether it was the last.
pub(crate) fn read_answer(mut bytes: &[u8], routes: &mut Vec<OwnRoute>) -> io::Result<bool> {
    const DONE: u16 = 3;
    const ERROR: u16 = 2;
    while let Some(header) = bytes.get(..HEADER_BYTES) {
        let len = usize::try_from(u32::from_ne_bytes([
            header[0], header[1], header[2], header[3],
        ]))
        .unwrap_or(usize::MAX);
        let Some(body) = bytes.get(HEADER_BYTES..len) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        match u16::from_ne_bytes([header[4], header[5]]) {
            DONE => return Ok(true),
            ERROR => {
                let code = body
                    .first_chunk()
                    .map_or(0, |code| i32::from_ne_bytes(*code));
                return Err(io::Error::from_raw_os_error(code.saturating_neg()));
            }
            libc::RTM_NEWROUTE => routes.extend(own_route(body)),
            _ => {}
        }
        if routes.len() > OWN_ROUTES_MAX {
            return Err(io::Error::other("more routes to this host than are kept"));
        }
        bytes = bytes.get(aligned(len)..).unwrap_or_default();
    }
    Ok(false)
}

/// The prefix of a route to this host; nothing of another route.
fn own_route(body: &[u8]) -> Option<OwnRoute> {
    let [family, prefix_len, _, _, table, _, _, kind, ..] = *body.first_chunk::<ROUTE_BYTES>()?;
    let own = [libc::RTN_LOCAL, libc::RTN_BROADCAST, libc::RTN_ANYCAST].contains(&kind);
    if !own || table != libc::RT_TABLE_LOCAL {
        return None;
    }
    let mut attributes = &body[ROUTE_BYTES..];
    while let Some(header) = attributes.get(..ATTRIBUTE_HEADER_BYTES) {
        let len = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let value = attributes.get(ATTRIBUTE_HEADER_BYTES..len)?;
        if u16::from_ne_bytes([header[2], header[3]]) == libc::RTA_DST {
            let addr = match i32::from(family) {
                libc::AF_INET => IpAddr::from(*value.first_chunk::<4>()?),
                libc::AF_INET6 => IpAddr::from(*value.first_chunk::<16>()?),
                _ => return None,
            };
            return Some(OwnRoute { addr, prefix_len });
        }
        attributes = attributes.get(aligned(len)..)?;
    }
    // Without a destination it is the default route: not of this table.
    None
}

/// Netlink aligns to four bytes.
fn aligned(len: usize) -> usize {
    len.next_multiple_of(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_prefix_is_an_own_route() {
        let routes = own_routes().expect("netlink");
        let loopback = OwnRoute {
            addr: [127, 0, 0, 0].into(),
            prefix_len: 8,
        };
        assert!(routes.contains(&loopback), "{routes:?}");
        for local in crate::interfaces::local_addresses().expect("addresses") {
            assert!(
                routes
                    .iter()
                    .any(|route| route.addr == local.addr || local.loopback)
            );
        }
    }

    #[test]
    fn an_answer_that_is_cut_or_claims_too_much_is_no_route() {
        let mut route = vec![0_u8; HEADER_BYTES + ROUTE_BYTES + 8];
        let len = u32::try_from(route.len()).expect("small");
        route[..4].copy_from_slice(&len.to_ne_bytes());
        route[4..6].copy_from_slice(&libc::RTM_NEWROUTE.to_ne_bytes());
        let body = HEADER_BYTES;
        route[body] = u8::try_from(libc::AF_INET).expect("small");
        route[body + 1] = 24;
        route[body + 4] = libc::RT_TABLE_LOCAL;
        route[body + 7] = libc::RTN_LOCAL;
        let at = body + ROUTE_BYTES;
        route[at..at + 2].copy_from_slice(&8_u16.to_ne_bytes());
        route[at + 2..at + 4].copy_from_slice(&libc::RTA_DST.to_ne_bytes());
        route[at + 4..].copy_from_slice(&[192, 0, 2, 0]);
        let read = |bytes: &[u8]| {
            let mut routes = Vec::new();
            read_answer(bytes, &mut routes).map(|last| (last, routes))
        };
        let (last, routes) = read(&route).expect("whole");
        assert!(!last);
        assert_eq!(routes.len(), 1);
        for len in 0..route.len() {
            if let Ok((_, routes)) = read(&route[..len]) {
                assert!(routes.is_empty(), "{len}");
            }
        }
        route[at] = 200;
        assert!(read(&route).expect("whole").1.is_empty());
    }
}
