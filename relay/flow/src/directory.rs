//! Who is here: the one thing that all shards of a node share.
//!
//! Touched when a session begins, ends or is revoked, when a flow is opened, and by KEYED frames
//! (which each session may send a few of): the control path. A data frame never looks here.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use sterna_control_api::{DeviceKey, Groups, TenantId, Ticket};

use crate::cookie::CookieJar;
use crate::limits::{DIRECTORY_SHARDS, REVOCATIONS_MAX, SESSIONS_PER_DEVICE_MAX};
use crate::{FlowNumber, Link, Revoke, Rung, SessionId, ShardId};

/// A session, as shards know each other's.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionRef {
    /// Who owns it.
    pub shard: ShardId,
    /// Its name.
    pub id: SessionId,
    pub(crate) slot: u32,
}

/// How a device's frames reach it.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// From any worker's socket.
    Udp(Link),
    /// Through the shard that has the connection.
    Shard(ShardId),
}

/// One end of a flow, as the other end knows it.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct PeerRef {
    pub(crate) key: DeviceKey,
    pub(crate) end: FlowNumber,
    pub(crate) route: Route,
    pub(crate) payload_max: u16,
    /// Which session of its device is meant: the later activation counts.
    pub(crate) order: u64,
}

/// A session of a device, in the directory.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Standing {
    pub(crate) session: SessionRef,
    pub(crate) groups: Groups,
    /// Which activation of the node this is; 0 where it was never active.
    pub(crate) order: u64,
    /// Frames of useful length are known to cross.
    pub(crate) is_ready: bool,
    /// The node has pinged it, and it does not answer.
    pub(crate) is_silent: bool,
}

/// An end that wants to know when a device comes.
#[derive(Copy, Clone, Debug)]
struct Watcher {
    shard: ShardId,
    groups: Groups,
}

/// Devices are met within their tenant only.
type DeviceName = (TenantId, DeviceKey);

#[derive(Debug, Default)]
struct Device {
    /// In the order of their first sealed frames.
    sessions: Vec<Standing>,
    /// By the watching end.
    watchers: BTreeMap<FlowNumber, Watcher>,
}

impl Device {
    /// The session that peers reach the device through: the newest of those that are heard and whose
    /// way is known to carry useful frames; where there is none, of those that are heard, or of all.
    fn active(&mut self) -> Option<&mut Standing> {
        // Of equal ones, the last.
        let sessions = self.sessions.iter_mut();
        sessions.max_by_key(|held| (!held.is_silent, held.is_ready))
    }

    fn watchers_of(&self, groups: &Groups) -> Vec<(ShardId, FlowNumber)> {
        let seen = self.watchers.iter();
        seen.filter(|(_, watcher)| watcher.groups.shares_one_with(groups))
            .map(|(end, watcher)| (watcher.shard, *end))
            .collect()
    }
}

/// What follows for a device's sessions.
#[derive(Debug, Default)]
pub(crate) struct Change {
    /// The session that has become active, with its new order.
    pub(crate) promoted: Option<Standing>,
    /// The one that was active until then and lives on.
    pub(crate) demoted: Option<SessionRef>,
    /// The session that is active now, where it is one of several.
    pub(crate) watched: Option<SessionRef>,
    /// A session too many: the oldest that is not active.
    pub(crate) surplus: Option<SessionRef>,
    /// Ends to tell of the session that is active now.
    pub(crate) watchers: Vec<(ShardId, FlowNumber)>,
}

/// How many sessions there are, by rung.
#[derive(Debug, Default)]
struct Gauges {
    sessions: [AtomicU32; Rung::ALL.len()],
}

/// Who is here, and who must not be. One a node.
pub struct Directory {
    start: Instant,
    pub(crate) cookies: CookieJar,
    shards: Box<[Mutex<HashMap<DeviceName, Device, FixedState>>]>,
    hash: FixedState,
    tenants: Mutex<HashMap<TenantId, u32, FixedState>>,
    gauges: Gauges,
    total: AtomicU32,
    next_order: AtomicU64,
    revoked: Mutex<Revoked>,
}

/// What is revoked, until when.
#[derive(Debug, Default)]
struct Revoked {
    set: BTreeSet<Revoke>,
    order: VecDeque<(u64, Revoke)>,
}

impl Directory {
    /// Makes the directory of a node. `seed` is random and nobody else's.
    #[must_use]
    pub fn new(now: Instant, seed: [u8; 32]) -> Self {
        let [a, b, c, d, e, f, g, h, ..] = seed;
        let hash = FixedState::with_seed(u64::from_be_bytes([a, b, c, d, e, f, g, h]));
        let shard = |_| Mutex::new(HashMap::with_hasher(hash.clone()));
        Self {
            start: now,
            cookies: CookieJar::new(seed),
            shards: (0..DIRECTORY_SHARDS).map(shard).collect(),
            tenants: Mutex::new(HashMap::with_hasher(hash.clone())),
            hash,
            gauges: Gauges::default(),
            total: AtomicU32::new(0),
            next_order: AtomicU64::new(1),
            revoked: Mutex::default(),
        }
    }

