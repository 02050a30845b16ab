//! Allocate (RFC 8656 §7.2): the checks, in their order. `bind_port` opens the socket.

use std::sync::Arc;

use sterna_stun::{
    attr::{
        AdditionalAddressFamily, AddressErrorCode, AddressFamily, AttributeError, AttributeType,
        ErrorCode, EvenPort, Lifetime, MobilityTicket, RequestedAddressFamily, RequestedTransport,
        ReservationToken, XorMappedAddress, XorRelayedAddress,
    },
    message::Message,
};

use super::{
    RelayAddress, Server,
    authenticate::Authenticated,
    bind_port::Wanted,
    candidates::Parity,
    respond::{Refusal, Request},
};
use crate::{
    DropReason, Meter, RedirectWhen,
    allocation::Granted,
    limits::LIFETIME_DEFAULT_S,
    registry::{
        quota::{Holder, QuotaExceeded, SourcePrefix},
        reservation::Reservation,
    },
    tick::Tick,
};

/// What an Allocate asks for, once its attributes are in order with each other.
#[derive(Copy, Clone, Debug)]
struct Demand {
    /// The family of the relayed address, where the client names one.
    family: Option<AddressFamily>,
    /// A second address is asked for.
    additional: bool,
    parity: Parity,
    token: Option<ReservationToken>,
    lifetime_s: u32,
    /// The client wants a ticket.
    mobile: bool,
    /// TCP connections are to be relayed, not datagrams (RFC 6062).
    tcp: bool,
}

impl Server {
    pub(super) fn allocate(
        &mut self,
        now: Tick,
        request: &Request,
        message: &Message<'_>,
        authenticated: &Authenticated,
    ) -> Result<(), Refusal> {
        if authenticated.credentials().is_none() {
            // On an open relay nothing has proved the source.
            self.may_answer(now, request, false)
                .map_err(Refusal::Silent)?;
        }
        // RFC 8656 §7.2 step 2: 437 when the 5-tuple already has an allocation, but a
        // retransmission gets the same success again.
        if let Some(index) = self.find(&request.client, now) {
            let allocation = &self.allocations[index];
            // The answer is signed for its maker, and may have a ticket: it is nobody else's.
            if allocation.granted.transaction_id != request.transaction_id
                || !authenticated.is_maker_of(allocation, request)
            {
                return Err(Refusal::ALLOCATION_MISMATCH);
            }
            self.counters.allocate_repeated += 1;
            self.grant(request, index);
            return Ok(());
        }
        if let Some(pending) = self.pending_of(&request.client) {
            if pending.transaction_id != request.transaction_id {
                return Err(Refusal::ALLOCATION_MISMATCH);
            }
            // Its answer is on the way.
            return Ok(());
        }
        let demand = Demand::read(message, self.transports(request))?;
        if demand.mobile {
            self.check_mobility()?;
        }
        // A control connection is what a TCP allocation lives by: it does not move.
        if demand.mobile && demand.tcp {
            return Err(Refusal::MOBILITY_FORBIDDEN);
        }
        let holder = Holder {
            account: authenticated
                .credentials()
                .map_or_else(|| "".into(), |credentials| Arc::clone(&credentials.account)),
            prefix: SourcePrefix::of(request.client.addr.ip()),
            allocations_max: self
                .config
                .rules
                .of(authenticated.credentials())
                .and_then(|rules| rules.allocations_max),
        };
        let mut wanted = Wanted {
            request: *request,
            credentials: authenticated.credentials().cloned(),
            holder,
            places: 1,
            lifetime_s: demand.lifetime_s,
            second: None,
            refused: None,
            reservation: None,
            mobile: demand.mobile,
            tcp: demand.tcp.then(Meter::default),
        };
        if let Some(token) = demand.token {
            let reservation = self.redeem(token, &wanted.holder)?;
            return self.adopt(wanted, &reservation);
        }
        let relays = self.relays_for(&demand, &mut wanted)?;
        // RFC 8656 §7.2 step 11: "the server MAY reject the request with a 300 (Try Alternate) error
        // if it wishes to redirect the client to a different server."
        let credentials = authenticated.credentials();
        self.check_open(request, credentials)?;
        self.check_capacity()?;
        self.acquire(&wanted.holder)
            .map_err(|refusal| self.elsewhere(request, credentials, RedirectWhen::Full, refusal))?;
        self.acquire_second(&demand, &mut wanted)?;
        self.open(now, wanted, relays, demand.parity);
        Ok(())
    }

