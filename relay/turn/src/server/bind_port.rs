//! Opening the socket of an allocation: which port, whose, and what if it is taken.
//!
//! A port is claimed in the node-wide table before the driver is asked to open it. One that
//! somebody else holds is passed over and counted, and the next one is tried until every port of
//! every address has been: 508 means that none is free (CVE-2025-69217: and that the next one
//! cannot be foretold).

use std::{net::SocketAddr, sync::Arc};

use rand::Rng;
use sterna_stun::{attr::AddressFamily, message::TransactionId};

use super::{
    NOBODY, RelayAddress, Server,
    authenticate::Credentials,
    candidates::{Candidates, Parity, below},
    respond::{Refusal, Request},
};
use crate::{
    AllocationId, BindToken, Client, Command, DropReason, Event, PortError, RelayPort, Traffic,
    algorithm::Algorithm,
    allocation::{Allocation, Granted, Rates, Relay},
    channels::Channels,
    limits::{
        FOREIGN_PORT_HOLDOFF_S, PENDING_BINDS_MAX, RELAY_PORT_INDEX_MAX, RESERVATION_LIFETIME_S,
    },
    permissions::Permissions,
    registry::{
        quota::Holder,
        reservation::{Reservation, Token},
    },
    tick::Tick,
};

/// An allocation that only lacks its socket.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) request: Request,
    pub(super) credentials: Option<Credentials>,
    /// Counted already, twice for a pair.
    pub(super) holder: Holder,
    pub(super) lifetime_s: u32,
    pub(super) refused_family: Option<AddressFamily>,
}

/// What waits for the driver's answer.
#[derive(Debug)]
pub(super) struct Pending {
    token: BindToken,
    pub(super) transaction_id: TransactionId,
    wanted: Wanted,
    stage: Stage,
    relay: RelayAddress,
    number: u16,
    candidates: Candidates,
    /// The client's connection closed meanwhile.
    abandoned: bool,
}

/// What the driver is doing.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Stage {
    /// It opens the port.
    Opening,
    /// It has opened the even port and binds the next one.
    Holding(RelayPort),
    /// It takes over the socket of a reservation.
    Adopting,
}

impl Server {
    /// Opens a socket on the first of `relays` that has a free port.
    pub(super) fn open(
        &mut self,
        now: Tick,
        wanted: Wanted,
        relays: Vec<RelayAddress>,
        parity: Parity,
    ) {
        let mut candidates = Candidates::new(relays, self.config.relay_ports.clone(), parity);
        candidates.shuffle(&mut self.rng);
        let Some((relay, number)) = candidates.next(self.now_s(now), &mut self.rng) else {
            self.give_up(&wanted, parity);
            return;
        };
        self.ask_driver(wanted, Stage::Opening, relay, number, candidates);
    }

    /// Takes over the socket of a reservation, whose port is claimed and counted for.
    pub(super) fn adopt(
        &mut self,
        wanted: Wanted,
        reservation: &Reservation,
    ) -> Result<(), Refusal> {
        let addr = reservation.addr;
        let external = self.config.external(addr.ip());
        let table = self.registry.table(addr.ip());
        let relay = RelayAddress {
            internal: addr.ip(),
            external,
            table,
        };
        self.ask_driver(
            wanted,
            Stage::Adopting,
            relay,
            addr.port(),
            Candidates::none(),
        );
        Ok(())
    }

    /// The request of this client that waits for its socket.
    pub(super) fn pending_of(&self, client: &Client) -> Option<&Pending> {
        let key = client.key();
        let mut pending = self.pending.iter().map(|(_, pending)| pending);
        pending.find(|pending| !pending.abandoned && pending.wanted.request.client.key() == key)
    }

    pub(super) fn pending_is_full(&self) -> bool {
        self.pending.len() >= PENDING_BINDS_MAX
    }

    /// A connection is gone: what it waits for is given back when the driver answers.
    pub(super) fn abandon_pending(&mut self, client: &Client) {
        let key = client.key();
        for (_, pending) in &mut self.pending {
            pending.abandoned |= pending.wanted.request.client.key() == key;
        }
    }

