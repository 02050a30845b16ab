//! What goes on beside requests: heartbeats to the store, the feed, the map, presence, pruning.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sterna_control_api::signal::ToDevice;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{debug, warn};

use super::Service;
use super::hub::End;
use super::presence::{self, Message};
use crate::metrics::{AUDIT_PRUNED, FEED_LAG};
use crate::store::{Announcement, Feed, Subscription, Topic};

/// How often heartbeats, reports and uses of tokens are written.
const WRITTEN: Duration = Duration::from_secs(1);
/// How often nodes are looked at for one that is silent.
const LOOKED: Duration = Duration::from_millis(500);
/// How often others are told who has come and gone, at most.
const TOLD: Duration = Duration::from_millis(100);
/// How often what has run out is taken away.
const PRUNED: Duration = Duration::from_secs(60);
/// How long changes gather before they are read together.
const READ_PAUSE: Duration = Duration::from_millis(100);
/// How long changes of netmaps gather before devices are told again: a thousand that enrol one
/// after the other are not told of each other one by one.
const NETMAP_PAUSE: Duration = Duration::from_secs(1);
/// How long the service waits before it asks a database again that is away.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// Entries of the audit log that are deleted at once.
const AUDIT_BATCH: u32 = 1_000;
/// Batches of one minute.
const AUDIT_BATCHES_MAX: u32 = 100;
/// Between two of them, for others who write.
const AUDIT_PAUSE: Duration = Duration::from_millis(50);
const DAY_S: u64 = 86_400;
/// How often rates of callers who are quiet are forgotten.
const FORGOTTEN: Duration = Duration::from_secs(10);

