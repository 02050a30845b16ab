//! TCP connections to peers (RFC 6062), from the client's side.
//!
//! A connection has two ends at the client: its id, which comes by the control connection
//! ([`Event::Connected`], [`Event::ConnectionAttempt`]), and a data connection of its own to the
//! same server, run by another [`TurnClient`] that has no allocation and asks to bind the id. After
//! [`Event::ConnectionBound`] that connection carries the peer's bytes, and this machine is done.

use std::net::SocketAddr;
use std::time::Instant;

use sterna_stun::attr::{ConnectionId, XorPeerAddress};
use sterna_stun::message::{Message, Method};

use super::config::Relayed;
use super::event::{ClientError, Event, Ignored, Received};
use super::{Request, TurnClient};

impl TurnClient {
    /// Asks the server to connect to a peer from the relayed address; answered by
    /// [`Event::Connected`]. The allocation must relay TCP ([`Relayed::Tcp`]).
    pub fn connect(&mut self, now: Instant, peer: SocketAddr) -> Result<(), ClientError> {
        if self.living()?.options.relayed != Relayed::Tcp {
            return Err(ClientError::NoAllocation);
        }
        self.start(now, Request::Connect { peer })
    }

    /// Asks that this connection, which has no allocation, carry the bytes of the peer whose id
    /// another connection of the same user was told; answered by [`Event::ConnectionBound`]. What
    /// the server sends behind that answer is the peer's, and no message.
    pub fn bind_connection(&mut self, now: Instant, connection_id: u32) -> Result<(), ClientError> {
        if self.allocation.is_some() {
            return Err(ClientError::AlreadyAllocated);
        }
        self.start(now, Request::ConnectionBind { connection_id })
    }

    /// A Connect has succeeded.
    pub(super) fn connected(&mut self, peer: SocketAddr, message: &Message<'_>) -> Option<()> {
        let ConnectionId(connection_id) = message.find().ok()??;
        self.events.push_back(Event::Connected {
            peer,
            connection_id,
        });
        Some(())
    }

    /// Looks into an indication that is no data: a peer has connected, or nothing of ours.
    pub(super) fn receive_attempt(&mut self, message: &Message<'_>) -> Received {
        if message.method() != Method::CONNECTION_ATTEMPT {
            return Received::Ignored(Ignored::Unexpected);
        }
        let (Ok(Some(XorPeerAddress(peer))), Ok(Some(ConnectionId(connection_id)))) =
            (message.find(), message.find())
        else {
            return Received::Ignored(Ignored::Malformed);
        };
        // RFC 6062 §4.4: only from peers for which the client believes to have a permission.
        let is_wanted = self.allocation.as_ref().is_some_and(|allocation| {
            allocation.options.relayed == Relayed::Tcp && allocation.is_permitted(peer.ip())
        });
        if !is_wanted {
            return Received::Ignored(Ignored::UnknownPeer);
        }
        self.events.push_back(Event::ConnectionAttempt {
            peer,
            connection_id,
        });
        Received::Attempt
    }
}
