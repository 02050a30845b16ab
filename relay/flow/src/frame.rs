//! The frames of the flow relay: numbers, layouts, and who says what when.
//!
//! Integers are in network order. Every frame begins with a byte of 0x80–0xBF, which keeps it clear
//! of STUN, TURN channels and QUIC on a shared port. One UDP datagram, one QUIC datagram, one binary
//! WebSocket message, or one length-prefixed record of the QUIC control stream holds one frame.
//!
//! # Data
//!
//! ```text
//! byte 0      1 0 | type: 2 | ecn: 2 | priority: 1 | fragment: 1
//!
//! DATA   0x80–0x8F   0      mark: type 0
//!                    1–3    flow number: of the sender towards the node, of the receiver from it
//!                    4–     payload
//!         fragment:  4–5    message id
//!                    6      index: 0 the first of two, 1 the second
//!                    7–     this half of the payload
//! KEYED  0x90–0x9F   0      mark: type 1; never a fragment
//!                    1–3    first three bytes of the session id towards the node, zeros from it
//!                    4–35   device key: of the destination towards the node, of the source from it
//!                    36–    payload
//! ```
//!
//! The relay replaces what stands before the payload and sends the rest as it is. It looks at no
//! payload, joins no fragments, and carries ECN and priority through. `ecn` is the field of RFC 3168
//! of the packet inside: a queue of the relay may set it to 3 where it is 1 or 2.
//!
//! # Sealed control
//!
//! ```text
//! SEALED 0xA0        0      0xA0
//!                    1–8    session id
//!                    9–16   counter: the Noise nonce; each once, in any order within a window
//!                    17–    ChaCha20-Poly1305 under the session's keys, no associated data: a
//!                           message (see `message`) and its tag of 16 bytes
//! ```
//!
//! # Handshake
//!
//! ```text
//! HELLO   0xB0       0      0xB0           → node, UDP only
//!                    1      version: 1
//!                    2–3    zeros
//!                    4–19   client nonce: random, new for each handshake
//!                    20–    zeros, up to 64 bytes at least
//! COOKIE  0xB1       0      0xB1           → device, UDP only
//!                    1      version
//!                    2–3    zeros
//!                    4–19   client nonce
//!                    20–39  cookie: to be sent back as it is
//! INIT    0xB2       0      0xB2           → node
//!                    1      version
//!                    2      rung: 1 udp, 2 quic, 3 wss
//!                    3      zero
//!                    4–19   client nonce
//!                    20–39  cookie; zeros on quic and wss
//!                    40–    Noise message 1: ephemeral key 32, static key 48, sealed payload
//!                           { version of the features 1, payload max 2, ticket length 2, ticket }
//! WELCOME 0xB3       0      0xB3           → device
//!                    1      version
//!                    2      rung
//!                    3      zero
//!                    4–19   client nonce
//!                    20–    Noise message 2: ephemeral key 32, sealed payload: 0 and a welcome, or
//!                           1 and a refusal (see `message`)
//! REFUSED 0xB4       0      0xB4           → device: in clear, where no keys are agreed
//!                    1      version
//!                    2      code
//!                    3      zero
//!                    4–19   client nonce
//!                    20–    text in UTF-8, at most 44 bytes
//! ```
//!
//! The Noise protocol is `Noise_IK_25519_ChaChaPoly_BLAKE2s`. Its prologue binds it to what carries
//! it: `"sterna flow 1"`, the rung's byte, the client nonce, and then the cookie (`udp`) or the 32
//! bytes of the TLS exporter `EXPORTER-sterna-flow` with an empty context (`quic`, `wss`).
//!
//! # Who says what when
//!
//! ```text
//! device                         node
//!   HELLO            →                      UDP only: proves the address, costs the node no memory
//!                    ←           COOKIE
//!   INIT             →                      the node checks cookie, Noise, ticket, in this order
//!                    ←           WELCOME
//!   sealed PING      →                      the first sealed frame makes the session the active one
//!                    ←           PONG
//!   sealed OPEN      →                      KEYED data may travel meanwhile
//!                    ←           OPENED     the peer gets one too, without having asked
//!   DATA             ↔           DATA
//! ```

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use sterna_control_api::DeviceKey;

