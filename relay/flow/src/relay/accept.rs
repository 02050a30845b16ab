//! HELLO and INIT: who may come in.
//!
//! Work is done in the order of its cost: a MAC for HELLO and for INIT's cookie, then two rate
//! limits, then Diffie-Hellman, then one signature. Nothing is stored before all of it has passed.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use rand::Rng;
use sterna_control_api::{Ticket, TicketError};

use super::Relay;
use super::notices::Notices;
use super::session::{Drops, Rates, Session, Stage, Stored};
use super::watch::Watch;
use crate::directory::SessionRef;
use crate::frame::{self, COOKIE_BYTES, NONCE_BYTES};
use crate::limits::{COOKIE_LIFETIME_S, EMBRYO_LIFETIME, EMBRYOS_PER_DEVICE_MAX, SESSION_IDLE};
use crate::message::{InitPayload, Welcome, WelcomePayload};
use crate::noise::{self, Binding, Keys};
use crate::time::Tick;
use crate::{DropReason, Event, Link, Refusal, Rung, Traffic, Verdict};

/// What INIT says besides its Noise message.
type InitHead = (Rung, [u8; NONCE_BYTES], [u8; COOKIE_BYTES]);

/// Who asks to come in, and how it is reached.
#[derive(Copy, Clone, Debug)]
struct Caller {
    link: Link,
    rung: Rung,
    addr: SocketAddr,
    payload_max: u16,
    nonce: [u8; NONCE_BYTES],
}

impl Relay {
    pub(super) fn hello(
        &mut self,
        instant: Instant,
        now: Tick,
        link: Link,
        nonce: &[u8; NONCE_BYTES],
    ) -> Result<Verdict, DropReason> {
        let Link::Udp { listener, addr } = link else {
            return Err(DropReason::Unexpected);
        };
        if addr.port() == 0 {
            return Err(DropReason::SourcePortZero);
        }
        if !self
            .hellos
            .take(now, addr, self.config.limits.hellos_per_prefix_per_s)
        {
            return Err(DropReason::HelloRate);
        }
        if self.takes_nobody() {
            self.refuse_in_clear(link, Rung::Udp, nonce, Refusal::Draining);
            return Ok(Verdict::Handled);
        }
        let uptime_s = self.directory.uptime_s(instant);
        let cookie = self
            .directory
            .cookies
            .issue(uptime_s, listener, addr, nonce);
        self.counters.cookies += 1;
        self.outbox
            .send(link, frame::cookie(nonce, &cookie).to_vec());
        Ok(Verdict::Handled)
    }

    pub(super) fn init(
        &mut self,
        instant: Instant,
        now: Tick,
        link: Link,
        (rung, nonce, cookie): InitHead,
        noise: &[u8],
    ) -> Result<Verdict, DropReason> {
        let (caller, binding) = self.caller(instant, link, (rung, nonce, cookie))?;
        if self.repeat_welcome(now, &caller, noise) {
            return Ok(Verdict::Handled);
        }
        let limits = &self.config.limits;
        if !self
            .handshakes
            .take(now, caller.addr, limits.handshakes_per_prefix_per_s)
        {
            return Err(DropReason::HandshakeRate);
        }
        let all = u64::from(limits.handshakes_per_s);
        if !self
            .handshakes_all
            .take(now, 1, all, Duration::from_secs(1))
        {
            self.refuse_in_clear(link, rung, &nonce, Refusal::Busy);
            return Ok(Verdict::Handled);
        }
        if self.takes_nobody() {
            self.refuse_in_clear(link, rung, &nonce, Refusal::Draining);
            return Ok(Verdict::Handled);
        }
        let mut seed = [0; 32];
        self.rng.fill_bytes(&mut seed);
        let bound = (rung, &nonce, &binding);
        let Ok(responder) = noise::respond(seed, &self.config.secret, bound, noise) else {
            self.refuse_in_clear(link, rung, &nonce, Refusal::Handshake);
            return Ok(Verdict::Handled);
        };
        match self.admit(instant, &responder) {
            Ok((ticket, payload_max)) => {
                self.welcome(now, &caller, ticket, payload_max, responder, noise);
            }
            Err(refusal) => {
                self.refuse_sealed(&caller, responder, refusal);
            }
        }
        Ok(Verdict::Handled)
    }

