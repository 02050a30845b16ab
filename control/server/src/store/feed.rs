//! The change feed: what happened, told to everybody who keeps something in memory.

use std::fmt;
use std::str::FromStr;

use sterna_control_api::{DeviceId, TenantId};
use tokio::sync::broadcast;

/// The longest message that is passed on.
pub const MESSAGE_BYTES_MAX: usize = 32 << 10;

/// Announcements that a subscriber may be behind before it has missed some.
const BEHIND_MAX: usize = 4096;

/// What an announcement is about.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    /// A node was registered, changed or forgotten, or its status has changed. The payload is its id
    /// where the store announces it.
    Nodes,
    /// A region was made, changed or taken away. The payload is its code.
    Regions,
    /// Keys were rotated. The payload is empty.
    Keys,
    /// Something was revoked. The payload is empty.
    Revocations,
    /// A token, a person or a session is no longer what it was. The payload is empty.
    Access,
    /// Devices of a tenant were registered, changed or revoked. The payload is the new version of
    /// the tenant's netmaps.
    Devices(TenantId),
    /// A device was revoked. The payload is empty.
    DeviceRevoked(DeviceId),
    /// Something for one device's connection. The payload is the service's own.
    Signal(DeviceId),
    /// Who is connected where. The payload is the service's own.
    Presence,
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nodes => f.write_str("nodes"),
            Self::Regions => f.write_str("regions"),
            Self::Keys => f.write_str("keys"),
            Self::Revocations => f.write_str("revocations"),
            Self::Access => f.write_str("access"),
            Self::Devices(tenant) => write!(f, "devices:{tenant}"),
            Self::DeviceRevoked(device) => write!(f, "device_revoked:{device}"),
            Self::Signal(device) => write!(f, "signal:{device}"),
            Self::Presence => f.write_str("presence"),
        }
    }
}

/// A topic of a newer version, or none at all.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct UnknownTopic;

impl FromStr for Topic {
    type Err = UnknownTopic;

    fn from_str(given: &str) -> Result<Self, UnknownTopic> {
        let (name, of) = given.split_once(':').unwrap_or((given, ""));
        match (name, of) {
            ("nodes", "") => Ok(Self::Nodes),
            ("regions", "") => Ok(Self::Regions),
            ("keys", "") => Ok(Self::Keys),
            ("revocations", "") => Ok(Self::Revocations),
            ("access", "") => Ok(Self::Access),
            ("presence", "") => Ok(Self::Presence),
            ("devices", of) => of.parse().map(Self::Devices).map_err(|_| UnknownTopic),
            ("device_revoked", of) => of
                .parse()
                .map(Self::DeviceRevoked)
                .map_err(|_| UnknownTopic),
            ("signal", of) => of.parse().map(Self::Signal).map_err(|_| UnknownTopic),
            _ => Err(UnknownTopic),
        }
    }
}

/// One announcement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// What it is about.
    pub topic: Topic,
    /// What it says; see [`Topic`].
    pub payload: String,
}

/// What a subscriber is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Feed {
    /// Something was announced.
    Announced(Announcement),
    /// Announcements may have been missed: the database's connection was lost and is back, or the
    /// subscriber was too slow. What is kept in memory has to be read anew.
    MaybeMissed,
}

/// The announcements that one subscriber has yet to see.
#[derive(Debug)]
pub struct Subscription {
    feed: broadcast::Receiver<Feed>,
}

impl Subscription {
    /// The next announcement; none when the store is closed. May be cancelled without a loss.
    pub async fn next(&mut self) -> Option<Feed> {
        match self.feed.recv().await {
            Ok(told) => Some(told),
            Err(broadcast::error::RecvError::Lagged(_)) => Some(Feed::MaybeMissed),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

/// The end that tells all subscribers of this instance.
#[derive(Clone, Debug)]
pub(super) struct Teller {
    feed: broadcast::Sender<Feed>,
}

impl Teller {
    pub(super) fn new() -> Self {
        Self {
            feed: broadcast::Sender::new(BEHIND_MAX),
        }
    }

    pub(super) fn subscribe(&self) -> Subscription {
        Subscription {
            feed: self.feed.subscribe(),
        }
    }

    /// Tells everybody; nobody may be there.
    pub(super) fn tell(&self, told: Feed) {
        let _nobody = self.feed.send(told);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_topic_survives_as_text() {
        let topics = [
            Topic::Nodes,
            Topic::Regions,
            Topic::Keys,
            Topic::Revocations,
            Topic::Access,
            Topic::Devices(TenantId(7)),
            Topic::DeviceRevoked(DeviceId([3; 16])),
            Topic::Signal(DeviceId([2; 16])),
            Topic::Presence,
        ];
        for topic in topics {
            assert_eq!(topic.to_string().parse::<Topic>().unwrap(), topic);
        }
        for wrong in ["", "node", "nodes:1", "signal", "signal:x", "devices:-1"] {
            assert_eq!(wrong.parse::<Topic>(), Err(UnknownTopic), "{wrong:?}");
        }
    }

    #[tokio::test]
    async fn a_subscriber_that_is_too_slow_is_told_that_it_has_missed_something() {
        let teller = Teller::new();
        let mut slow = teller.subscribe();
        for _ in 0..=BEHIND_MAX {
            teller.tell(Feed::Announced(Announcement {
                topic: Topic::Keys,
                payload: String::new(),
            }));
        }
        assert_eq!(slow.next().await, Some(Feed::MaybeMissed));
        assert!(matches!(slow.next().await, Some(Feed::Announced(_))));
    }
}
