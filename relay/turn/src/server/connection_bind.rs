//! ConnectionBind (RFC 6062 §5.4): a client's new connection becomes the other end of one to a peer.
//!
//! It may reach any worker of the node: ids live in the registry, and whoever takes one out has the
//! connection.

use sterna_stun::{attr::ConnectionId, message::Message};

use super::{
    Server,
    authenticate::Authenticated,
    respond::{Refusal, Request},
};
use crate::{Command, registry::connections::NotBound};

impl Server {
    pub(super) fn connection_bind(
        &mut self,
        request: &Request,
        message: &Message<'_>,
        authenticated: &Authenticated,
    ) -> Result<(), Refusal> {
        let client = request.client;
        // RFC 6062 §5.4: "If the client connection transport is not TCP or TLS, the server MUST
        // return a 400 (Bad Request) error." Nor does a connection that controls an allocation
        // become another's data.
        if !client.transport.is_stream()
            || self.clients.contains_key(&client.key())
            || self.pending_of(&client).is_some()
        {
            return Err(Refusal::BAD_REQUEST);
        }
        // RFC 6062 §5.4: 400 also without a CONNECTION-ID, and with one that names no pending
        // connection.
        let id = message
            .find::<ConnectionId>()
            .map_err(|_| Refusal::BAD_REQUEST)?;
        let Some(ConnectionId(id)) = id else {
            return Err(Refusal::BAD_REQUEST);
        };
        let credentials = authenticated.credentials();
        let maker = credentials.map(|credentials| &**credentials.identity());
        // RFC 8656 §5: 441 for what was made with somebody else's credentials.
        let connection = self
            .registry
            .connections
            .take(id, maker)
            .map_err(|not_bound| match not_bound {
                NotBound::Unknown => Refusal::BAD_REQUEST,
                NotBound::WrongMaker => Refusal::WRONG_CREDENTIALS,
            })?;
        self.counters.peers_bound += 1;
        self.succeed(request, credentials, |_| Ok(()));
        self.outbox
            .push(Command::JoinConnections { client, connection });
        Ok(())
    }
}

#[cfg(test)]
mod tests;
