//! One allocation: a client, its relayed transport address, and what it may reach from there.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use sterna_stun::{attr::AddressFamily, message::TransactionId};

use crate::{
    AllocationId, Client, DropReason, Limits, Traffic,
    channels::Channels,
    permissions::Permissions,
    rate::Bucket,
    registry::{quota::Holder, reservation::Token},
    relay::Relay,
    rules::Terms,
    server::{authenticate::Credentials, mobility::Mobility, peer_connections::TcpSide},
    tick::Tick,
};

/// What a 5-tuple has (RFC 8656 §3.2).
///
/// In this order in memory, so that a packet touches few cache lines: what every packet reads,
/// what it does on its way in, and at last what only requests ask for.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Allocation {
    /// The end of the relayed address that lives longest.
    pub(crate) expires: Tick,
    pub(crate) channels: Channels,
    pub(crate) to_peers: Traffic,
    pub(crate) rates: Rates,
    pub(crate) terms: Terms,
    /// The relayed transport address, of a dual allocation the first one.
    pub(crate) relay: Relay,
    /// The one of the other family. Few have it, so it is kept elsewhere.
    pub(crate) second: Option<Box<Relay>>,
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
    /// Of a client that asked for a ticket.
    pub(crate) mobility: Option<Box<Mobility>>,
    /// Of one that relays TCP connections (RFC 6062): its listener and its connections.
    pub(crate) tcp: Option<Box<TcpSide>>,
}

/// What the success response said, so that a retransmitted Allocate gets the same again.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Granted {
    pub(crate) transaction_id: TransactionId,
    pub(crate) lifetime_s: u32,
    pub(crate) reservation: Option<Token>,
    /// The half of a dual allocation that was not to be had, and the code that says why.
    pub(crate) refused: Option<(AddressFamily, u16)>,
}

/// What the allocation may spend in a second.
#[derive(Copy, Clone, Debug, Default)]
pub(crate) struct Rates {
    packets: Bucket,
    bytes: Bucket,
    new_peers: Bucket,
    icmp: Bucket,
}

impl Rates {
    /// Spends one packet of `bytes`.
    #[inline]
    pub(crate) fn spend(
        &mut self,
        now: Tick,
        bytes: usize,
        terms: &Terms,
    ) -> Result<(), DropReason> {
        let (packets_max, bytes_max) = (terms.packets_per_s, terms.bytes_per_s);
        if packets_max != 0 && !self.packets.take(now, 1, packets_max.into()) {
            return Err(DropReason::SessionPacketRate);
        }
        if bytes_max != 0 && !self.bytes.take(now, bytes as u64, bytes_max) {
            return Err(DropReason::SessionByteRate);
        }
        Ok(())
    }

    /// Spends one ICMP error; a rate of 0 is no limit.
    pub(crate) fn spend_icmp(&mut self, now: Tick, rate: u32) -> bool {
        rate == 0 || self.icmp.take(now, 1, rate.into())
    }

    /// Adds `count` new peers.
    pub(crate) fn add_peers(&mut self, now: Tick, count: usize, limits: &Limits) -> bool {
        let rate = limits.new_peers_per_allocation_per_s;
        count == 0 || rate == 0 || self.new_peers.take(now, count as u64, rate.into())
    }
}

impl Allocation {
    /// Tells whether it was made, or last refreshed, with a token of the key of this name.
    pub(crate) fn is_of_key(&self, kid: &str) -> bool {
        let credentials = self.credentials.as_ref();
        let session = credentials.and_then(Credentials::session);
        session.is_some_and(|session| *session.signer.kid == *kid)
    }

    /// What has passed to peers and to the client; of TCP connections the bytes alone.
    pub(crate) fn traffic(&self) -> (Traffic, Traffic) {
        let (mut to_peers, mut to_client) = (self.to_peers, self.to_client);
        if let Some(tcp) = &self.tcp {
            let passed = tcp.meter.passed();
            to_peers.bytes += passed.0;
            to_client.bytes += passed.1;
        }
        (to_peers, to_client)
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
    /// The relayed transport address that the client was told, of a dual allocation the first one.
    pub relayed: SocketAddr,
    /// The relayed transport address of the other family, if there is one.
    pub relayed_second: Option<SocketAddr>,
    /// How long ago it was made.
    pub age: Duration,
    /// How long it has, if it is not refreshed.
    pub expires_in: Duration,
    /// Living permissions.
    pub permissions: usize,
    /// Living channels.
    pub channels: usize,
    /// TCP connections to peers, being made or made; none where datagrams are relayed.
    pub connections: Option<usize>,
    /// What its client sent to peers.
    pub to_peers: Traffic,
    /// What peers sent to its client.
    pub to_client: Traffic,
}

impl AllocationView {
    pub(crate) fn of(allocation: &Allocation, now: Tick) -> Self {
        let (to_peers, to_client) = allocation.traffic();
        Self {
            id: allocation.id,
            client: allocation.client,
            account: Arc::clone(&allocation.holder.account),
            relayed: allocation.relay.external,
            relayed_second: allocation.second.as_ref().map(|relay| relay.external),
            age: now.since(allocation.created),
            expires_in: allocation.expires.since(now),
            permissions: allocation.permissions.live_len(now),
            channels: allocation.channels.live_len(now),
            connections: allocation.tcp.as_ref().map(|tcp| tcp.connections.len()),
            to_peers,
            to_client,
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
