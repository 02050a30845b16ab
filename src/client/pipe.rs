//! `sterna client flow pipe`: joins two terminals, or two programs, through the flow relay.

use std::io::{IsTerminal as _, Read as _, Write as _};
use std::time::{Duration, Instant};

use bytes::Bytes;
use sterna_client::relay::{Event, Mark, PeerState};
use sterna_control_api::DeviceKey;
use tokio::sync::mpsc;
use tokio::time::sleep_until;

use super::args::PipeArgs;
use super::device::{Device, Terms};
use super::stream::{PIECE_BYTES_MAX, Restarted, Stream};
use crate::Failure;

/// Pieces that were read and wait for their turn.
const READ_AHEAD: usize = 16;
/// How long the other end's last acknowledgement may keep us, after all is said.
const LAST_WAIT: Duration = Duration::from_secs(2);
/// How long we answer an end that has not heard our last acknowledgement.
const LINGER: Duration = Duration::from_millis(600);
/// While there is nothing to repeat.
const IDLE: Duration = Duration::from_secs(3600);

/// Copies both ways until both ends have ended.
pub(super) async fn run(args: &PipeArgs) -> Result<(), Failure> {
    let mut terms = Terms::of(&args.device).await?;
    let peer = terms.peer(&args.peer, args.device.patience).await?;
    let deadline = Instant::now() + args.device.patience;
    let mut device = terms.connect(&terms.rungs, deadline).await?;
    let rung = device
        .relay
        .path()
        .map_or("no rung", |path| path.rung.as_str());
    eprintln!("connected over {rung}; waiting for {peer}");
    device.reach(peer, deadline).await?;
    eprintln!("{peer} is there");
    let mut pipe = Pipe {
        stream: Stream::new(rand::random()),
        silence: args.device.patience,
        gone_at: None,
        input: read_input(),
        is_terminal: std::io::stdin().is_terminal(),
        peer,
    };
    let done = pipe.copy(&mut device).await;
    device.leave().await;
    done
}

struct Pipe {
    stream: Stream,
    peer: DeviceKey,
    input: mpsc::Receiver<Bytes>,
    /// Whether whoever types would not know that there is nobody left.
    is_terminal: bool,
    /// How long the other end may be silent while it owes an acknowledgement.
    silence: Duration,
    gone_at: Option<Instant>,
}

impl Pipe {
    async fn copy(&mut self, device: &mut Device) -> Result<(), Failure> {
        let mut leave_at = None;
        loop {
            self.pump(device)?;
            let now = Instant::now();
            if self.stream.has_ended() && self.is_terminal {
                self.stream.end(now);
                self.pump(device)?;
            }
            if self.stream.has_ended() && leave_at.is_none() {
                // From here on nothing more can come that anybody waits for.
                leave_at = match self.stream.is_delivered() {
                    true => Some(now + LINGER),
                    false => None,
                };
            }
            let due = self.stream.due().unwrap_or(now + IDLE);
            let end = leave_at.or(self.gone_at).unwrap_or(now + IDLE);
            tokio::select! {
                packet = device.packets.recv() => {
                    let Some(packet) = packet else { return Ok(()) };
                    if packet.peer == self.peer {
                        self.heard();
                        self.stream.handle(Instant::now(), &packet.payload).map_err(began_anew)?;
                    }
                }
                piece = self.input.recv(), if self.stream.has_room() => match piece {
                    Some(piece) => self.said(&piece),
                    None => { self.stream.end(Instant::now()); self.owe(); }
                },
                event = device.events.recv() => self.tell(event),
                () = sleep_until(due.into()) => self.stream.handle_timeout(Instant::now()),
                () = sleep_until(end.into()) => return match leave_at {
                    Some(_) => Ok(()),
                    None => Err(self.silent()),
                },
            }
        }
    }

    /// Sends what is to be sent, and writes what has come.
    fn pump(&mut self, device: &Device) -> Result<(), Failure> {
        while let Some(packet) = self.stream.poll_transmit() {
            // What the path does not take now is sent again.
            let _ = device.relay.send(self.peer, Mark::default(), &packet);
        }
        let mut out = std::io::stdout().lock();
        let mut wrote = Ok(());
        while let Some(piece) = self.stream.poll_received() {
            wrote = wrote.and_then(|()| out.write_all(&piece));
        }
        wrote
            .and_then(|()| out.flush())
            .map_err(|error| Failure::Failed(format!("standard output: {error}")))
    }

    /// Says what whoever waits at the terminal wants to know.
    fn tell(&mut self, event: Option<Event>) {
        match event {
            Some(Event::Refused { text, .. }) => {
                eprintln!("the node refuses this device: {text}");
            }
            Some(Event::Peer { peer, state, .. }) if peer == self.peer => match state {
                PeerState::Online => self.heard(),
                PeerState::Gone | PeerState::Unknown => self.owe(),
            },
            _ => {}
        }
    }

    fn said(&mut self, piece: &Bytes) {
        self.stream.send(Instant::now(), piece);
        self.owe();
    }

    /// The other end owes a sign of life.
    fn owe(&mut self) {
        self.gone_at
            .get_or_insert(Instant::now() + self.silence.max(LAST_WAIT));
    }

    fn heard(&mut self) {
        self.gone_at = None;
        if self.stream.due().is_some() {
            self.owe();
        }
    }

    fn silent(&self) -> Failure {
        let lost = match self.stream.has_ended() {
            true => "it has ended, and may have missed the last of what was sent",
            false => "it has ended, or its way to the node is cut",
        };
        Failure::Failed(format!("{} does not answer any more: {lost}", self.peer))
    }
}

fn began_anew(_: Restarted) -> Failure {
    Failure::Failed("the other end has been started again; start this one again too".into())
}

/// Standard input, piece by piece, on a thread of its own: a terminal cannot be waited for otherwise.
fn read_input() -> mpsc::Receiver<Bytes> {
    let (pieces, out) = mpsc::channel(READ_AHEAD);
    std::thread::spawn(move || {
        let mut buf = [0; PIECE_BYTES_MAX];
        let mut input = std::io::stdin().lock();
        loop {
            match input.read(&mut buf) {
                Ok(0) | Err(_) => return,
                Ok(len) => {
                    if pieces
                        .blocking_send(Bytes::copy_from_slice(&buf[..len]))
                        .is_err()
                    {
                        return;
                    }
                }
            }
        }
    });
    out
}
