//! One allocation: a client, its relayed transport address, and what it may reach from there.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use sterna_stun::message::TransactionId;

use crate::{
    AllocationId, Client, DropReason, Limits, RelayPort, Traffic,
    channels::Channels,
    permissions::Permissions,
    rate::Bucket,
    registry::{owners::PortTable, quota::Holder, reservation::Token},
    server::authenticate::Credentials,
    tick::Tick,
};

/// What a 5-tuple has (RFC 8656 §3.2).
///
/// In this order in memory, so that a packet touches few cache lines: what every packet reads,
/// what it does on its way in, and at last what only requests ask for.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Allocation {
    pub(crate) expires: Tick,
    pub(crate) channels: Channels,
    pub(crate) to_peers: Traffic,
    pub(crate) rates: Rates,
    /// The relayed transport address. A dual allocation will have a second one.
    pub(crate) relay: Relay,
    pub(crate) client: Client,
    pub(crate) to_client: Traffic,
    pub(crate) permissions: Permissions,

    pub(crate) id: AllocationId,
    pub(crate) holder: Holder,
    /// Who made it; none on an open relay.
    pub(crate) credentials: Option<Credentials>,
    pub(crate) created: Tick,
    /// The end of the longest session, however often it is refreshed.
    pub(crate) session_ends: Option<Tick>,
    pub(crate) granted: Granted,
}

/// A relayed transport address.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Relay {
    pub(crate) port: RelayPort,
    /// As clients are told it.
    pub(crate) external: SocketAddr,
    /// As the node itself knows it.
    pub(crate) internal: SocketAddr,
    /// Where `internal` is entered.
    pub(crate) table: Arc<PortTable>,
}

/// What the success response said, so that a retransmitted Allocate gets the same again.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Granted {
    pub(crate) transaction_id: TransactionId,
    pub(crate) lifetime_s: u32,
    pub(crate) reservation: Option<Token>,
    /// ADDITIONAL-ADDRESS-FAMILY asked for a second address, which it did not get.
    pub(crate) refused_family: Option<sterna_stun::attr::AddressFamily>,
}

/// What the allocation may spend in a second.
#[derive(Copy, Clone, Debug, Default)]
pub(crate) struct Rates {
    packets: Bucket,
    bytes: Bucket,
    new_peers: Bucket,
}

impl Rates {
    /// Spends one packet of `bytes`.
    #[inline]
    pub(crate) fn spend(
        &mut self,
        now: Tick,
        bytes: usize,
        limits: &Limits,
    ) -> Result<(), DropReason> {
        let (packets_max, bytes_max) = (limits.session_packets_per_s, limits.session_bytes_per_s);
        if packets_max != 0 && !self.packets.take(now, 1, packets_max.into()) {
            return Err(DropReason::SessionPacketRate);
        }
        if bytes_max != 0 && !self.bytes.take(now, bytes as u64, bytes_max) {
            return Err(DropReason::SessionByteRate);
        }
        Ok(())
    }

    /// Adds `count` new peers.
    pub(crate) fn add_peers(&mut self, now: Tick, count: usize, limits: &Limits) -> bool {
        let rate = limits.new_peers_per_allocation_per_s;
        count == 0 || rate == 0 || self.new_peers.take(now, count as u64, rate.into())
    }
}

impl Allocation {
    /// Tells whether a peer is of the relayed address's family (RFC 8656 §10.2, §11.2, §12.2).
    pub(crate) fn is_of_family(&self, peer: SocketAddr) -> bool {
        self.relay.internal.is_ipv4() == peer.is_ipv4()
    }

    /// The lifetime that may be granted at `now`: the longest session ends it early.
    pub(crate) fn within_session(&self, now: Tick, lifetime_s: u32) -> u32 {
        let Some(ends) = self.session_ends else {
            return lifetime_s;
        };
        let left_s = u32::try_from(ends.since(now).as_secs()).unwrap_or(u32::MAX);
        lifetime_s.min(left_s)
    }
}

/// An allocation as the operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllocationView {
    /// Its name.
    pub id: AllocationId,
    /// Who has it.
    pub client: Client,
    /// The account that it counts for; empty on an open relay.
    pub account: Arc<str>,
    /// The relayed transport address that the client was told.
    pub relayed: SocketAddr,
    /// How long ago it was made.
    pub age: Duration,
    /// How long it has, if it is not refreshed.
    pub expires_in: Duration,
    /// Living permissions.
    pub permissions: usize,
    /// Living channels.
    pub channels: usize,
    /// What its client sent to peers.
    pub to_peers: Traffic,
    /// What peers sent to its client.
    pub to_client: Traffic,
}

impl AllocationView {
    pub(crate) fn of(allocation: &Allocation, now: Tick) -> Self {
        Self {
            id: allocation.id,
            client: allocation.client,
            account: Arc::clone(&allocation.holder.account),
            relayed: allocation.relay.external,
            age: now.since(allocation.created),
            expires_in: allocation.expires.since(now),
            permissions: allocation.permissions.live_len(now),
            channels: allocation.channels.live_len(now),
            to_peers: allocation.to_peers,
            to_client: allocation.to_client,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allocation_with_one_permission_and_one_channel_fits_one_kibibyte() {
        let tables = size_of::<crate::permissions::Permission>() * 4
            + size_of::<crate::channels::Channel>() * 4
            + 2 * 4;
        let bytes = size_of::<Allocation>() + tables;
        assert!(bytes <= 1024, "{bytes} bytes");
    }
}