use crate::{FlowNumber, Rung, SessionId};

/// The version of the handshake.
pub const VERSION: u8 = 1;
/// The first byte of DATA without ECN, priority and fragment.
pub const DATA: u8 = 0x80;
/// The first byte of KEYED without ECN and priority.
pub const KEYED: u8 = 0x90;
/// The first byte of SEALED.
pub const SEALED: u8 = 0xA0;
/// The first byte of HELLO.
pub const HELLO: u8 = 0xB0;
/// The first byte of COOKIE.
pub const COOKIE: u8 = 0xB1;
/// The first byte of INIT.
pub const INIT: u8 = 0xB2;
/// The first byte of WELCOME.
pub const WELCOME: u8 = 0xB3;
/// The first byte of REFUSED.
pub const REFUSED: u8 = 0xB4;

/// What stands before the payload of DATA.
pub const DATA_HEAD_BYTES: usize = 4;
/// What stands before the payload of DATA that is a fragment.
pub const FRAGMENT_HEAD_BYTES: usize = 7;
/// What stands before the payload of KEYED.
pub const KEYED_HEAD_BYTES: usize = 36;
/// What stands before the ciphertext of SEALED.
pub const SEALED_HEAD_BYTES: usize = 17;
/// The tag of ChaCha20-Poly1305.
pub const TAG_BYTES: usize = 16;
/// The client's nonce of a handshake.
pub const NONCE_BYTES: usize = 16;
/// The cookie: time and MAC.
pub const COOKIE_BYTES: usize = 20;
/// The shortest HELLO: no answer to it is longer.
pub const HELLO_BYTES_MIN: usize = 64;
/// The length of COOKIE.
pub const COOKIE_FRAME_BYTES: usize = 4 + NONCE_BYTES + COOKIE_BYTES;
/// What stands before the Noise message of INIT.
pub const INIT_HEAD_BYTES: usize = 4 + NONCE_BYTES + COOKIE_BYTES;
/// What stands before the Noise message of WELCOME, and before the text of REFUSED.
pub const WELCOME_HEAD_BYTES: usize = 4 + NONCE_BYTES;
/// The longest text of REFUSED.
pub const REFUSED_TEXT_BYTES_MAX: usize = HELLO_BYTES_MIN - WELCOME_HEAD_BYTES;

/// Context of the Noise prologue.
pub const PROLOGUE: &[u8] = b"sterna flow 1";
/// The label of the TLS exporter (RFC 8446 §7.5) whose 32 bytes bind `quic` and `wss`.
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-sterna-flow";
/// The name of the Noise protocol.
pub const NOISE_PROTOCOL: &str = "Noise_IK_25519_ChaChaPoly_BLAKE2s";
/// The ALPN of `quic` (RFC 7301).
pub const ALPN: &[u8] = b"sterna-flow/1";
/// The path of `wss`.
pub const WSS_PATH: &str = "/flow";

const _: () = assert!(COOKIE_FRAME_BYTES <= HELLO_BYTES_MIN);

/// The low four bits of a data frame's first byte: what the relay carries through.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Mark(u8);

impl Mark {
    const FRAGMENT: u8 = 1;
    const PRIORITY: u8 = 2;

    /// A mark of the inner packet's ECN field (0 to 3) and of whether it goes first.
    #[must_use]
    pub const fn new(ecn: u8, priority: bool) -> Self {
        Self((ecn & 3) << 2 | if priority { Self::PRIORITY } else { 0 })
    }

    /// The mark of a data frame's first byte.
    #[inline]
    #[must_use]
    pub const fn of_byte(first_byte: u8) -> Self {
        Self(first_byte & 0x0F)
    }

    /// The four bits.
    #[inline]
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// The ECN field of the packet inside (RFC 3168 §5).
    #[must_use]
    pub const fn ecn(self) -> u8 {
        self.0 >> 2
    }

