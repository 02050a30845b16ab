//! Refresh (RFC 8656 §8.2).

use sterna_stun::{
    attr::{AddressFamily, AttributeError, Lifetime, RequestedAddressFamily},
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
        let index = self.find_own(now, request, authenticated)?;
        let family = match message.find::<RequestedAddressFamily>() {
            Ok(family) => family,
            // A family that nobody has heard of is not the allocation's either.
            Err(AttributeError::Family) => return Err(Refusal::PEER_FAMILY),
            Err(_) => return Err(Refusal::BAD_REQUEST),
        };
        // RFC 8656 §8.2: 443 for a family that the allocation does not have.
        let own_family = AddressFamily::of(self.allocations[index].relay.internal.ip());
        if family.is_some_and(|RequestedAddressFamily(family)| family != own_family) {
            return Err(Refusal::PEER_FAMILY);
        }
        let lifetime = message
            .find::<Lifetime>()
            .map_err(|_| Refusal::BAD_REQUEST)?;
        let lifetime_s = lifetime.map_or(LIFETIME_DEFAULT_S, |Lifetime(lifetime_s)| lifetime_s);
        // RFC 8656 §8.2: a lifetime of 0 deletes the allocation.
        let granted_s = if lifetime_s == 0 {
            self.end(index, EndReason::Released);
            0
        } else {
            self.extend(now, index, lifetime_s)
        };
        self.succeed(request, authenticated.credentials(), |writer| {
            writer.attr(&Lifetime(granted_s))
        });
        Ok(())
    }

    fn extend(&mut self, now: Tick, index: usize, lifetime_s: u32) -> u32 {
        let lifetime_s = self.clamp_lifetime(lifetime_s);
        let allocation = &mut self.allocations[index];
        let granted_s = allocation.within_session(now, lifetime_s);
        allocation.expires = now.plus_s(granted_s);
        if let Some(session_ends) = allocation.session_ends {
            // Whole seconds are told, fractions are kept: the session's end stays its end.
            if granted_s < lifetime_s {
                allocation.expires = session_ends;
            }
        }
        self.timers.set(index, allocation.expires);
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
