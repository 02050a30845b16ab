//! What is no longer admitted.

use serde_json::{Value, json};
use sterna_control_api::node::Revocations;
use sterna_control_api::{DeviceId, TenantId, TicketId};

/// What is revoked.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Revocation {
    /// One ticket.
    Ticket(TicketId),
    /// A whole device.
    Device(DeviceId),
    /// A whole tenant.
    Tenant(TenantId),
}

/// A revocation, as it is kept.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct RevocationRecord {
    /// What is revoked.
    pub what: Revocation,
    /// When it was, in seconds since 1970.
    pub at: u64,
    /// When nothing that it could apply to is valid any more, in seconds since 1970; 0: never.
    pub until: u64,
}

impl RevocationRecord {
    /// Tells whether nodes still have to know of it at `now`.
    #[must_use]
    pub const fn counts(&self, now: u64) -> bool {
        self.until == 0 || now < self.until
    }

    /// What the audit log says of it.
    #[must_use]
    pub fn described(&self) -> Value {
        json!({ "until": self.until })
    }
}

/// What nodes are told at `now`.
#[must_use]
pub fn told(records: &[RevocationRecord], now: u64) -> Revocations {
    let mut told = Revocations::default();
    for record in records.iter().filter(|record| record.counts(now)) {
        match record.what {
            Revocation::Ticket(id) => told.tickets.push(id),
            Revocation::Device(id) => told.devices.push(id),
            Revocation::Tenant(id) => told.tenants.push(id),
        }
    }
    told
}
