//! The audit log.

use sterna_control_api::audit::{AuditEntry, Page};

use super::Service;
use super::refusal::Refusal;
use crate::domain::AuditFilter;
use crate::store::PageRequest;

impl Service {
    /// Entries, newest first, a page at a time.
    pub(crate) async fn list_audit(
        &self,
        filter: &AuditFilter,
        page: &PageRequest,
    ) -> Result<Page<AuditEntry>, Refusal> {
        if page
            .after
            .as_ref()
            .is_some_and(|after| after.parse::<i64>().is_err())
        {
            return Err(Refusal::malformed("after: the number of an entry"));
        }
        self.answered(self.store.audit(filter, page).await)
    }
}
