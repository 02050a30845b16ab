//! The names by which driver and machine speak of shards, links, sessions and flows.

use std::fmt;
use std::net::SocketAddr;

use crate::limits::{GENERATION_BITS, SHARD_BITS_MAX};

/// A thread that owns sessions: a worker of the UDP sockets, or one that serves QUIC and WebSocket.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u8);

/// What carries the frames between a device and the node.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rung {
    /// Frames straight in UDP datagrams.
    Udp,
    /// QUIC datagrams, control on one stream.
    Quic,
    /// Binary WebSocket messages over TLS.
    Wss,
}

impl Rung {
    /// Every rung, the best first.
    pub const ALL: [Self; 3] = [Self::Udp, Self::Quic, Self::Wss];

    /// The stable name used in logs and metric labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Quic => "quic",
            Self::Wss => "wss",
        }
    }

    /// The rung's number on the wire.
    #[must_use]
    pub const fn byte(self) -> u8 {
        match self {
            Self::Udp => 1,
            Self::Quic => 2,
            Self::Wss => 3,
        }
    }

    /// The rung of a number on the wire.
    #[must_use]
    pub const fn of_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Udp),
            2 => Some(Self::Quic),
            3 => Some(Self::Wss),
            _ => None,
        }
    }

    /// Tells whether what is sent as control arrives, once and in order.
    #[must_use]
    pub const fn is_reliable(self) -> bool {
        !matches!(self, Self::Udp)
    }
}

/// The driver's handle of a QUIC or WebSocket connection; its own on each shard.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u32);

/// Where a frame came from, and the way back.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Link {
    /// A datagram that came to a listener.
    Udp {
        /// The listener; listeners have the same numbers on every worker.
        listener: u16,
        /// The device's address, as the node sees it.
        addr: SocketAddr,
    },
    /// A connection.
    Stream(StreamId),
}

impl Link {
    /// Turns an IPv4-mapped address of a dual-stack socket into what it is.
    #[inline]
    pub(crate) fn unmapped(self) -> Self {
        match self {
            Self::Udp { listener, addr } if addr.is_ipv6() => Self::Udp {
                listener,
                addr: SocketAddr::new(addr.ip().to_canonical(), addr.port()),
            },
            link => link,
        }
    }
}

/// A session's name: random, but for the bits that name its shard.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub [u8; 8]);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({self})")
    }
}

/// One end of a flow: 24 bits that say, to the node alone, shard, slot and generation.
#[derive(Copy, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowNumber(pub u32);

impl FlowNumber {
    /// No flow has this number.
    pub const NONE: Self = Self(0);
}

impl fmt::Display for FlowNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:06x}", self.0)
    }
}

impl fmt::Debug for FlowNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FlowNumber({self})")
    }
}

/// How the bits of flow numbers are divided: the shard's number stands highest.
///
/// The program that steers datagrams to workers shifts the second byte of a frame of 0x80–0xAF by
/// [`NumberLayout::steering_shift`]; an index beyond the group falls back to the kernel's hash.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct NumberLayout {
    shard_bits: u32,
}

impl NumberLayout {
    /// The layout for so many shards, workers and others together.
    ///
    /// # Panics
    /// For more shards than [`crate::limits::SHARDS_MAX`].
    #[must_use]
    pub const fn for_shards(shards: usize) -> Self {
        let mut shard_bits = 0;
        while 1 << shard_bits < shards {
            shard_bits += 1;
        }
        assert!(shard_bits <= SHARD_BITS_MAX);
        Self { shard_bits }
    }

    /// By how many bits the second byte of a frame is shifted to the right for its shard.
    #[must_use]
    pub const fn steering_shift(self) -> u32 {
        8 - self.shard_bits
    }

    /// How many flow ends a shard can have.
    #[must_use]
    pub const fn slots(self) -> u32 {
        1 << (24 - self.shard_bits - GENERATION_BITS)
    }

    /// The shard that a frame's second byte names.
    #[inline]
    #[must_use]
    pub const fn shard_of_byte(self, second_byte: u8) -> ShardId {
        // With one shard, the shift would be by all eight bits.
        match second_byte.checked_shr(self.steering_shift()) {
            Some(shard) => ShardId(shard),
            None => ShardId(0),
        }
    }

    /// The shard that a flow number names.
    #[inline]
    #[must_use]
    pub const fn shard_of(self, flow: FlowNumber) -> ShardId {
        self.shard_of_byte(flow.0.to_be_bytes()[1])
    }

    #[inline]
    pub(crate) const fn slot(self, flow: FlowNumber) -> u32 {
        (flow.0 >> GENERATION_BITS) & (self.slots() - 1)
    }

    /// Generations begin at one, so that no number is 0.
    pub(crate) const fn number(self, shard: ShardId, slot: u32, generation: u32) -> FlowNumber {
        let shard = (shard.0 as u32) << (24 - self.shard_bits);
        FlowNumber(shard | slot << GENERATION_BITS | generation)
    }

    /// Puts the shard's bits into the first byte of a random session id.
    pub(crate) fn session_id(self, shard: ShardId, mut random: [u8; 8]) -> SessionId {
        let low = 0xFF_u16 >> self.shard_bits;
        let high = u16::from(shard.0) << self.steering_shift();
        random[0] = u8::try_from(high & 0xFF | u16::from(random[0]) & low).unwrap_or(0);
        SessionId(random)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_gives_back_shard_and_slot_under_every_layout() {
        for shards in 1..=crate::limits::SHARDS_MAX {
            let layout = NumberLayout::for_shards(shards);
            let shard = ShardId(u8::try_from(shards - 1).unwrap_or(0));
            for slot in [0, 1, layout.slots() - 1] {
                let number = layout.number(shard, slot, 7);
                assert_eq!(
                    (layout.shard_of(number), layout.slot(number)),
                    (shard, slot)
                );
                assert!(number.0 < 1 << 24);
            }
            let id = layout.session_id(shard, [0xA5; 8]);
            assert_eq!(layout.shard_of_byte(id.0[0]), shard, "{shards} shards");
        }
    }
}
