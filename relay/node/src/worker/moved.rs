//! Clients that have moved to another worker's sockets (RFC 8016): their packets go to the worker
//! that has the allocation, which answers by its own socket of the same listener, or by the way out
//! of the connection.

use std::time::Instant;

use sterna_io::Engine;
use sterna_turn::{Client, Lease, WorkerId};

use super::{Payload, Worker};
use crate::mailbox::{Letter, Moved};

impl<E: Engine> Worker<E> {
    /// Hands a whole packet to the worker that has its client's allocation; its buffer is not
    /// copied.
    pub(super) fn hand_on(
        &mut self,
        worker: WorkerId,
        client: Client,
        lease: Option<Lease>,
        payload: Payload,
    ) {
        let len = payload.len();
        let Some(packet) = self.hand_over(payload, 0..len) else {
            return; // Too many buffers are away; the back end has counted it.
        };
        let asks = lease.is_some() && client.transport.is_stream();
        let letter = Letter::Moved(Moved {
            client,
            lease,
            out: asks.then(|| self.streams.share(client)).flatten(),
            packet,
        });
        if !self.post_letter(worker, letter) {
            self.counters.mailbox_full += 1;
        }
    }

    /// Takes a packet that another worker has handed on.
    pub(super) fn on_moved(&mut self, now: Instant, letter: Moved) {
        let Moved {
            client,
            lease,
            out,
            packet,
        } = letter;
        if let Some(out) = out {
            // What data has called for since the last look may be to let go of this very connection.
            self.obey_commands(now);
            self.streams.welcome(client, out);
        }
        let verdict = self.server.handle_moved(now, client, &packet, lease);
        self.route(now, verdict, Payload::Relayed(packet));
        self.obey_commands(now);
    }

    /// The connection of a client is gone that another worker hands on.
    pub(super) fn on_closed_elsewhere(&mut self, now: Instant, client: Client) {
        self.server.handle_stream_closed(now, client);
        self.obey_commands(now);
        self.streams.close(client);
    }

    /// Says that a client's connection is gone, now or a little later.
    pub(super) fn tell_closed(&mut self, worker: WorkerId, client: Client) {
        if !self.post_letter(worker, Letter::Closed(client)) {
            // As many as there were connections, at most.
            self.unsaid.push_back((worker, client));
        }
    }

    /// Says again what no inbox had room for.
    pub(super) fn say_what_is_unsaid(&mut self) {
        while let Some(&(worker, client)) = self.unsaid.front() {
            if !self.post_letter(worker, Letter::Closed(client)) {
                return;
            }
            self.unsaid.pop_front();
        }
    }

    fn post_letter(&self, worker: WorkerId, letter: Letter) -> bool {
        let mailbox = self.workers.of(worker);
        mailbox.is_some_and(|mailbox| mailbox.post(letter))
    }
}
