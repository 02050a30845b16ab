//! Tenants whose devices are to be told that their netmap has changed.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sterna_control_api::TenantId;
use tokio::sync::Notify;

/// At most one entry a tenant, however many changes there were.
#[derive(Default)]
pub(crate) struct Netmaps {
    /// The newest version of each.
    untold: Mutex<HashMap<TenantId, u64>>,
    rung: Notify,
}

impl Netmaps {
    /// A tenant's netmap has this version now.
    pub(crate) fn changed(&self, tenant: TenantId, version: u64) {
        let mut untold = self.untold();
        let newest = untold.entry(tenant).or_default();
        *newest = version.max(*newest);
        drop(untold);
        self.rung.notify_one();
    }

    /// Waits for changes, and takes all that have gathered.
    pub(crate) async fn next(&self) -> HashMap<TenantId, u64> {
        loop {
            let changes = std::mem::take(&mut *self.untold());
            if !changes.is_empty() {
                return changes;
            }
            self.rung.notified().await;
        }
    }

    fn untold(&self) -> MutexGuard<'_, HashMap<TenantId, u64>> {
        // Each entry is whole.
        self.untold.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn changes_of_a_tenant_that_nobody_was_told_of_are_one() {
        let netmaps = Netmaps::default();
        for version in [3, 5, 4] {
            netmaps.changed(TenantId(1), version);
        }
        netmaps.changed(TenantId(2), 9);
        let told = HashMap::from([(TenantId(1), 5), (TenantId(2), 9)]);
        assert_eq!(netmaps.next().await, told);
        netmaps.changed(TenantId(1), 6);
        assert_eq!(netmaps.next().await, HashMap::from([(TenantId(1), 6)]));
    }
}
