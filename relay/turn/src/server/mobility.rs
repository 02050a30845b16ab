//! A client that takes its allocation along to another 5-tuple (RFC 8016).
//!
//! An Allocate with an empty MOBILITY-TICKET gets a ticket. A Refresh that shows it, from another
//! address, port, transport or connection, and signed by the same user, adds that 5-tuple to the
//! allocation: make before break. Data for the client goes where it went, and data from there is
//! taken, until the client sends a Send indication or ChannelData from a newer 5-tuple, or closes
//! the connection that it had; then the newer one takes its place, and the ones before it are
//! forgotten.
//!
//! Each move costs the ticket and brings another. The one that was moved with serves for
//! retransmissions only: from the same 5-tuple, for [`TICKET_RETENTION_S`].
//!
//! The allocation counts once for its account and in total, whatever it moves to, and once for a
//! source prefix: that of the 5-tuple that it was last moved to.

use rand::Rng;
use sterna_stun::{
    attr::{AttributeType, MobilityTicket},
    message::{Message, Method},
    ticket::SealedTicket,
};

use super::{
    Lease, Server,
    authenticate::Authenticated,
    respond::{Refusal, Request},
};
use crate::{
    AllocationId, Client, Command, EndReason, Event,
    addr::ClientKey,
    limits::{AWAY_MAX_S, FIVE_TUPLES_WAITING_MAX, TICKET_RETENTION_S, TICKETS_PER_ALLOCATION_MAX},
    registry::{
        mobility::{TicketId, Worth},
        quota::SourcePrefix,
    },
    tick::Tick,
};

/// Marks the place of an allocation in the table of 5-tuples: moved to, and not used yet.
pub(super) const WAITING: u32 = 1 << 31;

/// What an allocation has whose client asked for a ticket.
#[derive(Debug)]
pub(crate) struct Mobility {
    /// To move with.
    ticket: TicketId,
    /// Moved with last.
    former: Option<Former>,
    /// 5-tuples that were moved to and that no data has come from, the newest last.
    waiting: Vec<Place>,
    /// Of the 5-tuple in use, if its packets come by way of another worker.
    lease: Option<Lease>,
    /// The 5-tuple in use is a connection that is gone.
    away: bool,
}

/// A ticket that was moved with.
#[derive(Debug)]
struct Former {
    ticket: TicketId,
    /// The 5-tuple that showed it.
    by: ClientKey,
    until: Tick,
}

const _: () = assert!(
    TICKETS_PER_ALLOCATION_MAX == 2,
    "Mobility::ticket and Mobility::former"
);

/// A 5-tuple, and what its worker sent along, if it is another one.
#[derive(Debug)]
struct Place {
    client: Client,
    lease: Option<Lease>,
}

/// An allocation that a ticket stands for, and that its client may take along.
#[derive(Debug)]
pub(super) enum Claim {
    /// To a 5-tuple that is new.
    Move(usize),
    /// To the one that it has moved to with the same ticket: the answer got lost.
    Again(usize),
}

impl Claim {
    pub(super) const fn index(&self) -> usize {
        match self {
            Self::Move(index) | Self::Again(index) => *index,
        }
    }
}

/// Tells whether a request is a Refresh with a ticket.
pub(super) fn asks_to_move(method: Method, message: &Message<'_>) -> bool {
    method == Method::REFRESH && message.has(AttributeType::MOBILITY_TICKET)
}

// Tickets.
impl Server {
    /// RFC 8016 §3.1.2, §3.2.2: 405 where mobility is forbidden.
    pub(super) fn check_mobility(&self) -> Result<(), Refusal> {
        if self.config.allows_mobility() {
            Ok(())
        } else {
            Err(Refusal::MOBILITY_FORBIDDEN)
        }
    }

    /// What an allocation needs whose client wants a ticket.
    pub(super) fn make_mobile(&mut self, id: AllocationId) -> Box<Mobility> {
        self.counters.allocated_mobile += 1;
        Box::new(Mobility {
            ticket: self.issue_ticket(id),
            former: None,
            waiting: Vec::new(),
            lease: None,
            away: false,
        })
    }

