//! The clients: who they are, what they sign, and what they make of scripts.

use sterna_stun::{
    attr::{
        AttributeType, ChannelNumber, ConnectionId, Data, EvenPort, Lifetime, MobilityTicket,
        Nonce, PasswordAlgorithm, PasswordAlgorithms, Realm, RequestedTransport, ReservationToken,
        Username, XorPeerAddress, XorRelayedAddress,
    },
    message::{Class, Message, Method, TransactionId},
    writer::{Full, MessageWriter},
};
use sterna_turn::{Client, Transport, Verdict};

use super::{Node, REALM, peers::peer_at};

impl Node {
    /// One of four clients: two of each worker, one of them on a stream.
    pub fn client(&self, argument: u8) -> Client {
        let argument = argument & 3;
        let transport = if argument == 3 {
            Transport::Tcp
        } else {
            Transport::Udp
        };
        let (addr, server) = if argument == 2 {
            ("[2620:99::9]:4000".to_owned(), "[2620:5::1]:3478")
        } else {
            (
                format!("203.0.113.{}:4000", 10 + argument),
                "198.51.100.1:3478",
            )
        };
        Client {
            transport,
            route: argument.into(),
            addr: addr.parse().expect("an address"),
            server: server.parse().expect("an address"),
        }
    }

    /// Signs a request with attributes from the script, and sends it.
    pub fn ask(&mut self, client: u8, method: u8, attributes: &[u8]) {
        let method = match method {
            32..48 => Method::CONNECT,
            48.. => Method::CONNECTION_BIND,
            _ => [
                Method::ALLOCATE,
                Method::REFRESH,
                Method::CREATE_PERMISSION,
                Method::CHANNEL_BIND,
            ][usize::from(method) % 4],
        };
        // A data connection is another one, and may be another worker's, of the same address.
        let mut from = self.client(client);
        if method == Method::CONNECTION_BIND && client % 2 == 1 {
            from.transport = Transport::Tcp;
            from.route = 100 + u32::from(client);
        }
        let nonce = self.nonce(client);
        let user = usize::from(client) % 2;
        let ((by_sha1, by_sha256), name) = (self.macs[user].clone(), ["alice", "bob"][user]);
        // Each user has a client that chooses SHA-256 and one that knows no choice.
        let chooses = worker_of(client) == 1;
        let packet = self.message(Class::Request, method, |node, writer| {
            if method == Method::CONNECTION_BIND {
                writer.attr(&ConnectionId(node.connection_id))?;
            }
            node.attributes(writer, attributes)?;
            writer.attr(&Username(name))?;
            writer.attr(&Realm(REALM))?;
            writer.attr(&Nonce(&nonce))?;
            if chooses {
                writer.attr(&PasswordAlgorithms::SHA256_MD5)?;
                writer.attr(&PasswordAlgorithm::SHA256)?;
                writer.integrity_sha256(&by_sha256)
            } else {
                writer.integrity_sha1(&by_sha1)
            }
        });
        let verdict = self.receive_from(from, worker_of(client), &packet);
        assert_eq!(verdict, Verdict::Handled, "a signed request is answered");
        assert_eq!(self.replies.len(), 1, "once");
        let (to, reply) = self.replies.pop().expect("counted");
        assert_eq!(to, from);
        let answer = Message::parse(&reply).expect("well formed");
        let signed = if chooses {
            by_sha256.verify(&answer)
        } else {
            by_sha1.verify(&answer)
        };
        assert!(
            signed.is_ok(),
            "and the answer is signed by what was chosen"
        );
        if let Ok(Some(ReservationToken(token))) = answer.find() {
            self.token = token;
        }
        if let Ok(Some(MobilityTicket(ticket))) = answer.find() {
            let used = std::mem::replace(&mut self.tickets[user].0, ticket.to_vec());
            self.tickets[user].1 = used;
        }
        for relayed in answer.find_all::<XorRelayedAddress>() {
            let XorRelayedAddress(relayed) = relayed.expect("well formed");
            let open = |(_, addr): &(usize, std::net::SocketAddr)| *addr == relayed;
            let mut all = self.ports.values().chain(self.listening.values());
            assert!(all.any(open), "told what is open");
        }
        if let Ok(Some(ConnectionId(id))) = answer.find() {
            self.connection_id = id;
        }
    }

