//! Hands what TCP and TLS clients send to the worker that serves them.

use bytes::Bytes;
use sterna_turn::{Client, WorkerId};
use tokio::sync::oneshot;

use crate::mailbox::{Mailbox, Mailboxes, StreamLetter, WorkerGone};
use crate::stream::{Bound, SinkClosed, StreamOut, StreamSink};

/// The workers, dealt out to connections in turn.
#[derive(Debug)]
pub(super) struct WorkerSink(pub(super) Mailboxes);

impl WorkerSink {
    /// A connection stays with one worker for life: the ids of connections follow each other.
    fn mailbox(&self, client: Client) -> &Mailbox {
        let worker = client.route as usize % self.0.len();
        let id = u8::try_from(worker)
            .map(WorkerId)
            .expect("invariant: no more workers than a WorkerId can tell apart");
        self.0
            .of(id)
            .expect("invariant: the index is below the number of mailboxes")
    }
}

impl StreamSink for WorkerSink {
    async fn opened(&self, client: Client, out: StreamOut) -> Result<(), SinkClosed> {
        self.mailbox(client)
            .post_stream(StreamLetter::Opened(client, out))
            .await
            .map_err(closed)
    }

    async fn frame(&self, client: Client, frame: Bytes) -> Result<(), SinkClosed> {
        self.mailbox(client)
            .post_stream(StreamLetter::Frame(client, frame))
            .await
            .map_err(closed)
    }

    async fn bind(&self, client: Client, frame: Bytes) -> Result<Bound, SinkClosed> {
        let (answer, answered) = oneshot::channel();
        self.mailbox(client)
            .post_stream(StreamLetter::Bind(client, frame, answer))
            .await
            .map_err(closed)?;
        answered.await.map_err(|_| SinkClosed)
    }

    async fn closed(&self, client: Client) {
        // A worker that has ended has forgotten the client already.
        let _ = self
            .mailbox(client)
            .post_stream(StreamLetter::Closed(client))
            .await;
    }
}

fn closed(_gone: WorkerGone) -> SinkClosed {
    SinkClosed
}
