//! The handshake, as the device goes through it.

use std::time::Duration;

use rand::Rng;
use rand_chacha::ChaCha12Rng;

use super::{Event, Received, Session, State, Up};
use crate::frame::{self, COOKIE_BYTES, NONCE_BYTES};
use crate::limits::{HANDSHAKE_TIME, REQUEST_REPEAT};
use crate::message::{InitPayload, WelcomePayload};
use crate::noise::{self, Binding, Initiator};
use crate::time::Tick;
use crate::{DropReason, Refusal, Rung};

/// A handshake under way.
#[derive(Debug)]
pub(super) struct Handshake {
    nonce: [u8; NONCE_BYTES],
    exporter: Option<[u8; 32]>,
    /// Message 1 has gone out.
    initiator: Option<Initiator>,
    /// What is repeated over `udp`.
    frame: Vec<u8>,
    wait: Duration,
    again: Tick,
    until: Tick,
}

impl Handshake {
    pub(super) fn new(now: Tick, rng: &mut ChaCha12Rng, exporter: Option<[u8; 32]>) -> Self {
        let mut nonce = [0; NONCE_BYTES];
        rng.fill_bytes(&mut nonce);
        let until = now.plus(HANDSHAKE_TIME);
        Self {
            nonce,
            exporter,
            initiator: None,
            frame: Vec::new(),
            wait: REQUEST_REPEAT,
            again: until,
            until,
        }
    }

    pub(super) fn next(&self) -> Tick {
        self.again.min(self.until)
    }

    /// Sends a frame, and repeats it where it may be lost.
    fn say(&mut self, now: Tick, rung: Rung, frame: Vec<u8>) -> Vec<u8> {
        self.wait = REQUEST_REPEAT;
        self.again = if rung.is_reliable() {
            self.until
        } else {
            now.plus(self.wait)
        };
        self.frame.clone_from(&frame);
        frame
    }
}

impl Session {
    pub(super) fn begin(&mut self, now: Tick) {
        let State::Handshake(handshake) = &mut self.state else {
            return;
        };
        match handshake.exporter {
            Some(exporter) => self.init(now, [0; COOKIE_BYTES], &Binding::Exporter(exporter)),
            None => {
                let hello = frame::hello(&handshake.nonce).to_vec();
                self.out.push_back(handshake.say(now, self.rung, hello));
            }
        }
    }

    /// COOKIE: the node has seen the address, and wants it proved.
    pub(super) fn on_cookie(
        &mut self,
        now: Tick,
        nonce: [u8; NONCE_BYTES],
        cookie: [u8; COOKIE_BYTES],
    ) -> Result<Received, DropReason> {
        let State::Handshake(handshake) = &self.state else {
            return Err(DropReason::Unexpected);
        };
        // A second COOKIE, for a HELLO that was repeated, must not begin the handshake again.
        if handshake.nonce != nonce || handshake.initiator.is_some() || self.rung != Rung::Udp {
            return Err(DropReason::Unexpected);
        }
        self.init(now, cookie, &Binding::Cookie(cookie));
        Ok(Received::Handled)
    }

    fn init(&mut self, now: Tick, cookie: [u8; COOKIE_BYTES], binding: &Binding) {
        let State::Handshake(handshake) = &mut self.state else {
            return;
        };
        let mut seed = [0; 32];
        self.rng.fill_bytes(&mut seed);
        let payload = InitPayload {
            payload_max: self.payload_max,
            ticket: &self.config.ticket,
        };
        let bound = (self.rung, &handshake.nonce, binding);
        let (secret, node) = (&self.config.secret, &self.config.node_key);
        let Ok((initiator, noise)) =
            noise::initiate(seed, secret, node, bound, &payload.to_bytes())
        else {
            // A ticket of more than 64 KiB, or a node's key that is no key.
            return self.end(Event::Failed);
        };
        handshake.initiator = Some(initiator);
        let init = frame::init(self.rung, &handshake.nonce, &cookie, &noise);
        self.out.push_back(handshake.say(now, self.rung, init));
    }

    /// WELCOME: the node's message 2.
    pub(super) fn on_welcome(
        &mut self,
        now: Tick,
        rung: Rung,
        nonce: [u8; NONCE_BYTES],
        noise: &[u8],
    ) -> Result<Received, DropReason> {
        let State::Handshake(handshake) = &mut self.state else {
            return Err(DropReason::Unexpected);
        };
        if handshake.nonce != nonce || rung != self.rung {
            return Err(DropReason::Unexpected);
        }
        let initiator = handshake.initiator.take().ok_or(DropReason::Unexpected)?;
        let (payload, keys) = match initiator.finish(noise) {
            Ok(done) => done,
            Err(initiator) => {
                // Not the node's; the node's may follow.
                handshake.initiator = Some(*initiator);
                return Err(DropReason::Seal);
            }
        };
        match WelcomePayload::parse(&payload).ok_or(DropReason::Malformed)? {
            WelcomePayload::Accepted(welcome) => {
                self.state = State::Up(Box::new(Up { welcome, keys }));
                self.active = true;
                self.liveness.begin(now);
                self.events.push_back(Event::Up(welcome));
                // The first sealed frame: only now does the session take its device's place.
                self.ping(now);
                self.open_all(now);
                self.begin_probes(now);
            }
            WelcomePayload::Refused { refusal, text } => {
                self.end(Event::Refused {
                    refusal,
                    sealed: true,
                    text,
                });
            }
        }
        Ok(Received::Handled)
    }

    /// REFUSED, in clear.
    pub(super) fn on_refused(
        &mut self,
        nonce: [u8; NONCE_BYTES],
        code: u8,
        text: &[u8],
    ) -> Result<Received, DropReason> {
        match &self.state {
            State::Handshake(handshake) if handshake.nonce == nonce => {}
            _ => return Err(DropReason::Unexpected),
        }
        let text = String::from_utf8_lossy(text).into_owned();
        let refusal = Refusal::of_byte(code);
        self.end(Event::Refused {
            refusal,
            sealed: false,
            text,
        });
        Ok(Received::Handled)
    }

    pub(super) fn handshake_timeout(&mut self, now: Tick) {
        let State::Handshake(handshake) = &mut self.state else {
            return;
        };
        if now >= handshake.until {
            return self.end(Event::Failed);
        }
        if now >= handshake.again {
            handshake.wait *= 2;
            handshake.again = now.plus(handshake.wait);
            self.out.push_back(handshake.frame.clone());
        }
    }
}
