//! Rules for single accounts, on top of those for everybody.
//!
//! An account's own peer rules stand beside the node's: a peer is judged by the layers of
//! [`crate::policy`] with both deny lists and both allow lists. So its `deny` narrows, its `allow`
//! opens what the built-in list and the host's addresses would close, and neither opens what the
//! node denies, reaches the node's own listeners, or makes more of a relayed address than a relay.
//!
//! Rules are found by what quotas are counted by: a static user's name, of a time-limited name the
//! part behind the colon (the secret signs it, so nobody else can show it), and for access tokens
//! the name of the key, since a token names nobody.

use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::{Policy, ServerConfig, server::authenticate::Credentials};

/// What differs for one account; what is none is as for everybody.
#[derive(Clone, Debug, Default)]
pub struct UserRules {
    /// Which peers may be reached, the node's own rules included.
    pub policy: Option<Arc<Policy>>,
    /// Allocations of the account; 0: no cap.
    pub allocations_max: Option<u32>,
    /// Packets of one of its allocations in a second; 0: no cap.
    pub session_packets_per_s: Option<u32>,
    /// Payload bytes of one of its allocations in a second; 0: no cap.
    pub session_bytes_per_s: Option<u64>,
}

/// The rules of all accounts that have some.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    by_account: HashMap<Box<str>, UserRules, FixedState>,
}

impl Rules {
    /// Takes pairs of account and rules.
    pub fn new<N: Into<Box<str>>>(rules: impl IntoIterator<Item = (N, UserRules)>) -> Self {
        let named = |(account, rules): (N, UserRules)| (account.into(), rules);
        Self {
            by_account: rules.into_iter().map(named).collect(),
        }
    }

    /// The rules of whoever has these credentials. One look-up, where there are rules at all.
    pub(crate) fn of(&self, credentials: Option<&Credentials>) -> Option<&UserRules> {
        if self.by_account.is_empty() {
            return None;
        }
        let credentials = credentials?;
        self.by_account.get(match credentials.session() {
            Some(session) => &*session.signer.kid,
            None => &*credentials.account,
        })
    }
}

/// What one allocation may, worked out once for the packets to come.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(crate) policy: Arc<Policy>,
    pub(crate) packets_per_s: u32,
    pub(crate) bytes_per_s: u64,
}

impl Terms {
    pub(crate) fn of(config: &ServerConfig, credentials: Option<&Credentials>) -> Self {
        let rules = config.rules.of(credentials);
        let (policy, packets, bytes) = rules.map_or((None, None, None), |rules| {
            (
                rules.policy.as_ref(),
                rules.session_packets_per_s,
                rules.session_bytes_per_s,
            )
        });
        let limits = &config.limits;
        Self {
            policy: Arc::clone(policy.unwrap_or(&config.policy)),
            packets_per_s: packets.unwrap_or(limits.session_packets_per_s),
            bytes_per_s: bytes.unwrap_or(limits.session_bytes_per_s),
        }
    }
}
