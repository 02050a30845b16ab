//! Sockets as the engines want them, and what a process needs to have many of them.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, BorrowedFd};

use socket2::{Domain, Protocol, Socket, Type};

use crate::engine::{Config, Port};

/// Binds a listening socket: one family only, both buffers raised to `buffer_bytes` as far as the
/// kernel allows. With `reuse_port`, each worker binds its own socket to the same address, and the
/// kernel spreads the clients over them; all of them must be bound before the first is read.
///
/// # Errors
/// What the kernel answers to `bind`: [`io::ErrorKind::AddrInUse`],
/// [`io::ErrorKind::AddrNotAvailable`], [`io::ErrorKind::PermissionDenied`] below port 1024.
pub fn bind_listener(
    addr: SocketAddr,
    reuse_port: bool,
    buffer_bytes: usize,
) -> io::Result<UdpSocket> {
    bind(addr, reuse_port, buffer_bytes)
}

/// Binds a relay socket: nobody else may bind its port.
///
/// # Errors
/// As [`bind_listener`].
pub fn bind_relay(addr: SocketAddr, buffer_bytes: usize) -> io::Result<UdpSocket> {
    bind(addr, false, buffer_bytes)
}

fn bind(addr: SocketAddr, reuse_port: bool, buffer_bytes: usize) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    if addr.is_ipv6() {
        // On a socket of both families IPv4 packets carry IPv4 control messages: one socket each.
        socket.set_only_v6(true)?;
    }
    if reuse_port {
        socket.set_reuse_port(true)?;
    }
    raise_buffers(&socket, buffer_bytes);
    socket.bind(&addr.into())?;
    Ok(socket.into())
}

/// Raises both buffers: beyond the system's limit (`net.core.rmem_max`, `wmem_max`) with
/// CAP_NET_ADMIN, else up to it.
fn raise_buffers(socket: &Socket, buffer_bytes: usize) {
    let bytes = i32::try_from(buffer_bytes).unwrap_or(i32::MAX);
    let options = [
        (libc::SO_RCVBUFFORCE, libc::SO_RCVBUF),
        (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF),
    ];
    for (force, plain) in options {
        if set_option(socket.as_raw_fd(), libc::SOL_SOCKET, force, bytes).is_err() {
            // A smaller buffer is worse, not wrong: what overflows is counted.
            let _ = set_option(socket.as_raw_fd(), libc::SOL_SOCKET, plain, bytes);
        }
    }
}

/// Makes a bound socket ready for an engine: what it shall tell with each packet, and how packets
/// leave it.
pub(crate) fn prepare(socket: &UdpSocket, port: Port, config: &Config) -> io::Result<()> {
    let fd = socket.as_raw_fd();
    socket.set_nonblocking(true)?;
    if config.gro {
        set_option(fd, libc::SOL_UDP, libc::UDP_GRO, 1)?;
    }
    set_option(fd, libc::SOL_SOCKET, libc::SO_RXQ_OVFL, 1)?;
    // RFC 8656 §14: packets leave with DF=0 unless the client asked otherwise, so the kernel may
    // fragment, and its path MTU discovery is off. The same holds for IPv6.
    set_fragmentation(fd, true)?;
    let v4 = socket.local_addr()?.is_ipv4();
    let (level, tell_class, class, tell_errors) = if v4 {
        let errors = libc::IP_RECVERR;
        (libc::SOL_IP, libc::IP_RECVTOS, libc::IP_TOS, errors)
    } else {
        let (tell, class) = (libc::IPV6_RECVTCLASS, libc::IPV6_TCLASS);
        (libc::SOL_IPV6, tell, class, libc::IPV6_RECVERR)
    };
    set_option(fd, level, tell_class, 1)?;
    if config.class_fixed() != 0 {
        set_option(fd, level, class, config.class_fixed().into())?;
    }
    if matches!(port, Port::Relay(_)) {
        set_option(fd, level, tell_errors, 1)?;
    }
    Ok(())
}