    /// What may be relayed for whoever sends this request.
    fn transports(&self, request: &Request) -> Transports {
        Transports {
            tcp: self.config.tcp_allocations,
            on_stream: request.client.transport.is_stream(),
        }
    }

    /// Writes the success response of an allocation.
    pub(super) fn grant(&mut self, request: &Request, index: usize) {
        let allocation = &self.allocations[index];
        let Granted {
            lifetime_s,
            reservation,
            refused,
            ..
        } = allocation.granted;
        let relayed = allocation.relay.external;
        let second = allocation.second.as_ref().map(|second| second.external);
        let credentials = allocation.credentials.clone();
        let ticket = self.ticket_of(index);
        let mapped = request.client.addr;
        self.succeed(request, credentials.as_ref(), |writer| {
            writer.attr(&XorRelayedAddress(relayed))?;
            if let Some(second) = second {
                writer.attr(&XorRelayedAddress(second))?;
            }
            writer.attr(&Lifetime(lifetime_s))?;
            if let Some(token) = reservation {
                writer.attr(&ReservationToken(token))?;
            }
            if let Some((family, code)) = refused {
                writer.attr(&AddressErrorCode {
                    family,
                    code,
                    reason: "",
                })?;
            }
            writer.attr(&XorMappedAddress(mapped))?;
            ticket.map_or(Ok(()), |ticket| writer.attr(&ticket.attribute()))
        });
    }

    /// The relay addresses to try; those of the other half are written down with what is wanted.
    fn relays_for(
        &mut self,
        demand: &Demand,
        wanted: &mut Wanted,
    ) -> Result<Vec<RelayAddress>, Refusal> {
        // RFC 8656 §7.2: without a family it is IPv4, also with an additional one, which is IPv6.
        let family = demand.family.unwrap_or(AddressFamily::Ipv4);
        let relays = self.relays_of(&wanted.request, family);
        let second = demand
            .additional
            .then(|| self.relays_of(&wanted.request, AddressFamily::Ipv6));
        // RFC 8656 §7.2 step 9: either one of a dual allocation may be refused on its own.
        let refused = |family| Some((family, ErrorCode::ADDRESS_FAMILY_NOT_SUPPORTED));
        match second {
            Some(second) if relays.is_empty() && !second.is_empty() => {
                wanted.refused = refused(AddressFamily::Ipv4);
                Ok(second)
            }
            // RFC 8656 §7.2 step 7: 440 for a family that is not served.
            _ if relays.is_empty() => Err(Refusal::ADDRESS_FAMILY),
            // RFC 6062 §5.1 knows one relayed address, which a TCP allocation has.
            Some(second) if second.is_empty() || demand.tcp => {
                wanted.refused = refused(AddressFamily::Ipv6);
                Ok(relays)
            }
            second => {
                wanted.second = second;
                Ok(relays)
            }
        }
    }

    /// The relay addresses of a family: first the one that the client speaks to, else any first.
    fn relays_of(&mut self, request: &Request, family: AddressFamily) -> Vec<RelayAddress> {
        let of_family = |relay: &&RelayAddress| AddressFamily::of(relay.internal) == family;
        let mut relays: Vec<_> = self.relays.iter().filter(of_family).cloned().collect();
        let spoken_to = request.client.server.ip();
        if let Some(place) = relays.iter().position(|relay| relay.internal == spoken_to) {
            relays.swap(0, place);
        } else if relays.len() > 1 {
            let place = self.below(relays.len());
            relays.swap(0, place);
        }
        relays
    }

