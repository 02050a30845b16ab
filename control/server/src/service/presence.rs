//! Who is connected to other replicas.
//!
//! A replica tells the others who has come and gone, some times a second at most, and everything
//! every few seconds. What a replica said counts until it has been silent for a while.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use sterna_control_api::DeviceId;

use crate::limits::PRESENCE_DEVICES_MAX;

/// How often a replica tells everything, so that one which has missed something knows again.
pub(crate) const RETOLD: Duration = Duration::from_secs(10);
/// How long a replica's word counts.
const BELIEVED: Duration = Duration::from_secs(35);

/// What a replica says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Message {
    /// Which replica.
    replica: u64,
    /// Devices that have come, or are there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    here: Vec<DeviceId>,
    /// Devices that have gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    gone: Vec<DeviceId>,
    /// All that was said before counts no more: what follows is everything.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    anew: bool,
    /// The replica is new, and asks the others to tell everything.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    asks: bool,
}

/// What this replica knows of others.
pub(crate) struct Presence {
    /// The name of this replica, for as long as it runs.
    pub(crate) replica: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    others: HashMap<u64, Other>,
    /// What is to be told.
    come: HashSet<DeviceId>,
    gone: HashSet<DeviceId>,
    asked: bool,
}

struct Other {
    heard: Instant,
    devices: HashSet<DeviceId>,
}

impl Presence {
    pub(crate) fn new() -> Self {
        Self {
            // JSON numbers are exact up to 2^53.
            replica: rand::random::<u64>() >> 11,
            state: Mutex::default(),
        }
    }

    /// Whether another replica has the device.
    pub(crate) fn is_elsewhere(&self, device: DeviceId) -> bool {
        let state = self.state();
        let mut others = state.others.values();
        others.any(|other| other.heard.elapsed() < BELIEVED && other.devices.contains(&device))
    }

    /// A device has come to this replica.
    pub(crate) fn came(&self, device: DeviceId) {
        let mut state = self.state();
        state.gone.remove(&device);
        state.come.insert(device);
    }

    /// A device has left this replica.
    pub(crate) fn left(&self, device: DeviceId) {
        let mut state = self.state();
        state.come.remove(&device);
        state.gone.insert(device);
    }

    /// What is to be told now; everything where somebody asked or it is time, with `all` of this
    /// replica.
    pub(crate) fn messages(&self, all: Option<Vec<DeviceId>>) -> Vec<Message> {
        let mut state = self.state();
        let (come, gone) = (
            std::mem::take(&mut state.come),
            std::mem::take(&mut state.gone),
        );
        drop(state);
        let anew = all.is_some();
        let here: Vec<_> = all.unwrap_or_else(|| come.into_iter().collect());
        let gone: Vec<_> = if anew {
            Vec::new()
        } else {
            gone.into_iter().collect()
        };
        let mut messages: Vec<_> = here
            .chunks(PRESENCE_DEVICES_MAX)
            .map(|here| self.message(here, &[]))
            .chain(
                gone.chunks(PRESENCE_DEVICES_MAX)
                    .map(|gone| self.message(&[], gone)),
            )
            .collect();
        if anew {
            match messages.first_mut() {
                Some(first) => first.anew = true,
                None => messages.push(Message {
                    anew: true,
                    ..self.message(&[], &[])
                }),
            }
        }
        messages
    }

    /// Asks the others to tell everything.
    pub(crate) fn question(&self) -> Message {
        Message {
            asks: true,
            ..self.message(&[], &[])
        }
    }

    /// Whether another replica has asked to be told everything.
    pub(crate) fn take_asked(&self) -> bool {
        std::mem::take(&mut self.state().asked)
    }

    /// Takes another replica's word. Returns the devices that are there newly: whoever has them here
    /// has an older connection of each.
    pub(crate) fn hear(&self, message: Message) -> Vec<DeviceId> {
        if message.replica == self.replica {
            return Vec::new();
        }
        let mut state = self.state();
        state.asked |= message.asks;
        let other = state.others.entry(message.replica).or_insert(Other {
            heard: Instant::now(),
            devices: HashSet::new(),
        });
        other.heard = Instant::now();
        let before = if message.anew {
            std::mem::take(&mut other.devices)
        } else {
            HashSet::new()
        };
        for device in &message.gone {
            other.devices.remove(device);
        }
        let came = message.here.into_iter();
        came.filter(|device| other.devices.insert(*device) && !before.contains(device))
            .collect()
    }

    /// Forgets replicas that have been silent.
    pub(crate) fn tidy(&self) {
        let mut state = self.state();
        state
            .others
            .retain(|_, other| other.heard.elapsed() < BELIEVED);
    }

    fn message(&self, here: &[DeviceId], gone: &[DeviceId]) -> Message {
        Message {
            replica: self.replica,
            here: here.to_vec(),
            gone: gone.to_vec(),
            anew: false,
            asks: false,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each entry is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: DeviceId = DeviceId([1; 16]);
    const B: DeviceId = DeviceId([2; 16]);

    #[test]
    fn what_comes_and_goes_elsewhere_is_known_here() {
        let (one, other) = (Presence::new(), Presence::new());
        one.came(A);
        for message in one.messages(None) {
            assert_eq!(other.hear(message), [A]);
        }
        assert!(other.is_elsewhere(A) && !one.is_elsewhere(A));
        one.left(A);
        one.came(B);
        for message in one.messages(None) {
            other.hear(message);
        }
        assert!(!other.is_elsewhere(A) && other.is_elsewhere(B));
        assert!(one.messages(None).is_empty(), "nothing new, nothing said");
    }

    #[test]
    fn who_is_new_asks_and_is_told_everything() {
        let (old, new) = (Presence::new(), Presence::new());
        old.hear(new.question());
        assert!(old.take_asked() && !old.take_asked());
        for message in old.messages(Some(vec![A, B])) {
            new.hear(message);
        }
        assert!(new.is_elsewhere(A) && new.is_elsewhere(B));
        for message in old.messages(Some(vec![])) {
            assert!(new.hear(message).is_empty());
        }
        assert!(!new.is_elsewhere(A));
    }
}