    fn takes_nobody(&self) -> bool {
        self.draining.is_some() || self.cordoned
    }

    /// Checks what can be checked without cryptography of public keys.
    fn caller(
        &self,
        instant: Instant,
        link: Link,
        (rung, nonce, cookie): InitHead,
    ) -> Result<(Caller, Binding), DropReason> {
        match link {
            Link::Udp { listener, addr } => {
                if rung != Rung::Udp {
                    return Err(DropReason::Unexpected);
                }
                let uptime_s = self.directory.uptime_s(instant);
                let cookies = &self.directory.cookies;
                if !cookies.check(uptime_s, listener, addr, &nonce, &cookie) {
                    return Err(DropReason::Cookie);
                }
                let payload_max = self.config.udp_payload_max;
                let caller = Caller {
                    link,
                    rung,
                    addr,
                    payload_max,
                    nonce,
                };
                Ok((caller, Binding::Cookie(cookie)))
            }
            Link::Stream(id) => {
                let stream = self.streams.get(&id).ok_or(DropReason::NoSession)?;
                // One session a connection; what the device believes to be on must be so.
                if stream.session.is_some() || stream.rung != rung {
                    return Err(DropReason::Unexpected);
                }
                let (addr, payload_max) = (stream.addr, stream.payload_max);
                let caller = Caller {
                    link,
                    rung,
                    addr,
                    payload_max,
                    nonce,
                };
                Ok((caller, Binding::Exporter(stream.exporter)))
            }
        }
    }

    /// A repeated INIT gets the WELCOME that it got before, and creates nothing.
    fn repeat_welcome(&mut self, now: Tick, caller: &Caller, noise: &[u8]) -> bool {
        let slot = self.by_nonce.get(&caller.nonce).copied();
        let session = slot.and_then(|slot| self.sessions.get(slot as usize));
        let stored = session.and_then(|session| session.stored.as_deref());
        let Some(stored) = stored.filter(|stored| stored.noise == noise && stored.until > now)
        else {
            return false;
        };
        // To the address that the cookie was checked for: it proved itself just now.
        self.outbox.send(caller.link, stored.welcome.clone());
        self.counters.welcomes_repeated += 1;
        true
    }

    /// Checks who the caller is, and what it may do.
    fn admit(
        &self,
        instant: Instant,
        responder: &noise::Responder,
    ) -> Result<(Ticket, u16), Refusal> {
        let payload = InitPayload::parse(&responder.payload).ok_or(Refusal::TicketMalformed)?;
        let unix_s = self.config.epoch.unix_s(instant);
        let ticket = self.verify(payload.ticket, unix_s)?;
        if ticket.relay_key != responder.relay_key {
            return Err(Refusal::NotTheHolder);
        }
        if self.directory.is_revoked(&ticket) {
            return Err(Refusal::Revoked);
        }
        Ok((ticket, payload.payload_max))
    }

    /// Verifies a ticket; a device that is here already is known, and gets the grace.
    pub(super) fn verify(&self, ticket: &[u8], unix_s: u64) -> Result<Ticket, Refusal> {
        let config = &self.config;
        let verify =
            |grace_s| Ticket::verify(ticket, &config.ticket_keys, &config.fleet, unix_s, grace_s);
        match verify(0) {
            Err(TicketError::Expired) if config.grace_s > 0 => {
                let ticket = verify(config.grace_s)?;
                let known = self.directory.knows(ticket.tenant, ticket.device_key);
                if known {
                    Ok(ticket)
                } else {
                    Err(Refusal::TicketExpired)
                }
            }
            outcome => Ok(outcome?),
        }
    }

