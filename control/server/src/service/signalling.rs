//! Signalling between devices: opaque messages and orders of punching, within a tenant and a group.
//!
//! A device that is connected to another replica is reached through the store's feed. What does not
//! arrive comes back as [`ToDevice::Undelivered`], with the same reason for a device that is not
//! there and one that is none of the sender's business.

use serde::{Deserialize, Serialize};
use sterna_control_api::device::NatReport;
use sterna_control_api::signal::{FromDevice, PunchOrder, ToDevice, Undelivered};
use sterna_control_api::{DeviceId, GroupId, TenantId};
use tracing::debug;

use super::Service;
use super::devices::check_nat;
use super::hub::{End, NotTaken};
use crate::domain::DeviceRecord;
use crate::domain::punch::order;
use crate::metrics::{PUNCHES, RATE_LIMITED, SIGNALS};
use crate::store::{Announcement, Topic};

/// Milliseconds that both sides have to hear of an order before it begins.
const PUNCH_AFTER_MS: u32 = 250;

/// What travels between replicas for one device.
#[derive(Serialize, Deserialize)]
struct Relayed {
    /// The replica that sends it: its own words come back to it.
    replica: u64,
    /// The sending device, and what it shares with others.
    from: DeviceId,
    tenant: TenantId,
    groups: Vec<GroupId>,
    what: What,
}

#[derive(Serialize, Deserialize)]
enum What {
    /// A signal, and its sender's number for it.
    Signal { id: u32, payload: String },
    /// A request for an order of punching; the receiver's replica gives it to both.
    Punch { attempt: u64, nat: NatReport },
    /// An answer to either.
    Answer(ToDevice),
}

impl Service {
    /// Takes what a device says. Some answer goes back to it at once.
    pub(crate) async fn said(&self, device: &DeviceRecord, said: FromDevice) -> Option<ToDevice> {
        match said {
            FromDevice::Ping { id } => Some(ToDevice::Pong { id }),
            FromDevice::Signal { to, id, payload } => {
                let result = self.signal(device, to, id, payload).await;
                self.count_signal(result);
                let reason = result.err()?;
                Some(ToDevice::Undelivered { id, reason })
            }
            FromDevice::Punch { with, nat } => self.punch(device, with, nat).await,
        }
    }

    /// A message beyond the device's rate.
    pub(crate) fn said_too_much(&self, said: &FromDevice) -> Option<ToDevice> {
        self.metrics.count(RATE_LIMITED, &["signal"]);
        let FromDevice::Signal { id, .. } = said else {
            return None;
        };
        self.count_signal(Err(Undelivered::TooMany));
        Some(ToDevice::Undelivered {
            id: *id,
            reason: Undelivered::TooMany,
        })
    }

    async fn signal(
        &self,
        device: &DeviceRecord,
        to: DeviceId,
        id: u32,
        payload: String,
    ) -> Result<Reached, Undelivered> {
        if self.hub.is_here(to) {
            if !self.hub.shares_with(to, device.tenant, &device.groups) || to == device.id {
                return Err(Undelivered::Unreachable);
            }
            let from = device.id;
            let taken = self.hub.deliver(to, &ToDevice::Signal { from, payload });
            return taken.map(|()| Reached::Here).map_err(reason);
        }
        if !self.presence.is_elsewhere(to) {
            return Err(Undelivered::Unreachable);
        }
        self.pass_on(device, to, What::Signal { id, payload }).await
    }

    /// Orders a punch: which side does what, told to both.
    async fn punch(
        &self,
        device: &DeviceRecord,
        with: DeviceId,
        nat: NatReport,
    ) -> Option<ToDevice> {
        // It answers no number, so that what it lacks is said as an order to use the relay.
        let relay = || ToDevice::Punch {
            with,
            order: PunchOrder::Relay,
            attempt: 0,
            after_ms: 0,
            nat: NatReport::default(),
        };
        if check_nat("nat", &nat).is_err() {
            return Some(relay());
        }
        self.hub.learn(device.id, &nat);
        let attempt = rand::random::<u64>() >> 11;
        if self.hub.is_here(with) {
            if !self.hub.shares_with(with, device.tenant, &device.groups) || with == device.id {
                return Some(relay());
            }
            return Some(self.order_punch(device.id, nat, with, attempt));
        }
        if !self.presence.is_elsewhere(with) {
            return Some(relay());
        }
        let passed = self.pass_on(device, with, What::Punch { attempt, nat });
        passed.await.err().map(|_| relay())
    }

