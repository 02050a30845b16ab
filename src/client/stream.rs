//! A stream of bytes over packets that may be lost, doubled or overtaken: what `pipe` needs, and no more.
//!
//! ```text
//! offset  bytes  field
//!      0      4  "STp1"
//!      4      1  kind: 1 data, 2 acknowledgement
//!      5      4  stream: a random number of the data's sender
//!      9      4  data: the packet's number; acknowledgement: the first number that is missing
//!     13      …  data: 1 to 1,000 bytes; none at the end of the stream
//! ```
//!
//! Up to [`WINDOW`] packets are on their way. One is sent again when it has not been acknowledged in
//! time, or when three acknowledgements in a row ask for it. Pure: `now` in, packets out.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::{BufMut as _, Bytes, BytesMut};

/// What every packet of a pipe begins with.
const MAGIC: [u8; 4] = *b"STp1";
const DATA: u8 = 1;
const ACK: u8 = 2;
const HEAD_BYTES: usize = 13;

/// Bytes of one packet: with the head, one frame on every rung.
pub(super) const PIECE_BYTES_MAX: usize = 1000;
/// Packets on their way: less than any queue on the way holds (64 KiB).
const WINDOW: usize = 32;
/// When a packet is sent again that nobody has acknowledged, and the longest of the doubled waits.
const AGAIN_FIRST: Duration = Duration::from_millis(250);
const AGAIN_MAX: Duration = Duration::from_secs(2);
/// Acknowledgements in a row for the same number that say that it was lost.
const REPEATS: u32 = 3;

/// Both directions of a pipe.
#[derive(Debug)]
pub(super) struct Stream {
    id: u32,
    next: u32,
    /// Sent and not acknowledged, the oldest first; its number is `next` less their count.
    unacknowledged: VecDeque<Bytes>,
    again_at: Option<Instant>,
    again_after: Duration,
    repeats: u32,
    ended: bool,

    /// The other end's stream, once it is known.
    theirs: Option<u32>,
    wanted: u32,
    early: BTreeMap<u32, Bytes>,
    their_end: bool,

    out: VecDeque<Bytes>,
    received: VecDeque<Bytes>,
}

/// The other end has begun anew: what it sends now belongs to no stream of ours.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Restarted;

impl Stream {
    /// A stream with a random number.
    pub(super) fn new(id: u32) -> Self {
        Self {
            id,
            next: 0,
            unacknowledged: VecDeque::new(),
            again_at: None,
            again_after: AGAIN_FIRST,
            repeats: 0,
            ended: false,
            theirs: None,
            wanted: 0,
            early: BTreeMap::new(),
            their_end: false,
            out: VecDeque::new(),
            received: VecDeque::new(),
        }
    }

    /// Whether more may be given to [`Stream::send`].
    pub(super) fn has_room(&self) -> bool {
        !self.ended && self.unacknowledged.len() < WINDOW
    }

    /// Sends a piece of 1 to [`PIECE_BYTES_MAX`] bytes.
    pub(super) fn send(&mut self, now: Instant, piece: &[u8]) {
        debug_assert!(self.has_room() && !piece.is_empty() && piece.len() <= PIECE_BYTES_MAX);
        self.enter(now, piece);
    }

    /// Ends our direction.
    pub(super) fn end(&mut self, now: Instant) {
        if !std::mem::replace(&mut self.ended, true) {
            self.enter(now, &[]);
        }
    }

    /// Whether the other end has everything, the end included.
    pub(super) fn is_delivered(&self) -> bool {
        self.ended && self.unacknowledged.is_empty()
    }

    /// Whether everything of the other end has been taken out, the end included.
    pub(super) fn has_ended(&self) -> bool {
        self.their_end && self.received.is_empty()
    }

    /// Takes a packet of the other end; what is none of a pipe is nothing.
    pub(super) fn handle(&mut self, now: Instant, packet: &Bytes) -> Result<(), Restarted> {
        let Some((kind, stream, number)) = head(packet) else {
            return Ok(());
        };
        match kind {
            ACK if stream == self.id => self.acknowledged(now, number),
            DATA => {
                if *self.theirs.get_or_insert(stream) != stream {
                    return Err(Restarted);
                }
                self.take(number, packet.slice(HEAD_BYTES..));
                let wanted = self.wanted;
                self.out.push_back(packet_of(ACK, stream, wanted, &[]));
            }
            _ => {}
        }
        Ok(())
    }

