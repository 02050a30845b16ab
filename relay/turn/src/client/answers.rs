//! What the server's answers change.

use std::time::{Duration, Instant};

use sterna_stun::attr::{
    AddressErrorCode, AddressFamily, ErrorCode, Lifetime, ReservationToken, XorMappedAddress,
    XorRelayedAddress,
};
use sterna_stun::message::{Class, Message, Method};

use super::TurnClient;
use super::auth;
use super::config::AllocateOptions;
use super::data;
use super::event::{Allocated, ClientError, EndReason, Event, Ignored, Received};
use super::limits::STALE_NONCES_MAX;
use super::mobility::Ticket;
use super::request::Request;
use super::transaction::Transaction;
use super::upkeep::{Allocation, Upkeep};

impl TurnClient {
    /// Takes in one STUN message.
    pub(super) fn handle_message(&mut self, now: Instant, packet: &[u8]) -> Received {
        let Ok(message) = Message::parse(packet) else {
            return Received::Ignored(Ignored::Malformed);
        };
        match message.class() {
            Class::Indication if message.method() == Method::DATA => {
                data::receive_indication(&message, self.allocation.as_ref())
            }
            Class::Indication => self.receive_attempt(&message),
            Class::Request => Received::Ignored(Ignored::Unexpected),
            Class::Success | Class::Error => self.handle_answer(now, &message),
        }
    }

    fn handle_answer(&mut self, now: Instant, message: &Message<'_>) -> Received {
        let is_asked = |waiting: &Transaction| {
            waiting.id == message.transaction_id() && waiting.request.method() == message.method()
        };
        let Some(index) = self.pending.iter().position(is_asked) else {
            return Received::Ignored(Ignored::UnknownTransaction);
        };
        let code = match message.class() {
            Class::Error => Some(error_code(message)),
            _ => None,
        };
        if !self.is_credible(&self.pending[index], code, message) {
            return Received::Ignored(Ignored::Unproven);
        }
        let transaction = self.pending.swap_remove(index);
        match code {
            None => {
                if transaction.request.method() == Method::REFRESH {
                    self.auth.granted(transaction.signed.as_ref());
                }
                self.succeeded(now, transaction.request, message);
            }
            Some(code) => self.refused(now, transaction, code, message),
        }
        self.settle();
        Received::Answer
    }

    /// Whether an answer may be believed (RFC 8489 §9.2.5).
    fn is_credible(
        &self,
        transaction: &Transaction,
        code: Option<u16>,
        message: &Message<'_>,
    ) -> bool {
        if matches!(code, Some(401 | 438)) {
            return true;
        }
        // "if the NONCE attribute starts with the "nonce cookie" with the STUN Security Feature
        // "Password algorithms" bit set to 1 but PASSWORD-ALGORITHMS is not present, the response
        // MUST be ignored."
        if auth::lacks_its_offer(message) {
            return false;
        }
        match &transaction.signed {
            Some(challenge) => !code.is_none_or(must_be_proven) || challenge.is_proven(message),
            // A 400 without integrity "MUST be discarded, as if it were never received", also one
            // to the first request.
            None => {
                let unsigned =
                    !transaction.request.is_authenticated() || !self.auth.has_credentials();
                code != Some(400) || unsigned
            }
        }
    }

    fn succeeded(&mut self, now: Instant, request: Request, message: &Message<'_>) {
        let done = match &request {
            Request::Binding => self.mapped(message),
            Request::Allocate(options) => self.allocated(now, *options, message),
            Request::Refresh { lifetime, family } => {
                self.refreshed(now, *lifetime, *family, message)
            }
            Request::Move { link, .. } => self.has_moved(now, *link, message),
            Request::CreatePermission { peers } => {
                if let Some(allocation) = &mut self.allocation
                    && allocation.permissions.grant(now, peers)
                {
                    let peers = peers.clone();
                    self.events.push_back(Event::Permitted { peers });
                }
                Some(())
            }
            Request::ChannelBind { number, peer } => {
                if let Some(allocation) = &mut self.allocation
                    && allocation.channels.bound(now, *number)
                {
                    let (number, peer) = (*number, *peer);
                    self.events.push_back(Event::ChannelBound { number, peer });
                }
                Some(())
            }
            Request::Connect { peer } => self.connected(*peer, message),
            Request::ConnectionBind { connection_id } => {
                let connection_id = *connection_id;
                self.events
                    .push_back(Event::ConnectionBound { connection_id });
                Some(())
            }
        };
        if done.is_none() {
            self.fail(now, request, ClientError::BadAnswer);
        }
    }

