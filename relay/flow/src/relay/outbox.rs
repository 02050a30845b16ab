//! What a relay wants done, in order.

use std::collections::VecDeque;

use crate::{Command, Event, Letter, Link, ShardId, StreamId};

#[derive(Debug)]
enum Item {
    Frame(Link, Vec<u8>),
    Other(Command),
}

/// Commands that the driver has not taken yet.
#[derive(Debug, Default)]
pub(super) struct Outbox(VecDeque<Item>);

impl Outbox {
    pub(super) fn send(&mut self, link: Link, frame: Vec<u8>) {
        self.0.push_back(Item::Frame(link, frame));
    }

    pub(super) fn post(&mut self, shard: ShardId, letter: Letter) {
        self.0
            .push_back(Item::Other(Command::Post { shard, letter }));
    }

    pub(super) fn close_stream(&mut self, stream: StreamId) {
        self.0
            .push_back(Item::Other(Command::CloseStream { stream }));
    }

    pub(super) fn event(&mut self, event: Event) {
        self.0.push_back(Item::Other(Command::Event(event)));
    }

    pub(super) fn pop(&mut self, out: &mut [u8]) -> Option<Command> {
        loop {
            match self.0.pop_front()? {
                Item::Other(command) => return Some(command),
                Item::Frame(link, frame) => {
                    let Some(place) = out.get_mut(..frame.len()) else {
                        debug_assert!(
                            false,
                            "a frame of {} bytes, and no room for it",
                            frame.len()
                        );
                        continue;
                    };
                    place.copy_from_slice(&frame);
                    return Some(Command::Send {
                        link,
                        len: frame.len(),
                    });
                }
            }
        }
    }
}