    /// Sends a Send indication with attributes from the script.
    pub fn send(&mut self, client: u8, attributes: &[u8]) {
        let packet = self.message(Class::Indication, Method::SEND, |node, writer| {
            node.attributes(writer, attributes)
        });
        let verdict = self.receive(client, &packet);
        self.check(&verdict, packet.len());
    }

    /// A nonce that is still good.
    fn nonce(&mut self, client: u8) -> Vec<u8> {
        let minute = self.now.duration_since(self.start).as_secs() / 60;
        if let Some((issued, nonce)) = &self.nonces[usize::from(client)]
            && minute - issued < 60
        {
            return nonce.clone();
        }
        let packet = self.message(Class::Request, Method::ALLOCATE, |_, writer| {
            writer.attr(&RequestedTransport::UDP)
        });
        self.receive(client, &packet);
        let (_, reply) = self
            .replies
            .pop()
            .expect("a stranger is asked for credentials");
        let answer = Message::parse(&reply).expect("well formed");
        let nonce = answer
            .find::<Nonce<'_>>()
            .expect("ok")
            .expect("401 has a nonce")
            .0
            .to_vec();
        self.nonces[usize::from(client)] = Some((minute, nonce.clone()));
        nonce
    }

    fn message(
        &mut self,
        class: Class,
        method: Method,
        attributes: impl FnOnce(&Self, &mut MessageWriter<'_>) -> Result<(), Full>,
    ) -> Vec<u8> {
        self.transactions += 1;
        let mut id = [0; 12];
        id[4..].copy_from_slice(&self.transactions.to_be_bytes());
        let mut out = vec![0; 8192];
        let mut writer =
            MessageWriter::new(&mut out, class, method, TransactionId(id)).expect("fits");
        attributes(self, &mut writer).expect("fits");
        let len = writer.finish();
        out.truncate(len);
        out
    }

    /// Attributes as the script has them: `kind, argument`, and for unusual ones as many bytes.
    fn attributes(&self, writer: &mut MessageWriter<'_>, mut script: &[u8]) -> Result<(), Full> {
        while let [kind, argument, rest @ ..] = script {
            script = rest;
            let argument = *argument;
            match kind {
                0 => writer.attr(&XorPeerAddress(peer_at(argument)))?,
                1 => {
                    let relayed = self.ports.values().nth(usize::from(argument));
                    let relayed = relayed.map_or_else(|| peer_at(10), |(_, addr)| *addr);
                    writer.attr(&XorPeerAddress(relayed))?;
                }
                2 => writer.attr(&ChannelNumber(0x3fff + u16::from(argument)))?,
                3 => writer.attr(&Lifetime(u32::from(argument) * 20))?,
                4 => writer.attr(&RequestedTransport(if argument == 6 { 6 } else { 17 }))?,
                5 => writer.attr(&EvenPort {
                    reserve_next: argument % 2 == 1,
                })?,
                6 => writer.attr(&ReservationToken(self.token))?,
                7 => writer.raw(
                    AttributeType::REQUESTED_ADDRESS_FAMILY,
                    &[argument, 0, 0, 0],
                )?,
                8 => writer.raw(
                    AttributeType::ADDITIONAL_ADDRESS_FAMILY,
                    &[argument, 0, 0, 0],
                )?,
                9 => writer.attr(&Data(&vec![0; usize::from(argument)]))?,
                255 => {
                    let (newest, used) = &self.tickets[usize::from(argument >> 2) % 2];
                    let ticket: &[u8] = match argument % 4 {
                        0 => b"",
                        1 | 2 => newest,
                        _ => used,
                    };
                    writer.attr(&MobilityTicket(ticket))?;
                }
                _ => {
                    let len = usize::from(argument % 32).min(rest.len());
                    let type_ = AttributeType(u16::from(*kind) - 10);
                    // Those end the message.
                    let last = [
                        AttributeType::MESSAGE_INTEGRITY,
                        AttributeType::MESSAGE_INTEGRITY_SHA256,
                        AttributeType::PASSWORD_ALGORITHM,
                        AttributeType::USERNAME,
                        AttributeType::REALM,
                        AttributeType::NONCE,
                        AttributeType::USERHASH,
                    ];
                    if !last.contains(&type_) {
                        writer.raw(type_, &rest[..len])?;
                    }
                    script = &rest[len..];
                }
            }
        }
        Ok(())
    }
}

pub(super) fn worker_of(client: u8) -> usize {
    usize::from(client & 3) / 2
}
