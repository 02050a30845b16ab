//! What must hold for any bytes beside a packet: for the fuzz target, and for the replay of its corpus.
//!
//! The kernel wrote them, but what they are about came from the network: addresses, traffic classes,
//! sizes, and the types, codes and MTUs of ICMP errors.

use std::net::SocketAddr;

use crate::engine::RelaySlot;
use crate::errors::Report;
use crate::receive::{Control, control_messages, whole};
use crate::{routes, sockaddr, uring};

/// Reads any bytes as a control area, as an entry of an error queue, as what io_uring puts before a
/// payload, and as routes.
///
/// # Panics
/// Where something does not hold.
pub fn kernel(bytes: &[u8]) {
    let mut end = bytes.as_ptr().addr();
    for (_, _, data) in control_messages(bytes) {
        assert!(data.as_ptr().addr() >= end, "messages do not overlap");
        end = data.as_ptr().addr() + data.len();
        assert!(end <= bytes.as_ptr().addr() + bytes.len());
    }
    let control = Control::parse(bytes);
    for truncated in [false, true] {
        if let Some((len, stride)) = whole(bytes.len(), control.stride, truncated) {
            assert!(len <= bytes.len() && (stride > 0 || len == 0));
        }
    }
    if let Some(SocketAddr::V6(addr)) = sockaddr::decode(bytes) {
        assert_eq!(addr.ip().to_ipv4_mapped(), None);
    }
    let (name, queued) = bytes.split_at(bytes.len().min(28));
    let elsewhere = SocketAddr::from(([192, 0, 2, 1], 9));
    if let Some(report) = Report::parse(name, queued) {
        for refused in [None, Some(elsewhere)] {
            if let Some(error) = report.error(RelaySlot(0), refused) {
                assert_ne!(error.peer.port(), 0);
            }
        }
    }
    uring::receive::read_any(bytes);
    let mut found = Vec::new();
    let _ = routes::read_answer(bytes, &mut found);
    assert!(found.len() <= bytes.len());
}

#[cfg(test)]
#[path = "../../../stun/fuzz/replay.rs"]
#[allow(
    unreachable_pub,
    clippy::unwrap_used,
    reason = "shared between crates' tests"
)]
mod replay;

#[test]
#[cfg(test)]
fn the_corpus_of_kernel_holds() {
    replay::replay("kernel", kernel);
}
