//! The ways out to TCP and TLS clients.
//!
//! A connection stays with one worker for life, which reads its frames. A client that moves to it
//! may have its allocation on another worker: that one gets the way out too, and nothing else of the
//! connection.

use std::collections::HashMap;
use std::sync::Arc;

use sterna_turn::Client;

use crate::stream::StreamOut;

/// The ways out, by [`Client::route`].
#[derive(Debug, Default)]
pub(super) struct Ways {
    /// To this worker's own connections.
    own: HashMap<u32, Arc<StreamOut>>,
    /// To other workers' connections, whose clients have an allocation here.
    guests: HashMap<u32, Arc<StreamOut>>,
}

impl Ways {
    /// Takes on a connection.
    pub(super) fn open(&mut self, client: Client, out: StreamOut) {
        self.own.insert(client.route, Arc::new(out));
    }

    /// Takes on the way out of another worker's connection.
    pub(super) fn welcome(&mut self, client: Client, out: Arc<StreamOut>) {
        self.guests.insert(client.route, out);
    }

    /// The way out to a client.
    pub(super) fn get(&self, client: Client) -> Option<&StreamOut> {
        let own = self.own.get(&client.route);
        let out = own.or_else(|| self.guests.get(&client.route))?;
        Some(out)
    }

    /// The way out to a client of this worker, for another one.
    pub(super) fn share(&self, client: Client) -> Option<Arc<StreamOut>> {
        self.own.get(&client.route).map(Arc::clone)
    }

    /// A client has no allocation here any more, though its connection may go on.
    pub(super) fn detach(&mut self, client: Client) {
        if let Some(out) = self.get(client) {
            out.set_session(false);
        }
        self.guests.remove(&client.route);
    }

    /// A connection is gone.
    pub(super) fn close(&mut self, client: Client) {
        self.own.remove(&client.route);
        self.guests.remove(&client.route);
    }

    /// How many connections are this worker's own.
    pub(super) fn len(&self) -> usize {
        self.own.len()
    }
}
