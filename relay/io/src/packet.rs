//! What an engine hands out: trains of packets, as views into its buffers.

use std::net::SocketAddr;
use std::ops::Range;

use crate::engine::Port;

/// A view of received bytes in a batch. It is valid until the next
/// [`Engine::turn`](crate::Engine::turn).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Packet {
    pub(crate) buffer: u32,
    pub(crate) offset: u32,
    pub(crate) len: u32,
    pub(crate) batch: u32,
}

impl Packet {
    /// Its length in bytes.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether it carries nothing, which UDP allows.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A part of it; what lies beyond its end is left out.
    #[must_use]
    #[inline]
    pub fn slice(&self, range: Range<usize>) -> Self {
        let end = u32::try_from(range.end).unwrap_or(u32::MAX).min(self.len);
        let start = u32::try_from(range.start).unwrap_or(u32::MAX).min(end);
        Self {
            offset: self.offset + start,
            len: end - start,
            ..*self
        }
    }
}

/// Datagrams of one flow that arrived together: equal in size but for the last.
#[derive(Clone, Copy, Debug)]
pub struct Train {
    /// Where they came in.
    pub port: Port,
    /// Who sent them. IPv4 addresses are never mapped into IPv6.
    pub from: SocketAddr,
    /// All of their payloads, one after the other.
    pub packet: Packet,
    /// The length of each but the last, which may be shorter.
    pub stride: usize,
    /// The traffic class of their IP headers: six bits of DSCP, two of ECN.
    pub class: u8,
}

impl Train {
    /// The datagrams, at least one.
    #[must_use]
    #[inline]
    pub fn segments(&self) -> Segments {
        Segments {
            rest: Some(self.packet),
            stride: self.stride,
        }
    }
}

/// The datagrams of a [`Train`].
#[derive(Clone, Debug)]
pub struct Segments {
    rest: Option<Packet>,
    stride: usize,
}

impl Iterator for Segments {
    type Item = Packet;

    #[inline]
    fn next(&mut self) -> Option<Packet> {
        let rest = self.rest.take()?;
        if self.stride == 0 || rest.len() <= self.stride {
            return Some(rest);
        }
        self.rest = Some(rest.slice(self.stride..rest.len()));
        Some(rest.slice(0..self.stride))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ListenerId;

    fn train(len: u32, stride: usize) -> Train {
        Train {
            port: Port::Listener(ListenerId(0)),
            from: SocketAddr::from(([192, 0, 2, 1], 9)),
            packet: Packet {
                buffer: 3,
                offset: 128,
                len,
                batch: 5,
            },
            stride,
            class: 0,
        }
    }

    fn segments(len: u32, stride: usize) -> Vec<(u32, usize)> {
        train(len, stride)
            .segments()
            .map(|packet| (packet.offset, packet.len()))
            .collect()
    }

    #[test]
    fn a_train_is_cut_at_its_stride_and_the_last_may_be_shorter() {
        assert_eq!(segments(250, 100), [(128, 100), (228, 100), (328, 50)]);
        assert_eq!(segments(200, 100), [(128, 100), (228, 100)]);
        assert_eq!(segments(80, 100), [(128, 80)]);
    }

    #[test]
    fn an_empty_datagram_is_one_datagram() {
        assert_eq!(segments(0, 0), [(128, 0)]);
        assert!(train(0, 0).segments().all(|packet| packet.is_empty()));
    }

    #[test]
    fn a_slice_never_leaves_its_packet() {
        let packet = train(100, 100).packet;
        let cases = [
            (packet.slice(4..100), (132, 96)),
            (packet.slice(90..300), (218, 10)),
            (packet.slice(300..400), (228, 0)),
            (packet.slice(4..100).slice(4..10), (136, 6)),
            (packet.slice(0..usize::MAX), (128, 100)),
        ];
        for (slice, (offset, len)) in cases {
            assert_eq!((slice.offset, slice.len), (offset, len));
        }
        #[allow(clippy::reversed_empty_ranges, reason = "a caller's mistake")]
        let backwards = packet.slice(50..20);
        assert!(backwards.is_empty());
    }
}
