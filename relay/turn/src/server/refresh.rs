//! Refresh (RFC 8656 §8.2), also from another 5-tuple (RFC 8016 §3.2.2, in `mobility`).

use sterna_stun::{
    attr::{AddressFamily, AttributeError, Lifetime, MobilityTicket, RequestedAddressFamily},
    message::Message,
};

use super::{
    Server,
    authenticate::Authenticated,
    respond::{Refusal, Request},
};
use crate::{EndReason, Event, limits::LIFETIME_DEFAULT_S, tick::Tick};

impl Server {
    pub(super) fn refresh(
        &mut self,
        now: Tick,
        request: &Request,
        message: &Message<'_>,
        authenticated: &Authenticated,
    ) -> Result<(), Refusal> {
        let ticket = message
            .find::<MobilityTicket<'_>>()
            .map_err(|_| Refusal::BAD_REQUEST)?;
        let claim = match ticket {
            Some(ticket) => Some(self.claim(now, request, ticket, authenticated)?),
            None => None,
        };
        let index = match &claim {
            Some(claim) => claim.index(),
            None => self.find_own(now, request, authenticated)?,
        };
        let family = match message.find::<RequestedAddressFamily>() {
            Ok(family) => family,
            // A family that nobody has heard of is not the allocation's either.
            Err(AttributeError::Family) => return Err(Refusal::PEER_FAMILY),
            Err(_) => return Err(Refusal::BAD_REQUEST),
        };
        let family = family.map(|RequestedAddressFamily(family)| family);
        // RFC 8656 §8.2: 443 for a family that the allocation does not have.
        if family.is_some_and(|family| !self.allocations[index].has(family, now)) {
            return Err(Refusal::PEER_FAMILY);
        }
        let lifetime = message
            .find::<Lifetime>()
            .map_err(|_| Refusal::BAD_REQUEST)?;
        let lifetime_s = lifetime.map_or(LIFETIME_DEFAULT_S, |Lifetime(lifetime_s)| lifetime_s);
        // What is deleted as a whole is not taken along first.
        let is_last = self.allocations[index].relays().count() == 1;
        if let Some(claim) = &claim
            && !(lifetime_s == 0 && (family.is_none() || is_last))
        {
            self.take_along(now, request, claim)?;
        }
        // RFC 8656 §8.2: a lifetime of 0 deletes the allocation, or the half that is named. Without
        // a family a Refresh is about all that there is.
        let granted_s = match (lifetime_s, family) {
            (0, None) => {
                self.end(index, EndReason::Released);
                0
            }
            (0, Some(family)) => {
                self.end_half(index, family, EndReason::Released);
                0
            }
            _ => {
                let credentials = authenticated.credentials();
                self.adopt_token(index, credentials);
                let lifetime_s = self.clamp_lifetime(lifetime_s);
                let lifetime_s = self.within_token(now, credentials, lifetime_s);
                self.extend(now, index, family, lifetime_s)
            }
        };
        // RFC 8016 §3.2.2: the answer to a move carries the ticket for the next one.
        let moved = claim.is_some() && self.find(&request.client, now) == Some(index);
        let ticket = moved.then(|| self.ticket_of(index)).flatten();
        self.succeed(request, authenticated.credentials(), |writer| {
            writer.attr(&Lifetime(granted_s))?;
            ticket.map_or(Ok(()), |ticket| writer.attr(&ticket.attribute()))
        });
        Ok(())
    }

    fn extend(
        &mut self,
        now: Tick,
        index: usize,
        family: Option<AddressFamily>,
        lifetime_s: u32,
    ) -> u32 {
        let allocation = &mut self.allocations[index];
        let granted_s = allocation.within_session(now, lifetime_s);
        let mut end = now.plus_s(granted_s);
        if let Some(session_ends) = allocation.session_ends {
            // Whole seconds are told, fractions are kept: the session's end stays its end.
            if granted_s < lifetime_s {
                end = session_ends;
            }
        }
        allocation.prolong(family, now, end);
        self.timers.set(index, allocation.next_end());
        let event = Event::Refreshed {
            id: allocation.id,
            lifetime_s: granted_s,
        };
        self.outbox.event(event);
        granted_s
    }
}

#[cfg(test)]
mod tests;
