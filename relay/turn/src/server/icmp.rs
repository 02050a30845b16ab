//! ICMP errors about what was sent to peers (RFC 8656 §11.5).
//!
//! They reach the client as a Data indication, also where a channel is bound. Anybody on the way
//! can forge them: nothing here ends, changes or refreshes anything, and an allocation is told a
//! bounded number a second.

use std::{net::SocketAddr, time::Instant};

use rand::Rng;
use sterna_stun::{
    attr::{Icmp, XorPeerAddress},
    message::{Method, TransactionId},
};

use super::{NOBODY, Server};
use crate::{DropReason, RelayPort, Verdict, tick::Tick};

impl Server {
    /// Takes an ICMP error about a datagram that left a relay port for `peer`.
    ///
    /// What is known of it is the type, the code, the MTU of the next hop where it was too big, and
    /// from the datagram that it quotes the relay port and the peer: so it is about UDP, and about
    /// an allocation of this server, by the word of whoever looked the port up.
    pub fn handle_icmp(
        &mut self,
        now: Instant,
        port: RelayPort,
        peer: SocketAddr,
        icmp: Icmp,
    ) -> Verdict {
        let now = self.clock.tick(now);
        let outcome = self.icmp(now, port, peer, icmp);
        self.verdict(outcome)
    }

    fn icmp(
        &mut self,
        now: Tick,
        port: RelayPort,
        peer: SocketAddr,
        icmp: Icmp,
    ) -> Result<Verdict, DropReason> {
        let icmp = told(icmp, peer.is_ipv4()).ok_or(DropReason::IcmpType)?;
        let index = self.by_port.get(port.0 as usize).copied().unwrap_or(NOBODY);
        let allocation = self.allocations.get_mut(index as usize);
        let allocation = allocation
            .filter(|allocation| allocation.is_alive_at(port, now))
            .ok_or(DropReason::UnknownRelayPort)?;
        // RFC 8656 §11.5: by the address that the quoted packet was sent to, whatever its port and
        // whoever reports it.
        if allocation.permissions.live(peer.ip(), now).is_none() {
            return Err(DropReason::NoPermission);
        }
        let rate = self.config.limits.icmp_per_allocation_per_s;
        if !allocation.rates.spend_icmp(now, rate) {
            return Err(DropReason::IcmpRate);
        }
        let client = allocation.client;
        let mut id = TransactionId([0; 12]);
        self.rng.fill_bytes(&mut id.0);
        self.outbox.indicate(client, Method::DATA, id, |writer| {
            writer.attr(&XorPeerAddress(peer))?;
            writer.attr(&icmp)
        });
        self.counters.icmp_relayed += 1;
        Ok(Verdict::Handled)
    }
}

/// The error as a client is told it; none of those that clients are not told.
fn told(icmp: Icmp, v4: bool) -> Option<Icmp> {
    // RFC 8656 §11.5: destination unreachable and time exceeded of ICMPv4; of ICMPv6 these and
    // packet too big.
    let relayed = if v4 {
        matches!(icmp.type_, 3 | 11)
    } else {
        matches!(icmp.type_, 1..=3)
    };
    // RFC 8656 §18.13: the MTU, or "MUST be set to zero".
    let too_big = if v4 {
        (icmp.type_, icmp.code) == (3, 4)
    } else {
        icmp.type_ == 2
    };
    relayed.then_some(Icmp {
        data: if too_big { icmp.data } else { [0; 4] },
        ..icmp
    })
}

#[cfg(test)]
mod tests;
