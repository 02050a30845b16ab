//! What the tests of TCP allocations share: connections of a user to the node, and peers.
#![allow(unreachable_pub)]

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use sterna_stun::attr::{
    ConnectionId, ErrorCode, Nonce, Realm, RequestedTransport, Username, XorPeerAddress,
    XorRelayedAddress,
};
use sterna_stun::credentials::long_term_key_md5;
use sterna_stun::framing::next_frame;
use sterna_stun::message::{Class, Message, Method};
use sterna_stun::writer::MessageWriter;

use crate::common::SOON;
use crate::common::client::{Attributes, Refused, new_transaction};
use crate::common::node::{self, Node};

/// What carries the messages.
pub trait Wire: Read + Write + Send {
    fn tcp(&self) -> &TcpStream;
}

impl Wire for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Wire for rustls::StreamOwned<rustls::ClientConnection, TcpStream> {
    fn tcp(&self) -> &TcpStream {
        &self.sock
    }
}

/// One connection of a user to the node: it controls an allocation, or carries a peer's bytes.
pub struct Stream {
    pub wire: Box<dyn Wire>,
    user: &'static str,
    password: &'static str,
    challenge: Option<(String, Vec<u8>)>,
    /// Read and not yet looked at.
    left: Vec<u8>,
}

impl Stream {
    pub fn to(node: &Node) -> Self {
        let wire = TcpStream::connect(node.v4()).expect("the node listens");
        wire.set_read_timeout(Some(SOON)).expect("a timeout");
        Self::over(Box::new(wire))
    }

    pub fn over(wire: Box<dyn Wire>) -> Self {
        Self {
            wire,
            user: node::USER,
            password: node::PASSWORD,
            challenge: None,
            left: Vec::new(),
        }
    }

    pub fn other_user(mut self) -> Self {
        self.user = node::OTHER_USER;
        self.password = node::OTHER_PASSWORD;
        self
    }

    pub fn allocate(&mut self) -> Result<SocketAddr, Refused> {
        let answer = self.request(Method::ALLOCATE, &|writer| {
            writer.attr(&RequestedTransport::TCP)
        })?;
        let relayed = message(&answer).find::<XorRelayedAddress>();
        Ok(relayed.expect("well formed").expect("an address").0)
    }

    pub fn permit(&mut self, peer: SocketAddr) {
        self.request(Method::CREATE_PERMISSION, &|writer| {
            writer.attr(&XorPeerAddress(peer))
        })
        .expect("a permission");
    }

    pub fn connect(&mut self, peer: SocketAddr) -> Result<u32, Refused> {
        let answer = self.request(Method::CONNECT, &|writer| {
            writer.attr(&XorPeerAddress(peer))
        })?;
        Ok(connection_id(&answer))
    }

    pub fn bind(&mut self, id: u32) -> Result<(), Refused> {
        self.request(Method::CONNECTION_BIND, &|writer| {
            writer.attr(&ConnectionId(id))
        })
        .map(drop)
    }

    /// Waits for a ConnectionAttempt: the peer and the id.
    pub fn attempt(&mut self) -> (SocketAddr, u32) {
        let frame = self.frame();
        let attempt = message(&frame);
        assert_eq!(attempt.class(), Class::Indication);
        assert_eq!(attempt.method(), Method::CONNECTION_ATTEMPT);
        let peer = attempt.find::<XorPeerAddress>().expect("well formed");
        (peer.expect("a peer").0, connection_id(&frame))
    }

    /// An authenticated request, repeated through 401 and 438.
    pub fn request(
        &mut self,
        method: Method,
        attributes: Attributes<'_>,
    ) -> Result<Vec<u8>, Refused> {
        for _ in 0..3 {
            self.ask(method, attributes);
            let answer = self.frame();
            let told = message(&answer);
            if told.class() == Class::Success {
                return Ok(answer);
            }
            let error = told.find::<ErrorCode<'_>>().expect("well formed");
            let code = error.expect("ERROR-CODE").code;
            let known = self.challenge.is_some();
            if code != 438 && (code != 401 || known) {
                return Err(code);
            }
            let realm = told.find::<Realm<'_>>().expect("ok").expect("REALM");
            let nonce = told.find::<Nonce<'_>>().expect("ok").expect("NONCE");
            self.challenge = Some((realm.0.to_owned(), nonce.0.to_vec()));
        }
        panic!("challenged again and again");
    }

    pub fn ask(&mut self, method: Method, attributes: Attributes<'_>) {
        let mut out = [0; 1024];
        let id = new_transaction();
        let mut writer = MessageWriter::new(&mut out, Class::Request, method, id).expect("fits");
        attributes(&mut writer).expect("fits");
        if let Some((realm, nonce)) = &self.challenge {
            writer.attr(&Username(self.user)).expect("fits");
            writer.attr(&Realm(realm)).expect("fits");
            writer.attr(&Nonce(nonce)).expect("fits");
            let key = long_term_key_md5(self.user, realm, self.password);
            writer.integrity_sha1(&key.sha1()).expect("fits");
        }
        let len = writer.finish();
        self.wire.write_all(&out[..len]).expect("the node reads");
        self.wire.flush().expect("the node reads");
    }

    /// The next message.
    pub fn frame(&mut self) -> Vec<u8> {
        let mut buffer = [0; 4096];
        loop {
            if let Ok(Some(len)) = next_frame(&self.left)
                && len <= self.left.len()
            {
                return self.left.drain(..len).collect();
            }
            let len = self.wire.read(&mut buffer).expect("a message in time");
            assert_ne!(len, 0, "the node closed the connection");
            self.left.extend(&buffer[..len]);
        }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.wire.write_all(bytes).expect("the node reads");
        self.wire.flush().expect("the node reads");
    }

    /// So many bytes of the peer's.
    pub fn receive(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.left);
        let start = bytes.len().min(len);
        self.left = bytes.split_off(start);
        bytes.resize(len, 0);
        self.wire
            .read_exact(&mut bytes[start..])
            .expect("the peer's bytes in time");
        bytes
    }

    /// Whether the node has closed the connection, or closes it soon.
    pub fn is_closed(&mut self) -> bool {
        let mut buffer = [0; 4096];
        loop {
            match self.wire.read(&mut buffer) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => {
                    return !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
                }
            }
        }
    }
}

pub fn message(frame: &[u8]) -> Message<'_> {
    Message::parse(frame).expect("a STUN message")
}

pub fn connection_id(frame: &[u8]) -> u32 {
    let id = message(frame).find::<ConnectionId>().expect("well formed");
    id.expect("CONNECTION-ID").0
}

pub fn peer() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let addr = listener.local_addr().expect("bound");
    (listener, addr)
}

pub fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    let (socket, from) = listener.accept().expect("a connection");
    socket.set_read_timeout(Some(SOON)).expect("a timeout");
    (socket, from)
}

/// An allocation, a connection to a peer, and a data connection for it.
pub fn connected(node: &Node) -> (Stream, Stream, TcpStream) {
    let mut control = Stream::to(node);
    control.allocate().expect("an allocation");
    let (listener, addr) = peer();
    let id = control.connect(addr).expect("a peer");
    let (socket, _) = accept(&listener);
    let mut data = Stream::to(node);
    data.bind(id).expect("a data connection");
    (control, data, socket)
}

pub fn is_closed(socket: &mut TcpStream) -> bool {
    let mut buffer = [0; 4096];
    loop {
        match socket.read(&mut buffer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => {
                return !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
            }
        }
    }
}
