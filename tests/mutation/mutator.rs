//! Messages that are nearly right: real methods, real attributes, real credentials, and then
//! something about them is not.

use std::net::SocketAddr;

use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use sterna_stun::attr::AttributeType;
use sterna_stun::credentials::{long_term_key_md5, long_term_key_sha256};
use sterna_stun::integrity::Key;
use sterna_stun::message::{Class, Method, TransactionId};
use sterna_stun::writer::MessageWriter;

/// Who the messages say they come from.
#[derive(Clone, Debug)]
pub(crate) struct Credentials {
    pub(crate) user: &'static str,
    pub(crate) password: &'static str,
    pub(crate) realm: String,
    pub(crate) nonce: Vec<u8>,
}

const METHODS: [Method; 11] = [
    Method::BINDING,
    Method::ALLOCATE,
    Method::REFRESH,
    Method::SEND,
    Method::DATA,
    Method::CREATE_PERMISSION,
    Method::CHANNEL_BIND,
    Method::CONNECT,
    Method::CONNECTION_BIND,
    Method::CONNECTION_ATTEMPT,
    Method(0xFFF),
];

/// Attributes of requests and indications, with a value as it should be. EVEN-PORT is there without
/// its R bit: a reserved port would outlive the run by a minute.
const PLAIN: [(AttributeType, &[u8]); 22] = [
    (AttributeType::REQUESTED_TRANSPORT, &[17, 0, 0, 0]),
    (AttributeType::REQUESTED_TRANSPORT, &[6, 0, 0, 0]),
    (AttributeType::LIFETIME, &[0, 0, 2, 88]),
    (AttributeType::LIFETIME, &[0xFF; 4]),
    (AttributeType::LIFETIME, &[0; 4]),
    (AttributeType::EVEN_PORT, &[0]),
    (AttributeType::DONT_FRAGMENT, &[]),
    (AttributeType::RESERVATION_TOKEN, &[7; 8]),
    (AttributeType::REQUESTED_ADDRESS_FAMILY, &[1, 0, 0, 0]),
    (AttributeType::REQUESTED_ADDRESS_FAMILY, &[2, 0, 0, 0]),
    (AttributeType::ADDITIONAL_ADDRESS_FAMILY, &[2, 0, 0, 0]),
    (AttributeType::CHANNEL_NUMBER, &[0x40, 1, 0, 0]),
    (AttributeType::CHANNEL_NUMBER, &[0x4F, 0xFF, 0, 0]),
    (AttributeType::DATA, b"data of a mutant"),
    (AttributeType::DATA, &[]),
    (AttributeType::MOBILITY_TICKET, &[9; 24]),
    (AttributeType::CONNECTION_ID, &[0, 0, 0, 1]),
    (AttributeType::CHANGE_REQUEST, &[0, 0, 0, 6]),
    (AttributeType::RESPONSE_PORT, &[0x10, 0, 0, 0]),
    (AttributeType::PADDING, &[0; 64]),
    (AttributeType::SOFTWARE, "%s%n%x\u{0}\"'<>{}".as_bytes()),
    (AttributeType::ACCESS_TOKEN, &[3; 60]),
];

/// Lengths at which something may turn over.
const LENGTHS: [u16; 12] = [0, 1, 3, 4, 5, 127, 128, 255, 256, 0x7FFF, 0xFFFC, 0xFFFF];

/// Longest message that is made: beyond what UDP carries.
const BUFFER_BYTES: usize = 70_000;

type Attributes = Vec<(AttributeType, Vec<u8>)>;

/// A source of messages, the same for the same seed and the same nonces.
pub(crate) struct Mutator {
    rng: StdRng,
    /// Addresses that a message may name as its peer.
    peers: Vec<SocketAddr>,
    next_id: u64,
}

impl Mutator {
    pub(crate) fn new(seed: u64, peers: Vec<SocketAddr>) -> Self {
        Self {
            rng: StdRng::seed_from_u64(seed),
            peers,
            next_id: seed << 32,
        }
    }

    pub(crate) fn rng(&mut self) -> &mut StdRng {
        &mut self.rng
    }

    /// A message or ChannelData, valid or nearly so.
    pub(crate) fn packet(&mut self, credentials: Option<&Credentials>) -> Vec<u8> {
        match self.rng.random_range(0..8) {
            0 => self.channel_data(),
            _ => self.message(credentials),
        }
    }

