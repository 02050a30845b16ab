//! One TCP or TLS connection of a run: a task that reads, and a task that writes.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use sterna_turn::client::{EndReason, Event, Received, TurnClient};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{Instant as TokioInstant, sleep_until};

use super::Mode;
use super::stream::Shared;
use crate::BenchError;
use crate::limits::{STREAM_BATCH_BYTES, STREAM_QUEUE_FRAMES};
use crate::session::{Session, check_upkeep};
use crate::wire::{Stream, Wire, split_frame};

/// A connection with its allocation, ready for data.
pub(super) struct Connection {
    client: Rc<RefCell<TurnClient>>,
    frames: mpsc::Sender<Bytes>,
    reader: JoinHandle<()>,
}

impl Connection {
    /// Takes over a session whose way to its peer is open.
    pub(super) fn start(index: u32, session: Session, shared: Rc<Shared>) -> Self {
        let Session { client, wire, .. } = session;
        let Wire::Frames { stream, inbox } = wire else {
            unreachable!("a run over streams has streams");
        };
        let client = Rc::new(RefCell::new(client));
        let (frames, queue) = mpsc::channel(STREAM_QUEUE_FRAMES);
        let (input, output) = tokio::io::split(stream);
        spawn_local(write(output, queue, Rc::clone(&shared)));
        let reader = Reader {
            index,
            client: Rc::clone(&client),
            frames: frames.clone(),
            inbox,
            shared,
        };
        let reader = spawn_local(reader.run(input));
        Self {
            client,
            frames,
            reader,
        }
    }

    /// Whether so many frames can be queued.
    pub(super) fn has_room(&self, frames: usize) -> bool {
        self.frames.capacity() >= frames
    }

    /// Queues a payload; the caller has asked [`Connection::has_room`].
    pub(super) fn send(&self, peer: SocketAddr, payload: &[u8]) -> Result<(), BenchError> {
        let prefix = self.client.borrow_mut().prefix(peer, payload.len());
        let prefix = prefix.map_err(|error| BenchError::Refused {
            what: "Send",
            error,
        })?;
        let frame = [prefix.bytes(), payload, &[0; 3][..prefix.tail()]].concat();
        // What does not fit is missed, and counted, at the other end.
        let _ = self.frames.try_send(frame.into());
        Ok(())
    }

    /// Asks for the end of the allocation.
    pub(super) fn release(&self) {
        let mut client = self.client.borrow_mut();
        if client.release(Instant::now()).is_ok() {
            flush(&mut client, &self.frames);
        }
    }

    /// Waits for the end of the allocation.
    pub(super) async fn closed(self) {
        // The reader does not panic; that it was aborted would do as well.
        let _ = self.reader.await;
    }
}

/// Queues what the client wants sent.
fn flush(client: &mut TurnClient, frames: &mpsc::Sender<Bytes>) {
    while let Some(bytes) = client.poll_transmit() {
        // A request that finds no room is as good as lost; it is not repeated on a stream.
        let _ = frames.try_send(Bytes::copy_from_slice(bytes));
    }
}

struct Reader {
    index: u32,
    client: Rc<RefCell<TurnClient>>,
    frames: mpsc::Sender<Bytes>,
    inbox: BytesMut,
    shared: Rc<Shared>,
}

impl Reader {
    async fn run(mut self, input: ReadHalf<Box<dyn Stream>>) {
        if let Err(error) = self.read(input).await {
            self.shared.fail(error);
        }
    }

    /// Reads until the allocation has been given back.
    async fn read(&mut self, mut input: ReadHalf<Box<dyn Stream>>) -> Result<(), BenchError> {
        loop {
            while let Some(frame) = split_frame(&mut self.inbox).map_err(BenchError::StreamLost)? {
                if self.handle(&frame)? {
                    return Ok(());
                }
            }
            let alarm = self.client.borrow().poll_timeout();
            let ring = async {
                match alarm {
                    Some(at) => sleep_until(TokioInstant::from_std(at)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                read = input.read_buf(&mut self.inbox) => {
                    if read.map_err(BenchError::StreamLost)? == 0 {
                        let error = std::io::ErrorKind::UnexpectedEof.into();
                        return Err(BenchError::StreamLost(error));
                    }
                }
                () = ring => {
                    let mut client = self.client.borrow_mut();
                    client.handle_timeout(Instant::now());
                    flush(&mut client, &self.frames);
                }
            }
        }
    }

    /// Takes in one frame; true when the allocation has been given back.
    fn handle(&self, frame: &[u8]) -> Result<bool, BenchError> {
        let mut client = self.client.borrow_mut();
        match client.handle_packet(Instant::now(), frame) {
            Received::Data { peer, payload, .. } => {
                self.shared
                    .arrive(&frame[payload], |sender| self.is_expected(sender, peer));
            }
            Received::Answer | Received::Attempt => flush(&mut client, &self.frames),
            Received::Icmp { .. } | Received::Ignored(_) => {}
        }
        while let Some(event) = client.poll_event() {
            match event {
                Event::Ended(EndReason::Released) => return Ok(true),
                event => check_upkeep(&event)?,
            }
        }
        Ok(false)
    }

    fn is_expected(&self, sender: u32, peer: SocketAddr) -> bool {
        match self.shared.mode {
            Mode::Send => false,
            Mode::Receive => sender == self.index && peer == self.shared.peer,
            Mode::Pair => {
                let theirs = self.shared.relayed.get(sender as usize);
                sender == self.index ^ 1 && theirs == Some(&peer)
            }
        }
    }
}

/// Writes what is queued, as much as there is at once.
async fn write(
    mut output: WriteHalf<Box<dyn Stream>>,
    mut queue: mpsc::Receiver<Bytes>,
    shared: Rc<Shared>,
) {
    let mut batch = BytesMut::with_capacity(STREAM_BATCH_BYTES);
    while let Some(frame) = queue.recv().await {
        batch.extend_from_slice(&frame);
        while batch.len() < STREAM_BATCH_BYTES {
            let Ok(frame) = queue.try_recv() else {
                break;
            };
            batch.extend_from_slice(&frame);
        }
        let written = async {
            output.write_all(&batch).await?;
            output.flush().await
        };
        if let Err(error) = written.await {
            return shared.fail(BenchError::StreamLost(error));
        }
        batch.clear();
    }
}