/// Lets a socket's datagrams be fragmented, or forbids it: then the DF bit of IPv4 is set, and one
/// that is longer than the path's MTU is refused with EMSGSIZE.
pub(crate) fn set_fragmentation(fd: i32, allowed: bool) -> io::Result<()> {
    let (v4, v6) = if allowed {
        (libc::IP_PMTUDISC_DONT, libc::IPV6_PMTUDISC_DONT)
    } else {
        (libc::IP_PMTUDISC_DO, libc::IPV6_PMTUDISC_DO)
    };
    // A socket of IPv4 refuses the options of IPv6. The reverse is not true.
    set_option(fd, libc::SOL_IPV6, libc::IPV6_MTU_DISCOVER, v6)
        .or_else(|_| set_option(fd, libc::SOL_IP, libc::IP_MTU_DISCOVER, v4))
}

/// Sets an option that is an int.
pub(crate) fn set_option(fd: i32, level: i32, name: i32, value: i32) -> io::Result<()> {
    let len = libc::socklen_t::try_from(size_of::<i32>()).unwrap_or(4);
    // SAFETY: the pointer and the length describe `value`, which outlives the call.
    let done = unsafe { libc::setsockopt(fd, level, name, (&raw const value).cast(), len) };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Raises the limit of open files to what the system allows this process, and returns it: each
/// relay port takes one.
///
/// # Errors
/// What `getrlimit` and `setrlimit` answer.
pub fn raise_descriptor_limit() -> io::Result<u64> {
    let mut limit = descriptor_limit()?;
    if limit.rlim_cur < limit.rlim_max {
        limit.rlim_cur = limit.rlim_max;
        // SAFETY: an initialised structure that outlives the call.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(limit.rlim_cur)
}

/// The limit of open files that holds now.
pub(crate) fn descriptor_limit() -> io::Result<libc::rlimit> {
    // SAFETY: `limit_by` passes a structure to fill that outlives the call.
    limit_by(|limit| unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, limit) })
}

/// The limit of locked memory in bytes, or 0.
pub(crate) fn locked_memory_limit() -> u64 {
    // SAFETY: as above.
    limit_by(|limit| unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, limit) })
        .map_or(0, |limit| limit.rlim_cur)
}

fn limit_by(ask: impl Fn(*mut libc::rlimit) -> i32) -> io::Result<libc::rlimit> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    match ask(&raw mut limit) {
        0 => Ok(limit),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Waits until a descriptor is readable, or for so many milliseconds; −1 waits for ever.
pub(crate) fn wait_readable(fd: BorrowedFd<'_>, timeout_ms: i32) -> io::Result<bool> {
    let mut poll = libc::pollfd {
        fd: fd.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one initialised `pollfd` that outlives the call.
    match unsafe { libc::poll(&raw mut poll, 1, timeout_ms) } {
        -1 => Err(io::Error::last_os_error()),
        ready => Ok(ready > 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loopback(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn workers_share_an_address_and_relay_ports_are_exclusive() {
        let first = bind_listener(loopback("127.0.0.1:0"), true, 1 << 20).expect("bind");
        let addr = first.local_addr().expect("bound");
        let _second = bind_listener(addr, true, 1 << 20).expect("the same address again");
        let taken = bind_relay(addr, 1 << 20).expect_err("a relay port is nobody else's");
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn families_do_not_share_a_socket() {
        let Ok(v6) = bind_listener(loopback("[::1]:0"), true, 1 << 20) else {
            return;
        };
        let port = v6.local_addr().expect("bound").port();
        bind_relay(SocketAddr::from(([127, 0, 0, 1], port)), 1 << 20)
            .expect("the IPv4 port is free");
    }

    #[test]
    fn buffers_are_raised() {
        let socket = bind_listener(loopback("127.0.0.1:0"), false, 300 * 1_024).expect("bind");
        let socket = Socket::from(socket);
        // The kernel doubles what is asked for, for its own bookkeeping.
        assert!(socket.recv_buffer_size().expect("an option") >= 300 * 1_024);
        assert!(socket.send_buffer_size().expect("an option") >= 300 * 1_024);
    }

    #[test]
    fn the_descriptor_limit_is_raised_to_the_hard_one() {
        let raised = raise_descriptor_limit().expect("a limit");
        assert_eq!(raised, descriptor_limit().expect("a limit").rlim_max);
    }
}
