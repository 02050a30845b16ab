//! Who may call: join tokens, enrolment keys, API tokens, people and their roles.

use serde::{Deserialize, Serialize};

use crate::id::{GroupId, TenantId};

/// What a person or a script may do. Each role may do what the one before it may.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Sees everything but secrets.
    Auditor,
    /// Drains nodes, makes regions, tokens and keys.
    Operator,
    /// Makes users and gives roles.
    Administrator,
}

/// `POST /join-tokens`: what lets a node join.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NewJoinToken {
    /// The region that its nodes are of.
    pub region: String,
    /// How many nodes it lets in; 1 when left out.
    #[serde(default = "one")]
    pub uses_max: u32,
    /// Seconds for which it is valid.
    pub ttl_s: u32,
    /// What it is for, for people.
    #[serde(default)]
    pub note: String,
}

/// `POST /enrolment-keys`: what lets a device enrol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NewEnrolmentKey {
    /// The tenant of its devices.
    pub tenant: TenantId,
    /// Their groups.
    pub groups: Vec<GroupId>,
    /// Tags, for people and policies.
    #[serde(default)]
    pub tags: Vec<String>,
    /// How many devices it lets in; 0: any number.
    #[serde(default = "one")]
    pub uses_max: u32,
    /// Seconds for which it is valid.
    pub ttl_s: u32,
    /// What it is for, for people.
    #[serde(default)]
    pub note: String,
}

/// `POST /api-tokens`: what lets a script call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NewApiToken {
    /// What it may do: at most what its maker may.
    pub role: Role,
    /// Seconds for which it is valid; 0: until it is taken back.
    #[serde(default)]
    pub ttl_s: u32,
    /// What it is for, for people.
    pub note: String,
}

/// A token that was just made: its secret is shown here and never again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokenMade {
    /// What a revocation names.
    pub id: String,
    /// The token.
    pub token: String,
    /// When it runs out, in seconds since 1970; 0: never.
    pub expires: u64,
}

/// A token, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokenView {
    /// What a revocation names.
    pub id: String,
    /// What kind it is.
    pub kind: TokenKind,
    /// What it is for, for people.
    pub note: String,
    /// The region, of a join token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The tenant, of an enrolment key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
    /// The role, of an API token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
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

/// The kinds of tokens.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum TokenKind {
    /// Lets a node join.
    Join,
    /// Lets a device enrol.
    Enrolment,
    /// Lets a script call.
    Api,
}

/// `POST /login`
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// The person's name.
    pub name: String,
    /// The password.
    pub password: String,
}

/// A session that was just begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SessionBegun {
    /// Goes into `authorization: Bearer …`.
    pub token: String,
    /// When it runs out, in seconds since 1970.
    pub expires: u64,
    /// What the person may do.
    pub role: Role,
}

/// `POST /users`
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NewUser {
    /// The person's name: unique.
    pub name: String,
    /// The password: 12 characters at least.
    pub password: String,
    /// What the person may do.
    pub role: Role,
}

/// `PATCH /users/{name}`: what is named changes.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PatchUser {
    /// A new password, which ends the person's sessions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// A new role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
}

/// A person (`GET /users`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UserView {
    /// The person's name.
    pub name: String,
    /// What the person may do.
    pub role: Role,
    /// When the person was added, in seconds since 1970.
    pub created: u64,
}

const fn one() -> u32 {
    1
}
