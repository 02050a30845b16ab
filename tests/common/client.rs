//! A small blocking TURN client over UDP, so that a test can say exactly what is sent, and when.
//!
//! It is no second implementation of the protocol's subtleties: it repeats a request until it is
//! answered, follows 401 and 438, and keeps the data that comes in between.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use sterna_stun::attr::{
    ChannelNumber, Data, DontFragment, ErrorCode, Icmp, Lifetime, Nonce, Realm, RequestedTransport,
    Username, XorMappedAddress, XorPeerAddress, XorRelayedAddress,
};
use sterna_stun::channel_data;
use sterna_stun::credentials::long_term_key_md5;
use sterna_stun::data_indication::DataIndication;
use sterna_stun::message::{Class, Message, Method, TransactionId};
use sterna_stun::writer::{Full, MessageWriter};

use super::SOON;

/// RFC 8489 §6.2.1: the first retransmission comes after this.
const RETRANSMIT_AFTER: Duration = Duration::from_millis(500);

const BUFFER_BYTES: usize = 2_048;

/// Why a request was refused: the code of ERROR-CODE.
pub(crate) type Refused = u16;

/// What else a request carries, beside the credentials.
pub(crate) type Attributes<'a> = &'a dyn Fn(&mut MessageWriter<'_>) -> Result<(), Full>;

/// One client: a socket of its own and, after `allocate`, one allocation.
pub(crate) struct Client {
    socket: UdpSocket,
    server: SocketAddr,
    user: String,
    password: String,
    challenge: RefCell<Option<Challenge>>,
    waiting: RefCell<VecDeque<(u16, Vec<u8>)>>,
}

struct Challenge {
    realm: String,
    nonce: Vec<u8>,
}

impl Client {
    pub(crate) fn new(server: SocketAddr, user: &str, password: &str) -> Self {
        let own = match server {
            SocketAddr::V4(_) => IpAddr::from(Ipv4Addr::LOCALHOST),
            SocketAddr::V6(_) => IpAddr::from(Ipv6Addr::LOCALHOST),
        };
        Self::from_address(own, server, user, password)
    }

    /// The same from another address of this host.
    pub(crate) fn from_address(
        own: IpAddr,
        server: SocketAddr,
        user: &str,
        password: &str,
    ) -> Self {
        let socket = UdpSocket::bind((own, 0)).expect("a socket");
        // Connected, so that nobody else's packet is taken for the server's.
        socket.connect(server).expect("loopback");
        Self {
            socket,
            server,
            user: user.to_owned(),
            password: password.to_owned(),
            challenge: RefCell::new(None),
            waiting: RefCell::new(VecDeque::new()),
        }
    }

    pub(crate) fn local(&self) -> SocketAddr {
        self.socket.local_addr().expect("a bound socket")
    }

    pub(crate) fn server(&self) -> SocketAddr {
        self.server
    }

    /// A Binding: the address that the server sees us at.
    pub(crate) fn binding(&self) -> SocketAddr {
        let answer = self
            .exchange(Method::BINDING, &|_| Ok(()), SOON)
            .expect("an answer");
        let message = Message::parse(&answer).expect("a STUN message");
        let mapped = message.find::<XorMappedAddress>().expect("well formed");
        mapped.expect("XOR-MAPPED-ADDRESS").0
    }

    /// An allocation of the family of the server's address: the relayed address.
    pub(crate) fn allocate(&self) -> Result<SocketAddr, Refused> {
        let answer = self.request(Method::ALLOCATE, &|writer| {
            writer.attr(&RequestedTransport::UDP)
        })?;
        let message = Message::parse(&answer).expect("a STUN message");
        let relayed = message.find::<XorRelayedAddress>().expect("well formed");
        Ok(relayed.expect("XOR-RELAYED-ADDRESS").0)
    }

    /// A Refresh: the lifetime that the server grants; 0 ends the allocation.
    pub(crate) fn refresh(&self, lifetime_s: u32) -> Result<u32, Refused> {
        let answer = self.request(Method::REFRESH, &|writer| {
            writer.attr(&Lifetime(lifetime_s))
        })?;
        let message = Message::parse(&answer).expect("a STUN message");
        Ok(message
            .find::<Lifetime>()
            .expect("well formed")
            .expect("LIFETIME")
            .0)
    }

    pub(crate) fn permit(&self, peer: SocketAddr) -> Result<(), Refused> {
        self.request(Method::CREATE_PERMISSION, &|writer| {
            writer.attr(&XorPeerAddress(peer))
        })
        .map(drop)
    }

    pub(crate) fn bind_channel(&self, number: u16, peer: SocketAddr) -> Result<(), Refused> {
        self.request(Method::CHANNEL_BIND, &|writer| {
            writer.attr(&ChannelNumber(number))?;
            writer.attr(&XorPeerAddress(peer))
        })
        .map(drop)
    }

    /// Sends data by a Send indication.
    pub(crate) fn indicate(&self, peer: SocketAddr, data: &[u8], dont_fragment: bool) {
        let mut out = vec![0; BUFFER_BYTES];
        let (class, method) = (Class::Indication, Method::SEND);
        let mut write = || -> Result<usize, Full> {
            let mut writer = MessageWriter::new(&mut out, class, method, new_transaction())?;
            writer.attr(&XorPeerAddress(peer))?;
            if dont_fragment {
                writer.attr(&DontFragment)?;
            }
            writer.attr(&Data(data))?;
            Ok(writer.finish())
        };
        let len = write().expect("fits into a datagram");
        self.socket.send(&out[..len]).expect("loopback");
    }

    /// The next Data indication, if any comes in time: the peer, the data, the ICMP error.
    pub(crate) fn receive_indication(
        &self,
        within: Duration,
    ) -> Option<(SocketAddr, Option<Vec<u8>>, Option<Icmp>)> {
        let deadline = Instant::now() + within;
        while let Some(packet) = self.packet(deadline) {
            if let Ok(DataIndication {
                peer,
                payload,
                icmp,
            }) = DataIndication::parse(&packet)
            {
                return Some((peer, payload.map(|range| packet[range].to_vec()), icmp));
            }
        }
        None
    }

    /// The traffic class of what is sent from now on.
    pub(crate) fn set_traffic_class(&self, class: u8) {
        let socket = socket2::SockRef::from(&self.socket);
        socket.set_tos_v4(class.into()).expect("an option");
    }

    /// Sends data by channel.
    pub(crate) fn send(&self, number: u16, data: &[u8]) {
        let len = u16::try_from(data.len()).expect("a datagram's length");
        let mut frame = channel_data::header(number, len).to_vec();
        frame.extend(data);
        self.socket.send(&frame).expect("loopback");
    }

    /// The next data that comes by channel, if any comes in time.
    pub(crate) fn receive(&self, within: Duration) -> Option<(u16, Vec<u8>)> {
        if let Some(data) = self.waiting.borrow_mut().pop_front() {
            return Some(data);
        }
        let deadline = Instant::now() + within;
        while let Some(packet) = self.packet(deadline) {
            if let Some(data) = by_channel(&packet) {
                return Some(data);
            }
        }
        None
    }

    /// An authenticated request, repeated through 401 and 438.
    pub(crate) fn request(
        &self,
        method: Method,
        attributes: Attributes<'_>,
    ) -> Result<Vec<u8>, Refused> {
        self.try_request(method, attributes, SOON)
            .expect("an answer in time")
    }

    /// The same; nothing when nobody answers in time.
    pub(crate) fn try_request(
        &self,
        method: Method,
        attributes: Attributes<'_>,
        within: Duration,
    ) -> Option<Result<Vec<u8>, Refused>> {
        // One round to be challenged and one for a nonce that has just grown stale.
        for _ in 0..3 {
            let answer = self.exchange(method, attributes, within)?;
            let message = Message::parse(&answer).expect("a STUN message");
            if message.class() == Class::Success {
                return Some(Ok(answer));
            }
            let error = message
                .find::<ErrorCode<'_>>()
                .expect("well formed")
                .expect("ERROR-CODE")
                .code;
            let known = self.challenge.borrow().is_some();
            let again =
                error == ErrorCode::STALE_NONCE || (error == ErrorCode::UNAUTHENTICATED && !known);
            if !again {
                return Some(Err(error));
            }
            let realm = message
                .find::<Realm<'_>>()
                .expect("well formed")
                .expect("REALM");
            let nonce = message
                .find::<Nonce<'_>>()
                .expect("well formed")
                .expect("NONCE");
            let challenge = Challenge {
                realm: realm.0.to_owned(),
                nonce: nonce.0.to_vec(),
            };
            self.challenge.replace(Some(challenge));
        }
        panic!("challenged again and again");
    }

    /// One transaction: sent until answered or the time is over.
    fn exchange(
        &self,
        method: Method,
        attributes: Attributes<'_>,
        within: Duration,
    ) -> Option<Vec<u8>> {
        let transaction = new_transaction();
        let request = self
            .encode(method, transaction, attributes)
            .expect("fits into a datagram");
        let deadline = Instant::now() + within;
        while Instant::now() < deadline {
            // A refusal of the port (the node is gone) is an answer that does not come.
            if self.socket.send(&request).is_err() {
                thread::yield_now();
            }
            let again = deadline.min(Instant::now() + RETRANSMIT_AFTER);
            while let Some(packet) = self.packet(again) {
                if let Some(data) = by_channel(&packet) {
                    self.waiting.borrow_mut().push_back(data);
                } else if Message::parse(&packet).is_ok_and(|m| m.transaction_id() == transaction) {
                    return Some(packet);
                }
            }
        }
        None
    }

    /// A request as it is sent, signed once we have been challenged.
    pub(crate) fn encode(
        &self,
        method: Method,
        transaction: TransactionId,
        attributes: Attributes<'_>,
    ) -> Result<Vec<u8>, Full> {
        let mut out = vec![0; BUFFER_BYTES];
        let mut writer = MessageWriter::new(&mut out, Class::Request, method, transaction)?;
        attributes(&mut writer)?;
        if let Some(challenge) = self.challenge.borrow().as_ref() {
            writer.attr(&Username(&self.user))?;
            writer.attr(&Realm(&challenge.realm))?;
            writer.attr(&Nonce(&challenge.nonce))?;
            let key = long_term_key_md5(&self.user, &challenge.realm, &self.password);
            writer.integrity_sha1(&key.sha1())?;
        }
        let len = writer.finish();
        out.truncate(len);
        Ok(out)
    }

    /// The next packet, or nothing at the deadline.
    fn packet(&self, deadline: Instant) -> Option<Vec<u8>> {
        let mut buffer = [0; BUFFER_BYTES];
        loop {
            // A timeout of zero would mean none.
            let left = deadline
                .checked_duration_since(Instant::now())
                .filter(|left| !left.is_zero())?;
            self.socket.set_read_timeout(Some(left)).expect("a timeout");
            match self.socket.recv(&mut buffer) {
                Ok(len) => return Some(buffer[..len].to_vec()),
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(_) => return None,
            }
        }
    }
}

/// Never the same twice, also for a later client on the same port.
pub(crate) fn new_transaction() -> TransactionId {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let mut bytes = [0x5A; 12];
    bytes[..4].copy_from_slice(&std::process::id().to_be_bytes());
    bytes[4..].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    TransactionId(bytes)
}

fn by_channel(packet: &[u8]) -> Option<(u16, Vec<u8>)> {
    // RFC 8656 §12: channel numbers begin with the bits 01, STUN messages with 00.
    packet
        .first()
        .filter(|first| (0x40..0x50).contains(*first))?;
    let data = channel_data::ChannelData::parse(packet).ok()?;
    Some((data.number, data.data.to_vec()))
}

/// A peer that sends everything back, until it is dropped.
pub(crate) struct Echo {
    addr: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Echo {
    pub(crate) fn start(ip: impl Into<IpAddr>) -> Self {
        let socket = UdpSocket::bind((ip.into(), 0)).expect("a socket");
        // How soon a dropped echo ends.
        socket
            .set_read_timeout(Some(Duration::from_millis(50)))
            .expect("a timeout");
        let addr = socket.local_addr().expect("a bound socket");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            let mut buffer = [0; 65_536];
            while !stopped.load(Ordering::Relaxed) {
                if let Ok((len, from)) = socket.recv_from(&mut buffer) {
                    // The other end may just have gone.
                    let _ = socket.send_to(&buffer[..len], from);
                }
            }
        });
        Self {
            addr,
            stop,
            thread: Some(thread),
        }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