    fn welcome(
        &mut self,
        now: Tick,
        caller: &Caller,
        ticket: Ticket,
        payload_max: u16,
        responder: noise::Responder,
        noise: &[u8],
    ) {
        let limits = &self.config.limits;
        let (total, tenant) = (limits.sessions_max, limits.sessions_per_tenant_max);
        let embryos = self.embryos.get(&ticket.device_key).copied().unwrap_or(0);
        let is_busy = embryos >= EMBRYOS_PER_DEVICE_MAX
            || !self.directory.admit(ticket.tenant, total, tenant);
        if is_busy {
            return self.refuse_sealed(caller, responder, Refusal::Busy);
        }
        let rates = Rates::new(&ticket, limits);
        let mut random = [0; 8];
        self.rng.fill_bytes(&mut random);
        let id = self.config.layout.session_id(self.shard, random);
        let welcome = Welcome {
            session: id,
            node: self.config.node,
            observed: caller.addr,
            payload_max: caller.payload_max,
            flows: u16::try_from(rates.flows_max).unwrap_or(u16::MAX),
            bytes_per_s: rates.bytes_per_s,
            packets_per_s: rates.packets_per_s,
            idle_s: u16::try_from(SESSION_IDLE.as_secs()).unwrap_or(u16::MAX),
            expires: ticket.expires,
        };
        let payload = WelcomePayload::Accepted(welcome).to_bytes();
        let Ok((message, keys)) = responder.finish(&payload) else {
            debug_assert!(false, "a message 1 that opened can be answered");
            self.directory.leave(ticket.tenant);
            return;
        };
        let frame = frame::welcome(caller.rung, &caller.nonce, &message);
        let stored = Stored {
            nonce: caller.nonce,
            noise: noise.to_vec(),
            welcome: frame.clone(),
            until: now.plus(Duration::from_secs(COOKIE_LIFETIME_S + 1)),
        };
        self.insert(now, caller, ticket, payload_max, (id, keys, rates), stored);
        self.counters.welcomes += 1;
        self.outbox.send(caller.link, frame);
    }

    fn insert(
        &mut self,
        now: Tick,
        caller: &Caller,
        ticket: Ticket,
        payload_max: u16,
        (id, keys, rates): (crate::SessionId, Keys, Rates),
        stored: Stored,
    ) {
        let entry = self.sessions.vacant_entry();
        let slot = u32::try_from(entry.key()).expect("invariant: fewer sessions than 2^32");
        let deadline = now.plus(EMBRYO_LIFETIME);
        self.by_nonce.insert(stored.nonce, slot);
        entry.insert(Session {
            me: SessionRef {
                shard: self.shard,
                id,
                slot,
            },
            link: caller.link,
            rung: caller.rung,
            keys,
            ticket,
            stage: Stage::Embryo,
            is_ready: false,
            watch: Watch::Off,
            order: 0,
            began: now,
            last_valid: now,
            payload_max: payload_max.min(caller.payload_max),
            device_payload_max: payload_max,
            rates,
            ends: HashMap::with_hasher(FixedState::with_seed(self.rng.next_u64())),
            notices: Notices::default(),
            challenge: None,
            stored: Some(Box::new(stored)),
            traffic: Traffic::default(),
            drops: Drops::default(),
            sojourn_p95_us: 0,
            deadline,
        });
        self.by_id.insert(id, slot);
        *self.embryos.entry(ticket.device_key).or_default() += 1;
        self.timers.insert((deadline, slot));
        if let Link::Stream(id) = caller.link
            && let Some(stream) = self.streams.get_mut(&id)
        {
            stream.session = Some(slot);
        }
    }

    /// Refuses under the keys that message 1 has agreed.
    fn refuse_sealed(&mut self, caller: &Caller, responder: noise::Responder, refusal: Refusal) {
        let text = refusal.describe().trim().to_owned();
        let payload = WelcomePayload::Refused {
            refusal: Some(refusal),
            text,
        };
        if let Ok((message, _)) = responder.finish(&payload.to_bytes()) {
            let frame = frame::welcome(caller.rung, &caller.nonce, &message);
            self.outbox.send(caller.link, frame);
        }
        self.refused(caller.link, caller.rung, refusal);
    }

    /// Refuses where no keys are agreed. The answer is shorter than HELLO and than INIT.
    fn refuse_in_clear(
        &mut self,
        link: Link,
        rung: Rung,
        nonce: &[u8; NONCE_BYTES],
        refusal: Refusal,
    ) {
        self.outbox.send(
            link,
            frame::refused(refusal.byte(), nonce, refusal.as_str()),
        );
        self.refused(link, rung, refusal);
    }

    /// A refused connection is of no use any more.
    fn refused(&mut self, link: Link, rung: Rung, refusal: Refusal) {
        if let Link::Stream(stream) = link {
            self.outbox.close_stream(stream);
        }
        self.counters.count_refusal(refusal);
        self.outbox.event(Event::Refused { rung, refusal });
    }
}