    fn message(&mut self, credentials: Option<&Credentials>) -> Vec<u8> {
        let method = *METHODS.choose(&mut self.rng).expect("some");
        let class = match (method, self.rng.random_range(0..16)) {
            (_, 0) => Class::Success,
            (_, 1) => Class::Error,
            (_, 2) => Class::Indication,
            (Method::SEND | Method::DATA, _) => Class::Indication,
            _ => Class::Request,
        };
        self.next_id += 1;
        let mut id = TransactionId([0x4D; 12]);
        id.0[4..].copy_from_slice(&self.next_id.to_be_bytes());
        let mut attributes = self.attributes(method, id);
        for _ in 0..self.rng.random_range(0..3) {
            self.mutate(&mut attributes, id);
        }
        let mut message = self.write(class, method, id, &attributes, credentials);
        match self.rng.random_range(0..12) {
            0 => {
                let len = message.len();
                message.truncate(self.rng.random_range(0..=len));
            }
            1 => message.extend(vec![0xA5; self.rng.random_range(1..64)]),
            2 => {
                let len = *LENGTHS.choose(&mut self.rng).expect("some");
                message[2..4].copy_from_slice(&len.to_be_bytes());
            }
            3 => {
                let at = self.rng.random_range(0..message.len());
                message[at] ^= 1 << self.rng.random_range(0..8);
            }
            _ => {}
        }
        message
    }

    /// What a sane request of this method carries.
    fn attributes(&mut self, method: Method, id: TransactionId) -> Attributes {
        let peer = *self.peers.choose(&mut self.rng).expect("some");
        let peer = (AttributeType::XOR_PEER_ADDRESS, xored(peer, id));
        let plain = |index: usize| (PLAIN[index].0, PLAIN[index].1.to_vec());
        match method {
            Method::ALLOCATE => vec![plain(0)],
            Method::REFRESH => vec![plain(2)],
            Method::SEND | Method::DATA => vec![peer, plain(13)],
            Method::CREATE_PERMISSION | Method::CONNECT => vec![peer],
            Method::CHANNEL_BIND => vec![plain(11), peer],
            Method::CONNECTION_BIND => vec![plain(16)],
            _ => Vec::new(),
        }
    }

    fn mutate(&mut self, attributes: &mut Attributes, id: TransactionId) {
        let count = attributes.len();
        let at = self.rng.random_range(0..count.max(1));
        match self.rng.random_range(0..9) {
            0 if count > 0 => attributes.insert(at, attributes[at].clone()),
            1 => attributes.shuffle(&mut self.rng),
            2 if count > 0 => drop(attributes.remove(at)),
            3 if count > 0 => {
                let value = &mut attributes[at].1;
                let keep = self.rng.random_range(0..=value.len());
                value.truncate(keep);
            }
            4 if count > 0 => {
                let more = self.rng.random_range(1..40);
                attributes[at].1.extend(vec![0xA5; more]);
            }
            5 if count > 0 && attributes[at].0 != AttributeType::EVEN_PORT => {
                self.rng.fill_bytes(&mut attributes[at].1);
            }
            6 => {
                // Unknown, required and not, or somebody else's.
                let type_ = AttributeType(self.rng.random::<u16>() | 0x0100);
                let len = usize::from(*LENGTHS.choose(&mut self.rng).expect("some")).min(2_000);
                attributes.push((type_, vec![1; len]));
            }
            7 => {
                let peer = *self.peers.choose(&mut self.rng).expect("some");
                attributes.push((AttributeType::XOR_PEER_ADDRESS, xored(peer, id)));
            }
            _ => {
                let (type_, value) = *PLAIN.choose(&mut self.rng).expect("some");
                attributes.insert(at.min(count), (type_, value.to_vec()));
            }
        }
    }

    /// Signs it, rightly or not, and lets something stand behind the signature.
    fn write(
        &mut self,
        class: Class,
        method: Method,
        id: TransactionId,
        attributes: &Attributes,
        credentials: Option<&Credentials>,
    ) -> Vec<u8> {
        let mut out = vec![0; BUFFER_BYTES];
        let mut writer = MessageWriter::new(&mut out, class, method, id).expect("a header fits");
        for (type_, value) in attributes {
            // What does not fit is left out.
            let _ = writer.raw(*type_, value);
        }
        if let Some(credentials) = credentials
            && class == Class::Request
        {
            self.sign(&mut writer, credentials);
        }
        if self.rng.random_range(0..8) == 0 {
            // RFC 8489 §14.5: to be ignored there.
            let (type_, value) = *PLAIN.choose(&mut self.rng).expect("some");
            let _ = writer.raw(type_, value);
        }
        match self.rng.random_range(0..6) {
            0 => drop(writer.fingerprint()),
            1 => drop(writer.raw(AttributeType::FINGERPRINT, &[0xF0; 4])),
            _ => {}
        }
        let len = writer.finish();
        out.truncate(len);
        out
    }

