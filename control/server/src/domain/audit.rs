//! Who did what.

use serde_json::Value;

/// Who changes something, and when. Each changing call of the store takes one and writes the audit
/// entry, with before and after, in the same transaction as the change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Act {
    /// `user:NAME`, `token:ID`, `node:ID`, `device:ID` or `service`.
    pub actor: String,
    /// When, in seconds since 1970: the `now` of all that the call decides.
    pub at: u64,
}

impl Act {
    /// An act of somebody.
    #[must_use]
    pub fn new(actor: impl Into<String>, at: u64) -> Self {
        Self {
            actor: actor.into(),
            at,
        }
    }

    /// An act of the service itself.
    #[must_use]
    pub fn service(at: u64) -> Self {
        Self::new("service", at)
    }
}

/// An audit entry before it has a number: what the store writes beside each change, and what the
/// service writes for what changes nothing (`auth.refused`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRecord {
    /// Who, and when.
    pub act: Act,
    /// What: `node.register`, `key.promote`, `auth.refused`, …
    pub action: &'static str,
    /// To whom or what.
    pub subject: String,
    /// What it was before. Never a secret.
    pub before: Option<Value>,
    /// What it is now. Never a secret.
    pub after: Option<Value>,
}

/// Which audit entries are wanted; what is left out does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// By whom, exactly.
    pub actor: Option<String>,
    /// What, by its beginning: `node.` finds all of nodes.
    pub action: Option<String>,
    /// To whom or what, exactly.
    pub subject: Option<String>,
    /// Not before this, in seconds since 1970.
    pub since: Option<u64>,
    /// Before this, in seconds since 1970.
    pub until: Option<u64>,
}
