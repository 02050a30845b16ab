//! The one thing that the suite's plain sockets do and the standard library cannot.

use std::io;
use std::net::{SocketAddr, UdpSocket};

use socket2::{MsgHdr, SockAddr, SockRef};

/// Sends `bytes` as datagrams of `stride` bytes by one call, with `UDP_SEGMENT`.
pub(crate) fn send_segmented(
    socket: &UdpSocket,
    to: SocketAddr,
    bytes: &[u8],
    stride: usize,
) -> io::Result<usize> {
    let to = SockAddr::from(to);
    let stride = u16::try_from(stride).expect("a segment");
    let mut control = [0_u64; 3];
    control[0] = 18;
    control[1] = (103_u64 << 32) | 17;
    control[2] = u64::from(stride);
    let mut control_bytes = Vec::new();
    for word in control {
        control_bytes.extend(word.to_ne_bytes());
    }
    let buffers = [io::IoSlice::new(bytes)];
    let message = MsgHdr::new()
        .with_addr(&to)
        .with_buffers(&buffers)
        .with_control(&control_bytes);
    SockRef::from(socket).sendmsg(&message, 0)
}
