//! Requests to the node: repeated over `udp` until they are answered.

use std::collections::VecDeque;
use std::time::Duration;

use sterna_control_api::DeviceKey;

use super::Session;
use crate::Rung;
use crate::limits::{REQUEST_REPEAT, REQUEST_REPEAT_MAX, REQUESTS_MAX};
use crate::message::Message;
use crate::time::Tick;

#[derive(Debug)]
struct Request {
    number: u32,
    message: Message,
    wait: Duration,
    again: Tick,
}

/// The requests of a session that wait for their answers.
#[derive(Debug)]
pub(super) struct Requests {
    waiting: VecDeque<Request>,
    last: u32,
    repeats: bool,
}

impl Requests {
    pub(super) fn new(rung: Rung) -> Self {
        Self {
            waiting: VecDeque::new(),
            last: 0,
            repeats: !rung.is_reliable(),
        }
    }

    /// Takes the request out that an answer is for.
    pub(super) fn answered(&mut self, number: u32) -> Option<Message> {
        let place = self
            .waiting
            .iter()
            .position(|request| request.number == number)?;
        self.waiting.remove(place).map(|request| request.message)
    }

    /// Gives up asking for a flow.
    pub(super) fn forget_open(&mut self, key: &DeviceKey) {
        self.waiting.retain(
            |request| !matches!(&request.message, Message::Open { peer, .. } if peer == key),
        );
    }

    pub(super) fn next(&self) -> Option<Tick> {
        self.waiting
            .iter()
            .map(|request| request.again)
            .min()
            .filter(|_| self.repeats)
    }
}

impl Session {
    /// Asks the node for something.
    pub(super) fn request(&mut self, now: Tick, message: impl FnOnce(u32) -> Message) {
        if !self.is_up() {
            return;
        }
        self.requests.last = self.requests.last.wrapping_add(1).max(1);
        let number = self.requests.last;
        let message = message(number);
        self.tell(&message);
        if self.requests.waiting.len() >= REQUESTS_MAX {
            self.requests.waiting.pop_front();
        }
        let (wait, again) = (REQUEST_REPEAT, now.plus(REQUEST_REPEAT));
        self.requests.waiting.push_back(Request {
            number,
            message,
            wait,
            again,
        });
    }

    pub(super) fn requests_timeout(&mut self, now: Tick) {
        if !self.requests.repeats {
            return;
        }
        let mut due = Vec::new();
        for request in &mut self.requests.waiting {
            if request.again <= now {
                request.wait = (request.wait * 2).min(REQUEST_REPEAT_MAX);
                request.again = now.plus(request.wait);
                due.push(request.message.clone());
            }
        }
        for message in due {
            self.tell(&message);
        }
    }
}
