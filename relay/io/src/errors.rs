//! The error queues of relay sockets (`IP_RECVERR`, `ip(7)`).
//!
//! With it the kernel keeps the ICMP errors that come back for what a socket sent, each with the
//! address that it was sent to. It has a price that is paid only when an error comes: the next
//! call on the socket, a send or a receive of something else altogether, fails in its place. So a
//! receive that ended with an error is armed again once the queue is empty, and a send that failed
//! like that is sent again: no datagram is lost for another's error.

use std::net::SocketAddr;

use crate::core::Core;
use crate::engine::{Port, RelaySlot};
use crate::limits::{ERRORS_PER_READ_MAX, NOTICES_MAX};
use crate::notice::{IcmpError, Notice};
use crate::receive::control_messages;
use crate::sockaddr;

// `linux/errqueue.h`.
const ORIGIN_LOCAL: u8 = 1;
const ORIGIN_ICMP: u8 = 2;
const ORIGIN_ICMP6: u8 = 3;

/// What one reading of an error queue found.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Found {
    /// Errors that came from elsewhere.
    pub(crate) remote: usize,
    /// Errors of the host's own.
    pub(crate) local: usize,
}

impl Core {
    /// Reads the errors of a relay socket and makes notices of them. What the host itself has to
    /// say names no port: it is about what was just refused, which was to go to `refused`.
    pub(crate) fn read_errors(&mut self, slot: RelaySlot, refused: Option<SocketAddr>) -> Found {
        let mut found = Found::default();
        let Some(fd) = self.relays.at(slot).map(crate::slots::Slot::raw_fd) else {
            return found;
        };
        for _ in 0..ERRORS_PER_READ_MAX {
            let Some(report) = read(fd) else { break };
            match report.origin {
                ORIGIN_LOCAL => found.local += 1,
                _ => found.remote += 1,
            }
            if let Some(error) = report.error(slot, refused) {
                self.counters.icmp_errors += 1;
                self.notify(Notice::Icmp(error));
            }
        }
        found
    }

    pub(crate) fn notify(&mut self, notice: Notice) {
        if self.notices.len() < NOTICES_MAX {
            self.notices.push_back(notice);
        } else {
            self.counters.notices_lost += 1;
        }
    }

    /// Forgets what a port that is closed has to say: its slot gets another owner.
    pub(crate) fn forget_notices(&mut self, slot: RelaySlot) {
        self.notices.retain(|notice| match notice {
            Notice::Icmp(error) => error.port != slot,
            Notice::ReceiveFailed { port, .. } => *port != Port::Relay(slot),
        });
    }
}

/// Whether a call may have failed with this because of an earlier datagram's ICMP error
/// (`icmp_err_convert` and `icmpv6_err_convert` in Linux).
pub(crate) fn may_be_anothers(errno: i32) -> bool {
    matches!(
        errno,
        libc::ECONNREFUSED
            | libc::EHOSTUNREACH
            | libc::ENETUNREACH
            | libc::EHOSTDOWN
            | libc::ENONET
            | libc::ENOPROTOOPT
            | libc::EOPNOTSUPP
            | libc::EACCES
            | libc::EMSGSIZE
            | libc::EPROTO
    )
}

/// One entry of an error queue.
pub(crate) struct Report {
    peer: Option<SocketAddr>,
    errno: i32,
    origin: u8,
    kind: u8,
    code: u8,
    info: u32,
}

impl Report {
    pub(crate) fn error(&self, port: RelaySlot, refused: Option<SocketAddr>) -> Option<IcmpError> {
        let peer = match self.origin {
            ORIGIN_LOCAL => refused.or(self.peer),
            _ => self.peer,
        };
        let peer = peer.filter(|peer| peer.port() != 0)?;
        match (self.origin, self.kind, self.code) {
            (ORIGIN_LOCAL, ..) if self.errno == libc::EMSGSIZE => {
                Some(IcmpError::too_big(port, peer, self.info))
            }
            (ORIGIN_ICMP, 3, 4) | (ORIGIN_ICMP6, 2, _) => Some(IcmpError {
                code: self.code,
                ..IcmpError::too_big(port, peer, self.info)
            }),
            (ORIGIN_ICMP | ORIGIN_ICMP6, kind, code) => Some(IcmpError {
                port,
                peer,
                kind,
                code,
                mtu: 0,
            }),
            _ => None,
        }
    }

    /// Reads `struct sock_extended_err`.
    pub(crate) fn parse(name: &[u8], control: &[u8]) -> Option<Self> {
        let (_, _, error) = control_messages(control).find(|(level, kind, _)| {
            (*level, *kind) == (libc::SOL_IP, libc::IP_RECVERR)
                || (*level, *kind) == (libc::SOL_IPV6, libc::IPV6_RECVERR)
        })?;
        let [a, b, c, d, origin, kind, code, _, e, f, g, h, ..] = *error else {
            return None;
        };
        Some(Self {
            // The address that the datagram was sent to.
            peer: sockaddr::decode(name),
            errno: i32::from_ne_bytes([a, b, c, d]),
            origin,
            kind,
            code,
            info: u32::from_ne_bytes([e, f, g, h]),
        })
    }
}

/// Takes the oldest entry of a socket's error queue.
#[allow(clippy::unnecessary_cast)] // the length has 32 bits in some C libraries
fn read(fd: i32) -> Option<Report> {
    let (mut name, mut control) = ([0_u8; 28], [0_u8; 256]);
    // SAFETY: a structure of integers and pointers, for which zeros are valid.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_name = name.as_mut_ptr().cast();
    header.msg_namelen = libc::socklen_t::try_from(name.len()).unwrap_or(0);
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = control.len() as _;
    // SAFETY: the header points at two arrays in their lengths, which outlive the call, and at no
    // payload: what was sent is not asked for.
    let got =
        unsafe { libc::recvmsg(fd, &raw mut header, libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT) };
    if got < 0 {
        return None;
    }
    let name_len = (header.msg_namelen as usize).min(name.len());
    let control_len = (header.msg_controllen as usize).min(control.len());
    Report::parse(&name[..name_len], &control[..control_len])
}
