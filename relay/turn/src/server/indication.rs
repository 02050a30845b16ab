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
        let Some(index) = self.find_sender(client, now) else {
            return self.by_owner(client).ok_or(DropReason::NoAllocation);
        };
        let allocation = &mut self.allocations[index];
        // RFC 6062 §3: connections have no datagrams.
        if !allocation.relay.has_socket() {
            return Err(DropReason::TcpAllocation);
        }
        if !allocation.is_of_family(peer, now) {
            return Err(DropReason::PeerFamilyMismatch);
        }
        let permission = allocation
            .permissions
            .live(peer.ip(), now)
            .ok_or(DropReason::NoPermission)?;
        let permitted = permission.permitted;
        self.judge_port(index, permitted, peer)?;
        let mut verdict = self.send_on(now, index, peer, permitted, payload)?;
        // RFC 8656 §13.1 to §13.3: between UDP and UDP with IPv6 on either side DONT-FRAGMENT "MUST
        // be ignored by the server".
        let ignored = !client.transport.is_stream() && (client.addr.is_ipv6() || peer.is_ipv6());
        if let Verdict::ToPeer {
            dont_fragment: whole,
            ..
        } = &mut verdict
        {
            *whole = dont_fragment && !ignored;
        }
        Ok(verdict)
    }
}
