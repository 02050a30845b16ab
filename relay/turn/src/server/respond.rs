//! Answers, and the queue of commands that they leave by.

use std::{collections::VecDeque, net::SocketAddr, ops::Range, sync::Arc};

use sterna_stun::{
    attr::{
        AlternateDomain, AlternateServer, ErrorCode, Nonce, Realm, Software,
        ThirdPartyAuthorization, UnknownAttributes,
    },
    message::{Class, Message, Method as StunMethod, TransactionId},
    writer::{Full, MessageWriter},
};

use super::{Lease, Server, authenticate::Credentials, offer::Offer};
use crate::{
    Client, Command, DropReason, Event, Method, Outcome, RelayPort, WorkerId,
    algorithm::{self, AnswerMac},
    alternates::Alternate,
    limits::{ANSWER_BYTES_MAX, INDICATION_BYTES_MAX},
    registry::owners::PortTable,
    tick::Tick,
};

/// What an answer has to know of its request.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Request {
    pub(super) client: Client,
    pub(super) method: StunMethod,
    pub(super) transaction_id: TransactionId,
    /// The request had a FINGERPRINT, so the answer has one (RFC 8489 §7.3).
    pub(super) fingerprint: bool,
    /// How long the request was.
    pub(super) len: usize,
    /// How many bytes the answer may take: more than usual for PADDING only.
    pub(super) room: usize,
}

impl Request {
    pub(super) fn new(client: Client, message: &Message<'_>, fingerprint: bool) -> Self {
        Self {
            client,
            method: message.method(),
            transaction_id: message.transaction_id(),
            fingerprint,
            len: message.bytes().len(),
            room: ANSWER_BYTES_MAX,
        }
    }
}

/// Why an authenticated request is not granted.
#[derive(Clone, Debug)]
pub(super) enum Refusal {
    /// An error response with this code.
    Code(u16),
    /// 420 with the list.
    Unknown(UnknownAttributes),
    /// 300 with the way to another server.
    Elsewhere(Box<Alternate>),
    /// No response from here: another worker has the allocation that the client moves.
    HandOn(WorkerId, Lease),
    /// No response.
    Silent(DropReason),
}

impl Refusal {
    pub(super) const BAD_REQUEST: Self = Self::Code(ErrorCode::BAD_REQUEST);
    pub(super) const FORBIDDEN: Self = Self::Code(ErrorCode::FORBIDDEN);
    pub(super) const MOBILITY_FORBIDDEN: Self = Self::Code(ErrorCode::MOBILITY_FORBIDDEN);
    pub(super) const ALLOCATION_MISMATCH: Self = Self::Code(ErrorCode::ALLOCATION_MISMATCH);
    pub(super) const ADDRESS_FAMILY: Self = Self::Code(ErrorCode::ADDRESS_FAMILY_NOT_SUPPORTED);
    pub(super) const WRONG_CREDENTIALS: Self = Self::Code(ErrorCode::WRONG_CREDENTIALS);
    pub(super) const TRANSPORT: Self = Self::Code(ErrorCode::UNSUPPORTED_TRANSPORT);
    pub(super) const CONNECTION_EXISTS: Self = Self::Code(ErrorCode::CONNECTION_ALREADY_EXISTS);
    pub(super) const CONNECTION_FAILED: Self = Self::Code(ErrorCode::CONNECTION_TIMEOUT_OR_FAILURE);
    pub(super) const PEER_FAMILY: Self = Self::Code(ErrorCode::PEER_ADDRESS_FAMILY_MISMATCH);
    pub(super) const QUOTA: Self = Self::Code(ErrorCode::ALLOCATION_QUOTA_REACHED);
    pub(super) const CAPACITY: Self = Self::Code(ErrorCode::INSUFFICIENT_CAPACITY);
}

