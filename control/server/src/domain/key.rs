//! Signing keys and TURN secrets.

use std::fmt;

use serde_json::{Value, json};
use sterna_control_api::rotation::{KeyPurpose, KeyStage};
use zeroize::Zeroizing;

/// The secret of a key: the text of a signing key, or a TURN secret. Never shown, wiped after use,
/// and encrypted where it is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct KeySecret(Zeroizing<String>);

impl KeySecret {
    /// Takes a secret.
    #[must_use]
    pub fn new(secret: impl Into<String>) -> Self {
        Self(Zeroizing::new(secret.into()))
    }

    /// The secret, for whoever signs with it or tells it to a node.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for KeySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeySecret")
    }
}

/// A key, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRecord {
    /// Its id: of a signing key the one that tickets name.
    pub id: String,
    /// What it is for.
    pub purpose: KeyPurpose,
    /// Where it is in its life.
    pub stage: KeyStage,
    /// Its secret; empty once it is retired.
    pub secret: KeySecret,
    /// When it was made, in seconds since 1970.
    pub created: u64,
    /// When it came to this stage, in seconds since 1970.
    pub since: u64,
    /// The version of the orders that told of it first: a node that follows these or later ones
    /// knows it.
    pub orders: u64,
}

impl KeyRecord {
    /// What the audit log says of it.
    #[must_use]
    pub fn described(&self) -> Value {
        json!({ "id": self.id, "purpose": self.purpose, "stage": self.stage })
    }
}
