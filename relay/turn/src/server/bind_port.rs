//! Opening the socket of an allocation: which port, whose, and what if it is taken. `begin` has the
//! rest of its birth.
//!
//! A port is claimed in the node-wide table before the driver is asked to open it. One that
//! somebody else holds is passed over and counted, and the next one is tried until every port of
//! every address has been: 508 means that none is free (CVE-2025-69217: and that the next one
//! cannot be foretold).

use std::{net::SocketAddr, sync::Arc};

use rand::Rng;
use sterna_stun::{attr::AddressFamily, message::TransactionId};

use super::{
    RelayAddress, Server,
    authenticate::Credentials,
    candidates::{Candidates, Parity, below},
    respond::{Refusal, Request},
};
use crate::{
    BindToken, Client, Command, Meter, PortError, RelayPort,
    limits::{
        FOREIGN_PORT_HOLDOFF_S, PENDING_BINDS_MAX, RELAY_PORT_INDEX_MAX, RESERVATION_LIFETIME_S,
    },
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
    pub(super) holder: Holder,
    /// How many relayed addresses, reserved ones included, are counted for the holder already.
    pub(super) places: u8,
    pub(super) lifetime_s: u32,
    /// Where the other half of a dual allocation may be opened, once the first one is settled.
    pub(super) second: Option<Vec<RelayAddress>>,
    /// The half that is not to be had, and the code that says why.
    pub(super) refused: Option<(AddressFamily, u16)>,
    /// The client wants a ticket, and may have one.
    pub(super) mobile: bool,
    /// The next port, if it is held for the client.
    pub(super) reservation: Option<Token>,
    /// TCP connections are to be relayed (RFC 6062): the port is listened on, and its
    /// bytes are measured.
    pub(super) tcp: Option<Meter>,
}

/// A socket that was opened for an allocation.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) relay: RelayAddress,
    pub(super) number: u16,
    pub(super) port: RelayPort,
}

/// What waits for the driver's answer.
#[derive(Debug)]
pub(super) struct Pending {
    token: BindToken,
    pub(super) transaction_id: TransactionId,
    pub(super) wanted: Wanted,
    /// The first half of a dual allocation, if it is the second one that is being opened.
    pub(super) first: Option<Opened>,
    stage: Stage,
    relay: RelayAddress,
    number: u16,
    candidates: Candidates,
    /// The client's connection closed meanwhile.
    pub(super) abandoned: bool,
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
        self.open_after(now, wanted, None, relays, parity);
    }

    /// Opens a socket like `open`, for an allocation that may have its first half already.
    pub(super) fn open_after(
        &mut self,
        now: Tick,
        wanted: Wanted,
        first: Option<Opened>,
        relays: Vec<RelayAddress>,
        parity: Parity,
    ) {
        let mut candidates = Candidates::new(relays, self.config.relay_ports.clone(), parity);
        candidates.shuffle(&mut self.rng);
        let Some((relay, number)) = candidates.next(self.now_s(now), &mut self.rng) else {
            self.fall_back(now, wanted, first, parity);
            return;
        };
        self.ask_driver(wanted, first, Stage::Opening, relay, number, candidates);
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
            None,
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
            Ok(port)
                if port.0 >= RELAY_PORT_INDEX_MAX
                    && !pending.is_holding()
                    && pending.wanted.tcp.is_none() =>
            {
                self.outbox.push(Command::ReleasePort { port });
                Err(PortError::Exhausted)
            }
            result => result,
        };
        match (pending.stage, result) {
            (Stage::Opening, Ok(port)) if pending.candidates.parity == Parity::Pair => {
                self.hold_next(pending, port);
            }
            (Stage::Opening | Stage::Adopting, Ok(port)) => self.opened(now, pending, port),
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
                self.go_without(now, pending);
            }
        }
    }

    fn ask_driver(
        &mut self,
        wanted: Wanted,
        first: Option<Opened>,
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
            first,
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
            Stage::Opening => match &pending.wanted.tcp {
                Some(meter) => Command::ListenRelay {
                    token,
                    addr,
                    meter: meter.clone(),
                },
                None => Command::BindPort { token, addr },
            },
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
            self.go_without(now, pending);
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
    fn held(&mut self, now: Tick, mut pending: Pending, port: RelayPort) {
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
        // The reservation has one of the two places now.
        pending.wanted.places -= 1;
        pending.wanted.reservation = Some(token);
        self.opened(now, pending, port);
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
    /// The socket, now that it is open.
    pub(super) fn into_opened(self, port: RelayPort) -> (Wanted, Option<Opened>, Opened) {
        let (relay, number) = (self.relay, self.number);
        let opened = Opened {
            relay,
            number,
            port,
        };
        (self.wanted, self.first, opened)
    }

    pub(super) fn parity(&self) -> Parity {
        self.candidates.parity
    }

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
