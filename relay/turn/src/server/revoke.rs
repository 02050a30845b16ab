//! Ending sessions at the operator's word.

use super::Server;
use crate::{EndReason, Revoke, allocation::Allocation};

impl Server {
    pub(super) fn revoke_matching(&mut self, revoke: &Revoke) -> usize {
        match revoke {
            Revoke::Allocation(id) => {
                let named = |allocation: &Allocation| allocation.id == *id;
                let found = self.allocations.get(id.index()).is_some_and(named);
                if found {
                    self.end(id.index(), EndReason::Revoked);
                }
                usize::from(found)
            }
            Revoke::User(name) => self.end_all(EndReason::Revoked, |allocation| {
                *allocation.holder.account == **name || allocation.is_of_key(name)
            }),
        }
    }

    /// Ends every allocation that `condemned` points at, in the order of the table.
    pub(super) fn end_all(
        &mut self,
        reason: EndReason,
        condemned: impl Fn(&Allocation) -> bool,
    ) -> usize {
        let condemned: Vec<usize> = self
            .allocations
            .iter()
            .filter(|(_, allocation)| condemned(allocation))
            .map(|(index, _)| index)
            .collect();
        for index in &condemned {
            self.end(*index, reason);
        }
        condemned.len()
    }
}

#[cfg(test)]
mod tests;