    /// When [`Stream::handle_timeout`] is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.again_at
    }

    /// Sends again what nobody has acknowledged.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.again_at.is_some_and(|at| at <= now) {
            self.again_after = (self.again_after * 2).min(AGAIN_MAX);
            self.repeat(now);
        }
    }

    /// The next packet to send.
    pub(super) fn poll_transmit(&mut self) -> Option<Bytes> {
        self.out.pop_front()
    }

    /// The next bytes of the other end.
    pub(super) fn poll_received(&mut self) -> Option<Bytes> {
        self.received.pop_front()
    }

    fn enter(&mut self, now: Instant, piece: &[u8]) {
        let packet = packet_of(DATA, self.id, self.next, piece);
        self.next = self.next.wrapping_add(1);
        self.unacknowledged.push_back(packet.clone());
        self.out.push_back(packet);
        self.again_at.get_or_insert(now + self.again_after);
    }

    fn acknowledged(&mut self, now: Instant, missing: u32) {
        let on_their_way = u32::try_from(self.unacknowledged.len()).unwrap_or(u32::MAX);
        let first = self.next.wrapping_sub(on_their_way);
        let done = missing.wrapping_sub(first);
        if done > on_their_way {
            return; // An old one that was overtaken.
        }
        if done == 0 {
            self.repeats += 1;
            if self.repeats == REPEATS {
                self.repeat(now);
            }
            return;
        }
        self.unacknowledged.drain(..done as usize);
        self.repeats = 0;
        self.again_after = AGAIN_FIRST;
        self.again_at = (!self.unacknowledged.is_empty()).then(|| now + self.again_after);
    }

    fn repeat(&mut self, now: Instant) {
        self.out.extend(self.unacknowledged.front().cloned());
        self.again_at = (!self.unacknowledged.is_empty()).then(|| now + self.again_after);
    }

    fn take(&mut self, number: u32, piece: Bytes) {
        let ahead = number.wrapping_sub(self.wanted) as usize;
        if ahead >= WINDOW || self.their_end {
            return; // A second copy, or what no sender of this kind sends.
        }
        self.early.insert(number, piece);
        while let Some(piece) = self.early.remove(&self.wanted) {
            self.wanted = self.wanted.wrapping_add(1);
            if piece.is_empty() {
                self.their_end = true;
                self.early.clear();
                return;
            }
            self.received.push_back(piece);
        }
    }
}

fn packet_of(kind: u8, stream: u32, number: u32, piece: &[u8]) -> Bytes {
    let mut packet = BytesMut::with_capacity(HEAD_BYTES + piece.len());
    packet.put_slice(&MAGIC);
    packet.put_u8(kind);
    packet.put_u32(stream);
    packet.put_u32(number);
    packet.put_slice(piece);
    packet.freeze()
}

fn head(packet: &[u8]) -> Option<(u8, u32, u32)> {
    let (magic, rest) = packet.split_first_chunk::<4>()?;
    let (kind, rest) = rest.split_first()?;
    let (stream, rest) = rest.split_first_chunk::<4>()?;
    let number = rest.first_chunk::<4>()?;
    (*magic == MAGIC).then_some((
        *kind,
        u32::from_be_bytes(*stream),
        u32::from_be_bytes(*number),
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rand::rngs::StdRng;
    use rand::{RngExt as _, SeedableRng as _};

    use super::*;

    /// One end of a simulated pipe.
    struct End {
        stream: Stream,
        unsent: VecDeque<u8>,
        got: Vec<u8>,
    }

    impl End {
        fn new(id: u32, text: Vec<u8>) -> Self {
            Self {
                stream: Stream::new(id),
                unsent: text.into(),
                got: Vec::new(),
            }
        }

        fn turn(&mut self, now: Instant) -> Vec<Bytes> {
            self.stream.handle_timeout(now);
            while self.stream.has_room() && !self.unsent.is_empty() {
                let len = self.unsent.len().min(PIECE_BYTES_MAX);
                let piece: Vec<_> = self.unsent.drain(..len).collect();
                self.stream.send(now, &piece);
            }
            if self.unsent.is_empty() && self.stream.has_room() {
                self.stream.end(now);
            }
            while let Some(piece) = self.stream.poll_received() {
                self.got.extend_from_slice(&piece);
            }
            std::iter::from_fn(|| self.stream.poll_transmit()).collect()
        }
    }

    fn is_over(end: &End) -> bool {
        end.stream.is_delivered() && end.stream.has_ended()
    }

    #[test]
    fn everything_arrives_in_order_over_a_path_that_loses_doubles_and_reorders() {
        for seed in 0..10 {
            let mut rng = StdRng::seed_from_u64(seed);
            let text = |rng: &mut StdRng, len| (0..len).map(|_| rng.random()).collect::<Vec<u8>>();
            let (one, two) = (text(&mut rng, 100_000), text(&mut rng, 30_001));
            let mut ends = [End::new(1, one.clone()), End::new(2, two.clone())];
            let start = Instant::now();
            let mut on_their_way: Vec<(u64, usize, Bytes)> = Vec::new();
            let mut millis = 0;
            while !(is_over(&ends[0]) && is_over(&ends[1])) {
                let now = start + Duration::from_millis(millis);
                for (place, end) in ends.iter_mut().enumerate() {
                    for packet in end.turn(now) {
                        let copies = [0, 1, 1, 1, 1, 2][rng.random_range(0..6)];
                        for _ in 0..copies {
                            let at = millis + rng.random_range(5..60);
                            on_their_way.push((at, 1 - place, packet.clone()));
                        }
                    }
                }
                let due = on_their_way.extract_if(.., |(at, ..)| *at <= millis);
                for (_, to, packet) in due.collect::<Vec<_>>() {
                    ends[to].stream.handle(now, &packet).unwrap();
                }
                millis += 5;
                assert!(millis < 600_000, "seed {seed}: it does not end");
            }
            assert!(ends[0].got == two && ends[1].got == one, "seed {seed}");
        }
    }

    #[test]
    fn an_end_that_begins_anew_is_noticed_and_other_packets_are_nothing() {
        let now = Instant::now();
        let mut stream = Stream::new(7);
        let data = |id| packet_of(DATA, id, 0, b"x");
        assert_eq!(stream.handle(now, &Bytes::from_static(b"hello")), Ok(()));
        assert_eq!(stream.handle(now, &data(1)), Ok(()));
        assert_eq!(stream.handle(now, &data(2)), Err(Restarted));
        assert_eq!(stream.poll_received().as_deref(), Some(b"x".as_slice()));
    }
}