    /// Tells whether the packet goes before others, within a tenth of the rate.
    #[inline]
    #[must_use]
    pub const fn is_priority(self) -> bool {
        self.0 & Self::PRIORITY != 0
    }

    /// Tells whether the payload is a half.
    #[inline]
    #[must_use]
    pub const fn is_fragment(self) -> bool {
        self.0 & Self::FRAGMENT != 0
    }

    /// The same, as a fragment.
    #[must_use]
    pub const fn fragment(self) -> Self {
        Self(self.0 | Self::FRAGMENT)
    }
}

/// What stands before a payload: four bytes, or 36 with a key, or seven of a fragment.
#[derive(Copy, Clone, PartialEq, Eq)]
pub struct Head {
    bytes: [u8; KEYED_HEAD_BYTES],
    len: u8,
}

impl Head {
    /// The head of DATA.
    #[inline]
    #[must_use]
    pub fn data(mark: Mark, flow: FlowNumber) -> Self {
        let mut bytes = [0; KEYED_HEAD_BYTES];
        let [_, a, b, c] = flow.0.to_be_bytes();
        bytes[..4].copy_from_slice(&[DATA | mark.bits(), a, b, c]);
        Self { bytes, len: 4 }
    }

    /// The head of DATA that is one of two halves.
    #[must_use]
    pub fn fragment(mark: Mark, flow: FlowNumber, message: u16, index: u8) -> Self {
        let mut head = Self::data(mark.fragment(), flow);
        head.bytes[4..6].copy_from_slice(&message.to_be_bytes());
        head.bytes[6] = index;
        head.len = 7;
        head
    }

    /// The head of KEYED; `steering` is empty from the node.
    #[must_use]
    pub fn keyed(mark: Mark, steering: Option<SessionId>, key: &DeviceKey) -> Self {
        let mut bytes = [0; KEYED_HEAD_BYTES];
        bytes[0] = KEYED | mark.bits() & !Mark::FRAGMENT;
        if let Some(session) = steering {
            bytes[1..4].copy_from_slice(&session.0[..3]);
        }
        bytes[4..].copy_from_slice(&key.0);
        Self { bytes, len: 36 }
    }

    /// The bytes.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// Sets the mark to "congestion experienced" (RFC 3168 §5) where the packet inside can take it.
    pub(crate) const fn mark_congestion(&mut self) -> bool {
        let can = matches!(self.mark().ecn(), 1 | 2);
        if can {
            self.bytes[0] |= 3 << 2;
        }
        can
    }

    /// The mark in it.
    #[must_use]
    pub const fn mark(&self) -> Mark {
        Mark::of_byte(self.bytes[0])
    }
}

impl std::fmt::Debug for Head {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Head({:02x?})", self.bytes())
    }
}

/// What a frame is.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// DATA; the payload of a fragment begins with its three bytes.
    Data {
        /// ECN, priority, fragment.
        mark: Mark,
        /// The flow number.
        flow: FlowNumber,
        /// What follows the four bytes.
        payload: &'a [u8],
    },
    /// KEYED.
    Keyed {
        /// ECN and priority.
        mark: Mark,
        /// The first three bytes of the session id, towards the node.
        steering: [u8; 3],
        /// The other device's key.
        key: DeviceKey,
        /// What follows the 36 bytes.
        payload: &'a [u8],
    },
    /// SEALED.
    Sealed {
        /// Whose keys.
        session: SessionId,
        /// The Noise nonce.
        counter: u64,
        /// Message and tag.
        ciphertext: &'a [u8],
    },
    /// HELLO.
    Hello {
        /// The client's nonce.
        nonce: [u8; NONCE_BYTES],
    },
    /// COOKIE.
    Cookie {
        /// The client's nonce.
        nonce: [u8; NONCE_BYTES],
        /// The cookie.
        cookie: [u8; COOKIE_BYTES],
    },
    /// INIT.
    Init {
        /// The rung that the device believes to be on.
        rung: Rung,
        /// The client's nonce.
        nonce: [u8; NONCE_BYTES],
        /// The cookie; zeros on `quic` and `wss`.
        cookie: [u8; COOKIE_BYTES],
        /// Noise message 1.
        noise: &'a [u8],
    },
    /// WELCOME.
    Welcome {
        /// The rung.
        rung: Rung,
        /// The client's nonce.
        nonce: [u8; NONCE_BYTES],
        /// Noise message 2.
        noise: &'a [u8],
    },
    /// REFUSED.
    Refused {
        /// The code.
        code: u8,
        /// The client's nonce.
        nonce: [u8; NONCE_BYTES],
        /// The text, for people.
        text: &'a [u8],
    },
}

