//! The birth of an allocation: its socket is there, or the last one that could have been is not.
//!
//! A dual allocation (RFC 8656 §5) opens the socket of one family, then that of the other one.
//! Whatever comes of the second does not undo the first: a request that can be met in part is met in
//! part, and ADDRESS-ERROR-CODE says why there is no more of it (§7.2 step 9).

use std::{net::SocketAddr, sync::Arc};

use sterna_stun::attr::{AddressFamily, ErrorCode};

use super::{
    NOBODY, RelayAddress, Server,
    bind_port::{Opened, Pending, Wanted},
    candidates::Parity,
    peer_connections::TcpSide,
    respond::Refusal,
};
use crate::{
    AllocationId, DropReason, Event, RedirectWhen, RelayPort, Traffic,
    algorithm::Algorithm,
    allocation::{Allocation, Granted, Rates},
    channels::Channels,
    permissions::Permissions,
    relay::Relay,
    rules::Terms,
    tick::Tick,
};

impl Server {
    /// A socket is there: it is time for the other half's, or the allocation begins.
    pub(super) fn opened(&mut self, now: Tick, pending: Pending, port: RelayPort) {
        let (abandoned, parity) = (pending.abandoned, pending.parity());
        let (mut wanted, first, opened) = pending.into_opened(port);
        if abandoned {
            self.counters.count_drop(DropReason::ClientGone);
            self.forget(&wanted, first.into_iter().chain([opened]));
            return;
        }
        match (wanted.second.take(), first) {
            (Some(relays), None) => self.open_after(now, wanted, Some(opened), relays, parity),
            (_, Some(first)) => self.begin(now, wanted, first, Some(opened)),
            (None, None) => self.begin(now, wanted, opened, None),
        }
    }

    /// No socket can be had of the kind that was to be opened.
    pub(super) fn go_without(&mut self, now: Tick, pending: Pending) {
        let parity = pending.parity();
        let Pending {
            wanted,
            first,
            abandoned,
            ..
        } = pending;
        if abandoned {
            self.counters.count_drop(DropReason::ClientGone);
            self.forget(&wanted, first);
        } else {
            self.fall_back(now, wanted, first, parity);
        }
    }

    /// Goes on with the half that is there or may yet be; without any it is 508.
    pub(super) fn fall_back(
        &mut self,
        now: Tick,
        mut wanted: Wanted,
        first: Option<Opened>,
        parity: Parity,
    ) {
        let second = wanted.second.take();
        if let Some(first) = first {
            let missing = match AddressFamily::of(first.relay.internal) {
                AddressFamily::Ipv4 => AddressFamily::Ipv6,
                AddressFamily::Ipv6 => AddressFamily::Ipv4,
            };
            self.lower(&mut wanted, missing);
            self.begin(now, wanted, first, None);
        } else if let Some(relays) = second {
            // The first one is IPv4 where there are two.
            self.lower(&mut wanted, AddressFamily::Ipv4);
            self.open(now, wanted, relays, parity);
        } else {
            // RFC 8656 §7.2 step 11: 508, and nothing stays counted.
            self.forget(&wanted, None);
            let credentials = wanted.credentials.as_ref();
            let (request, cause) = (&wanted.request, RedirectWhen::Full);
            let refusal = self.elsewhere(request, credentials, cause, Refusal::CAPACITY);
            self.refuse(request, credentials, &refusal);
        }
    }

    /// Strikes one half off what is wanted.
    fn lower(&mut self, wanted: &mut Wanted, missing: AddressFamily) {
        wanted.refused = Some((missing, ErrorCode::INSUFFICIENT_CAPACITY));
        wanted.places -= 1;
        self.registry.quotas.release(&wanted.holder);
    }

    /// Gives back what was counted and opened for a request that comes to nothing.
    fn forget(&mut self, wanted: &Wanted, opened: impl IntoIterator<Item = Opened>) {
        for _ in 0..wanted.places {
            self.registry.quotas.release(&wanted.holder);
        }
        for Opened {
            relay,
            number,
            port,
        } in opened
        {
            if wanted.tcp.is_some() {
                self.outbox.close_listener(port, relay.table, number);
            } else {
                self.outbox.release(port, relay.table, number);
            }
        }
    }

