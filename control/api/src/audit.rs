//! The audit log, and lists that come page by page.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A list, a page at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Page<T> {
    /// The entries.
    pub items: Vec<T>,
    /// Goes into `?after=` for the next page; none: this was the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// One entry of the audit log (`GET /audit`), newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditEntry {
    /// Its number; grows.
    pub id: u64,
    /// When, in seconds since 1970.
    pub at: u64,
    /// Who: `user:NAME`, `token:ID`, `node:ID`, `device:ID`, `service`.
    pub actor: String,
    /// What: `node.register`, `node.patch`, `key.promote`, `auth.refused`, …
    pub action: String,
    /// To whom or what.
    pub subject: String,
    /// What it was before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// What it is now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}
