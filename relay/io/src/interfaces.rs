//! The host's addresses, and word of their changes.
//!
//! A wildcard listener is served by one socket a local address, since an answer must leave from the
//! address that was asked. So the node asks for the addresses at start and whenever they change.
//! Which prefixes are the host's without being an interface's address is in [`crate::routes`].

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::sockaddr;

/// One address of one interface.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LocalAddress {
    /// The interface's name.
    pub interface: String,
    /// The address.
    pub addr: IpAddr,
    /// The interface's number, which a link-local IPv6 address needs to be bound.
    pub scope_id: u32,
    /// Whether the interface is the loopback.
    pub loopback: bool,
}

/// The addresses of all interfaces that are up.
///
/// # Errors
/// What `getifaddrs` answers.
pub fn local_addresses() -> io::Result<Vec<LocalAddress>> {
    let mut list = std::ptr::null_mut();
    // SAFETY: `list` outlives the call, which fills it.
    if unsafe { libc::getifaddrs(&raw mut list) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut addresses = Vec::new();
    let mut next: *const libc::ifaddrs = list;
    // SAFETY: the list ends with null, and its nodes live until `freeifaddrs`.
    while let Some(node) = unsafe { next.as_ref() } {
        next = node.ifa_next;
        // SAFETY: as above, and a node's name and address are what `getifaddrs(3)` says they are.
        addresses.extend(unsafe { local_address(node) });
    }
    // SAFETY: from `getifaddrs`, freed once, and nothing of it is kept.
    unsafe { libc::freeifaddrs(list) };
    Ok(addresses)
}

/// # Safety
/// `node` must be one that `getifaddrs` made and `freeifaddrs` has not freed.
unsafe fn local_address(node: &libc::ifaddrs) -> Option<LocalAddress> {
    let flags = node.ifa_flags.cast_signed();
    if node.ifa_addr.is_null() || flags & libc::IFF_UP == 0 {
        return None;
    }
    // SAFETY: not null, and every address starts with its family.
    let len = match i32::from(unsafe { (*node.ifa_addr).sa_family }) {
        libc::AF_INET => size_of::<libc::sockaddr_in>(),
        libc::AF_INET6 => size_of::<libc::sockaddr_in6>(),
        _ => return None,
    };
    // SAFETY: an address of this family has this length.
    let bytes = unsafe { std::slice::from_raw_parts(node.ifa_addr.cast::<u8>(), len) };
    let addr = sockaddr::decode(bytes)?;
    // SAFETY: the name is a string that ends with zero.
    let name = unsafe { std::ffi::CStr::from_ptr(node.ifa_name) };
    Some(LocalAddress {
        interface: name.to_string_lossy().into_owned(),
        addr: addr.ip(),
        scope_id: match addr {
            std::net::SocketAddr::V6(v6) => v6.scope_id(),
            std::net::SocketAddr::V4(_) => 0,
        },
        loopback: flags & libc::IFF_LOOPBACK != 0,
    })
}

/// Opens a netlink socket that listens to these groups; reads of it block.
pub(crate) fn netlink(groups: u32) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
    // SAFETY: no pointers; the result is checked before it is owned.
    let fd = unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_ROUTE) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just opened, and nobody else owns it.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: a structure of integers, for which zeros are valid.
    let mut addr: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
    addr.nl_family = libc::sa_family_t::try_from(libc::AF_NETLINK).unwrap_or(0);
    addr.nl_groups = groups;
    let len = libc::socklen_t::try_from(size_of_val(&addr)).unwrap_or(0);
    // SAFETY: the pointer and the length describe `addr`, which outlives the call.
    if unsafe { libc::bind(socket.as_raw_fd(), (&raw const addr).cast(), len) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(socket)
}

/// Has the kernel look at what a question names, since Linux 4.20; earlier ones answer with more.
pub(crate) fn ask_strictly(socket: &OwnedFd) {
    const NETLINK_GET_STRICT_CHK: i32 = 12;
    let on: i32 = 1;
    let len = libc::socklen_t::try_from(size_of_val(&on)).unwrap_or(0);
    // SAFETY: the pointer and the length describe `on`, which outlives the call.
    let _ = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_NETLINK,
            NETLINK_GET_STRICT_CHK,
            (&raw const on).cast(),
            len,
        )
    };
}

/// Tells when an address or a route came or went (`rtnetlink(7)`).
///
/// The descriptor becomes readable; [`changed`](Self::changed) takes the news, after which
/// [`local_addresses`] is to be asked again.
#[derive(Debug)]
pub struct AddressWatch {
    socket: OwnedFd,
}

impl AddressWatch {
    /// Starts to listen for changes. Ask for the addresses after this, not before.
    ///
    /// # Errors
    /// What the kernel answers to opening and binding the socket.
    pub fn new() -> io::Result<Self> {
        let groups = libc::RTMGRP_IPV4_IFADDR
            | libc::RTMGRP_IPV6_IFADDR
            | libc::RTMGRP_IPV4_ROUTE
            | libc::RTMGRP_IPV6_ROUTE;
        let socket = netlink(groups.cast_unsigned())?;
        Ok(Self { socket })
    }

    /// Takes all news that is there; `true` when there was any. Does not block.
    ///
    /// # Errors
    /// What the kernel answers to the receive.
    pub fn changed(&self) -> io::Result<bool> {
        let mut news = false;
        let mut buf = [0_u8; 8_192];
        loop {
            // SAFETY: the pointer and the length describe `buf`, which outlives the call.
            let got = unsafe {
                libc::recv(
                    self.socket.as_raw_fd(),
                    buf.as_mut_ptr().cast(),
                    buf.len(),
                    libc::MSG_DONTWAIT,
                )
            };
            if got > 0 {
                news = true;
                continue;
            }
            let error = io::Error::last_os_error();
            match error.raw_os_error() {
                Some(libc::EAGAIN) => return Ok(news),
                Some(libc::EINTR) => {}
                // The kernel had more to say than fits: certainly a change.
                Some(libc::ENOBUFS) => news = true,
                _ => return Err(error),
            }
        }
    }

    /// Waits for news for so many milliseconds.
    ///
    /// # Errors
    /// What the kernel answers to the wait.
    pub fn wait(&self, timeout_ms: u32) -> io::Result<bool> {
        let timeout = i32::try_from(timeout_ms).unwrap_or(i32::MAX);
        crate::sockets::wait_readable(self.socket.as_fd(), timeout)
    }
}

impl AsFd for AddressWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_is_among_the_addresses() {
        let addresses = local_addresses().expect("addresses");
        let loopback = addresses
            .iter()
            .find(|local| local.loopback)
            .expect("a loopback");
        assert!(loopback.addr.is_loopback());
        assert!(!loopback.interface.is_empty());
    }

    #[test]
    fn no_news_is_no_error() {
        let watch = AddressWatch::new().expect("netlink");
        assert!(!watch.wait(0).expect("poll"));
        assert!(!watch.changed().expect("recv"));
    }
}
