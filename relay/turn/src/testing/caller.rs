//! The client's side: messages, signed or not, and what comes back.

use sterna_stun::{
    attr::{
        Attribute, AttributeType, ErrorCode, Nonce, PasswordAlgorithm, PasswordAlgorithms, Realm,
        UserHash, Username,
    },
    credentials::{long_term_key_md5, long_term_key_sha256, userhash},
    integrity::{KeyedSha1, KeyedSha256},
    message::{Class, Message, Method, TransactionId},
    nonce::Features,
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
    /// The key by SHA-256, for the choice where there is one.
    pub(crate) mac_sha256: KeyedSha256,
    /// Whether SHA-256 is chosen where it is offered, and the name hashed likewise.
    pub(crate) modern: bool,
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
            mac_sha256: long_term_key_sha256(name, &realm, password).sha256(),
            modern: false,
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

    /// One who chooses SHA-256 and hides its name, where the nonce says that it may.
    pub(crate) fn modern(mut self) -> Self {
        self.modern = true;
        self
    }

    /// Goes on under another password.
    pub(crate) fn set_password(&mut self, password: &str) {
        self.mac = long_term_key_md5(&self.name, &self.realm, password).sha1();
        self.mac_sha256 = long_term_key_sha256(&self.name, &self.realm, password).sha256();
    }

    /// What a modern caller may do, by its nonce.
    pub(crate) fn features(&self) -> Features {
        let announced = Features::of(&self.nonce).unwrap_or(Features::NONE);
        if self.modern {
            announced
        } else {
            Features::NONE
        }
    }

    /// Adds credentials, as the nonce wants them, and the MAC.
    pub(crate) fn sign(&self, writer: &mut MessageWriter<'_>) -> Result<(), Full> {
        if self.features().username_anonymity {
            writer.attr(&UserHash(userhash(&self.name, &self.realm)))?;
        } else {
            writer.attr(&Username(&self.name))?;
        }
        writer.attr(&Realm(&self.realm))?;
        writer.attr(&Nonce(&self.nonce))?;
        if self.features().password_algorithms {
            writer.attr(&PasswordAlgorithms::SHA256_MD5)?;
            writer.attr(&PasswordAlgorithm::SHA256)?;
            writer.integrity_sha256(&self.mac_sha256)
        } else {
            writer.integrity_sha1(&self.mac)
        }
    }

    /// Tells whether an answer bears the MAC that requests with the present nonce lead to, and no
    /// other.
    pub(crate) fn is_answered_by(&self, answer: &Answer) -> bool {
        let message = answer.message();
        if self.features().password_algorithms {
            self.mac_sha256.verify(&message).is_ok()
                && !message.has(AttributeType::MESSAGE_INTEGRITY)
        } else {
            self.mac.verify(&message).is_ok()
                && !message.has(AttributeType::MESSAGE_INTEGRITY_SHA256)
        }
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
            caller.sign(writer)?;
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