    fn mapped(&mut self, message: &Message<'_>) -> Option<()> {
        let XorMappedAddress(addr) = message.find().ok()??;
        self.events.push_back(Event::Mapped { addr });
        Some(())
    }

    fn allocated(
        &mut self,
        now: Instant,
        options: AllocateOptions,
        message: &Message<'_>,
    ) -> Option<()> {
        let mut relayed = message.find_all::<XorRelayedAddress>();
        let XorRelayedAddress(first) = relayed.next()?.ok()?;
        let second = relayed.next().transpose().ok()?;
        let second = second.map(|XorRelayedAddress(second)| second);
        // RFC 8656 §7.3: one of each family, or one.
        if second.is_some_and(|second| second.is_ipv4() == first.is_ipv4()) {
            return None;
        }
        let refused = message.find::<AddressErrorCode<'_>>().ok()?;
        let XorMappedAddress(mapped) = message.find().ok()??;
        let lifetime = find_lifetime(message)?;
        let token = message.find::<ReservationToken>().ok()?;
        let mut allocation = Allocation::new(now, first, second, options, lifetime);
        // RFC 8016 §3.1.3: stored until it is needed.
        allocation.ticket = Ticket::of(message).filter(|_| options.mobile);
        let is_mobile = allocation.ticket.is_some();
        self.allocation = Some(allocation);
        self.events.push_back(Event::Allocated(Allocated {
            relayed: first,
            relayed_second: second,
            refused: refused.map(|refused| (refused.family, refused.code)),
            mapped,
            lifetime,
            reservation_token: token.map(|ReservationToken(token)| token),
            is_mobile,
        }));
        Some(())
    }

    fn refreshed(
        &mut self,
        now: Instant,
        asked: Option<Duration>,
        family: Option<AddressFamily>,
        message: &Message<'_>,
    ) -> Option<()> {
        if asked == Some(Duration::ZERO) {
            self.released(family);
            return Some(());
        }
        let lifetime = find_lifetime(message)?;
        if let Some(allocation) = &mut self.allocation {
            allocation.refreshed(now, lifetime);
            self.events.push_back(Event::Refreshed { lifetime });
        }
        Some(())
    }

    /// What was to be given back is gone: one half, if that was asked and there is another one.
    fn released(&mut self, family: Option<AddressFamily>) {
        let allocation = self.allocation.as_mut();
        let half = allocation.and_then(|allocation| allocation.split_off(family?));
        match half {
            Some(relayed) => self.events.push_back(Event::HalfEnded { relayed }),
            None => self.end(EndReason::Released),
        }
    }

    fn refused(
        &mut self,
        now: Instant,
        transaction: Transaction,
        code: u16,
        message: &Message<'_>,
    ) {
        let Transaction {
            request,
            signed,
            stale_nonces,
            ..
        } = transaction;
        // Whoever can be asked for credentials follows nobody who has not shown that he knows them.
        let is_sure = signed.is_some() || !self.auth.has_credentials();
        if let (300, true, Request::Allocate(options)) = (code, is_sure, &request) {
            self.redirected(now, *options, message);
            return;
        }
        if let (405, Request::Allocate(options)) = (code, &request)
            && options.mobile
        {
            // RFC 8016 §3.1.4: not again with MOBILITY-TICKET.
            let plain = Request::Allocate(AllocateOptions {
                mobile: false,
                ..*options
            });
            if let Err(error) = self.send(now, plain, stale_nonces) {
                self.fail(now, request, error);
            }
            return;
        }
        let again = match code {
            // RFC 8489 §9.2.5: a 401 to a request that carried these credentials ends the attempt.
            401 if stale_nonces < STALE_NONCES_MAX && self.auth.has_moved_on(signed.as_deref()) => {
                Ok(stale_nonces + 1)
            }
            401 if signed.is_some() => Err(ClientError::Unauthorized),
            401 => self.auth.adopt(message).map(|()| stale_nonces),
            438 if stale_nonces >= STALE_NONCES_MAX => Err(ClientError::StaleNonces),
            438 => self.auth.adopt(message).map(|()| stale_nonces + 1),
            code => Err(ClientError::Refused(code)),
        };
        let sent = again.and_then(|stale_nonces| self.send(now, request.clone(), stale_nonces));
        if let Err(error) = sent {
            self.fail(now, request, error);
        }
    }