    /// Sessions that have spoken and live, by rung.
    #[must_use]
    pub fn sessions(&self, rung: Rung) -> u32 {
        self.gauges.sessions[rung as usize].load(Ordering::Relaxed)
    }

    /// Tells whether nobody is here and nobody is waited for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let nobody = |shard: &Mutex<HashMap<_, _, _>>| lock(shard).is_empty();
        self.total.load(Ordering::Relaxed) == 0
            && lock(&self.tenants).is_empty()
            && self.shards.iter().all(nobody)
    }

    /// Holds a revocation until `until_unix_s`, when the last ticket that it could be about has
    /// expired. Whoever calls this also hands it to `Relay::revoke` of every shard, which ends what
    /// lives; the directory keeps it from coming back.
    pub fn revoke(&self, revoke: Revoke, until_unix_s: u64) {
        if matches!(revoke, Revoke::Session(_)) {
            return;
        }
        let mut revoked = lock(&self.revoked);
        if revoked.set.insert(revoke) {
            revoked.order.push_back((until_unix_s, revoke));
        } else {
            for (until, held) in &mut revoked.order {
                if *held == revoke {
                    *until = until_unix_s.max(*until);
                }
            }
        }
        if revoked.order.len() > REVOCATIONS_MAX {
            let least = revoked
                .order
                .iter()
                .enumerate()
                .min_by_key(|(_, held)| held.0);
            if let Some((_, revoke)) = least
                .map(|(place, _)| place)
                .and_then(|place| revoked.order.remove(place))
            {
                revoked.set.remove(&revoke);
            }
        }
    }

    /// Forgets revocations whose time is over; returns how many are held.
    pub fn expire_revocations(&self, unix_s: u64) -> usize {
        let mut revoked = lock(&self.revoked);
        let Revoked { set, order } = &mut *revoked;
        order.retain(|(until, revoke)| {
            let holds = *until > unix_s;
            if !holds {
                set.remove(revoke);
            }
            holds
        });
        order.len()
    }

    pub(crate) fn is_revoked(&self, ticket: &Ticket) -> bool {
        let revoked = lock(&self.revoked);
        [
            Revoke::Ticket(ticket.ticket_id),
            Revoke::Device(ticket.device_id),
            Revoke::DeviceKey(ticket.device_key),
            Revoke::Tenant(ticket.tenant),
        ]
        .iter()
        .any(|revoke| revoked.set.contains(revoke))
    }

    /// Seconds since the node started; what cookies count.
    pub(crate) fn uptime_s(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.start).as_secs()
    }

    /// Counts a session in, if the caps of node and tenant allow it; 0 is no cap.
    pub(crate) fn admit(&self, tenant: TenantId, total_max: u32, tenant_max: u32) -> bool {
        let room = |count: u32, max: u32| (max == 0 || count < max).then_some(count + 1);
        let counted = self
            .total
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
                room(count, total_max)
            });
        if counted.is_err() {
            return false;
        }
        let mut tenants = lock(&self.tenants);
        let count = tenants.entry(tenant).or_default();
        if let Some(more) = room(*count, tenant_max) {
            *count = more;
            return true;
        }
        self.total.fetch_sub(1, Ordering::Relaxed);
        false
    }

    /// Counts a session out that was counted in.
    pub(crate) fn leave(&self, tenant: TenantId) {
        self.total.fetch_sub(1, Ordering::Relaxed);
        let mut tenants = lock(&self.tenants);
        if let Some(count) = tenants.get_mut(&tenant) {
            *count -= 1;
            if *count == 0 {
                tenants.remove(&tenant);
            }
        }
    }

    /// Tells whether a device has a session here.
    pub(crate) fn knows(&self, tenant: TenantId, key: DeviceKey) -> bool {
        let name = (tenant, key);
        let devices = lock(self.shard(&name));
        devices
            .get(&name)
            .is_some_and(|device| !device.sessions.is_empty())
    }

    /// Takes a session in that has spoken: the active one of its device, unless it is not ready and
    /// another is.
    pub(crate) fn enter(
        &self,
        tenant: TenantId,
        key: DeviceKey,
        (session, is_ready): (SessionRef, bool),
        groups: Groups,
        rung: Rung,
    ) -> Change {
        self.gauges.sessions[rung as usize].fetch_add(1, Ordering::Relaxed);
        self.change((tenant, key), |device| {
            device.sessions.push(Standing {
                session,
                groups,
                order: 0,
                is_ready,
                is_silent: false,
            });
        })
    }

    /// Takes a session out; where it was active, another is promoted.
    pub(crate) fn remove(
        &self,
        tenant: TenantId,
        key: DeviceKey,
        session: SessionRef,
        rung: Rung,
    ) -> Change {
        self.change((tenant, key), |device| {
            let before = device.sessions.len();
            device.sessions.retain(|held| held.session != session);
            if device.sessions.len() < before {
                self.gauges.sessions[rung as usize].fetch_sub(1, Ordering::Relaxed);
            }
        })
    }

    /// Takes note that frames of useful length cross to a session.
    pub(crate) fn ready(&self, tenant: TenantId, key: DeviceKey, session: SessionRef) -> Change {
        self.change((tenant, key), |device| {
            for held in &mut device.sessions {
                held.is_ready |= held.session == session;
            }
        })
    }

    /// Takes note that a session does not answer, or that it is heard again.
    pub(crate) fn silence(
        &self,
        tenant: TenantId,
        key: DeviceKey,
        session: SessionRef,
        is_silent: bool,
    ) -> Change {
        self.change((tenant, key), |device| {
            let mut sessions = device.sessions.iter_mut();
            if let Some(held) = sessions.find(|held| held.session == session) {
                held.is_silent = is_silent;
            }
        })
    }

    /// Tells whether a session is one of several of its device.
    pub(crate) fn has_others(&self, tenant: TenantId, key: DeviceKey) -> bool {
        let name = (tenant, key);
        let devices = lock(self.shard(&name));
        devices
            .get(&name)
            .is_some_and(|device| device.sessions.len() > 1)
    }

    /// Changes a device's sessions, and says what follows.
    fn change(&self, name: DeviceName, act: impl FnOnce(&mut Device)) -> Change {
        let mut devices = lock(self.shard(&name));
        let device = devices.entry(name).or_default();
        let before = device.active().map(|held| held.session);
        act(device);
        let mut change = Change::default();
        let several = device.sessions.len() > 1;
        if let Some(active) = device.active() {
            let now = active.session;
            if before != Some(now) {
                // Within the lock, so that later orders are of later changes.
                active.order = self.next_order.fetch_add(1, Ordering::Relaxed);
                let promoted = *active;
                change.promoted = Some(promoted);
                change.watchers = device.watchers_of(&promoted.groups);
                let lives = |before: &SessionRef| {
                    let mut sessions = device.sessions.iter();
                    sessions.any(|held| held.session == *before)
                };
                change.demoted = before.filter(lives);
            }
            change.watched = several.then_some(now);
            if device.sessions.len() > SESSIONS_PER_DEVICE_MAX {
                let mut others = device.sessions.iter().map(|held| held.session);
                change.surplus = others.find(|session| *session != now);
            }
        }
        if device.sessions.is_empty() && device.watchers.is_empty() {
            devices.remove(&name);
        }
        change
    }

    /// Takes a session's new groups over.
    pub(crate) fn regroup(
        &self,
        tenant: TenantId,
        key: DeviceKey,
        session: SessionRef,
        groups: Groups,
    ) -> Vec<(ShardId, FlowNumber)> {
        let name = (tenant, key);
        let mut devices = lock(self.shard(&name));
        let Some(device) = devices.get_mut(&name) else {
            return Vec::new();
        };
        for held in &mut device.sessions {
            if held.session == session {
                held.groups = groups;
            }
        }
        // Those who may not any more are told too: their look-up then finds nobody.
        let told = device.watchers.iter();
        told.map(|(end, watcher)| (watcher.shard, *end)).collect()
    }

    /// Watches a device for an end.
    pub(crate) fn watch(
        &self,
        tenant: TenantId,
        key: DeviceKey,
        shard: ShardId,
        end: FlowNumber,
        groups: Groups,
    ) {
        let name = (tenant, key);
        let mut devices = lock(self.shard(&name));
        let watchers = &mut devices.entry(name).or_default().watchers;
        watchers.insert(end, Watcher { shard, groups });
    }

    /// Ends what `watch` began.
    pub(crate) fn unwatch(&self, tenant: TenantId, key: DeviceKey, end: FlowNumber) {
        let name = (tenant, key);
        let mut devices = lock(self.shard(&name));
        if let Some(device) = devices.get_mut(&name) {
            device.watchers.remove(&end);
            if device.sessions.is_empty() && device.watchers.is_empty() {
                devices.remove(&name);
            }
        }
    }

    /// The active session of a device, for one whose groups may talk to it.
    pub(crate) fn find(
        &self,
        tenant: TenantId,
        key: DeviceKey,
        groups: &Groups,
    ) -> Option<SessionRef> {
        let name = (tenant, key);
        let mut devices = lock(self.shard(&name));
        let active = devices.get_mut(&name)?.active()?;
        active
            .groups
            .shares_one_with(groups)
            .then_some(active.session)
    }

    fn shard(&self, name: &DeviceName) -> &Mutex<HashMap<DeviceName, Device, FixedState>> {
        use std::hash::BuildHasher;
        let hash = self.hash.hash_one(name).rotate_left(32);
        &self.shards[usize::try_from(hash % DIRECTORY_SHARDS as u64).unwrap_or(0)]
    }
}

impl std::fmt::Debug for Directory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Directory")
            .field("total", &self.total)
            .finish_non_exhaustive()
    }
}

/// A panic of another thread while it held the lock ends the process; nothing is half-changed.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