impl Server {
    /// Answers with success.
    pub(super) fn succeed(
        &mut self,
        request: &Request,
        credentials: Option<&Credentials>,
        attributes: impl FnOnce(&mut MessageWriter<'_>) -> Result<(), Full>,
    ) {
        let software = self.software(request, credentials.is_some());
        let mac = credentials.map(|credentials| &credentials.mac);
        let len = self.outbox.write(
            request,
            Class::Success,
            mac,
            software.as_deref(),
            attributes,
        );
        self.count_reply(request, Outcome::Success, len);
    }

    /// Answers with an error whose request was authenticated, or needed no authentication.
    pub(super) fn refuse(
        &mut self,
        request: &Request,
        credentials: Option<&Credentials>,
        refusal: &Refusal,
    ) {
        let code = match refusal {
            Refusal::Code(code) => *code,
            Refusal::Unknown(_) => ErrorCode::UNKNOWN_ATTRIBUTE,
            Refusal::Elsewhere(_) => {
                self.counters.redirected += 1;
                ErrorCode::TRY_ALTERNATE
            }
            Refusal::Silent(reason) => {
                self.counters.count_drop(*reason);
                return;
            }
            Refusal::HandOn(..) => return,
        };
        let software = self.software(request, credentials.is_some());
        let mac = credentials.map(|credentials| &credentials.mac);
        let len = self
            .outbox
            .write(request, Class::Error, mac, software.as_deref(), |writer| {
                // No reason phrase: the amplification budget has no room for prose.
                writer.attr(&ErrorCode { code, reason: "" })?;
                match refusal {
                    Refusal::Unknown(unknown) => writer.attr(unknown),
                    Refusal::Elsewhere(alternate) => write_alternate(writer, alternate),
                    Refusal::Code(_) | Refusal::Silent(_) | Refusal::HandOn(..) => Ok(()),
                }
            });
        self.counters.count_error(code);
        self.count_reply(request, Outcome::Error, len);
    }

    /// Answers 401 or 438: with realm, nonce and the choice of password algorithms, so that the
    /// client can try (again).
    pub(super) fn challenge(&mut self, now: Tick, request: &Request, code: u16) {
        let config = Arc::clone(&self.config);
        let Client { addr, server, .. } = request.client;
        let Offer {
            features,
            third_party,
        } = Offer::of(&config, request, code);
        let nonce = config
            .nonce_keys
            .issue(addr, server, self.unix_s(now), features);
        let software = self.software(request, false);
        let len = self
            .outbox
            .write(request, Class::Error, None, software.as_deref(), |writer| {
                writer.attr(&ErrorCode { code, reason: "" })?;
                writer.attr(&Realm(&config.realm))?;
                writer.attr(&Nonce(nonce.as_bytes()))?;
                // RFC 8489 §9.2.4: the attribute and the nonce's bit go together.
                if features.password_algorithms {
                    writer.attr(&algorithm::OFFERED)?;
                }
                if third_party {
                    let name = config.oauth.server_name();
                    writer.attr(&ThirdPartyAuthorization(name))?;
                }
                Ok(())
            });
        self.counters.count_error(code);
        self.count_reply(request, Outcome::Error, len);
    }

    /// SOFTWARE goes where nobody pays for it by amplification: streams and the authenticated.
    fn software(&self, request: &Request, authenticated: bool) -> Option<Box<str>> {
        let affordable = authenticated || request.client.transport.is_stream();
        (affordable && !self.config.software.is_empty()).then(|| self.config.software.clone())
    }

    fn count_reply(&mut self, request: &Request, outcome: Outcome, len: usize) {
        let method = match request.method {
            StunMethod::BINDING => Method::Binding,
            StunMethod::ALLOCATE => Method::Allocate,
            StunMethod::REFRESH => Method::Refresh,
            StunMethod::CREATE_PERMISSION => Method::CreatePermission,
            StunMethod::CONNECT => Method::Connect,
            StunMethod::CONNECTION_BIND => Method::ConnectionBind,
            _ => Method::ChannelBind,
        };
        self.counters.count_message(method, outcome);
        self.counters.reply_bytes += len as u64;
    }
}

fn write_alternate(writer: &mut MessageWriter<'_>, alternate: &Alternate) -> Result<(), Full> {
    writer.attr(&AlternateServer(alternate.server))?;
    if let Some(other) = alternate.other {
        writer.attr(&AlternateServer(other))?;
    }
    match &alternate.domain {
        Some(domain) => writer.attr(&AlternateDomain(domain)),
        None => Ok(()),
    }
}

/// What waits for `poll_command`. The driver empties it after each call.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    queue: VecDeque<Queued>,
    /// The bytes of queued replies, back to back.
    bytes: Vec<u8>,
    /// Connections to let go of when all of that is out: some of it may go by them.
    detached: VecDeque<Client>,
}

#[derive(Debug)]
enum Queued {
    Reply(Client, Range<usize>),
    Release(RelayPort, Arc<PortTable>, u16),
    DropHeld(SocketAddr, Arc<PortTable>),
    CloseListener(RelayPort, Arc<PortTable>, u16),
    Command(Command),
}