/// Why bytes are no frame.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum FrameError {
    /// The first byte belongs to no frame.
    NotFlow,
    /// The frame is shorter than its layout.
    CutShort,
    /// A version, a rung or a reserved byte that is not understood.
    Unknown,
}

impl<'a> Frame<'a> {
    /// Reads a frame.
    ///
    /// # Errors
    /// See [`FrameError`].
    // No allocation; what is on the data path is decided first.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, FrameError> {
        let &[first, a, b, c, ref rest @ ..] = bytes else {
            let is_flow = bytes.first().is_some_and(|first| first >> 6 == 0b10);
            return Err(if is_flow {
                FrameError::CutShort
            } else {
                FrameError::NotFlow
            });
        };
        match first {
            0x80..=0x8F => Ok(Self::Data {
                mark: Mark::of_byte(first),
                flow: FlowNumber(u32::from_be_bytes([0, a, b, c])),
                payload: rest,
            }),
            0x90..=0x9F => Self::parse_keyed(first, [a, b, c], rest),
            SEALED => Self::parse_sealed(bytes),
            HELLO..=REFUSED => Self::parse_handshake(first, [a, b, c], rest, bytes.len()),
            0xA1..=0xAF | 0xB5..=0xBF => Err(FrameError::Unknown),
            _ => Err(FrameError::NotFlow),
        }
    }

    fn parse_keyed(first: u8, steering: [u8; 3], rest: &'a [u8]) -> Result<Self, FrameError> {
        let mark = Mark::of_byte(first);
        if mark.is_fragment() {
            return Err(FrameError::Unknown);
        }
        let (key, payload) = rest.split_first_chunk().ok_or(FrameError::CutShort)?;
        Ok(Self::Keyed {
            mark,
            steering,
            key: DeviceKey(*key),
            payload,
        })
    }

    fn parse_sealed(bytes: &'a [u8]) -> Result<Self, FrameError> {
        let (session, rest) = bytes[1..].split_first_chunk().ok_or(FrameError::CutShort)?;
        let (counter, ciphertext) = rest.split_first_chunk().ok_or(FrameError::CutShort)?;
        if ciphertext.len() <= TAG_BYTES {
            return Err(FrameError::CutShort);
        }
        Ok(Self::Sealed {
            session: SessionId(*session),
            counter: u64::from_be_bytes(*counter),
            ciphertext,
        })
    }

    fn parse_handshake(
        first: u8,
        [version, second, third]: [u8; 3],
        rest: &'a [u8],
        len: usize,
    ) -> Result<Self, FrameError> {
        if version != VERSION || third != 0 {
            return Err(FrameError::Unknown);
        }
        let (&nonce, rest) = rest.split_first_chunk().ok_or(FrameError::CutShort)?;
        let rung = || Rung::of_byte(second).ok_or(FrameError::Unknown);
        match first {
            HELLO if len < HELLO_BYTES_MIN => Err(FrameError::CutShort),
            HELLO if second == 0 => Ok(Self::Hello { nonce }),
            COOKIE if second == 0 => {
                let cookie = rest.first_chunk().ok_or(FrameError::CutShort)?;
                Ok(Self::Cookie {
                    nonce,
                    cookie: *cookie,
                })
            }
            INIT => {
                let (cookie, noise) = rest.split_first_chunk().ok_or(FrameError::CutShort)?;
                Ok(Self::Init {
                    rung: rung()?,
                    nonce,
                    cookie: *cookie,
                    noise,
                })
            }
            WELCOME => Ok(Self::Welcome {
                rung: rung()?,
                nonce,
                noise: rest,
            }),
            REFUSED => Ok(Self::Refused {
                code: second,
                nonce,
                text: rest,
            }),
            _ => Err(FrameError::Unknown),
        }
    }
}

