//! Why the service does not do what it was asked to, and what a caller is told.

use std::borrow::Cow;

use sterna_control_api::problem::Code;

/// A refusal, as the caller sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// What programs act on.
    pub(crate) code: Code,
    /// What is wrong, and what to do.
    pub(crate) detail: Cow<'static, str>,
    /// Seconds after which another try has a chance.
    pub(crate) retry_after_s: Option<u32>,
    /// Why the proof did not hold, for the counters only.
    pub(crate) proof: Option<Proof>,
    /// What of the configuration's rates was hit, for the counters only.
    pub(crate) scope: Option<&'static str>,
}

/// What a proof of who calls lacks. Counted, and never told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    Missing,
    Malformed,
    Stale,
    BadSignature,
    Replayed,
    UnknownKey,
    UnknownToken,
    SpentToken,
    WrongPassword,
    RoleTooLow,
    NotTheirs,
}

impl Proof {
    pub(crate) const ALL: [Self; 11] = [
        Self::Missing,
        Self::Malformed,
        Self::Stale,
        Self::BadSignature,
        Self::Replayed,
        Self::UnknownKey,
        Self::UnknownToken,
        Self::SpentToken,
        Self::WrongPassword,
        Self::RoleTooLow,
        Self::NotTheirs,
    ];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::Stale => "stale",
            Self::BadSignature => "bad_signature",
            Self::Replayed => "replayed",
            Self::UnknownKey => "unknown_key",
            Self::UnknownToken => "unknown_token",
            Self::SpentToken => "spent_token",
            Self::WrongPassword => "wrong_password",
            Self::RoleTooLow => "role_too_low",
            Self::NotTheirs => "not_theirs",
        }
    }

    pub(crate) const fn describe(self) -> &'static str {
        match self {
            Self::Missing => "There was none, or not of the kind that the path asks for.",
            Self::Malformed => "The signature's fields or the token are not in their form.",
            Self::Stale => {
                "The signature was made too long ago, or in the future: a clock is wrong."
            }
            Self::BadSignature => "The signature does not fit the request, its body or the key.",
            Self::Replayed => {
                "The signature's nonce was used before, or its counter has not grown."
            }
            Self::UnknownKey => {
                "The signature fits, and the key is of no node or device, or of a forgotten or revoked one."
            }
            Self::UnknownToken => "There is no such token, it has run out, or it was taken back.",
            Self::SpentToken => "The join token or enrolment key has let in as many as it may.",
            Self::WrongPassword => "There is no such person, or the password is wrong.",
            Self::RoleTooLow => "The caller is known, and the role does not suffice.",
            Self::NotTheirs => "The caller is known, and the path names another's thing.",
        }
    }
}

impl Refusal {
    pub(crate) fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            detail: detail.into(),
            retry_after_s: None,
            proof: None,
            scope: None,
        }
    }

    /// 400, with what is wrong with which field.
    pub(crate) fn malformed(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::Malformed, detail)
    }

    /// 401: the same words whatever the proof lacks.
    pub(crate) fn unauthorized(proof: Proof) -> Self {
        let refusal = Self::new(
            Code::Unauthorized,
            "no proof of who calls that holds: sign the request, or send the header authorization: Bearer TOKEN",
        );
        refusal.because(proof)
    }

    /// 401: the one case that a caller can mend alone.
    pub(crate) fn stale() -> Self {
        let refusal = Self::new(
            Code::StaleSignature,
            "the signature was made too long ago or in the future; set the clock and sign again",
        );
        refusal.because(Proof::Stale)
    }

    /// 409: a nonce twice.
    pub(crate) fn replayed() -> Self {
        let refusal = Self::new(
            Code::Replayed,
            "this signature was used before; sign each request anew",
        );
        refusal.because(Proof::Replayed)
    }

    /// 410: the signature fits, and nobody has that key (any more).
    pub(crate) fn gone() -> Self {
        let refusal = Self::new(
            Code::Gone,
            "no node or device has this key; register with a join token or an enrolment key",
        );
        refusal.because(Proof::UnknownKey)
    }

    /// 403
    pub(crate) fn role_too_low() -> Self {
        Self::new(Code::RoleTooLow, "the caller's role does not suffice").because(Proof::RoleTooLow)
    }

    /// 404: the same for what is not there and for what is another's.
    pub(crate) fn not_found() -> Self {
        Self::new(Code::NotFound, "no such thing, or none of yours")
    }

    /// 409
    pub(crate) fn conflict(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::Conflict, detail)
    }

    /// 429
    pub(crate) fn too_many(scope: &'static str, retry_after_s: u32) -> Self {
        Self {
            retry_after_s: Some(retry_after_s.max(1)),
            scope: Some(scope),
            ..Self::new(Code::TooMany, "too many requests; try again later")
        }
    }

    /// 500: our own fault; the log says more.
    pub(crate) fn internal() -> Self {
        Self::new(Code::Internal, "the service failed; its log says why")
    }

    /// 503
    pub(crate) fn unavailable(detail: &'static str) -> Self {
        Self {
            retry_after_s: Some(1),
            ..Self::new(Code::Unavailable, detail)
        }
    }

    pub(crate) fn because(mut self, proof: Proof) -> Self {
        self.proof = Some(proof);
        self
    }

    /// The HTTP status.
    pub(crate) fn status(&self) -> u16 {
        match self.code {
            Code::Malformed => 400,
            Code::Unauthorized | Code::StaleSignature => 401,
            Code::RoleTooLow => 403,
            Code::NotFound => 404,
            Code::MethodNotAllowed => 405,
            Code::Conflict | Code::Replayed => 409,
            Code::Gone => 410,
            Code::TooLarge => 413,
            Code::UnsupportedMediaType => 415,
            Code::TooMany => 429,
            Code::Unavailable => 503,
            _ => 500,
        }
    }
}