    /// Takes the driver's answer.
    pub(super) fn port_answer(
        &mut self,
        now: Tick,
        token: BindToken,
        result: Result<RelayPort, PortError>,
    ) {
        let place = usize::try_from(token.0 & u64::from(u32::MAX)).unwrap_or(usize::MAX);
        if self
            .pending
            .get(place)
            .is_none_or(|pending| pending.token != token)
        {
            debug_assert!(false, "an answer without a question");
            return;
        }
        let pending = self.pending.remove(place);
        // The number in the answer to HoldPort means nothing.
        let result = match result {
            Ok(port) if port.0 >= RELAY_PORT_INDEX_MAX && !pending.is_holding() => {
                self.outbox.push(Command::ReleasePort { port });
                Err(PortError::Exhausted)
            }
            result => result,
        };
        match (pending.stage, result) {
            (Stage::Opening, Ok(port)) if pending.candidates.parity == Parity::Pair => {
                self.hold_next(pending, port);
            }
            (Stage::Opening | Stage::Adopting, Ok(port)) => self.opened(now, pending, port, None),
            (Stage::Holding(port), Ok(_)) => self.held(now, pending, port),
            (Stage::Opening, Err(PortError::InUse)) => {
                self.counters.ports_skipped += 1;
                let until_s = self.now_s(now).saturating_add(FOREIGN_PORT_HOLDOFF_S);
                pending.relay.table.release_foreign(pending.number, until_s);
                pending.release_next();
                self.try_next(now, pending);
            }
            (Stage::Holding(port), Err(PortError::InUse)) => {
                self.counters.ports_skipped += 1;
                let until_s = self.now_s(now).saturating_add(FOREIGN_PORT_HOLDOFF_S);
                pending
                    .relay
                    .table
                    .release_foreign(pending.number + 1, until_s);
                self.outbox
                    .release(port, Arc::clone(&pending.relay.table), pending.number);
                self.try_next(now, pending);
            }
            (stage, Err(_)) => {
                self.counters.ports_exhausted += 1;
                self.close(&pending, stage);
                self.give_up(&pending.wanted, pending.candidates.parity);
            }
        }
    }

    fn ask_driver(
        &mut self,
        wanted: Wanted,
        stage: Stage,
        relay: RelayAddress,
        number: u16,
        candidates: Candidates,
    ) {
        let transaction_id = wanted.request.transaction_id;
        let pending = Pending {
            token: BindToken(0),
            transaction_id,
            wanted,
            stage,
            relay,
            number,
            candidates,
            abandoned: false,
        };
        self.ask(pending);
    }

    /// Files the question under a token that no earlier answer fits, and asks it.
    fn ask(&mut self, mut pending: Pending) {
        let place = self.pending.vacant_key() as u64;
        let token = BindToken(u64::from(self.rng.next_u32()) << 32 | place);
        pending.token = token;
        let addr = SocketAddr::new(pending.relay.internal, pending.number);
        self.outbox.push(match pending.stage {
            Stage::Opening => Command::BindPort { token, addr },
            Stage::Adopting => Command::AdoptPort { token, addr },
            Stage::Holding(_) => {
                // A pair ends at an odd number, so there is a next one.
                let addr = SocketAddr::new(addr.ip(), pending.number + 1);
                Command::HoldPort { token, addr }
            }
        });
        self.pending.insert(pending);
    }

    fn try_next(&mut self, now: Tick, mut pending: Pending) {
        let next = if pending.abandoned {
            None
        } else {
            pending.candidates.next(self.now_s(now), &mut self.rng)
        };
        let Some((relay, number)) = next else {
            self.give_up(&pending.wanted, pending.candidates.parity);
            return;
        };
        self.ask(Pending {
            stage: Stage::Opening,
            relay,
            number,
            ..pending
        });
    }

    fn hold_next(&mut self, pending: Pending, port: RelayPort) {
        self.ask(Pending {
            stage: Stage::Holding(port),
            ..pending
        });
    }

    /// Both ports of a pair are ours: the next one is filed under a token.
    fn held(&mut self, now: Tick, pending: Pending, port: RelayPort) {
        let addr = SocketAddr::new(pending.relay.internal, pending.number + 1);
        let reservation = Reservation {
            addr,
            holder: pending.wanted.holder.clone(),
        };
        let token = loop {
            let token = self.rng.next_u64().to_be_bytes();
            if self
                .registry
                .reservations
                .insert(token, reservation.clone())
            {
                break token;
            }
        };
        self.reservations
            .push_back((now.plus_s(RESERVATION_LIFETIME_S), token));
        self.counters.reservations_made += 1;
        self.opened(now, pending, port, Some(token));
    }

