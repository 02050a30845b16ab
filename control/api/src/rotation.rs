//! Key rotation: of what signs tickets, maps and orders, and of the TURN secrets.
//!
//! Each purpose has a next, a current and any number of previous keys. `Next` is told to every node
//! before it is used; `Previous` counts until nothing that it has made is valid any more.

use serde::{Deserialize, Serialize};

/// What a key is for.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum KeyPurpose {
    /// Signs tickets, relay maps and orders.
    Signing,
    /// Makes time-limited TURN passwords.
    Turn,
}

/// Where a key is in its life.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum KeyStage {
    /// Known everywhere, and not used yet.
    Next,
    /// Used.
    Current,
    /// No longer used; what it has made still counts.
    Previous,
    /// Taken out.
    Retired,
}

/// A key, without its secret (`GET /keys`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KeyView {
    /// Its id: of a signing key the one that tickets name.
    pub id: String,
    /// What it is for.
    pub purpose: KeyPurpose,
    /// Where it is in its life.
    pub stage: KeyStage,
    /// When it was made, in seconds since 1970.
    pub created: u64,
    /// When it came to this stage, in seconds since 1970.
    pub since: u64,
    /// Nodes that have confirmed to know it, of those that are there.
    pub known_by: u32,
    /// Nodes that are there.
    pub nodes: u32,
}

/// `POST /keys/rotate`: the next step of a purpose's keys.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RotateKeys {
    /// Whose.
    pub purpose: KeyPurpose,
    /// Which step.
    pub step: RotationStep,
    /// Take the step although not every node has confirmed the key.
    #[serde(default)]
    pub force: bool,
}

/// A step of a rotation.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum RotationStep {
    /// Makes a next key, which nodes learn.
    Prepare,
    /// The next becomes the current, the current a previous one.
    Promote,
    /// The newest previous one becomes the current again, and the current the next.
    Rollback,
    /// Takes previous keys out whose signatures have all run out.
    Retire,
}
