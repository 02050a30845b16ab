//! Values that must not be seen: secrets, passwords, tokens.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// What stands in place of a secret wherever one is shown.
pub const REDACTED: &str = "[redacted]";

/// A text that is never printed, serialised or left in freed memory.
#[derive(Clone, Eq, PartialEq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text itself. The name says what the caller does.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Compares in a time that depends on the lengths only.
    pub fn matches(&self, candidate: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(candidate).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(REDACTED)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_shows_itself_neither_in_debug_output_nor_in_json() {
        let secret = Secret::new("tide");
        assert!(!format!("{secret:?}").contains("tide"));
        assert_eq!(
            serde_json::to_string(&secret).expect("a string"),
            "\"[redacted]\""
        );
    }

    #[test]
    fn only_the_same_bytes_match() {
        let secret = Secret::new("tide");
        assert!(secret.matches(b"tide"));
        assert!(!secret.matches(b"tid"));
        assert!(!secret.matches(b"tidf"));
        assert!(!secret.matches(b""));
    }
}
