//! The devices that are connected to this replica.
//!
//! A device has one connection: a newer one takes its place. What is pushed waits in a short queue
//! for each; a device that does not read is cut, and fetches everything when it comes again.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sterna_control_api::device::NatReport;
use sterna_control_api::signal::ToDevice;
use sterna_control_api::{DeviceId, GroupId, TenantId};
use sterna_daemon::metrics::Page;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::metrics::PUSHES;

/// Why the service ends a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The device has a newer connection.
    Replaced,
    /// The device was revoked.
    Revoked,
    /// This replica goes away.
    Restarting,
    /// The device did not read what was pushed to it.
    Full,
    /// The device said nothing for too long.
    Silent,
    /// A message was longer than any.
    TooLarge,
    /// The device sends too much.
    TooMany,
    /// A message is none.
    Unreadable,
    /// The device has closed.
    Closed,
}

impl End {
    /// The status code of the close frame (RFC 6455 §7.4), those from 4000 on are ours.
    pub(crate) const fn code(self) -> u16 {
        match self {
            Self::Closed => 1000,
            Self::Restarting => 1012,
            Self::TooLarge => 1009,
            Self::Unreadable => 4000,
            Self::Replaced => 4001,
            Self::Revoked => 4003,
            Self::Silent => 4005,
            Self::Full => 4007,
            Self::TooMany => 4008,
        }
    }

    /// The stable name in metrics, and the reason in the close frame.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Restarting => "restarting",
            Self::TooLarge => "too_large",
            Self::Unreadable => "unreadable",
            Self::Replaced => "replaced",
            Self::Revoked => "revoked",
            Self::Silent => "silent",
            Self::Full => "full",
            Self::TooMany => "too_many",
        }
    }
}

/// What a connection's task gets.
#[derive(Debug)]
pub(crate) enum Push {
    /// A message, as JSON.
    Text(String),
    /// The end, after a last message.
    End(End, Option<String>),
}

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotTaken {
    /// The device is not connected here.
    Absent,
    /// Its queue is full.
    Full,
}

/// A device that is connected.
struct Connected {
    generation: u64,
    tenant: TenantId,
    groups: Arc<[GroupId]>,
    nat: Option<Box<NatReport>>,
    queue: mpsc::Sender<Push>,
}

/// A device's place in the hub, for the connection's task.
pub(crate) struct Seat {
    device: DeviceId,
    generation: u64,
    /// What is to be sent.
    pub(crate) queue: mpsc::Receiver<Push>,
}

/// All of them.
pub(crate) struct Hub {
    connected: Mutex<HashMap<DeviceId, Connected>>,
    generation: AtomicU64,
    queued_max: usize,
    metrics: Arc<Page>,
}

impl Hub {
    pub(crate) fn new(queued_max: u32, metrics: Arc<Page>) -> Self {
        Self {
            connected: Mutex::default(),
            generation: AtomicU64::new(0),
            queued_max: queued_max as usize,
            metrics,
        }
    }

    /// Takes a device in; an older connection of it ends.
    pub(crate) fn enter(
        &self,
        device: DeviceId,
        tenant: TenantId,
        groups: &[GroupId],
        nat: Option<NatReport>,
    ) -> Seat {
        let (sender, queue) = mpsc::channel(self.queued_max);
        let generation = self.generation.fetch_add(1, Ordering::Relaxed);
        let entry = Connected {
            generation,
            tenant,
            groups: groups.into(),
            nat: nat.map(Box::new),
            queue: sender,
        };
        let older = self.table().insert(device, entry);
        if let Some(older) = older {
            end(&older, End::Replaced);
        }
        Seat {
            device,
            generation,
            queue,
        }
    }

    /// Ends the connection of a device that has a newer one with another replica.
    pub(crate) fn replaced_elsewhere(&self, device: DeviceId) {
        if let Some(older) = self.table().remove(&device) {
            end(&older, End::Replaced);
        }
    }

    /// Takes a connection out, unless a newer one has its place.
    pub(crate) fn leave(&self, seat: &Seat) {
        let mut table = self.table();
        let of = table.get(&seat.device);
        if of.is_some_and(|entry| entry.generation == seat.generation) {
            table.remove(&seat.device);
        }
    }

    /// Whether a device is connected here.
    pub(crate) fn is_here(&self, device: DeviceId) -> bool {
        self.table().contains_key(&device)
    }

    /// How many are.
    pub(crate) fn len(&self) -> usize {
        self.table().len()
    }

    /// All of them.
    pub(crate) fn devices(&self) -> Vec<DeviceId> {
        self.table().keys().copied().collect()
    }

    /// Remembers what a device knows of its NAT now.
    pub(crate) fn learn(&self, device: DeviceId, nat: &NatReport) {
        if let Some(entry) = self.table().get_mut(&device) {
            entry.nat = Some(Box::new(nat.clone()));
        }
    }

    /// What a device said of its NAT last.
    pub(crate) fn nat(&self, device: DeviceId) -> Option<NatReport> {
        self.table().get(&device)?.nat.as_deref().cloned()
    }

