//! Whether an allocation may reach a peer: the one place that CreatePermission, ChannelBind, Send
//! and forwarding ask, so that no way in forgets it, nor the rules of the account.

use std::net::{IpAddr, SocketAddr};

use super::{Server, respond::Refusal};
use crate::{DropReason, policy::Permitted, rules::Terms};

impl Server {
    /// Judges an address, as CreatePermission does, whose port is ignored.
    pub(super) fn judge_address(&self, index: usize, ip: IpAddr) -> Result<Permitted, Refusal> {
        let policy = &self.allocations[index].terms.policy;
        policy.address(ip).map_err(|_| Refusal::FORBIDDEN)
    }

    /// Judges an address and a port, as ChannelBind does and everything else that opens a path to
    /// one peer.
    pub(super) fn judge_peer(&self, index: usize, peer: SocketAddr) -> Result<Permitted, Refusal> {
        let policy = &self.allocations[index].terms.policy;
        policy.peer(peer).map_err(|_| Refusal::FORBIDDEN)
    }

    /// Judges the port of a peer whose address has a living permission, as Send does.
    pub(super) fn judge_port(
        &self,
        index: usize,
        permitted: Permitted,
        peer: SocketAddr,
    ) -> Result<(), DropReason> {
        let policy = &self.allocations[index].terms.policy;
        policy
            .port(permitted, peer)
            .map_err(|_| DropReason::PeerPortDenied)
    }

    /// Works out anew what an allocation may, and ends what it may not any more.
    pub(super) fn rejudge(&mut self, index: usize) {
        let allocation = &mut self.allocations[index];
        allocation.terms = Terms::of(&self.config, allocation.credentials.as_ref());
        if let Some(tcp) = &allocation.tcp {
            tcp.meter.set_bytes_per_s(allocation.terms.bytes_per_s);
        }
        let policy = &allocation.terms.policy;
        let permissions = allocation.permissions.rejudge(|ip| policy.address(ip).ok());
        let channels = allocation.channels.rejudge(|peer| policy.peer(peer).ok());
        self.counters.peers_revoked += (permissions + channels) as u64;
    }
}

#[cfg(test)]
mod tests;
