//! ChannelBind (RFC 8656 §12.2): a number for a peer, and a permission with it.

use sterna_stun::{
    attr::{ChannelNumber, XorPeerAddress},
    message::Message,
};

use super::{
    Server,
    authenticate::Authenticated,
    respond::{Refusal, Request},
};
use crate::{
    channels::Channel,
    limits::{CHANNEL_LIFETIME_S, PERMISSION_LIFETIME_S},
    permissions::Permission,
    tick::Tick,
};

impl Server {
    pub(super) fn channel_bind(
        &mut self,
        now: Tick,
        request: &Request,
        message: &Message<'_>,
        authenticated: &Authenticated,
    ) -> Result<(), Refusal> {
        let index = self.find_own(now, request, authenticated)?;
        let allocation = &mut self.allocations[index];
        // RFC 6062 §3: no channel carries the bytes of a connection.
        if !allocation.relay.has_socket() {
            return Err(Refusal::FORBIDDEN);
        }
        allocation.channels.sweep(now);
        allocation.permissions.sweep(now);

        // RFC 8656 §12.2: 400 unless number and peer are both there, the number is in range, and
        // neither is bound otherwise.
        let number = message
            .find::<ChannelNumber>()
            .map_err(|_| Refusal::BAD_REQUEST)?;
        let peer = message
            .find::<XorPeerAddress>()
            .map_err(|_| Refusal::BAD_REQUEST)?;
        let (Some(number), Some(XorPeerAddress(peer))) = (number, peer) else {
            return Err(Refusal::BAD_REQUEST);
        };
        let in_range =
            number.is_valid() || (self.config.rfc5766_channels && number.is_valid_rfc5766());
        if !in_range {
            return Err(Refusal::BAD_REQUEST);
        }
        let ChannelNumber(number) = number;
        let refreshed = allocation
            .channels
            .is_bound(number, peer)
            .map_err(|_| Refusal::BAD_REQUEST)?;
        if !allocation.is_of_family(peer, now) {
            return Err(Refusal::PEER_FAMILY);
        }
        let permitted = self.judge_peer(index, peer)?;
        self.check_new_channel(now, index, peer.ip(), refreshed)?;

        // RFC 8656 §12.2: the binding installs or refreshes the permission as well.
        let permission_expires = now.plus_s(PERMISSION_LIFETIME_S);
        let expires = now.plus_s(CHANNEL_LIFETIME_S);
        let allocation = &mut self.allocations[index];
        let permission = Permission {
            ip: peer.ip(),
            expires: permission_expires,
            permitted,
        };
        let new_permission = allocation.permissions.install(permission);
        allocation.channels.bind(Channel {
            peer,
            expires,
            permission_expires,
            number,
            permitted,
        });
        allocation.channels.permit(peer.ip(), permission_expires);
        self.counters.permissions_installed += u64::from(new_permission);
        self.counters.channels_bound += u64::from(!refreshed);
        self.succeed(request, authenticated.credentials(), |_| Ok(()));
        Ok(())
    }

    /// RFC 8656 §12.2: 508 beyond what one allocation may have, or may add in a second.
    fn check_new_channel(
        &mut self,
        now: Tick,
        index: usize,
        ip: std::net::IpAddr,
        refreshed: bool,
    ) -> Result<(), Refusal> {
        let limits = &self.config.limits;
        let allocation = &mut self.allocations[index];
        let channels_max = limits.channels_per_allocation_max as usize;
        if !refreshed && channels_max != 0 && allocation.channels.len() >= channels_max {
            self.counters.channels_refused += 1;
            return Err(Refusal::CAPACITY);
        }
        let permissions_max = limits.permissions_per_allocation_max as usize;
        let permitted = allocation.permissions.live(ip, now).is_some();
        if !permitted && permissions_max != 0 && allocation.permissions.len() >= permissions_max {
            self.counters.permissions_refused += 1;
            return Err(Refusal::CAPACITY);
        }
        if !allocation
            .rates
            .add_peers(now, usize::from(!refreshed), limits)
        {
            self.counters.new_peers_refused += 1;
            return Err(Refusal::CAPACITY);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
