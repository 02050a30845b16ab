//! Tokens, people and their sessions. Secrets are kept as hashes only.

use serde_json::{Value, json};
use sterna_control_api::access::{Role, TokenKind};
use sterna_control_api::{GroupId, TenantId};

/// A join token, an enrolment key or an API token, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRecord {
    /// Its public half, unique over all kinds.
    pub id: String,
    /// What kind it is.
    pub kind: TokenKind,
    /// SHA-256 of its secret half.
    pub secret_hash: [u8; 32],
    /// What it is for, for people.
    pub note: String,
    /// The region, of a join token.
    pub region: Option<String>,
    /// The tenant, of an enrolment key.
    pub tenant: Option<TenantId>,
    /// The groups, of an enrolment key.
    pub groups: Vec<GroupId>,
    /// The tags, of an enrolment key.
    pub tags: Vec<String>,
    /// The role, of an API token.
    pub role: Option<Role>,
    /// How often it was used.
    pub uses: u32,
    /// How often it may be; 0: any number.
    pub uses_max: u32,
    /// When it was made, in seconds since 1970.
    pub created: u64,
    /// When it runs out, in seconds since 1970; 0: never.
    pub expires: u64,
    /// Whether it was taken back.
    pub revoked: bool,
}

impl TokenRecord {
    /// Tells whether the token lets somebody in at `now`.
    #[must_use]
    pub fn is_good(&self, now: u64) -> bool {
        !self.revoked
            && (self.expires == 0 || now < self.expires)
            && (self.uses_max == 0 || self.uses < self.uses_max)
    }

    /// What the audit log says of it.
    #[must_use]
    pub fn described(&self) -> Value {
        json!({
            "kind": self.kind,
            "note": self.note,
            "region": self.region,
            "tenant": self.tenant,
            "groups": self.groups,
            "tags": self.tags,
            "role": self.role,
            "uses": self.uses,
            "uses_max": self.uses_max,
            "expires": self.expires,
            "revoked": self.revoked,
        })
    }
}

/// A person, as it is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct UserRecord {
    /// The person's name, unique.
    pub name: String,
    /// The password's hash with its parameters, as argon2 writes it.
    pub password: String,
    /// What the person may do.
    pub role: Role,
    /// When the person was added, in seconds since 1970.
    pub created: u64,
}

impl std::fmt::Debug for UserRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, role, .. } = self;
        write!(f, "UserRecord({name}, {role:?})")
    }
}

impl UserRecord {
    /// What the audit log says of the person.
    #[must_use]
    pub fn described(&self) -> Value {
        json!({ "role": self.role })
    }
}

/// A person's session, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRecord {
    /// Its public half, unique.
    pub id: String,
    /// SHA-256 of its secret half.
    pub secret_hash: [u8; 32],
    /// The person's name.
    pub user: String,
    /// When it began, in seconds since 1970.
    pub created: u64,
    /// When it runs out, in seconds since 1970.
    pub expires: u64,
}
