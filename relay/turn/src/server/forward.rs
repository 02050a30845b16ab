//! Data, both ways, and from client to client inside the node (RFC 8656 §11, §12).
//!
//! Nothing here allocates, locks or parses more than a header. Whatever is stored with an
//! allocation is compared with `now`, so that no timer needs to be on time.

use std::{net::SocketAddr, ops::Range};

use rand::Rng;
use sterna_stun::{
    channel_data::{self, ChannelData},
    message::TransactionId,
};

use super::{NOBODY, Server};
use crate::{
    Client, DropReason, Header, PeerAddr, RelayPort, Verdict, limits::UDP_PAYLOAD_MAX,
    policy::Permitted, tick::Tick,
};

impl Server {
    /// ChannelData from a client (RFC 8656 §12.6).
    // Two look-ups (client, channel), no allocation.
    #[inline]
    pub(super) fn channel_data(
        &mut self,
        now: Tick,
        client: &Client,
        packet: &[u8],
    ) -> Result<Verdict, DropReason> {
        // RFC 8656 §12.6: dropped if it is shorter than its length field says.
        let ChannelData { number, data } =
            ChannelData::parse(packet).map_err(|_| DropReason::TruncatedChannelData)?;
        let Some(index) = self.find_sender(client, now) else {
            return self.by_owner(client).ok_or(DropReason::NoAllocation);
        };
        let channel = self.allocations[index].channels.live_by_number(number, now);
        let channel = channel.ok_or(DropReason::NoChannel)?;
        // A channel whose permission has died drops both ways.
        if channel.permission_expires <= now {
            return Err(DropReason::NoPermission);
        }
        let (peer, permitted) = (channel.peer, channel.permitted);
        let start = channel_data::HEADER_BYTES;
        self.send_on(now, index, peer, permitted, start..start + data.len())
    }

    /// Sends on what a client may send, out of the node or to another client of it.
    #[inline]
    pub(super) fn send_on(
        &mut self,
        now: Tick,
        index: usize,
        peer: SocketAddr,
        permitted: Permitted,
        payload: Range<usize>,
    ) -> Result<Verdict, DropReason> {
        let allocation = &mut self.allocations[index];
        let relay = allocation.relay_to(peer, now);
        let relay = relay.ok_or(DropReason::PeerFamilyMismatch)?;
        let (port, from) = (relay.port, relay.external);
        allocation
            .rates
            .spend(now, payload.len(), &allocation.terms)?;
        allocation.to_peers.add(payload.len());
        self.counters.to_peers.add(payload.len());
        if permitted.own {
            return self.in_process(now, port, from, peer, permitted, payload);
        }
        Ok(Verdict::ToPeer {
            port,
            peer,
            payload,
            dont_fragment: false,
        })
    }

    /// Delivers to another client of this node, as if the packet had gone out and come back.
    fn in_process(
        &mut self,
        now: Tick,
        port: RelayPort,
        from: SocketAddr,
        peer: SocketAddr,
        permitted: Permitted,
        payload: Range<usize>,
    ) -> Result<Verdict, DropReason> {
        let Some((to, worker, to_port)) = self.owner_of(peer) else {
            // An own address that is no living relay: only where the operator allows it.
            if !permitted.allowed {
                return Err(DropReason::OwnAddress);
            }
            return Ok(Verdict::ToPeer {
                port,
                peer,
                payload,
                dont_fragment: false,
            });
        };
        self.counters.in_process.add(payload.len());
        if worker == self.worker {
            return self.deliver(now, to_port, from, payload);
        }
        self.counters.to_workers += 1;
        Ok(Verdict::ToWorker {
            worker,
            to: PeerAddr(to),
            from: PeerAddr(from),
            payload,
        })
    }

    /// The living relay behind a relayed address of this node, in its internal or external form.
    fn owner_of(&self, peer: SocketAddr) -> Option<(SocketAddr, crate::WorkerId, RelayPort)> {
        let (ip, number) = (peer.ip(), peer.port());
        self.relays.iter().find_map(|relay| {
            let ours = relay.internal == ip || relay.external == ip;
            let (worker, port) = ours.then(|| relay.table.owner(number)).flatten()?;
            Some((SocketAddr::new(relay.internal, number), worker, port))
        })
    }

    /// A packet from a peer (RFC 8656 §11.3, §12.7).
    #[inline]
    pub(super) fn peer_packet(
        &mut self,
        now: Tick,
        port: RelayPort,
        from: SocketAddr,
        len: usize,
    ) -> Result<Verdict, DropReason> {
        if from.port() == 0 {
            return Err(DropReason::SourcePortZero);
        }
        self.deliver(now, port, from, 0..len)
    }

    /// A packet that another worker's client sent to one of ours.
    pub(super) fn relayed_packet(
        &mut self,
        now: Tick,
        PeerAddr(to): PeerAddr,
        PeerAddr(from): PeerAddr,
        len: usize,
    ) -> Result<Verdict, DropReason> {
        match self.owner_of(to) {
            Some((_, worker, port)) if worker == self.worker => {
                self.deliver(now, port, from, 0..len)
            }
            _ => Err(DropReason::UnknownRelayedAddress),
        }
    }

    /// Gives a peer's payload to the client of a relay port.
    // One index, one or two look-ups (channel, permission), no allocation.
    #[inline]
    fn deliver(
        &mut self,
        now: Tick,
        port: RelayPort,
        from: SocketAddr,
        payload: Range<usize>,
    ) -> Result<Verdict, DropReason> {
        let index = self.by_port.get(port.0 as usize).copied().unwrap_or(NOBODY);
        let Some(allocation) = self.allocations.get_mut(index as usize) else {
            return Err(DropReason::UnknownRelayPort);
        };
        if !allocation.is_alive_at(port, now) {
            return Err(DropReason::UnknownRelayPort);
        }
        let client = allocation.client;
        let len = payload.len();
        // Once a channel is bound, data to the client uses it.
        let header = match allocation.channels.live_by_peer(from, now) {
            Some(channel) if channel.permission_expires > now => {
                let padded = client.transport.is_stream();
                Header::channel_data(channel.number, len, padded)
            }
            Some(_) => return Err(DropReason::NoPermission),
            None if allocation.permissions.live(from.ip(), now).is_some() => {
                let mut transaction_id = TransactionId([0; 12]);
                self.rng.fill_bytes(&mut transaction_id.0);
                Header::data_indication(transaction_id, from, len)
            }
            None => return Err(DropReason::NoPermission),
        };
        let header = header.ok_or(DropReason::PayloadTooLong)?;
        let whole = header.bytes().len() + len + header.tail();
        if whole > UDP_PAYLOAD_MAX && !client.transport.is_stream() {
            return Err(DropReason::PayloadTooLong);
        }
        allocation.rates.spend(now, len, &allocation.terms)?;
        allocation.to_client.add(len);
        self.counters.to_clients.add(len);
        Ok(Verdict::ToClient {
            client,
            header,
            payload,
        })
    }
}

#[cfg(test)]
mod tests;
