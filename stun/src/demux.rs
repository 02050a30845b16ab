//! What a packet is, by its first byte (RFC 7983 §7, RFC 9443 §3).
//!
//! One UDP port carries STUN, TURN channels, DTLS and the flow relay's frames. Their first bytes do
//! not overlap:
//!
//! | first byte | kind |
//! |---|---|
//! | 0x00–0x03 | STUN |
//! | 0x14–0x3F | DTLS |
//! | 0x40–0x7F | ChannelData of a TURN client |
//! | 0x80–0xBF | a frame of the flow relay (RTP and RTCP elsewhere; a relay's port never gets those bare) |
//! | 0xC0–0xFF | QUIC, long header |
//!
//! 0x04–0x13 belong to nobody here: ZRTP (0x10–0x13) is not spoken to a relay.
//!
//! RFC 8656 has left 0x40–0x4F to channels, so that peers can tell them from QUIC's short headers on
//! one port (RFC 9443 §3). Clients of RFC 5766, coturn's among them, use all of 0x40–0x7F; QUIC has
//! a port of its own here, so that nothing else begins with those bytes.

/// The protocol that a packet's first byte announces.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Kind {
    /// A STUN message, which TURN's requests and indications are too.
    Stun,
    /// A TURN ChannelData message.
    ChannelData,
    /// A DTLS record.
    Dtls,
    /// A frame of the flow relay.
    Flow,
    /// A QUIC packet.
    Quic,
    /// Nothing that we speak: drop it.
    Unknown,
}

/// Tells the kind of a packet by its first byte.
// One comparison chain over constants, which compiles to a handful of instructions.
#[inline]
#[must_use]
pub const fn classify(first_byte: u8) -> Kind {
    match first_byte {
        0x00..=0x03 => Kind::Stun,
        0x14..=0x3F => Kind::Dtls,
        0x40..=0x7F => Kind::ChannelData,
        0x80..=0xBF => Kind::Flow,
        0xC0..=0xFF => Kind::Quic,
        0x04..=0x13 => Kind::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ranges_of_rfc_7983_and_rfc_9443_hold_at_their_edges() {
        let edges = [
            (0, Kind::Stun),
            (3, Kind::Stun),
            (4, Kind::Unknown),
            (15, Kind::Unknown),
            (16, Kind::Unknown),
            (19, Kind::Unknown),
            (20, Kind::Dtls),
            (63, Kind::Dtls),
            (64, Kind::ChannelData),
            (127, Kind::ChannelData),
            (128, Kind::Flow),
            (191, Kind::Flow),
            (192, Kind::Quic),
            (255, Kind::Quic),
        ];
        for (byte, kind) in edges {
            assert_eq!(classify(byte), kind, "first byte {byte}");
        }
    }
}