    /// The socket is there: the allocation begins.
    fn opened(&mut self, now: Tick, pending: Pending, port: RelayPort, reservation: Option<Token>) {
        let Pending {
            wanted,
            relay,
            number,
            ..
        } = pending;
        if pending.abandoned {
            self.counters.count_drop(DropReason::ClientGone);
            self.registry.quotas.release(&wanted.holder);
            self.outbox.release(port, relay.table, number);
            return;
        }
        let session_max_s = self.config.session_max_s;
        let session_ends = (session_max_s != 0).then(|| now.plus_s(session_max_s));
        let mut lifetime_s = self.clamp_lifetime(wanted.lifetime_s);
        if session_ends.is_some() {
            lifetime_s = lifetime_s.min(session_max_s);
        }
        let index = self.allocations.vacant_key();
        let place = u32::try_from(index).expect("invariant: there are fewer sockets than 2^32");
        self.generation = self.generation.wrapping_add(1);
        let id = AllocationId::new(self.worker, self.generation, place);
        relay.table.publish(number, self.worker, port);
        let relay = Relay {
            port,
            external: SocketAddr::new(relay.external, number),
            internal: SocketAddr::new(relay.internal, number),
            table: relay.table,
        };
        let (client, relayed) = (wanted.request.client, relay.external);
        let account = Arc::clone(&wanted.holder.account);
        let expires = now.plus_s(lifetime_s);
        self.allocations.insert(Allocation {
            expires,
            relay,
            client,
            channels: Channels::default(),
            permissions: Permissions::default(),
            to_peers: Traffic::default(),
            to_client: Traffic::default(),
            rates: Rates::default(),
            id,
            holder: wanted.holder,
            credentials: wanted.credentials,
            created: now,
            session_ends,
            granted: Granted {
                transaction_id: wanted.request.transaction_id,
                lifetime_s,
                reservation,
                refused_family: wanted.refused_family,
            },
        });
        self.clients.insert(client.key(), place);
        self.point_port(port, place);
        self.timers.set(index, expires);
        self.count_allocated(index);
        self.outbox.event(Event::Allocated {
            id,
            client,
            account,
            relayed,
            lifetime_s,
        });
        self.grant(&wanted.request, index);
    }

    fn count_allocated(&mut self, index: usize) {
        self.counters.allocated += 1;
        let credentials = self.allocations[index].credentials.as_ref();
        match credentials.map(|credentials| credentials.mac.algorithm()) {
            None => {}
            Some(Algorithm::Unnamed | Algorithm::Md5) => self.counters.allocated_md5 += 1,
            Some(Algorithm::Sha256) => self.counters.allocated_sha256 += 1,
        }
    }

    /// Lets a relay port point at an allocation, or at nobody.
    pub(super) fn point_port(&mut self, port: RelayPort, place: u32) {
        let at = port.0 as usize;
        if at >= self.by_port.len() {
            self.by_port.resize(at + 1, NOBODY);
        }
        self.by_port[at] = place;
    }

    /// Gives back what an attempt that failed for good had claimed or opened.
    fn close(&mut self, pending: &Pending, stage: Stage) {
        let table = &pending.relay.table;
        match stage {
            Stage::Opening => {
                table.release(pending.number);
                pending.release_next();
            }
            Stage::Holding(port) => {
                table.release(pending.number + 1);
                self.outbox.release(port, Arc::clone(table), pending.number);
            }
            Stage::Adopting => {
                let addr = SocketAddr::new(pending.relay.internal, pending.number);
                self.outbox.drop_held(addr, Arc::clone(table));
            }
        }
    }

    /// RFC 8656 §7.2 step 11: 508, and nothing stays counted.
    fn give_up(&mut self, wanted: &Wanted, parity: Parity) {
        self.registry.quotas.release(&wanted.holder);
        if parity == Parity::Pair {
            self.registry.quotas.release(&wanted.holder);
        }
        self.refuse(
            &wanted.request,
            wanted.credentials.as_ref(),
            &Refusal::CAPACITY,
        );
    }

    /// A random number below `bound`.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        below(&mut self.rng, bound)
    }

    /// Seconds that all workers agree on, for ports that somebody else held.
    fn now_s(&self, now: Tick) -> u32 {
        u32::try_from(self.unix_s(now)).unwrap_or(u32::MAX)
    }
}

impl Pending {
    fn is_holding(&self) -> bool {
        matches!(self.stage, Stage::Holding(_))
    }

    /// Gives back the claim on the second port of a pair.
    fn release_next(&self) {
        if self.candidates.parity == Parity::Pair {
            self.relay.table.release(self.number + 1);
        }
    }
}

#[cfg(test)]
mod tests;
