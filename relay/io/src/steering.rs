//! Steering: which socket of a SO_REUSEPORT group a datagram goes to, where its own bytes say so.
//!
//! The kernel hashes addresses and ports, so a client that moves may come out at another worker.
//! Where a protocol names the worker in the packet itself, a classic BPF program on the group reads
//! it there (`socket(7)`, `SO_ATTACH_REUSEPORT_CBPF`; no privilege needed). The program sees the
//! datagram from its first payload byte. An answer beyond the group falls back to the hash.

use std::io;
use std::net::UdpSocket;
use std::ops::RangeInclusive;
use std::os::fd::AsRawFd;

/// Which datagrams are steered, and what by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Steering {
    /// First bytes of the datagrams that are steered; others go by the kernel's hash.
    pub first_byte: RangeInclusive<u8>,
    /// Where the byte stands that names the socket.
    pub offset: u8,
    /// By how many bits (0 to 8) it is shifted to the right to be the socket's place in the group,
    /// in the order of their binding. Datagrams that are too short go to the first socket.
    pub shift: u8,
}

impl Steering {
    /// Steers a whole group; `member` is any socket of it that is bound.
    ///
    /// # Errors
    /// What the kernel answers to `setsockopt`; without steering, the hash decides alone.
    pub fn attach(&self, member: &UdpSocket) -> io::Result<()> {
        let program = self.program();
        let len = u16::try_from(program.len())
            .expect("invariant: the program has a handful of instructions");
        let header = libc::sock_fprog {
            len,
            filter: program.as_ptr().cast_mut(),
        };
        let size = libc::socklen_t::try_from(size_of::<libc::sock_fprog>()).unwrap_or(16);
        // SAFETY: the header describes `program`, both outlive the call, and the kernel copies them.
        let done = unsafe {
            libc::setsockopt(
                member.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_ATTACH_REUSEPORT_CBPF,
                (&raw const header).cast(),
                size,
            )
        };
        if done == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    fn program(&self) -> [libc::sock_filter; 7] {
        let load = BPF_LD | BPF_B | BPF_ABS;
        [
            step(load, 0, 0, 0),
            // Outside the range: to the last instruction.
            step(
                BPF_JMP | BPF_JGE | BPF_K,
                u32::from(*self.first_byte.start()),
                0,
                4,
            ),
            step(
                BPF_JMP | BPF_JGT | BPF_K,
                u32::from(*self.first_byte.end()),
                3,
                0,
            ),
            step(load, u32::from(self.offset), 0, 0),
            step(BPF_ALU | BPF_RSH | BPF_K, u32::from(self.shift), 0, 0),
            step(BPF_RET | BPF_A, 0, 0, 0),
            step(BPF_RET | BPF_K, NO_SOCKET, 0, 0),
        ]
    }
}

/// No group has so many members.
const NO_SOCKET: u32 = u32::MAX;

// linux/bpf_common.h: classes, sizes, modes and operations of the classic machine.
const BPF_LD: u16 = 0x00;
const BPF_ALU: u16 = 0x04;
const BPF_JMP: u16 = 0x05;
const BPF_RET: u16 = 0x06;
const BPF_B: u16 = 0x10;
const BPF_ABS: u16 = 0x20;
const BPF_RSH: u16 = 0x70;
const BPF_JGT: u16 = 0x20;
const BPF_JGE: u16 = 0x30;
const BPF_K: u16 = 0x00;
const BPF_A: u16 = 0x10;

const fn step(code: u16, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use super::*;
    use crate::sockets::bind_listener;

    fn group(members: usize) -> Vec<UdpSocket> {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let first = bind_listener(any, true, 1 << 18).expect("bind");
        let addr = first.local_addr().expect("bound");
        let mut group = vec![first];
        group.extend((1..members).map(|_| bind_listener(addr, true, 1 << 18).expect("bind")));
        for socket in &group {
            socket
                .set_read_timeout(Some(Duration::from_millis(500)))
                .expect("an option");
        }
        group
    }

    #[test]
    fn a_datagram_goes_to_the_socket_that_its_second_byte_names() {
        let group = group(3);
        let steering = Steering {
            first_byte: 0x80..=0xAF,
            offset: 1,
            shift: 6,
        };
        steering.attach(&group[0]).expect("no privilege is needed");
        let to = group[0].local_addr().expect("bound");
        // From many ports, so that the hash alone would send each elsewhere.
        for round in 0..24_u8 {
            let sender =
                bind_listener(SocketAddr::from(([127, 0, 0, 1], 0)), false, 1 << 18).expect("bind");
            let place = usize::from(round % 3);
            let first = [0x80, 0xAF][usize::from(round % 2)];
            let frame = [first, (round % 3) << 6 | 5, round];
            sender.send_to(&frame, to).expect("sent");
            let mut buffer = [0; 8];
            let len = group[place]
                .recv(&mut buffer)
                .expect("the named socket has it");
            assert_eq!(buffer[..len], frame);
        }
    }

    #[test]
    fn others_and_numbers_beyond_the_group_go_by_the_hash_and_are_not_lost() {
        let group = group(2);
        let steering = Steering {
            first_byte: 0x80..=0xAF,
            offset: 1,
            shift: 6,
        };
        steering.attach(&group[1]).expect("no privilege is needed");
        let to = group[0].local_addr().expect("bound");
        let mut sent = 0;
        for frame in [
            &[0x00, 0x01][..],
            &[0x40, 0x40],
            &[0xB0, 0x40],
            &[0x90, 0xC0],
            &[0x7F],
        ] {
            for _ in 0..8 {
                let sender = bind_listener(SocketAddr::from(([127, 0, 0, 1], 0)), false, 1 << 18)
                    .expect("bind");
                sender.send_to(frame, to).expect("sent");
                sent += 1;
            }
        }
        let mut seen = [0; 2];
        for (socket, seen) in group.iter().zip(&mut seen) {
            socket.set_nonblocking(true).expect("an option");
            while socket.recv(&mut [0; 8]).is_ok() {
                *seen += 1;
            }
        }
        assert_eq!(seen[0] + seen[1], sent);
        assert!(seen.iter().all(|&count| count > 0), "{seen:?}");
    }
}
