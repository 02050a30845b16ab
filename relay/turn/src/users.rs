//! The static users: names and keys, never passwords.

use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use sterna_stun::{credentials::userhash, integrity::Key};

use crate::algorithm::Algorithm;

/// The static users, to be found by name and by USERHASH.
#[derive(Default)]
pub struct Users {
    keys: HashMap<Arc<str>, Keys, FixedState>,
    /// RFC 8489 §14.4: a name that is to stay hidden comes as a hash of it and the realm.
    names: HashMap<[u8; 32], Arc<str>, FixedState>,
}

/// One user's keys, a hash each.
struct Keys {
    md5: Key,
    sha256: Key,
}

impl Users {
    /// Derives the keys of `users`, pairs of name and password, for `realm`.
    pub fn new<N: AsRef<str>, P: AsRef<str>>(
        realm: &str,
        users: impl IntoIterator<Item = (N, P)>,
    ) -> Self {
        let mut all = Self::default();
        for (name, password) in users {
            let (name, password) = (name.as_ref(), password.as_ref());
            let keys = Keys {
                md5: Algorithm::Md5.key(name, realm, password),
                sha256: Algorithm::Sha256.key(name, realm, password),
            };
            let shared: Arc<str> = name.into();
            all.names.insert(userhash(name, realm), Arc::clone(&shared));
            all.keys.insert(shared, keys);
        }
        all
    }

    /// Tells whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Tells whether there is a user of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.keys.contains_key(name)
    }

    /// A user's key. One look-up.
    pub(crate) fn key(&self, name: &str, algorithm: Algorithm) -> Option<&Key> {
        let keys = self.keys.get(name)?;
        Some(match algorithm {
            Algorithm::Unnamed | Algorithm::Md5 => &keys.md5,
            Algorithm::Sha256 => &keys.sha256,
        })
    }

    /// The name behind a USERHASH. One look-up.
    pub(crate) fn name(&self, hash: &[u8; 32]) -> Option<&str> {
        self.names.get(hash).map(|name| &**name)
    }
}

impl std::fmt::Debug for Users {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Users({})", self.keys.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_name_and_by_hash_and_has_a_key_of_each_algorithm() {
        let users = Users::new("realm", [("alice", "a"), ("bob", "b")]);
        assert_eq!(users.name(&userhash("bob", "realm")), Some("bob"));
        assert_eq!(users.name(&userhash("bob", "elsewhere")), None);
        assert!(users.has("alice") && !users.has("carol"));
        let key = |algorithm| users.key("alice", algorithm);
        assert_eq!(key(Algorithm::Unnamed), key(Algorithm::Md5));
        assert_eq!(
            key(Algorithm::Md5).map(|key| key.as_bytes().len()),
            Some(16)
        );
        assert_eq!(
            key(Algorithm::Sha256).map(|key| key.as_bytes().len()),
            Some(32)
        );
        assert_eq!(users.key("carol", Algorithm::Md5), None);
        assert_eq!(format!("{users:?}"), "Users(2)");
    }
}