/// Writes HELLO at its least length.
#[must_use]
pub fn hello(nonce: &[u8; NONCE_BYTES]) -> [u8; HELLO_BYTES_MIN] {
    let mut out = [0; HELLO_BYTES_MIN];
    out[..4].copy_from_slice(&[HELLO, VERSION, 0, 0]);
    out[4..20].copy_from_slice(nonce);
    out
}

/// Writes COOKIE.
#[must_use]
pub fn cookie(nonce: &[u8; NONCE_BYTES], cookie: &[u8; COOKIE_BYTES]) -> [u8; COOKIE_FRAME_BYTES] {
    let mut out = [0; COOKIE_FRAME_BYTES];
    out[..4].copy_from_slice(&[COOKIE, VERSION, 0, 0]);
    out[4..20].copy_from_slice(nonce);
    out[20..].copy_from_slice(cookie);
    out
}

/// Writes INIT.
#[must_use]
pub fn init(
    rung: Rung,
    nonce: &[u8; NONCE_BYTES],
    cookie: &[u8; COOKIE_BYTES],
    noise: &[u8],
) -> Vec<u8> {
    [&[INIT, VERSION, rung.byte(), 0][..], nonce, cookie, noise].concat()
}

/// Writes WELCOME.
#[must_use]
pub fn welcome(rung: Rung, nonce: &[u8; NONCE_BYTES], noise: &[u8]) -> Vec<u8> {
    [&[WELCOME, VERSION, rung.byte(), 0][..], nonce, noise].concat()
}

/// Writes REFUSED; the text is cut where it is too long.
#[must_use]
pub fn refused(code: u8, nonce: &[u8; NONCE_BYTES], text: &str) -> Vec<u8> {
    let text = cut(text, REFUSED_TEXT_BYTES_MAX);
    [&[REFUSED, VERSION, code, 0][..], nonce, text.as_bytes()].concat()
}

/// The head of SEALED.
#[must_use]
pub fn sealed_head(session: SessionId, counter: u64) -> [u8; SEALED_HEAD_BYTES] {
    let mut out = [0; SEALED_HEAD_BYTES];
    out[0] = SEALED;
    out[1..9].copy_from_slice(&session.0);
    out[9..].copy_from_slice(&counter.to_be_bytes());
    out
}

/// The longest beginning of `text` that has at most `max` bytes.
pub(crate) fn cut(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Splits the payload of a fragment into message id, index and half.
#[must_use]
pub fn split_fragment(payload: &[u8]) -> Option<(u16, u8, &[u8])> {
    let &[high, low, index, ref half @ ..] = payload else {
        return None;
    };
    (index <= 1).then_some((u16::from_be_bytes([high, low]), index, half))
}

/// An address and port as 18 bytes: an IPv6 address (IPv4 mapped into it) and the port.
#[must_use]
pub fn address_bytes(addr: SocketAddr) -> [u8; 18] {
    let ip = match addr.ip() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    let mut out = [0; 18];
    out[..16].copy_from_slice(&ip.octets());
    out[16..].copy_from_slice(&addr.port().to_be_bytes());
    out
}

/// Reads what [`address_bytes`] writes.
#[must_use]
pub fn address_of_bytes(bytes: &[u8; 18]) -> SocketAddr {
    let (ip, port) = bytes.split_at(16);
    let ip: [u8; 16] = ip.try_into().unwrap_or_default();
    let port = u16::from_be_bytes([port[0], port[1]]);
    SocketAddr::new(Ipv6Addr::from(ip).to_canonical(), port)
}

#[cfg(test)]
pub(crate) mod tests;