    /// Puts another device's message into a device's queue.
    pub(crate) fn deliver(&self, to: DeviceId, message: &ToDevice) -> Result<(), NotTaken> {
        let table = self.table();
        let entry = table.get(&to).ok_or(NotTaken::Absent)?;
        match entry.queue.try_send(Push::Text(text(message))) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_)) => Err(NotTaken::Full),
            Err(TrySendError::Closed(_)) => Err(NotTaken::Absent),
        }
    }

    /// Pushes to the devices of a tenant, or to all.
    pub(crate) fn push_all(&self, of: Option<TenantId>, message: &ToDevice) {
        let text = text(message);
        self.table().retain(|_, entry| {
            of.is_some_and(|tenant| entry.tenant != tenant) || self.pushed(entry, message, &text)
        });
    }

    /// Ends the connections of devices that are chosen, after a last message.
    pub(crate) fn end(
        &self,
        why: End,
        last: &ToDevice,
        chosen: impl Fn(DeviceId, TenantId) -> bool,
    ) {
        let text = text(last);
        self.table().retain(|device, entry| {
            let chosen = chosen(*device, entry.tenant);
            if chosen {
                let _ = entry.queue.try_send(Push::End(why, Some(text.clone())));
            }
            !chosen
        });
    }

    /// Tells whether a device shares tenant and a group with one that is connected here.
    pub(crate) fn shares_with(
        &self,
        device: DeviceId,
        tenant: TenantId,
        groups: &[GroupId],
    ) -> bool {
        self.table().get(&device).is_some_and(|entry| {
            entry.tenant == tenant && groups.iter().any(|group| entry.groups.contains(group))
        })
    }

    /// A push that finds no room ends the connection: what it said would be missed for good.
    fn pushed(&self, entry: &Connected, message: &ToDevice, text: &str) -> bool {
        self.metrics.count(PUSHES, &[kind(message)]);
        match entry.queue.try_send(Push::Text(text.to_owned())) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => {
                // Its task ends when its queue has no sender any more.
                false
            }
            Err(TrySendError::Closed(_)) => false,
        }
    }

    fn table(&self) -> MutexGuard<'_, HashMap<DeviceId, Connected>> {
        // Each entry is whole.
        self.connected
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn end(entry: &Connected, why: End) {
    // A queue without room loses its sender, which ends the connection too.
    let _ = entry.queue.try_send(Push::End(why, None));
}

fn text(message: &ToDevice) -> String {
    serde_json::to_string(message).expect("invariant: a message is plain data")
}

fn kind(message: &ToDevice) -> &'static str {
    match message {
        ToDevice::Signal { .. } => "signal",
        ToDevice::Undelivered { .. } => "undelivered",
        ToDevice::Punch { .. } => "punch",
        ToDevice::NetmapChanged { .. } => "netmap_changed",
        ToDevice::RelayMapChanged { .. } => "relay_map_changed",
        ToDevice::Revoked => "revoked",
        ToDevice::Restarting { .. } => "restarting",
        ToDevice::Pong { .. } => "pong",
        ToDevice::Unknown => "unknown",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const A: DeviceId = DeviceId([1; 16]);
    const TENANT: TenantId = TenantId(1);

    fn hub() -> Hub {
        Hub::new(4, Arc::new(crate::metrics::page()))
    }

    #[test]
    fn the_newest_connection_of_a_device_is_the_one_that_counts() {
        let hub = hub();
        let mut older = hub.enter(A, TENANT, &[GroupId(1)], None);
        let newer = hub.enter(A, TENANT, &[GroupId(1)], None);
        assert!(matches!(
            older.queue.try_recv(),
            Ok(Push::End(End::Replaced, None))
        ));
        hub.leave(&older);
        assert!(hub.is_here(A), "the newer one has its place");
        hub.leave(&newer);
        assert_eq!(hub.len(), 0);
    }

    #[test]
    fn a_full_queue_refuses_signals_and_ends_with_a_push_that_finds_no_room() {
        let hub = hub();
        let mut seat = hub.enter(A, TENANT, &[], None);
        let message = ToDevice::Pong { id: 1 };
        for _ in 0..4 {
            hub.deliver(A, &message).unwrap();
        }
        assert_eq!(hub.deliver(A, &message), Err(NotTaken::Full));
        assert!(hub.is_here(A));
        hub.push_all(None, &ToDevice::NetmapChanged { version: 2 });
        assert!(!hub.is_here(A));
        for _ in 0..4 {
            assert!(matches!(seat.queue.try_recv(), Ok(Push::Text(_))));
        }
        assert_eq!(
            seat.queue.try_recv().unwrap_err(),
            mpsc::error::TryRecvError::Disconnected
        );
    }

    #[test]
    fn a_tenants_devices_are_told_and_no_others() {
        let hub = hub();
        let other = DeviceId([2; 16]);
        let mut ours = hub.enter(A, TENANT, &[GroupId(1)], None);
        let mut theirs = hub.enter(other, TenantId(2), &[GroupId(1)], None);
        hub.push_all(Some(TENANT), &ToDevice::NetmapChanged { version: 2 });
        assert!(ours.queue.try_recv().is_ok());
        assert!(theirs.queue.try_recv().is_err());
        assert!(hub.shares_with(A, TENANT, &[GroupId(1)]));
        assert!(!hub.shares_with(other, TENANT, &[GroupId(1)]));
        hub.end(End::Revoked, &ToDevice::Revoked, |device, _| device == A);
        assert!(matches!(
            ours.queue.try_recv(),
            Ok(Push::End(End::Revoked, Some(_)))
        ));
        assert!(!hub.is_here(A) && hub.is_here(other));
    }
}