    /// The sockets are there: the allocation begins.
    fn begin(&mut self, now: Tick, wanted: Wanted, first: Opened, second: Option<Opened>) {
        let session_max_s = self.config.session_max_s;
        let session_ends = (session_max_s != 0).then(|| now.plus_s(session_max_s));
        let mut lifetime_s = self.clamp_lifetime(wanted.lifetime_s);
        lifetime_s = self.within_token(now, wanted.credentials.as_ref(), lifetime_s);
        if session_ends.is_some() {
            lifetime_s = lifetime_s.min(session_max_s);
        }
        let index = self.allocations.vacant_key();
        let place = u32::try_from(index).expect("invariant: there are fewer sockets than 2^32");
        self.generation = self.generation.wrapping_add(1);
        let id = AllocationId::new(self.worker, self.generation, place);
        let expires = now.plus_s(lifetime_s);
        let terms = Terms::of(&self.config, wanted.credentials.as_ref());
        let tcp = wanted.tcp.map(|meter| {
            meter.set_bytes_per_s(terms.bytes_per_s);
            Box::new(TcpSide::new(first.port, meter))
        });
        let relay = if tcp.is_some() {
            self.publish_listener(first, expires, place)
        } else {
            self.publish(first, expires, place)
        };
        let second = second.map(|second| Box::new(self.publish(second, expires, place)));
        let (client, relayed) = (wanted.request.client, relay.external);
        let relayed_second = second.as_ref().map(|second| second.external);
        let account = Arc::clone(&wanted.holder.account);
        let mobility = wanted.mobile.then(|| self.make_mobile(id));
        self.allocations.insert(Allocation {
            expires,
            relay,
            second,
            client,
            channels: Channels::default(),
            permissions: Permissions::default(),
            to_peers: Traffic::default(),
            to_client: Traffic::default(),
            rates: Rates::default(),
            terms,
            id,
            holder: wanted.holder,
            credentials: wanted.credentials,
            created: now,
            session_ends,
            granted: Granted {
                transaction_id: wanted.request.transaction_id,
                lifetime_s,
                reservation: wanted.reservation,
                refused: wanted.refused,
            },
            mobility,
            tcp,
        });
        self.clients.insert(client.key(), place);
        self.timers.set(index, expires);
        self.count_allocated(index);
        self.outbox.event(Event::Allocated {
            id,
            client,
            account,
            relayed,
            relayed_second,
            lifetime_s,
        });
        self.grant(&wanted.request, index);
    }

    /// Enters a relayed address where senders of this node look for it.
    fn publish(&mut self, opened: Opened, expires: Tick, place: u32) -> Relay {
        let Opened {
            relay:
                RelayAddress {
                    internal,
                    external,
                    table,
                },
            number,
            port,
        } = opened;
        table.publish(number, self.worker, port);
        self.point_port(port, place);
        Relay {
            expires,
            port,
            internal: SocketAddr::new(internal, number),
            external: SocketAddr::new(external, number),
            table,
        }
    }

    /// Likewise of a TCP listener, whose port gets no datagrams.
    fn publish_listener(&mut self, opened: Opened, expires: Tick, place: u32) -> Relay {
        let Opened {
            relay,
            number,
            port,
        } = opened;
        relay.table.publish_stream(number);
        self.point_listener(port, place);
        Relay {
            expires,
            port: Relay::NO_SOCKET,
            internal: SocketAddr::new(relay.internal, number),
            external: SocketAddr::new(relay.external, number),
            table: relay.table,
        }
    }

    fn count_allocated(&mut self, index: usize) {
        let allocation = &self.allocations[index];
        self.counters.allocated += 1;
        self.counters.allocated_tcp += u64::from(allocation.tcp.is_some());
        self.counters.allocated_dual += u64::from(allocation.second.is_some());
        self.counters.allocated_in_part += u64::from(allocation.granted.refused.is_some());
        let credentials = allocation.credentials.as_ref();
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
}

#[cfg(test)]
mod tests;
