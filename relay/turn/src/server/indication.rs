//! Send indications (RFC 8656 §11.2): data for a peer that needs no channel, only a permission.

use sterna_stun::{
    data_indication::{IndicationError, SendIndication},
    message::Message,
};

use super::Server;
use crate::{Client, DropReason, Verdict, tick::Tick};

impl Server {
    // Two look-ups (client, permission), no allocation.
    pub(super) fn send_indication(
        &mut self,
        now: Tick,
        client: &Client,
        message: &Message<'_>,
    ) -> Result<Verdict, DropReason> {
        // RFC 8656 §11.2: silently discarded unless both attributes are there and well formed, and
        // there is a permission.
        let SendIndication {
            peer,
            payload,
            dont_fragment,
        } = SendIndication::of(message).map_err(|error| match error {
            IndicationError::UnknownRequired => DropReason::UnknownAttribute,
            _ => DropReason::BadIndication,
        })?;
        let index = self.find(client, now).ok_or(DropReason::NoAllocation)?;
        let allocation = &mut self.allocations[index];
        if !allocation.is_of_family(peer) {
            return Err(DropReason::PeerFamilyMismatch);
        }
        // RFC 8656 §11.2: where DF cannot be set, DONT-FRAGMENT is an unknown attribute; §13.1 to
        // §13.3: between UDP and UDP with IPv6 on either side it "MUST be ignored by the server".
        let ignored = !client.transport.is_stream() && (client.addr.is_ipv6() || peer.is_ipv6());
        if dont_fragment && !ignored {
            return Err(DropReason::UnknownAttribute);
        }
        let permission = allocation
            .permissions
            .live(peer.ip(), now)
            .ok_or(DropReason::NoPermission)?;
        let permitted = permission.permitted;
        let port_denied = self.config.policy.port(permitted, peer).is_err();
        if port_denied {
            return Err(DropReason::PeerPortDenied);
        }
        self.send_on(now, index, peer, permitted, payload)
    }
}