    /// The ticket with which an allocation can be moved next.
    pub(super) fn ticket_of(&self, index: usize) -> Option<SealedTicket> {
        let mobility = self.allocations[index].mobility.as_ref()?;
        self.registry.tickets.seal(mobility.ticket)
    }

    fn issue_ticket(&mut self, id: AllocationId) -> TicketId {
        let rng = &mut self.rng;
        self.registry
            .tickets
            .issue(id, |bytes| rng.fill_bytes(bytes))
    }
}

// A Refresh with a ticket.
impl Server {
    /// Finds the allocation that a ticket stands for, in the order of RFC 8016 §3.2.2.
    pub(super) fn claim(
        &mut self,
        now: Tick,
        request: &Request,
        ticket: MobilityTicket<'_>,
        authenticated: &Authenticated,
    ) -> Result<Claim, Refusal> {
        let claim = self.judge_claim(now, request, ticket, authenticated);
        if matches!(claim, Err(Refusal::Code(_) | Refusal::Silent(_))) {
            self.counters.moves_refused += 1;
        }
        claim
    }

    fn judge_claim(
        &mut self,
        now: Tick,
        request: &Request,
        ticket: MobilityTicket<'_>,
        authenticated: &Authenticated,
    ) -> Result<Claim, Refusal> {
        self.check_mobility()?;
        // RFC 8016 §3.2.2: the ticket is asked, not the 5-tuple; 400 if it is invalid, 437 if there
        // is no allocation any more.
        let (ticket, id) = match self.registry.tickets.judge(ticket) {
            Worth::Allocation(ticket, id) => (ticket, id),
            Worth::Over => return Err(Refusal::ALLOCATION_MISMATCH),
            Worth::Forged => return Err(Refusal::BAD_REQUEST),
        };
        if id.worker() != self.worker {
            return Err(self.claim_elsewhere(now, &request.client, id));
        }
        let index = id.index();
        let allocation = self.allocations.get(index);
        let allocation = allocation
            .filter(|allocation| allocation.id == id && allocation.expires > now)
            .ok_or(Refusal::ALLOCATION_MISMATCH)?;
        let mobility = allocation.mobility.as_ref();
        let mobility = mobility.ok_or(Refusal::ALLOCATION_MISMATCH)?;
        let key = request.client.key();
        if let Some(former) = &mobility.former
            && former.ticket == ticket
        {
            // RFC 8016 §3.2.2: "The old ticket can only be used for the purposes of retransmission."
            let again = former.by == key && former.until > now;
            if !again || self.find(&request.client, now) != Some(index) {
                return Err(Refusal::BAD_REQUEST);
            }
            // RFC 8016 §3.2.2: 441 unless it is the same user.
            return if authenticated.may_take_along(allocation) {
                Ok(Claim::Again(index))
            } else {
                Err(Refusal::WRONG_CREDENTIALS)
            };
        }
        // RFC 8016 §3.2.2: 400 from the very 5-tuple that the ticket was made for.
        let newest = mobility.waiting.last().map(|place| &place.client);
        if !mobility.away && newest.unwrap_or(&allocation.client).key() == key {
            return Err(Refusal::BAD_REQUEST);
        }
        if !authenticated.may_take_along(allocation) {
            return Err(Refusal::WRONG_CREDENTIALS);
        }
        // RFC 8656 §7.2: a 5-tuple has one allocation.
        let taken = self.find(&request.client, now);
        let is_taken = taken.is_some_and(|other| other != index);
        if is_taken || self.is_spoken_for(&request.client) {
            return Err(Refusal::ALLOCATION_MISMATCH);
        }
        Ok(Claim::Move(index))
    }

    /// The allocation is another worker's, which has to decide; here it is only known whether the
    /// 5-tuple is free.
    fn claim_elsewhere(&mut self, now: Tick, client: &Client, id: AllocationId) -> Refusal {
        let owner = self.owner_elsewhere(client);
        let is_taken = self.find(client, now).is_some()
            || self.pending_of(client).is_some()
            || owner.is_some_and(|owner| owner != id.worker());
        if is_taken {
            return Refusal::ALLOCATION_MISMATCH;
        }
        match self.hand_on(client, id.worker()) {
            Ok(lease) => Refusal::HandOn(id.worker(), lease),
            Err(reason) => Refusal::Silent(reason),
        }
    }