    fn check_capacity(&mut self) -> Result<(), Refusal> {
        if self.draining {
            self.counters.refused_draining += 1;
            return Err(Refusal::CAPACITY);
        }
        if self.pending_is_full() {
            return Err(Refusal::Silent(DropReason::PendingBindsFull));
        }
        Ok(())
    }

    /// RFC 8656 §7.2 step 10: 486 beyond a quota, 508 beyond the node's capacity.
    fn acquire(&mut self, holder: &Holder) -> Result<(), Refusal> {
        let limits = &self.config.limits;
        self.registry
            .quotas
            .acquire(holder, limits)
            .map_err(|exceeded| match exceeded {
                QuotaExceeded::User => {
                    self.counters.allocations_refused_user += 1;
                    Refusal::QUOTA
                }
                QuotaExceeded::Prefix => {
                    self.counters.allocations_refused_prefix += 1;
                    Refusal::QUOTA
                }
                QuotaExceeded::Total => {
                    self.counters.allocations_refused_total += 1;
                    Refusal::CAPACITY
                }
            })
    }

    /// Counts the second relayed address: that of a pair, or that of a dual allocation, which makes
    /// do with one where there is no room for two.
    fn acquire_second(&mut self, demand: &Demand, wanted: &mut Wanted) -> Result<(), Refusal> {
        let is_pair = demand.parity == Parity::Pair;
        if !is_pair && wanted.second.is_none() {
            return Ok(());
        }
        match self.acquire(&wanted.holder) {
            Ok(()) => wanted.places += 1,
            Err(refusal) if is_pair => {
                self.registry.quotas.release(&wanted.holder);
                return Err(refusal);
            }
            Err(_) => {
                // RFC 8656 §18.12 knows two codes here, 440 and 508.
                wanted.second = None;
                wanted.refused = Some((AddressFamily::Ipv6, ErrorCode::INSUFFICIENT_CAPACITY));
            }
        }
        Ok(())
    }

    /// Takes the reservation of a token, and its place in the quotas, for `holder`.
    fn redeem(
        &mut self,
        ReservationToken(token): ReservationToken,
        holder: &Holder,
    ) -> Result<Reservation, Refusal> {
        // RFC 8656 §7.2 step 5: 508 if the token is not, or no longer, valid.
        let registry = Arc::clone(&self.registry);
        let reservation = registry
            .reservations
            .take(&token, &holder.account)
            .ok_or(Refusal::CAPACITY)?;
        // The reservation counted already, maybe for another source prefix.
        registry.quotas.release(&reservation.holder);
        let acquired = self.check_capacity().and_then(|()| self.acquire(holder));
        if let Err(refusal) = acquired {
            // Back on the shelf, where its own clock goes on.
            self.shelve(token, reservation);
            return Err(refusal);
        }
        Ok(reservation)
    }

    /// Puts a reservation back that could not be used now.
    fn shelve(&mut self, token: [u8; 8], reservation: Reservation) {
        let unlimited = crate::Limits {
            allocations_max: 0,
            allocations_per_user_max: 0,
            allocations_per_prefix_max: 0,
            ..self.config.limits.clone()
        };
        let holder = Holder {
            allocations_max: None,
            ..reservation.holder.clone()
        };
        let counted = self.registry.quotas.acquire(&holder, &unlimited);
        debug_assert!(counted.is_ok(), "without caps everything is counted");
        self.registry.reservations.insert(token, reservation);
    }
}

/// What may be relayed.
#[derive(Copy, Clone, Debug)]
struct Transports {
    /// TCP allocations are served (RFC 6062).
    tcp: bool,
    /// The client came by TCP or TLS.
    on_stream: bool,
}

