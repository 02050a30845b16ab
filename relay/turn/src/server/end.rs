//! The end of an allocation, whatever the reason: everything that it held is given back.

use sterna_stun::attr::AddressFamily;

use super::{NOBODY, Server};
use crate::{EndReason, Event};

impl Server {
    /// Ends an allocation.
    pub(super) fn end(&mut self, index: usize, reason: EndReason) {
        let Some(mut allocation) = self.allocations.try_remove(index) else {
            debug_assert!(false, "an allocation ends once");
            return;
        };
        let client = allocation.client;
        let (to_peers, to_client) = allocation.traffic();
        let decided_here = matches!(reason, EndReason::Revoked | EndReason::UserRemoved);
        let mobility = allocation.mobility.take();
        self.end_mobility(index, &client, mobility, decided_here);
        self.timers.cancel(index);
        if let Some(tcp) = &allocation.tcp {
            self.registry.quotas.release(&allocation.holder);
            self.end_connections(tcp, reason);
            allocation
                .relay
                .close_listener(tcp.listener, &mut self.outbox);
        } else {
            for relay in allocation.relays() {
                self.registry.quotas.release(&allocation.holder);
                self.point_port(relay.port, NOBODY);
                relay.close(&mut self.outbox);
            }
        }

        self.counters.count_end(reason);
        self.outbox.event(Event::Ended {
            id: allocation.id,
            client,
            account: allocation.holder.account,
            reason,
            to_peers,
            to_client,
        });
    }

    /// Ends one half of a dual allocation, or the whole of one that has only this half.
    pub(super) fn end_half(&mut self, index: usize, family: AddressFamily, reason: EndReason) {
        let allocation = &mut self.allocations[index];
        let Some(relay) = allocation.split_off(family) else {
            self.end(index, reason);
            return;
        };
        self.timers.set(index, allocation.next_end());
        self.registry.quotas.release(&allocation.holder);
        self.counters.halves_ended += 1;
        self.outbox.event(Event::HalfEnded {
            id: allocation.id,
            relayed: relay.external,
            reason,
        });
        self.point_port(relay.port, NOBODY);
        relay.close(&mut self.outbox);
    }
}