    /// The 5-tuple waits for an allocation, or has one that is another worker's.
    fn is_spoken_for(&mut self, client: &Client) -> bool {
        self.pending_of(client).is_some() || self.owner_elsewhere(client).is_some()
    }

    /// Adds the 5-tuple of a request to the allocation that it claims.
    pub(super) fn take_along(
        &mut self,
        now: Tick,
        request: &Request,
        claim: &Claim,
    ) -> Result<(), Refusal> {
        let &Claim::Move(index) = claim else {
            self.counters.moves_repeated += 1;
            return Ok(());
        };
        let client = request.client;
        self.count_for_prefix_of(&client, index)?;
        self.renew_ticket(now, index, &client);
        let lease = self.lease.take();
        let allocation = &mut self.allocations[index];
        let (id, from) = (allocation.id, allocation.client);
        let Some(mobility) = &mut allocation.mobility else {
            return Err(Refusal::ALLOCATION_MISMATCH);
        };
        let mut left = Vec::new();
        let place = u32::try_from(index).expect("invariant: there are fewer sockets than 2^32");
        let away = mobility.away;
        if !away && client.key() == from.key() {
            // Back to where data goes anyway.
            left.append(&mut mobility.waiting);
            mobility.lease = lease;
        } else {
            mobility
                .waiting
                .retain(|waiting| waiting.client.key() != client.key());
            mobility.waiting.push(Place { client, lease });
            if mobility.waiting.len() > FIVE_TUPLES_WAITING_MAX {
                left.push(mobility.waiting.remove(0));
            }
            self.clients.insert(client.key(), place | WAITING);
        }
        self.leave(index, left.into_iter().map(|place| place.client));
        self.counters.moves_granted += 1;
        let to = client;
        self.outbox.event(Event::Moved { id, from, to });
        if away {
            self.arrive(index, &to);
        }
        Ok(())
    }

    /// Lets the allocation count for the source prefix that it moves to: 486 if that is full.
    fn count_for_prefix_of(&mut self, client: &Client, index: usize) -> Result<(), Refusal> {
        let to = SourcePrefix::of(client.addr.ip());
        let allocation = &mut self.allocations[index];
        let places = allocation.relays().count() as u64;
        let holder = &mut allocation.holder;
        let quotas = &self.registry.quotas;
        if quotas
            .move_prefix(holder.prefix, to, places, &self.config.limits)
            .is_err()
        {
            self.counters.allocations_refused_prefix += 1;
            self.counters.moves_refused += 1;
            return Err(Refusal::QUOTA);
        }
        holder.prefix = to;
        Ok(())
    }

    /// RFC 8016 §3.2.2: "The new ticket sent in the refresh response MUST be different from the old
    /// ticket", which is kept for retransmissions.
    fn renew_ticket(&mut self, now: Tick, index: usize, client: &Client) {
        let ticket = self.issue_ticket(self.allocations[index].id);
        let Some(mobility) = &mut self.allocations[index].mobility else {
            return;
        };
        let former = Former {
            ticket: std::mem::replace(&mut mobility.ticket, ticket),
            by: client.key(),
            until: now.plus_s(TICKET_RETENTION_S),
        };
        if let Some(former) = mobility.former.replace(former) {
            self.registry.tickets.revoke(former.ticket);
        }
    }
}

// What makes the break.
impl Server {
    /// The place of the allocation that a client's data is for.
    #[inline]
    pub(super) fn find_sender(&mut self, client: &Client, now: Tick) -> Option<usize> {
        let place = *self.clients.get(&client.key())?;
        let index = (place & !WAITING) as usize;
        if self.allocations[index].expires <= now {
            return None;
        }
        if place & WAITING != 0 {
            self.arrive(index, client);
        }
        Some(index)
    }