impl Service {
    /// Starts all of it; it ends when the service stops.
    pub(crate) fn keep_up(self: &Arc<Self>, feed: Subscription) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        tasks.spawn(Arc::clone(self).follow(feed));
        tasks.spawn(Arc::clone(self).read_again());
        tasks.spawn(Arc::clone(self).tell_netmaps());
        tasks.spawn(Arc::clone(self).watch_nodes());
        tasks.spawn(Arc::clone(self).write());
        tasks.spawn(Arc::clone(self).tell_presence());
        tasks.spawn(Arc::clone(self).tidy());
        tasks
    }

    /// Follows what this and other replicas announce.
    async fn follow(self: Arc<Self>, mut feed: Subscription) {
        let mut stop = self.stop.subscribe();
        loop {
            let told = tokio::select! {
                told = feed.next() => told,
                _ = stop.changed() => return,
            };
            match told {
                Some(Feed::Announced(announcement)) => self.announced(&announcement).await,
                Some(Feed::MaybeMissed) => {
                    self.metrics.count(FEED_LAG, &[]);
                    self.devices.forget();
                    self.changed.notify_one();
                    // What devices were to be told may be missed too: they look for themselves.
                    let version = self.relay_map().map_or(0, |map| map.version);
                    self.hub
                        .push_all(None, &ToDevice::RelayMapChanged { version });
                    self.hub
                        .push_all(None, &ToDevice::NetmapChanged { version: 0 });
                }
                None => return,
            }
        }
    }

    async fn announced(&self, announcement: &Announcement) {
        match announcement.topic {
            Topic::Nodes | Topic::Regions | Topic::Keys | Topic::Revocations => {
                self.changed.notify_one();
            }
            Topic::Access => {}
            Topic::Devices(tenant) => {
                self.devices.changed(tenant);
                let version = announcement.payload.parse().unwrap_or_default();
                self.netmaps.changed(tenant, version);
            }
            Topic::DeviceRevoked(device) => {
                self.devices.forget();
                self.end_revoked(device);
            }
            Topic::Signal(device) => self.heard(device, announcement).await,
            Topic::Presence => match serde_json::from_str::<Message>(&announcement.payload) {
                Ok(message) => {
                    for device in self.presence.hear(message) {
                        // The device has connected there; here is its older connection.
                        self.hub.replaced_elsewhere(device);
                    }
                }
                Err(error) => debug!(%error, "presence of another version"),
            },
        }
    }

    /// Reads what has changed; many changes that come together are read once.
    async fn read_again(self: Arc<Self>) {
        let mut stop = self.stop.subscribe();
        loop {
            tokio::select! {
                () = self.changed.notified() => {}
                _ = stop.changed() => return,
            }
            let pause = match self.reload().await {
                Ok(()) => {
                    self.end_all_revoked();
                    READ_PAUSE
                }
                Err(refusal) => {
                    warn!(why = %refusal.detail, "what has changed could not be read; trying again");
                    self.changed.notify_one();
                    RETRY_PAUSE
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = stop.changed() => return,
            }
        }
    }

    /// Tells devices of their tenant's changes; the first at once, those that follow together.
    async fn tell_netmaps(self: Arc<Self>) {
        let mut stop = self.stop.subscribe();
        loop {
            tokio::select! {
                changes = self.netmaps.next() => {
                    for (tenant, version) in changes {
                        self.hub
                            .push_all(Some(tenant), &ToDevice::NetmapChanged { version });
                    }
                }
                _ = stop.changed() => return,
            }
            tokio::select! {
                () = tokio::time::sleep(NETMAP_PAUSE) => {}
                _ = stop.changed() => return,
            }
        }
    }

    /// Makes the map anew when a node's status changes, by its word or by its silence, and hears of
    /// heartbeats that came through other replicas.
    async fn watch_nodes(self: Arc<Self>) {
        let mut stop = self.stop.subscribe();
        let mut look = interval(LOOKED);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let every = Duration::from_secs(self.config.heartbeat.interval_s.into());
        let mut heard = Instant::now();
        loop {
            let mut announced = false;
            tokio::select! {
                _ = look.tick() => {}
                () = self.statuses.notified() => announced = true,
                _ = stop.changed() => return,
            }
            if heard.elapsed() >= every.min(Duration::from_secs(2)) {
                heard = Instant::now();
                let since = self.now().saturating_sub(2 * every.as_secs() + 5);
                let found = self.store.heartbeats_since(since).await;
                if let Ok(heartbeats) = self.answered(found) {
                    self.live.heard_elsewhere(heartbeats);
                }
            }
            let before = self.relay_map().map_or(0, |map| map.version);
            if self.publish().await.is_err() {
                continue;
            }
            let after = self.relay_map().map_or(0, |map| map.version);
            if announced && before != after {
                // Others see the heartbeat that has changed it once it is written.
                self.write_heartbeats().await;
                let told = self.store.announce(&Topic::Nodes, "").await;
                let _ = self.answered(told);
            }
        }
    }

    /// Writes what was only remembered.
    async fn write(self: Arc<Self>) {
        let mut stop = self.stop.subscribe();
        let mut tick = interval(WRITTEN);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                _ = stop.changed() => return,
            }
            self.write_all().await;
        }
    }

    /// Writes everything that was only remembered, once more before the end.
    pub(crate) async fn write_all(&self) {
        self.write_heartbeats().await;
        let reports = self.reports.take();
        if !reports.is_empty()
            && self
                .answered(self.store.record_reports(&reports).await)
                .is_err()
        {
            self.reports.put_back(reports);
        }
        let uses = self.take_token_uses();
        if !uses.is_empty() {
            // Uses that could not be written are missing in a number for people.
            let _ = self.answered(self.store.record_token_uses(&uses).await);
        }
    }

    async fn write_heartbeats(&self) {
        let heartbeats = self.live.take_unsaved();
        if heartbeats.is_empty() {
            return;
        }
        let written = self.store.record_heartbeats(&heartbeats).await;
        if self.answered(written).is_err() {
            self.live.still_unsaved(&heartbeats);
        }
    }

    /// Tells other replicas who is connected here.
    async fn tell_presence(self: Arc<Self>) {
        let mut stop = self.stop.subscribe();
        let mut tick = interval(TOLD);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.tell(&self.presence.question()).await;
        let mut told = Instant::now();
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                _ = stop.changed() => return,
            }
            let everything = told.elapsed() >= presence::RETOLD || self.presence.take_asked();
            let all = everything.then(|| {
                told = Instant::now();
                self.hub.devices()
            });
            for message in self.presence.messages(all) {
                self.tell(&message).await;
            }
        }
    }

    async fn tell(&self, message: &Message) {
        if let Ok(payload) = serde_json::to_string(message) {
            let told = self.store.announce(&Topic::Presence, &payload).await;
            // Everything is told again in a few seconds.
            let _ = self.answered(told);
        }
    }

    /// Takes away what has run out, here and in the store.
    async fn tidy(self: Arc<Self>) {
        let mut stop = self.stop.subscribe();
        let mut tick = interval(FORGOTTEN);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut pruned: Option<Instant> = None;
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                _ = stop.changed() => return,
            }
            self.rates.forget_the_quiet();
            self.presence.tidy();
            self.metrics.upkeep();
            if pruned.is_none_or(|pruned| pruned.elapsed() >= PRUNED) {
                pruned = Some(Instant::now());
                match self.answered(self.store.prune(self.now()).await) {
                    Ok(pruned) => debug!(?pruned, "pruned"),
                    Err(refusal) => debug!(why = %refusal.detail, "not pruned"),
                }
                self.prune_audit().await;
            }
        }
    }

    /// Deletes entries of the audit log that are older than the configuration keeps them: a few at a
    /// time, since SQLite has one writer, and what is left in the next minute.
    async fn prune_audit(&self) {
        let days = u64::from(self.config.database.audit_days);
        if days == 0 {
            return;
        }
        let before = self.now().saturating_sub(days * DAY_S);
        for _ in 0..AUDIT_BATCHES_MAX {
            let pruned = self.store.prune_audit(before, AUDIT_BATCH).await;
            let Ok(pruned) = self.answered(pruned) else {
                return;
            };
            self.metrics.counter(AUDIT_PRUNED, &[]).increment(pruned);
            if pruned < u64::from(AUDIT_BATCH) || self.stopping.load(Ordering::Relaxed) {
                return;
            }
            tokio::time::sleep(AUDIT_PAUSE).await;
        }
    }

    /// Tells devices that this replica goes away, and answers the heartbeats that are held.
    pub(crate) fn say_farewell(&self) {
        self.held.ring(|_, _| true);
        // Not all at once, and not all to the same second.
        let after_ms = 500 + rand::random::<u32>() % 2_000;
        self.hub.end(
            End::Restarting,
            &ToDevice::Restarting { after_ms },
            |_, _| true,
        );
    }
}
