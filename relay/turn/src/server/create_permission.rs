//! CreatePermission (RFC 8656 §10.2): all of its peers, or none.

use sterna_stun::{attr::XorPeerAddress, message::Message};

use super::{
    Server,
    authenticate::Authenticated,
    respond::{Refusal, Request},
};
use crate::{
    limits::{PEERS_PER_REQUEST_MAX, PERMISSION_LIFETIME_S},
    permissions::Permission,
    tick::Tick,
};

impl Server {
    pub(super) fn create_permission(
        &mut self,
        now: Tick,
        request: &Request,
        message: &Message<'_>,
        authenticated: &Authenticated,
    ) -> Result<(), Refusal> {
        let index = self.find_own(now, request, authenticated)?;
        let peers = message.find_all::<XorPeerAddress>();
        if peers.take(PEERS_PER_REQUEST_MAX + 1).count() > PEERS_PER_REQUEST_MAX {
            self.counters.permissions_refused += 1;
            return Err(Refusal::CAPACITY);
        }
        self.allocations[index].permissions.sweep(now);
        let wanted = self.judge_peers(now, index, message)?;
        self.check_new_permissions(now, index, &wanted)?;

        let expires = now.plus_s(PERMISSION_LIFETIME_S);
        let allocation = &mut self.allocations[index];
        for permission in wanted {
            let new = allocation.permissions.install(Permission {
                expires,
                ..permission
            });
            self.counters.permissions_installed += u64::from(new);
            allocation.channels.permit(permission.ip, expires);
        }
        self.succeed(request, authenticated.credentials(), |_| Ok(()));
        Ok(())
    }

    /// Judges every peer of the request, each address once, before any is let in.
    fn judge_peers(
        &self,
        now: Tick,
        index: usize,
        message: &Message<'_>,
    ) -> Result<Vec<Permission>, Refusal> {
        let allocation = &self.allocations[index];
        let mut wanted = Vec::new();
        for peer in message.find_all::<XorPeerAddress>() {
            // RFC 8656 §10.2: 400 for a malformed peer, 443 for one of a family
            // that the allocation has not, 403 for a
            // forbidden one; the port is ignored.
            let XorPeerAddress(peer) = peer.map_err(|_| Refusal::BAD_REQUEST)?;
            if !allocation.is_of_family(peer, now) {
                return Err(Refusal::PEER_FAMILY);
            }
            let ip = peer.ip();
            let permitted = self.judge_address(index, ip)?;
            wanted.push(Permission {
                ip,
                expires: Tick::default(),
                permitted,
            });
        }
        // RFC 8656 §10.2: "at least one XOR-PEER-ADDRESS attribute", else 400.
        if wanted.is_empty() {
            return Err(Refusal::BAD_REQUEST);
        }
        wanted.sort_unstable_by_key(|permission| permission.ip);
        wanted.dedup_by_key(|permission| permission.ip);
        Ok(wanted)
    }

    /// RFC 8656 §10.2: 508 beyond what one allocation may have, or may add in a second.
    fn check_new_permissions(
        &mut self,
        now: Tick,
        index: usize,
        wanted: &[Permission],
    ) -> Result<(), Refusal> {
        let limits = &self.config.limits;
        let allocation = &mut self.allocations[index];
        let is_new = |wanted: &&Permission| allocation.permissions.live(wanted.ip, now).is_none();
        let new = wanted.iter().filter(is_new).count();
        let max = limits.permissions_per_allocation_max as usize;
        if max != 0 && allocation.permissions.len() + new > max {
            self.counters.permissions_refused += 1;
            return Err(Refusal::CAPACITY);
        }
        if !allocation.rates.add_peers(now, new, limits) {
            self.counters.new_peers_refused += 1;
            return Err(Refusal::CAPACITY);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
