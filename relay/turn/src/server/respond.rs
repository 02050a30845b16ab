//! Answers, and the queue of commands that they leave by.

use std::{collections::VecDeque, net::SocketAddr, ops::Range, sync::Arc};

use sterna_stun::{
    attr::{ErrorCode, Nonce, Realm, Software, UnknownAttributes},
    message::{Class, Message, Method as StunMethod, TransactionId},
    writer::{Full, MessageWriter},
};

use super::{Server, authenticate::Credentials};
use crate::{
    Client, Command, DropReason, Event, Method, Outcome, RelayPort,
    algorithm::{self, AnswerMac},
    limits::ANSWER_BYTES_MAX,
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
    fingerprint: bool,
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
    /// No response.
    Silent(DropReason),
}

impl Refusal {
    pub(super) const BAD_REQUEST: Self = Self::Code(ErrorCode::BAD_REQUEST);
    pub(super) const FORBIDDEN: Self = Self::Code(ErrorCode::FORBIDDEN);
    pub(super) const ALLOCATION_MISMATCH: Self = Self::Code(ErrorCode::ALLOCATION_MISMATCH);
    pub(super) const ADDRESS_FAMILY: Self = Self::Code(ErrorCode::ADDRESS_FAMILY_NOT_SUPPORTED);
    pub(super) const WRONG_CREDENTIALS: Self = Self::Code(ErrorCode::WRONG_CREDENTIALS);
    pub(super) const TRANSPORT: Self = Self::Code(ErrorCode::UNSUPPORTED_TRANSPORT);
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
        let (code, unknown) = match refusal {
            Refusal::Code(code) => (*code, None),
            Refusal::Unknown(unknown) => (ErrorCode::UNKNOWN_ATTRIBUTE, Some(unknown)),
            Refusal::Silent(reason) => {
                self.counters.count_drop(*reason);
                return;
            }
        };
        let software = self.software(request, credentials.is_some());
        let mac = credentials.map(|credentials| &credentials.mac);
        let len = self
            .outbox
            .write(request, Class::Error, mac, software.as_deref(), |writer| {
                // No reason phrase: the amplification budget has no room for prose.
                writer.attr(&ErrorCode { code, reason: "" })?;
                unknown.map_or(Ok(()), |unknown| writer.attr(unknown))
            });
        self.counters.count_error(code);
        self.count_reply(request, Outcome::Error, len);
    }

    /// Answers 401 or 438: with realm, nonce and the choice of password algorithms, so that the
    /// client can try (again).
    pub(super) fn challenge(&mut self, now: Tick, request: &Request, code: u16) {
        let config = Arc::clone(&self.config);
        let Client {
            addr,
            server,
            transport,
            ..
        } = request.client;
        let features = config.features(transport);
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
            _ => Method::ChannelBind,
        };
        self.counters.count_message(method, outcome);
        self.counters.reply_bytes += len as u64;
    }
}

/// What waits for `poll_command`. The driver empties it after each call.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    queue: VecDeque<Queued>,
    /// The bytes of queued replies, back to back.
    bytes: Vec<u8>,
}

#[derive(Debug)]
enum Queued {
    Reply(Client, Range<usize>),
    Release(RelayPort, Arc<PortTable>, u16),
    DropHeld(SocketAddr, Arc<PortTable>),
    Command(Command),
}

impl Outbox {
    /// Queues a command that is none of those below.
    pub(super) fn push(&mut self, command: Command) {
        self.queue.push_back(Queued::Command(command));
    }

    /// Queues something worth a line in the log.
    pub(super) fn event(&mut self, event: Event) {
        self.push(Command::Event(event));
    }

    /// Queues the closing of a relay socket; others may claim its port once the driver knows.
    pub(super) fn release(&mut self, port: RelayPort, table: Arc<PortTable>, number: u16) {
        self.queue.push_back(Queued::Release(port, table, number));
    }

    /// Queues the closing of a held socket, likewise.
    pub(super) fn drop_held(&mut self, addr: SocketAddr, table: Arc<PortTable>) {
        self.queue.push_back(Queued::DropHeld(addr, table));
    }

    /// Hands out the oldest command; a reply's bytes go to `out`.
    pub(super) fn pop(&mut self, out: &mut [u8]) -> Option<Command> {
        let command = loop {
            match self.queue.pop_front()? {
                Queued::Command(command) => break command,
                Queued::Release(port, table, number) => {
                    table.release(number);
                    break Command::ReleasePort { port };
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
