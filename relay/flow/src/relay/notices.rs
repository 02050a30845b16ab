//! What a device must hear: repeated over `udp` until it says that it has.

use std::collections::VecDeque;

use crate::limits::{NOTICE_REPEAT, NOTICE_TRIES_MAX, NOTICES_MAX};
use crate::message::Message;
use crate::time::Tick;

#[derive(Debug)]
struct Notice {
    number: u32,
    message: Message,
    tries: u32,
    again: Tick,
}

/// The messages of one session that have not been acknowledged.
#[derive(Debug, Default)]
pub(crate) struct Notices {
    waiting: VecDeque<Notice>,
    last: u32,
}

/// What is due.
#[derive(Debug, Default)]
pub(crate) struct Due {
    pub(crate) again: Vec<Message>,
    pub(crate) lost: u64,
}

impl Notices {
    /// Numbers a message and keeps it; says whether an older one had to give way.
    pub(crate) fn push(&mut self, now: Tick, message: Message) -> (Message, bool) {
        self.last = self.last.wrapping_add(1).max(1);
        let message = message.with_notice(self.last);
        // Of the states of one flow, the last one counts.
        if let Some(flow) = peer_of(&message) {
            self.waiting
                .retain(|held| peer_of(&held.message) != Some(flow));
        }
        // And of the session's own.
        if matches!(message, Message::Standing { .. }) {
            self.waiting
                .retain(|held| !matches!(held.message, Message::Standing { .. }));
        }
        let is_full = self.waiting.len() >= NOTICES_MAX;
        if is_full {
            self.waiting.pop_front();
        }
        let notice = Notice {
            number: self.last,
            message: message.clone(),
            tries: 1,
            again: now.plus(NOTICE_REPEAT),
        };
        self.waiting.push_back(notice);
        (message, is_full)
    }

    /// Takes note that the device has heard.
    pub(crate) fn acknowledge(&mut self, number: u32) {
        self.waiting.retain(|notice| notice.number != number);
    }

    /// When something is to be repeated.
    pub(crate) fn next(&self) -> Option<Tick> {
        self.waiting.iter().map(|notice| notice.again).min()
    }

    /// What is to be repeated now.
    pub(crate) fn due(&mut self, now: Tick) -> Due {
        let mut due = Due::default();
        self.waiting.retain_mut(|notice| {
            if notice.again > now {
                return true;
            }
            if notice.tries >= NOTICE_TRIES_MAX {
                due.lost += 1;
                return false;
            }
            notice.again = now.plus(NOTICE_REPEAT * (1 << notice.tries));
            notice.tries += 1;
            due.again.push(notice.message.clone());
            true
        });
        due
    }
}

fn peer_of(message: &Message) -> Option<crate::FlowNumber> {
    match message {
        Message::Peer { flow, .. } => Some(*flow),
        _ => None,
    }
}