    fn sign(&mut self, writer: &mut MessageWriter<'_>, credentials: &Credentials) {
        let Credentials {
            user,
            password,
            realm,
            nonce,
        } = credentials;
        let odd: usize = self.rng.random_range(0..24);
        let parts: [(AttributeType, &[u8]); 3] = [
            (AttributeType::USERNAME, user.as_bytes()),
            (AttributeType::REALM, realm.as_bytes()),
            (AttributeType::NONCE, nonce),
        ];
        for (place, (type_, value)) in parts.into_iter().enumerate() {
            // One in eight lacks one of the three, or has it twice, or cut.
            match odd.checked_sub(3 * place) {
                Some(0) => {}
                Some(1) => {
                    let _ = writer.raw(type_, value);
                    let _ = writer.raw(type_, value);
                }
                Some(2) => drop(writer.raw(type_, &value[..value.len() / 2])),
                _ => drop(writer.raw(type_, value)),
            }
        }
        let wrong = self.rng.random_range(0..10) == 0;
        let password = if wrong { "wrong" } else { *password };
        let md5 = Key::new(long_term_key_md5(user, realm, password).as_bytes());
        match self.rng.random_range(0..12) {
            0 => drop(writer.integrity_sha256(&md5.sha256())),
            1 => {
                // The offer as the node makes it, and the choice of its first.
                let offer: &[u8] = &[0, 2, 0, 0, 0, 1, 0, 0];
                let _ = writer.raw(AttributeType::PASSWORD_ALGORITHMS, offer);
                let _ = writer.raw(AttributeType::PASSWORD_ALGORITHM, &offer[..4]);
                let key = long_term_key_sha256(user, realm, password);
                let _ = writer.integrity_sha256(&Key::new(key.as_bytes()).sha256());
            }
            2 => {
                let _ = writer.integrity_sha1(&md5.sha1());
                let _ = writer.integrity_sha256(&md5.sha256());
            }
            3 => drop(writer.raw(AttributeType::MESSAGE_INTEGRITY, &[0; 20])),
            4 => drop(writer.raw(AttributeType::MESSAGE_INTEGRITY_SHA256, &[0; 16])),
            5 => drop(writer.raw(AttributeType::MESSAGE_INTEGRITY, &[0; 19])),
            _ => drop(writer.integrity_sha1(&md5.sha1())),
        }
    }

    /// ChannelData whose length may be anything.
    fn channel_data(&mut self) -> Vec<u8> {
        let number: u16 = match self.rng.random_range(0..4) {
            0 => self.rng.random_range(0x4000..=0x7FFF),
            _ => 0x4000 + self.rng.random_range(0..3),
        };
        let len = self.rng.random_range(0..1_200_u16);
        let said = match self.rng.random_range(0..4) {
            0 => *LENGTHS.choose(&mut self.rng).expect("some"),
            1 => len
                .wrapping_add(self.rng.random_range(0..4))
                .wrapping_sub(2),
            _ => len,
        };
        let mut frame = number.to_be_bytes().to_vec();
        frame.extend(said.to_be_bytes());
        frame.extend(vec![0x5A; usize::from(len)]);
        frame
    }

    /// A PROXY header, right or nearly so.
    pub(crate) fn proxy_header(&mut self) -> Vec<u8> {
        let mut header = match self.rng.random_range(0..4) {
            0 => b"PROXY TCP4 192.0.2.7 192.0.2.8 4000 3478\r\n".to_vec(),
            1 => b"PROXY UNKNOWN\r\n".to_vec(),
            _ => {
                let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0C".to_vec();
                header.extend([192, 0, 2, 7, 192, 0, 2, 8, 0x0F, 0xA0, 0x0D, 0x96]);
                header
            }
        };
        match self.rng.random_range(0..6) {
            0 => {
                let at = self.rng.random_range(0..header.len());
                header[at] ^= 1 << self.rng.random_range(0..8);
            }
            1 => header.truncate(self.rng.random_range(0..header.len())),
            2 => header.extend([0; 3]),
            _ => {}
        }
        header
    }
}

/// An address as XOR-PEER-ADDRESS carries it (RFC 8489 §14.2).
fn xored(addr: SocketAddr, TransactionId(id): TransactionId) -> Vec<u8> {
    let port = addr.port() ^ 0x2112;
    let mut mask = 0x2112_A442_u32.to_be_bytes().to_vec();
    mask.extend(id);
    let (family, bytes) = match addr {
        SocketAddr::V4(addr) => (1, addr.ip().octets().to_vec()),
        SocketAddr::V6(addr) => (2, addr.ip().octets().to_vec()),
    };
    let mut value = vec![0, family];
    value.extend(port.to_be_bytes());
    value.extend(bytes.iter().zip(mask).map(|(byte, mask)| byte ^ mask));
    value
}
