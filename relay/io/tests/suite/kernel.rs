//! What the suite asks of the kernel and the standard library does not offer.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use socket2::{MsgHdr, SockAddr, SockRef};

/// Sends `bytes` as datagrams of `stride` bytes by one call, with `UDP_SEGMENT`.
pub(crate) fn send_segmented(
    socket: &UdpSocket,
    to: SocketAddr,
    bytes: &[u8],
    stride: usize,
) -> io::Result<usize> {
    let stride = u16::try_from(stride).expect("a segment").to_ne_bytes();
    send_with_control(socket, to, bytes, libc::SOL_UDP, libc::UDP_SEGMENT, &stride)
}

/// Sends one datagram with ECN bits.
pub(crate) fn send_marked(
    socket: &UdpSocket,
    to: SocketAddr,
    bytes: &[u8],
    ecn: u8,
) -> io::Result<usize> {
    let (level, kind) = if to.is_ipv4() {
        (libc::SOL_IP, libc::IP_TOS)
    } else {
        (libc::SOL_IPV6, libc::IPV6_TCLASS)
    };
    send_with_control(
        socket,
        to,
        bytes,
        level,
        kind,
        &i32::from(ecn).to_ne_bytes(),
    )
}

fn send_with_control(
    socket: &UdpSocket,
    to: SocketAddr,
    bytes: &[u8],
    level: i32,
    kind: i32,
    data: &[u8],
) -> io::Result<usize> {
    let mut control = Vec::new();
    control.extend((16 + data.len()).to_ne_bytes());
    control.extend(level.to_ne_bytes());
    control.extend(kind.to_ne_bytes());
    control.extend(data);
    control.resize(24, 0);
    let to = SockAddr::from(to);
    let buffers = [io::IoSlice::new(bytes)];
    let message = MsgHdr::new()
        .with_addr(&to)
        .with_buffers(&buffers)
        .with_control(&control);
    SockRef::from(socket).sendmsg(&message, 0)
}

/// The processor time that this thread has taken.
pub(crate) fn thread_cpu_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: a structure to fill that outlives the call.
    let done = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(done, 0);
    let nanos = u32::try_from(time.tv_nsec).expect("below a second");
    Duration::new(u64::try_from(time.tv_sec).expect("positive"), nanos)
}
