//! The end of an allocation, whatever the reason: everything that it held is given back.

use std::sync::Arc;

use super::{NOBODY, Server};
use crate::{Command, EndReason, Event};

impl Server {
    /// Ends an allocation.
    pub(super) fn end(&mut self, index: usize, reason: EndReason) {
        let Some(allocation) = self.allocations.try_remove(index) else {
            debug_assert!(false, "an allocation ends once");
            return;
        };
        let client = allocation.client;
        self.clients.remove(&client.key());
        self.timers.cancel(index);
        self.registry.quotas.release(&allocation.holder);

        let relay = &allocation.relay;
        self.point_port(relay.port, NOBODY);
        relay.table.retire(relay.internal.port());
        self.outbox
            .release(relay.port, Arc::clone(&relay.table), relay.internal.port());

        self.counters.count_end(reason);
        let decided_here = matches!(reason, EndReason::Revoked | EndReason::UserRemoved);
        if decided_here && client.transport.is_stream() {
            self.outbox.push(Command::CloseStream { client });
        }
        self.outbox.event(Event::Ended {
            id: allocation.id,
            client,
            account: allocation.holder.account,
            reason,
            to_peers: allocation.to_peers,
            to_client: allocation.to_client,
        });
    }
}