    /// Data has come from a 5-tuple that was moved to: from now on data goes there, and the ones
    /// before it are forgotten (RFC 8016 §3.2.2).
    #[cold]
    fn arrive(&mut self, index: usize, client: &Client) {
        let allocation = &mut self.allocations[index];
        let Some(mobility) = &mut allocation.mobility else {
            return;
        };
        let is_it = |place: &Place| place.client.key() == client.key();
        let Some(at) = mobility.waiting.iter().position(is_it) else {
            return;
        };
        let rest = mobility.waiting.split_off(at + 1);
        let mut before = std::mem::replace(&mut mobility.waiting, rest);
        let Some(new) = before.pop() else { return };
        mobility.lease = new.lease;
        let was_away = std::mem::take(&mut mobility.away);
        let old = std::mem::replace(&mut allocation.client, new.client);
        let old = (!was_away).then_some(old);
        if let Some(place) = self.clients.get_mut(&new.client.key()) {
            *place &= !WAITING;
        }
        self.leave(
            index,
            old.into_iter()
                .chain(before.into_iter().map(|place| place.client)),
        );
        self.counters.moves_completed += 1;
    }

    /// Forgets 5-tuples that were moved away from.
    fn leave(&mut self, index: usize, clients: impl IntoIterator<Item = Client>) {
        for client in clients {
            self.forget_client(index, &client);
            if client.transport.is_stream() {
                self.outbox.detach(client);
            }
        }
    }

    /// Forgets that a 5-tuple has this allocation; it may have another one meanwhile.
    fn forget_client(&mut self, index: usize, client: &Client) {
        let place = self.clients.get(&client.key());
        if place.is_some_and(|place| (place & !WAITING) as usize == index) {
            self.clients.remove(&client.key());
        }
    }

    /// A connection is gone. The allocation goes on if it was moved, and waits a while for a client
    /// that has a ticket.
    pub(super) fn stream_closed(&mut self, now: Tick, client: &Client) {
        self.abandon_pending(client);
        if self.tell_closed(client) {
            return;
        }
        let Some(&place) = self.clients.get(&client.key()) else {
            return;
        };
        let index = (place & !WAITING) as usize;
        let allows = self.config.allows_mobility();
        let allocation = &mut self.allocations[index];
        let Some(mobility) = &mut allocation.mobility else {
            self.end(index, EndReason::StreamClosed);
            return;
        };
        if place & WAITING != 0 {
            mobility
                .waiting
                .retain(|place| place.client.key() != client.key());
            self.leave(index, [*client]);
        } else if let Some(next) = mobility.waiting.first() {
            // RFC 8016 §3.2.2: so does "a message from the client to close the old connection".
            let next = next.client;
            self.arrive(index, &next);
        } else if allows {
            mobility.away = true;
            mobility.lease = None;
            allocation.shorten(now.plus_s(AWAY_MAX_S));
            self.timers.set(index, allocation.next_end());
            self.leave(index, [*client]);
        } else {
            self.end(index, EndReason::StreamClosed);
        }
    }

    /// What ends with an allocation: tickets, 5-tuples, and connections if it was decided here.
    pub(super) fn end_mobility(
        &mut self,
        index: usize,
        client: &Client,
        mobility: Option<Box<Mobility>>,
        decided_here: bool,
    ) {
        self.forget_client(index, client);
        let waiting = mobility
            .as_ref()
            .map_or(&[][..], |mobility| &mobility.waiting);
        let waiting: Vec<Client> = waiting.iter().map(|place| place.client).collect();
        if decided_here {
            for &client in std::iter::once(client).chain(&waiting) {
                if client.transport.is_stream() {
                    self.outbox.push(Command::CloseStream { client });
                }
            }
        }
        let Some(mobility) = mobility else { return };
        self.registry.tickets.revoke(mobility.ticket);
        if let Some(former) = &mobility.former {
            self.registry.tickets.revoke(former.ticket);
        }
        self.leave(index, waiting);
        if mobility.lease.is_some() && client.transport.is_stream() {
            self.outbox.detach(*client);
        }
    }
}

#[cfg(test)]
mod tests;
