//! A relayed transport address: the whole of a usual allocation, one half of a dual one (RFC 8656
//! §5).
//!
//! The halves of a dual allocation share its 5-tuple, its permissions and channels (whose peers tell
//! by their family which half they belong to) and its rates. Each has its own end, since a Refresh
//! may name one of them only.

use std::{net::SocketAddr, sync::Arc};

use sterna_stun::attr::AddressFamily;

use crate::{
    RelayPort, allocation::Allocation, registry::owners::PortTable, server::respond::Outbox,
    tick::Tick,
};

/// A relayed transport address.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Relay {
    /// When it ends, if it is not refreshed.
    pub(crate) expires: Tick,
    pub(crate) port: RelayPort,
    /// As the node itself knows it.
    pub(crate) internal: SocketAddr,
    /// As clients are told it.
    pub(crate) external: SocketAddr,
    /// Where `internal` is entered.
    pub(crate) table: Arc<PortTable>,
}

impl Relay {
    /// In place of the socket of an allocation that relays TCP connections.
    pub(crate) const NO_SOCKET: RelayPort = RelayPort(u32::MAX);

    /// Tells whether datagrams are relayed.
    #[inline]
    pub(crate) fn has_socket(&self) -> bool {
        self.port != Self::NO_SOCKET
    }

    /// The family of its peers, which is its own.
    pub(crate) fn family(&self) -> AddressFamily {
        AddressFamily::of(self.internal.ip())
    }

    /// Strikes it off the list of relayed addresses and queues the closing of its socket.
    pub(crate) fn close(&self, outbox: &mut Outbox) {
        let number = self.internal.port();
        self.table.retire(number);
        outbox.release(self.port, Arc::clone(&self.table), number);
    }

    /// Likewise, where a TCP listener stands for the socket.
    pub(crate) fn close_listener(&self, listener: RelayPort, outbox: &mut Outbox) {
        let number = self.internal.port();
        self.table.retire(number);
        outbox.close_listener(listener, Arc::clone(&self.table), number);
    }
}

impl Allocation {
    /// The relayed addresses, the first one first.
    pub(crate) fn relays(&self) -> impl Iterator<Item = &Relay> {
        std::iter::once(&self.relay).chain(self.second.as_deref())
    }

    /// The living relayed address from which a peer is reached: the one of its family.
    #[inline]
    pub(crate) fn relay_to(&self, peer: SocketAddr, now: Tick) -> Option<&Relay> {
        let of_family = |relay: &&Relay| relay.internal.is_ipv4() == peer.is_ipv4();
        let relay = Some(&self.relay).filter(of_family);
        let relay = relay.or_else(|| self.second.as_deref().filter(of_family))?;
        (relay.expires > now).then_some(relay)
    }

    /// Tells whether a peer is of a family that the allocation has (RFC 8656 §10.2, §11.2, §12.2).
    pub(crate) fn is_of_family(&self, peer: SocketAddr, now: Tick) -> bool {
        self.relay_to(peer, now).is_some()
    }

    /// Tells whether there is a living relayed address of this family.
    pub(crate) fn has(&self, family: AddressFamily, now: Tick) -> bool {
        self.relays()
            .any(|relay| relay.family() == family && relay.expires > now)
    }

    /// Tells whether the relayed address behind this socket lives.
    #[inline]
    pub(crate) fn is_alive_at(&self, port: RelayPort, now: Tick) -> bool {
        let relay = if self.relay.port == port {
            Some(&self.relay)
        } else {
            self.second.as_deref()
        };
        relay.is_some_and(|relay| relay.expires > now)
    }

    /// Lets what lives of the relayed addresses, or of the one of `family`, end at `end`.
    pub(crate) fn prolong(&mut self, family: Option<AddressFamily>, now: Tick, end: Tick) {
        let second = self.second.as_deref_mut();
        for relay in std::iter::once(&mut self.relay).chain(second) {
            let meant = family.is_none_or(|family| relay.family() == family);
            if meant && relay.expires > now {
                relay.expires = end;
            }
        }
        self.settle_end();
    }

    /// Lets no relayed address live beyond `end`.
    pub(crate) fn shorten(&mut self, end: Tick) {
        let second = self.second.as_deref_mut();
        for relay in std::iter::once(&mut self.relay).chain(second) {
            relay.expires = relay.expires.min(end);
        }
        self.settle_end();
    }

    /// When the first of its relayed addresses ends.
    pub(crate) fn next_end(&self) -> Tick {
        let ends = self.relays().map(|relay| relay.expires);
        ends.min().unwrap_or(self.expires)
    }

    /// Takes one half out, with its permissions and channels, if another one is left.
    ///
    /// RFC 8656 §8.2 and §5: "Deleting a single allocation destroys any permissions or channels
    /// associated with that particular allocation; it MUST NOT affect any permissions or channels
    /// associated with allocations for the other address family."
    pub(crate) fn split_off(&mut self, family: AddressFamily) -> Option<Relay> {
        let second = self.second.take()?;
        let gone = if second.family() == family {
            *second
        } else {
            std::mem::replace(&mut self.relay, *second)
        };
        let is_ipv4 = family == AddressFamily::Ipv4;
        self.permissions.retain(|ip| ip.is_ipv4() != is_ipv4);
        self.channels.retain_peers(|peer| peer.is_ipv4() != is_ipv4);
        self.settle_end();
        Some(gone)
    }

    /// An allocation lives as long as one of its relayed addresses does.
    fn settle_end(&mut self) {
        let ends = self.relays().map(|relay| relay.expires);
        self.expires = ends.max().unwrap_or(self.expires);
    }
}