    /// Draws the consequences of a request that came to nothing, and reports it.
    pub(super) fn fail(&mut self, now: Instant, request: Request, error: ClientError) {
        if matches!(request, Request::Move { .. }) {
            self.has_not_moved(now, request, error);
            return;
        }
        let is_allocate = matches!(
            request,
            Request::Allocate(_) | Request::Binding | Request::ConnectionBind { .. }
        );
        let is_release = matches!(
            request,
            Request::Refresh {
                lifetime: Some(Duration::ZERO),
                family: None,
            }
        );
        if let Request::Refresh {
            lifetime: Some(Duration::ZERO),
            family: family @ Some(_),
        } = request
            && error == ClientError::Refused(443)
        {
            // The half was given back by a request whose answer was lost.
            self.released(family);
            return;
        }
        let is_lost = error == ClientError::Refused(437) && !is_allocate;
        if let Some(allocation) = &mut self.allocation {
            abandon(now, allocation, &request, error == ClientError::TimedOut);
        }
        if !(is_release && is_lost) {
            self.events.push_back(Event::Failed { request, error });
        }
        if is_release {
            self.end(EndReason::Released);
        } else if is_lost {
            self.end(EndReason::Lost);
        }
    }

    /// Forgets the allocation and what was asked for it.
    pub(super) fn end(&mut self, reason: EndReason) {
        if self.allocation.take().is_some() {
            self.pending
                .retain(|waiting| matches!(waiting.request, Request::Binding));
            self.events.push_back(Event::Ended(reason));
        }
    }
}

/// What becomes of the item that the failed request was to keep: one that was not answered is asked
/// for again, one that was refused is over.
pub(super) fn abandon(
    now: Instant,
    allocation: &mut Allocation,
    request: &Request,
    timed_out: bool,
) {
    let upkeep = if timed_out {
        Upkeep::unanswered(now)
    } else {
        Upkeep::Over
    };
    match request {
        Request::Binding
        | Request::Allocate(_)
        | Request::Move { .. }
        | Request::Connect { .. }
        | Request::ConnectionBind { .. } => {}
        // The other half is there, and so is this one as far as anybody knows.
        Request::Refresh {
            family: Some(_), ..
        } => {}
        Request::Refresh { .. } => allocation.upkeep = upkeep,
        Request::CreatePermission { peers } if timed_out => {
            if let Some(set) = allocation.permissions.find(peers) {
                set.upkeep = upkeep;
            }
        }
        Request::CreatePermission { peers } => allocation.permissions.revoke(peers),
        Request::ChannelBind { number, .. } => match allocation.channels.find(*number) {
            Some(channel) if timed_out && channel.is_bound => channel.upkeep = upkeep,
            _ => allocation.channels.refused(*number),
        },
    }
}

pub(super) fn find_lifetime(message: &Message<'_>) -> Option<Duration> {
    let Lifetime(seconds) = message.find().ok()??;
    Some(Duration::from_secs(u64::from(seconds)))
}

/// The code of an error answer; one that has none is as good as a 500.
fn error_code(message: &Message<'_>) -> u16 {
    message
        .find::<ErrorCode<'_>>()
        .ok()
        .flatten()
        .map_or(500, |error| error.code)
}

/// Whether an error answer to a signed request must itself be signed. The checks that lead to these
/// three come before the server knows the user's key (RFC 8489 §6.3.1 and §9.2.4), as do those that
/// lead to 400; but a 400 that is not signed is to be discarded (§9.2.5).
fn must_be_proven(code: u16) -> bool {
    !matches!(code, 401 | 420 | 438)
}