impl Outbox {
    /// Queues a command that is none of those below.
    pub(super) fn push(&mut self, command: Command) {
        self.queue.push_back(Queued::Command(command));
    }

    /// Queues letting go of a connection, behind whatever is still said by it.
    pub(super) fn detach(&mut self, client: Client) {
        self.detached.push_back(client);
    }

    /// Queues something worth a line in the log.
    pub(super) fn event(&mut self, event: Event) {
        self.push(Command::Event(event));
    }

    /// Queues the closing of a relay socket; others may claim its port once the driver knows.
    pub(crate) fn release(&mut self, port: RelayPort, table: Arc<PortTable>, number: u16) {
        self.queue.push_back(Queued::Release(port, table, number));
    }

    /// Queues the closing of a TCP listener, likewise.
    pub(crate) fn close_listener(&mut self, port: RelayPort, table: Arc<PortTable>, number: u16) {
        self.queue
            .push_back(Queued::CloseListener(port, table, number));
    }

    /// Queues the closing of a held socket, likewise.
    pub(super) fn drop_held(&mut self, addr: SocketAddr, table: Arc<PortTable>) {
        self.queue.push_back(Queued::DropHeld(addr, table));
    }

    /// Hands out the oldest command; a reply's bytes go to `out`.
    pub(super) fn pop(&mut self, out: &mut [u8]) -> Option<Command> {
        let command = loop {
            let Some(queued) = self.queue.pop_front() else {
                let client = self.detached.pop_front()?;
                return Some(Command::Detach { client });
            };
            match queued {
                Queued::Command(command) => break command,
                Queued::Release(port, table, number) => {
                    table.release(number);
                    break Command::ReleasePort { port };
                }
                Queued::CloseListener(port, table, number) => {
                    table.release(number);
                    break Command::CloseListener { port };
                }
                Queued::DropHeld(addr, table) => {
                    table.release(addr.port());
                    break Command::DropHeldPort { addr };
                }
                Queued::Reply(client, range) => {
                    let len = range.len();
                    let room = out.get_mut(..len);
                    debug_assert!(room.is_some(), "a driver has room for REPLY_BYTES_MAX");
                    // A reply without room is lost like one on the wire: the client asks again.
                    if let Some(room) = room {
                        room.copy_from_slice(&self.bytes[range]);
                        break Command::Reply { client, len };
                    }
                }
            }
        };
        if self.queue.is_empty() {
            self.bytes.clear();
        }
        Some(command)
    }

    /// Writes an indication and queues it. It bears no MAC: long-term credentials sign none
    /// (RFC 8489 §9.2).
    pub(super) fn indicate(
        &mut self,
        client: Client,
        method: StunMethod,
        transaction_id: TransactionId,
        attributes: impl FnOnce(&mut MessageWriter<'_>) -> Result<(), Full>,
    ) {
        let mut out = [0; INDICATION_BYTES_MAX];
        let class = Class::Indication;
        let write = || -> Result<usize, Full> {
            let mut writer = MessageWriter::new(&mut out, class, method, transaction_id)?;
            attributes(&mut writer)?;
            Ok(writer.finish())
        };
        let len = write().expect("invariant: an indication without data fits its room");
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&out[..len]);
        self.queue
            .push_back(Queued::Reply(client, start..start + len));
    }

    /// Writes an answer and queues it; returns its length.
    fn write(
        &mut self,
        request: &Request,
        class: Class,
        mac: Option<&AnswerMac>,
        software: Option<&str>,
        attributes: impl FnOnce(&mut MessageWriter<'_>) -> Result<(), Full>,
    ) -> usize {
        let start = self.bytes.len();
        self.bytes.resize(start + request.room, 0);
        let out = &mut self.bytes[start..];
        let write = || -> Result<usize, Full> {
            let mut writer =
                MessageWriter::new(out, class, request.method, request.transaction_id)?;
            attributes(&mut writer)?;
            software.map_or(Ok(()), |software| writer.attr(&Software(software)))?;
            mac.map_or(Ok(()), |mac| mac.write(&mut writer))?;
            if request.fingerprint {
                writer.fingerprint()?;
            }
            Ok(writer.finish())
        };
        let len = write().expect("invariant: an answer fits into the room that it is given");
        self.bytes.truncate(start + len);
        self.queue
            .push_back(Queued::Reply(request.client, start..start + len));
        len
    }
}