impl Demand {
    /// Reads the attributes in the order of RFC 8656 §7.2.
    fn read(message: &Message<'_>, transports: Transports) -> Result<Self, Refusal> {
        let malformed = |_: AttributeError| Refusal::BAD_REQUEST;
        // Step 3: 400 without REQUESTED-TRANSPORT, 442 for anything but UDP.
        let transport = message.find::<RequestedTransport>().map_err(malformed)?;
        let transport = transport.ok_or(Refusal::BAD_REQUEST)?;
        let tcp = transport == RequestedTransport::TCP && transports.tcp;
        if transport != RequestedTransport::UDP && !tcp {
            return Err(Refusal::TRANSPORT);
        }
        // RFC 6062 §5.1: TCP is relayed to clients over TCP and TLS only, and without what belongs
        // to datagrams and pairs of ports; else 400.
        let of_datagrams = [
            AttributeType::DONT_FRAGMENT,
            AttributeType::EVEN_PORT,
            AttributeType::RESERVATION_TOKEN,
        ];
        if tcp && (!transports.on_stream || of_datagrams.iter().any(|type_| message.has(*type_))) {
            return Err(Refusal::BAD_REQUEST);
        }
        // Step 4, DONT-FRAGMENT, is an unknown attribute here.
        let even_port = message.find::<EvenPort>().map_err(malformed)?;
        let token = message.find::<ReservationToken>().map_err(malformed)?;
        let names_family = message.has(AttributeType::REQUESTED_ADDRESS_FAMILY);
        let additional = message.has(AttributeType::ADDITIONAL_ADDRESS_FAMILY)
            || message.has(AttributeType::ADDITIONAL_ADDRESS_FAMILY_COTURN);
        // Step 5: a token says port and family already.
        if token.is_some() && (even_port.is_some() || names_family || additional) {
            return Err(Refusal::BAD_REQUEST);
        }
        // Step 6: one family or both, not one in two ways.
        if names_family && additional {
            return Err(Refusal::BAD_REQUEST);
        }
        // Step 7: 440 for a family that nobody has heard of.
        let unheard_of = |error| match error {
            AttributeError::Family => Refusal::ADDRESS_FAMILY,
            _ => Refusal::BAD_REQUEST,
        };
        let family = message
            .find::<RequestedAddressFamily>()
            .map_err(unheard_of)?;
        // Step 8: the next port of which of the two?
        let pair = even_port.is_some_and(|even_port| even_port.reserve_next);
        if pair && additional {
            return Err(Refusal::BAD_REQUEST);
        }
        // Step 9: IPv4 is what the first one is.
        let second = message
            .find::<AdditionalAddressFamily>()
            .map_err(unheard_of)?;
        if second == Some(AdditionalAddressFamily(AddressFamily::Ipv4)) {
            return Err(Refusal::BAD_REQUEST);
        }
        let lifetime = message.find::<Lifetime>().map_err(malformed)?;
        // RFC 8016 §3.1.2: 400 for a ticket in an Allocate; an empty one asks for one.
        let ticket = message.find::<MobilityTicket<'_>>().map_err(malformed)?;
        if ticket.is_some_and(|ticket| !ticket.0.is_empty()) {
            return Err(Refusal::BAD_REQUEST);
        }
        Ok(Self {
            mobile: ticket.is_some(),
            family: family.map(|RequestedAddressFamily(family)| family),
            additional,
            parity: match even_port {
                None => Parity::Any,
                Some(_) if pair => Parity::Pair,
                Some(_) => Parity::Even,
            },
            token,
            lifetime_s: lifetime.map_or(LIFETIME_DEFAULT_S, |Lifetime(lifetime_s)| lifetime_s),
            tcp,
        })
    }
}

impl Server {
    /// RFC 8656 §7.2, §8.2: at least the default, at most what the server allows.
    pub(super) fn clamp_lifetime(&self, lifetime_s: u32) -> u32 {
        let max = self.config.lifetime_max_s.max(LIFETIME_DEFAULT_S);
        lifetime_s.clamp(LIFETIME_DEFAULT_S, max)
    }
}

#[cfg(test)]
mod tests;
