//! Errors of the API: RFC 9457 problem details with a code that programs act on.

use serde::{Deserialize, Serialize};

/// The media type of a [`Problem`].
pub const PROBLEM_JSON: &str = "application/problem+json";

/// Why a request was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// What programs act on.
    pub code: Code,
    /// What the status means.
    pub title: String,
    /// What is wrong, and what to do.
    pub detail: String,
}

/// What programs act on. The texts never change.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Code {
    /// 400: not JSON, a field missing, unknown, of another type or out of its range.
    Malformed,
    /// 401: no proof of who calls, or one that does not hold. The same for "unknown" and "forbidden".
    Unauthorized,
    /// 401: the signature was made too long ago or in the future; set the clock.
    StaleSignature,
    /// 403: the caller's role does not suffice.
    RoleTooLow,
    /// 404: no such thing, or none of the caller's.
    NotFound,
    /// 405: the path knows other methods.
    MethodNotAllowed,
    /// 409: something else has this name, or the state does not allow it.
    Conflict,
    /// 409: the signature's nonce was used before.
    Replayed,
    /// 410: the node was forgotten, or the device revoked: it registers again with a token.
    Gone,
    /// 413: the body is longer than any that is read.
    TooLarge,
    /// 415: the body is no JSON.
    UnsupportedMediaType,
    /// 429: too many requests; `retry-after` says when.
    TooMany,
    /// 500: the service's own fault; its log says more.
    Internal,
    /// 503: the database is away or the service is going down; try again.
    Unavailable,
    /// Another code, of a newer service.
    #[serde(other)]
    Unknown,
}
