//! Taking the allocation along to another address, port or connection (RFC 8016).
//!
//! The owner opens a socket or a connection and calls [`TurnClient::moved`]. What
//! [`TurnClient::poll_transmit`] gives out from then on belongs on the new path, and answers come in
//! by it; data may go on by the old one until [`Event::Moved`]. A server that refuses leads to a new
//! allocation, with the same options.

use std::time::{Duration, Instant};

use sterna_stun::attr::MobilityTicket;
use sterna_stun::channel_data;
use sterna_stun::message::Message;

use super::TurnClient;
use super::answers::{abandon, find_lifetime};
use super::config::{AllocateOptions, Link};
use super::event::{ClientError, EndReason, Event};
use super::request::Request;

/// What a server gave out to move with; never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Ticket(Box<[u8]>);

impl Ticket {
    /// Reads it from an answer; none where there is none, or an empty one.
    pub(super) fn of(message: &Message<'_>) -> Option<Self> {
        let MobilityTicket(ticket) = message.find().ok()??;
        (!ticket.is_empty()).then(|| Self(ticket.into()))
    }

    pub(super) fn attribute(&self) -> MobilityTicket<'_> {
        MobilityTicket(&self.0)
    }
}

impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ticket({} bytes)", self.0.len())
    }
}

/// What is sent from the new path once the server has agreed: ChannelData of no bytes on a channel
/// that is never bound. It reaches no peer, and makes the server send by the new path from now on
/// (RFC 8016 §3.2.2), also where the client has nothing to say.
pub(super) const ARRIVED: [u8; 4] = channel_data::header(0x4fff, 0);

impl TurnClient {
    /// Takes the allocation along to a new path over `link`, to the same server; answered by
    /// [`Event::Moved`].
    ///
    /// Without a ticket, and when the server refuses, the allocation is [`EndReason::Lost`], and
    /// another one is asked for by the new path: [`Event::Allocated`]. A server that does not answer
    /// leaves it as it is, on the old path.
    ///
    /// # Errors
    /// [`ClientError::NoAllocation`] where there is none to take along.
    pub fn moved(&mut self, now: Instant, link: Link) -> Result<(), ClientError> {
        let allocation = self.living_or_moving()?;
        let lifetime = allocation.options.lifetime;
        let ticket = allocation.ticket.clone();
        allocation.moving = ticket.is_some();
        self.give_up_requests(now);
        let Some(ticket) = ticket else {
            self.allocate_anew(now, link, false);
            return Ok(());
        };
        self.start(
            now,
            Request::Move {
                lifetime,
                ticket,
                link,
            },
        )
    }

    /// What is under way on the old path is not waited for.
    fn give_up_requests(&mut self, now: Instant) {
        let given_up = std::mem::take(&mut self.pending);
        for transaction in given_up {
            if let Some(allocation) = &mut self.allocation {
                abandon(now, allocation, &transaction.request, true);
            }
        }
    }

    /// The server has agreed.
    pub(super) fn has_moved(
        &mut self,
        now: Instant,
        link: Link,
        message: &Message<'_>,
    ) -> Option<()> {
        let lifetime: Duration = find_lifetime(message)?;
        let allocation = self.allocation.as_mut()?;
        // RFC 8016 §3.2.3: the ticket for the next move.
        allocation.ticket = Ticket::of(message);
        allocation.moving = false;
        allocation.refreshed(now, lifetime);
        self.config.link = link;
        self.arrived = true;
        self.events.push_back(Event::Moved { lifetime });
        Some(())
    }

    /// The server has not agreed, or has not answered.
    pub(super) fn has_not_moved(&mut self, now: Instant, request: Request, error: ClientError) {
        let Request::Move { link, .. } = request else {
            return;
        };
        self.events.push_back(Event::Failed { request, error });
        if error == ClientError::TimedOut {
            if let Some(allocation) = &mut self.allocation {
                allocation.moving = false;
            }
        } else {
            self.allocate_anew(now, link, error != ClientError::Refused(405));
        }
    }

    fn allocate_anew(&mut self, now: Instant, link: Link, mobile: bool) {
        let Some(options) = self.allocation.as_ref().map(|living| living.options) else {
            return;
        };
        self.end(EndReason::Lost);
        self.config.link = link;
        let mobile = mobile && options.mobile;
        let request = Request::Allocate(AllocateOptions { mobile, ..options });
        if let Err(error) = self.send(now, request.clone(), 0) {
            self.events.push_back(Event::Failed { request, error });
        }
        self.settle();
    }
}
