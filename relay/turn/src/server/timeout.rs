//! What ends by itself: allocations and reservations.

use std::net::SocketAddr;

use super::Server;
use crate::{
    EndReason, limits::TIMEOUT_BATCH_MAX, registry::reservation::Token, relay::Relay, tick::Tick,
};

impl Server {
    /// The earliest end of anything.
    pub(super) fn next_deadline(&self) -> Option<Tick> {
        let reservation = self.reservations.front().map(|(ends, _)| *ends);
        let ends = self.timers.next().into_iter().chain(reservation);
        ends.chain(self.next_unbound()).min()
    }

    /// Ends what is due, a batch at a time; what is left keeps the deadline in the past.
    pub(super) fn expire(&mut self, now: Tick) {
        for _ in 0..TIMEOUT_BATCH_MAX {
            let Some(index) = self.timers.pop_due(now) else {
                break;
            };
            self.end_due(index, now);
        }
        for _ in 0..TIMEOUT_BATCH_MAX {
            let Some(&(ends, token)) = self.reservations.front() else {
                break;
            };
            if ends > now {
                break;
            }
            self.reservations.pop_front();
            self.expire_reservation(&token);
        }
        self.expire_unbound(now);
    }

    /// Ends an allocation whose deadline has come, or what is due of its halves.
    fn end_due(&mut self, index: usize, now: Tick) {
        let allocation = &self.allocations[index];
        let due = allocation.relays().find(|relay| relay.expires <= now);
        match due.map(Relay::family) {
            Some(family) if allocation.expires > now => {
                self.end_half(index, family, EndReason::Expired);
            }
            _ => self.end(index, EndReason::Expired),
        }
    }

    fn expire_reservation(&mut self, token: &Token) {
        // Whoever redeemed the token has taken the reservation out.
        let Some(reservation) = self.registry.reservations.expire(token) else {
            return;
        };
        let addr: SocketAddr = reservation.addr;
        self.registry.quotas.release(&reservation.holder);
        self.outbox.drop_held(addr, self.registry.table(addr.ip()));
        self.counters.reservations_expired += 1;
    }
}

#[cfg(test)]
mod tests;