    /// Tells the one that is here, and returns what the asking one is told.
    fn order_punch(
        &self,
        asks: DeviceId,
        nat: NatReport,
        here: DeviceId,
        attempt: u64,
    ) -> ToDevice {
        let theirs = self.hub.nat(here).unwrap_or_default();
        let (asking, asked) = order(&nat, &theirs);
        let told = ToDevice::Punch {
            with: asks,
            order: asked,
            attempt,
            after_ms: PUNCH_AFTER_MS,
            nat,
        };
        // One that does not hear of it makes the attempt fail, which the other side finds out.
        let _ = self.hub.deliver(here, &told);
        self.metrics.count(PUNCHES, &[order_name(asking)]);
        ToDevice::Punch {
            with: here,
            order: asking,
            attempt,
            after_ms: PUNCH_AFTER_MS,
            nat: theirs,
        }
    }

    /// Passes something on to the replica that has the device.
    async fn pass_on(
        &self,
        device: &DeviceRecord,
        to: DeviceId,
        what: What,
    ) -> Result<Reached, Undelivered> {
        let relayed = Relayed {
            replica: self.presence.replica,
            from: device.id,
            tenant: device.tenant,
            groups: device.groups.clone(),
            what,
        };
        let payload = serde_json::to_string(&relayed).map_err(|_| Undelivered::Unreachable)?;
        let announced = self.store.announce(&Topic::Signal(to), &payload).await;
        match self.answered(announced) {
            Ok(()) => Ok(Reached::Elsewhere),
            Err(_) => Err(Undelivered::Unreachable),
        }
    }

    /// Takes what another replica has for a device of this one.
    pub(crate) async fn heard(&self, to: DeviceId, announcement: &Announcement) {
        let Ok(relayed) = serde_json::from_str::<Relayed>(&announcement.payload) else {
            return debug!("a signal of another version");
        };
        if relayed.replica == self.presence.replica || !self.hub.is_here(to) {
            return;
        }
        let from = relayed.from;
        let answer = match relayed.what {
            What::Answer(message) => {
                let _ = self.hub.deliver(to, &message);
                return;
            }
            What::Signal { id, payload } => {
                let shares = self.hub.shares_with(to, relayed.tenant, &relayed.groups);
                let taken = if shares {
                    let message = ToDevice::Signal { from, payload };
                    self.hub.deliver(to, &message).map_err(reason)
                } else {
                    Err(Undelivered::Unreachable)
                };
                let Err(reason) = taken else { return };
                ToDevice::Undelivered { id, reason }
            }
            What::Punch { attempt, nat } => {
                if self.hub.shares_with(to, relayed.tenant, &relayed.groups) {
                    self.order_punch(from, nat, to, attempt)
                } else {
                    ToDevice::Punch {
                        with: to,
                        order: PunchOrder::Relay,
                        attempt,
                        after_ms: 0,
                        nat: NatReport::default(),
                    }
                }
            }
        };
        let back = Relayed {
            replica: self.presence.replica,
            from: to,
            tenant: relayed.tenant,
            groups: Vec::new(),
            what: What::Answer(answer),
        };
        if let Ok(payload) = serde_json::to_string(&back) {
            let announced = self.store.announce(&Topic::Signal(from), &payload).await;
            // A sender that hears nothing tries again; the store counts its failure.
            let _ = self.answered(announced);
        }
    }

    /// Ends the connection of a device that was revoked.
    pub(crate) fn end_revoked(&self, device: DeviceId) {
        self.hub
            .end(End::Revoked, &ToDevice::Revoked, |id, _| id == device);
    }

    /// Ends the connections of all devices that are admitted no more.
    pub(crate) fn end_revoked_tenants(&self, tenants: &[TenantId]) {
        if !tenants.is_empty() {
            self.hub.end(End::Revoked, &ToDevice::Revoked, |_, tenant| {
                tenants.contains(&tenant)
            });
        }
    }

    /// Ends the connections of devices and tenants that the view says are revoked.
    pub(crate) fn end_all_revoked(&self) {
        let (view, now) = (self.view.load(), self.now());
        self.hub
            .end(End::Revoked, &ToDevice::Revoked, |id, tenant| {
                view.is_tenant_revoked(tenant, now) || view.is_device_revoked(id, now)
            });
    }

    fn count_signal(&self, result: Result<Reached, Undelivered>) {
        let result = match result {
            Ok(Reached::Here) => "delivered",
            Ok(Reached::Elsewhere) => "forwarded",
            Err(Undelivered::Unreachable) => "unreachable",
            Err(Undelivered::TooMany) => "too_many",
            Err(Undelivered::Full) => "full",
        };
        self.metrics.count(SIGNALS, &[result]);
    }
}

/// Where a message went.
#[derive(Clone, Copy)]
enum Reached {
    Here,
    Elsewhere,
}

fn reason(not_taken: NotTaken) -> Undelivered {
    match not_taken {
        NotTaken::Absent => Undelivered::Unreachable,
        NotTaken::Full => Undelivered::Full,
    }
}

fn order_name(order: PunchOrder) -> &'static str {
    match order {
        PunchOrder::First => "first",
        PunchOrder::Second => "second",
        PunchOrder::Together => "together",
        PunchOrder::Spray => "spray",
        PunchOrder::Relay => "relay",
    }
}
