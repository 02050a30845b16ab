//! The test packet: who sent it, which one it is, when it left, and a checksum over every byte.
//!
//! ```text
//! 0   run        u32   another run's packets are no news of this one
//! 4   flow       u32   index of the sending allocation
//! 8   burst      u64   its number, 58 bits, and the packet's place in it, 6 bits
//! 16  sequence   u64   of the flow
//! 24  sent       u64   nanoseconds since the run's start
//! 32  filling
//! -4  checksum   u32   CRC-32 of all that stands before it
//! ```

/// Smallest test packet.
pub(crate) const PACKET_BYTES_MIN: u16 = 36;

/// Largest test packet: with 48 bytes of TURN before it, still one Ethernet frame.
pub(crate) const PACKET_BYTES_MAX: u16 = 1400;

/// Bits of the place within a burst.
const PLACE_BITS: u32 = 6;

/// Most packets of one burst.
pub(crate) const BURST_MAX: u32 = 1 << PLACE_BITS;

/// What a packet says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) run: u32,
    pub(crate) flow: u32,
    pub(crate) burst: u64,
    pub(crate) place: u8,
    pub(crate) sequence: u64,
    pub(crate) sent_ns: u64,
}

impl Stamp {
    /// Writes the stamp and the checksum into a packet whose filling stands already.
    pub(crate) fn write(&self, packet: &mut [u8]) {
        packet[0..4].copy_from_slice(&self.run.to_be_bytes());
        packet[4..8].copy_from_slice(&self.flow.to_be_bytes());
        let burst = self.burst << PLACE_BITS | u64::from(self.place);
        packet[8..16].copy_from_slice(&burst.to_be_bytes());
        packet[16..24].copy_from_slice(&self.sequence.to_be_bytes());
        packet[24..32].copy_from_slice(&self.sent_ns.to_be_bytes());
        let end = packet.len() - 4;
        let checksum = crc32fast::hash(&packet[..end]);
        packet[end..].copy_from_slice(&checksum.to_be_bytes());
    }

    /// Reads a packet; `None` when a byte of it is not as it was sent.
    pub(crate) fn read(packet: &[u8]) -> Option<Self> {
        if packet.len() < usize::from(PACKET_BYTES_MIN) {
            return None;
        }
        let (body, checksum) = packet.split_last_chunk::<4>()?;
        if crc32fast::hash(body) != u32::from_be_bytes(*checksum) {
            return None;
        }
        let burst = u64_at(body, 8)?;
        Some(Self {
            run: u32_at(body, 0)?,
            flow: u32_at(body, 4)?,
            burst: burst >> PLACE_BITS,
            place: u8::try_from(burst % (1 << PLACE_BITS)).ok()?,
            sequence: u64_at(body, 16)?,
            sent_ns: u64_at(body, 24)?,
        })
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes[at..].first_chunk().copied().map(u32::from_be_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes[at..].first_chunk().copied().map(u64::from_be_bytes)
}

/// The filling of a packet of `len` bytes: a pattern in which no byte equals its neighbours.
pub(crate) fn filling(len: usize) -> Vec<u8> {
    (0..len)
        .map(|at| u8::try_from(at * 7 % 251).unwrap_or(0))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp {
        run: 1,
        flow: 2,
        burst: 3,
        place: 4,
        sequence: 5,
        sent_ns: 6,
    };

    #[test]
    fn what_was_written_is_read_at_every_length() {
        for len in usize::from(PACKET_BYTES_MIN)..200 {
            let mut packet = filling(len);
            STAMP.write(&mut packet);
            assert_eq!(Stamp::read(&packet), Some(STAMP));
        }
    }

    #[test]
    fn one_wrong_byte_anywhere_is_noticed() {
        let mut packet = filling(172);
        STAMP.write(&mut packet);
        for at in 0..packet.len() {
            packet[at] ^= 0x10;
            assert_eq!(Stamp::read(&packet), None);
            packet[at] ^= 0x10;
        }
        assert_eq!(Stamp::read(&packet[..35]), None);
    }
}
