//! The client's side: messages, signed or not, and what comes back.

use sterna_stun::{
    attr::{Attribute, AttributeType, ErrorCode, Nonce, Realm, Username},
    credentials::long_term_key_md5,
    integrity::KeyedSha1,
    message::{Class, Message, Method, TransactionId},
    writer::{Full, MessageWriter},
};

use crate::{Client, Transport};

/// Somebody with an address, a name and a password.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) client: Client,
    pub(crate) worker: usize,
    pub(crate) name: String,
    pub(crate) realm: String,
    pub(crate) nonce: Vec<u8>,
    pub(crate) mac: KeyedSha1,
    pub(crate) next_transaction: u64,
    /// Whether requests end with FINGERPRINT.
    pub(crate) fingerprint: bool,
}

impl Caller {
    /// A UDP client of the first worker, on the listener of its family.
    pub(crate) fn new(addr: &str, name: &str, password: &str) -> Self {
        let addr = addr.parse::<std::net::SocketAddr>().expect("an address");
        let server = if addr.is_ipv4() {
            "198.51.100.1:3478"
        } else {
            "[2620:5::1]:3478"
        };
        let realm = "sterna.test".to_owned();
        Self {
            client: Client {
                transport: Transport::Udp,
                route: u32::from(addr.is_ipv6()),
                addr,
                server: server.parse().expect("an address"),
            },
            worker: 0,
            name: name.to_owned(),
            mac: long_term_key_md5(name, &realm, password).sha1(),
            realm,
            nonce: Vec::new(),
            next_transaction: u64::from(addr.port()) << 32,
            fingerprint: false,
        }
    }

    pub(crate) fn alice() -> Self {
        Self::new("203.0.113.10:40000", "alice", "alice's")
    }

    pub(crate) fn bob() -> Self {
        Self::new("203.0.113.20:40000", "bob", "bob's")
    }

    pub(crate) fn over(mut self, transport: Transport, route: u32) -> Self {
        self.client.transport = transport;
        self.client.route = route;
        self
    }

    pub(crate) fn on_worker(mut self, worker: usize) -> Self {
        self.worker = worker;
        self
    }

    pub(crate) fn transaction(&mut self) -> TransactionId {
        self.next_transaction += 1;
        let mut id = [0; 12];
        id[4..].copy_from_slice(&self.next_transaction.to_be_bytes());
        TransactionId(id)
    }

    /// A request with credentials.
    pub(crate) fn signed(
        &mut self,
        method: Method,
        attributes: impl FnOnce(&mut MessageWriter<'_>) -> Result<(), Full>,
    ) -> Vec<u8> {
        let id = self.transaction();
        let caller = self.clone();
        message(Class::Request, method, id, |writer| {
            attributes(writer)?;
            writer.attr(&Username(&caller.name))?;
            writer.attr(&Realm(&caller.realm))?;
            writer.attr(&Nonce(&caller.nonce))?;
            writer.integrity_sha1(&caller.mac)?;
            if caller.fingerprint {
                writer.fingerprint()
            } else {
                Ok(())
            }
        })
    }

    /// A request without credentials.
    pub(crate) fn unsigned(
        &mut self,
        method: Method,
        attributes: impl FnOnce(&mut MessageWriter<'_>) -> Result<(), Full>,
    ) -> Vec<u8> {
        let id = self.transaction();
        let fingerprint = self.fingerprint;
        message(Class::Request, method, id, |writer| {
            attributes(writer)?;
            if fingerprint {
                writer.fingerprint()
            } else {
                Ok(())
            }
        })
    }

    pub(crate) fn indication(
        &mut self,
        method: Method,
        attributes: impl FnOnce(&mut MessageWriter<'_>) -> Result<(), Full>,
    ) -> Vec<u8> {
        let id = self.transaction();
        message(Class::Indication, method, id, attributes)
    }
}

fn message(
    class: Class,
    method: Method,
    id: TransactionId,
    attributes: impl FnOnce(&mut MessageWriter<'_>) -> Result<(), Full>,
) -> Vec<u8> {
    let mut out = vec![0; 70_000];
    let mut writer = MessageWriter::new(&mut out, class, method, id).expect("fits");
    attributes(&mut writer).expect("fits");
    let len = writer.finish();
    out.truncate(len);
    out
}

/// A response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) client: Client,
    pub(crate) bytes: Vec<u8>,
}

impl Answer {
    pub(crate) fn message(&self) -> Message<'_> {
        Message::parse(&self.bytes).expect("answers are well formed")
    }

    pub(crate) fn is_success(&self) -> bool {
        self.message().class() == Class::Success
    }

    /// The error's code; 0 for a success.
    pub(crate) fn code(&self) -> u16 {
        match self.message().class() {
            Class::Success => 0,
            _ => {
                self.find::<ErrorCode<'_>>()
                    .expect("errors have a code")
                    .code
            }
        }
    }

    pub(crate) fn find<'a, A: Attribute<'a>>(&'a self) -> Option<A> {
        self.message()
            .find::<A>()
            .expect("attributes are well formed")
    }

    pub(crate) fn types(&self) -> Vec<AttributeType> {
        self.message().attributes().map(|raw| raw.type_).collect()
    }
}
