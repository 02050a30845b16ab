//! What can go wrong, by what the caller does about it.

use std::error::Error;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use sterna_control_api::problem::{Code, Problem};

/// Why a client cannot be made: the operator's to mend.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The address is none.
    #[error(
        "{0:?} is no address of a control service; it looks like https://control.example or http://127.0.0.1:8478"
    )]
    Url(String),
    /// The address has a path, which signatures would be over and a proxy would take off.
    #[error("{0:?} has a path; the control service is at the root of its own name")]
    Path(String),
    /// HTTP without TLS to another host.
    #[error(
        "{0:?} is without TLS and not on this host; use https://, or allow it with insecure_http where a tunnel protects it"
    )]
    Insecure(String),
    /// No certificate authority to trust.
    #[error("{path}: {reason}", path = .path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The system has no certificate authorities.
    #[error(
        "the system has no certificate authorities ({0}); install ca-certificates, or name a file"
    )]
    NoRoots(String),
    /// The cryptographic provider offers nothing that TLS can use.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// A token that no header can carry.
    #[error("the token holds characters that no token has")]
    Token,
}

/// Why a call has not done what it should have.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// No answer came: the service is away, the network is, or its certificate is not trusted.
    #[error("{0}")]
    Unreachable(Unreachable),
    /// The service has refused.
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// What came is not what the API says: another service, or a version from another time.
    #[error("the answer is none of a control service ({0})")]
    Malformed(&'static str),
    /// The answer is longer than any.
    #[error("the answer is longer than any of a control service")]
    TooLarge,
}

impl CallError {
    /// What programs act on, where the service has refused.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Refused(refusal) => Some(refusal.problem.code),
            _ => None,
        }
    }

    /// How long the service wants to be left alone.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(refusal) => refusal.retry_after,
            _ => None,
        }
    }

    /// Whether the same call may succeed later, without anybody doing anything.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            Self::Refused(refusal) => matches!(
                refusal.problem.code,
                Code::TooMany | Code::Internal | Code::Unavailable | Code::Replayed
            ),
            Self::Malformed(_) | Self::TooLarge => false,
        }
    }

    /// A label for a metric.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::Refused(_) => "refused",
            Self::Malformed(_) => "malformed",
            Self::TooLarge => "too_large",
        }
    }
}

/// A refusal, and when to ask again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What the service says.
    pub problem: Problem,
    /// How long it wants to be left alone; at most [`RETRY_AFTER_MAX`](crate::limits::RETRY_AFTER_MAX).
    pub retry_after: Option<Duration>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Problem {
            status,
            title,
            detail,
            ..
        } = &self.problem;
        if detail.is_empty() {
            write!(f, "{title} ({status})")
        } else {
            write!(f, "{detail} ({status})")
        }
    }
}

/// Why no answer came.
#[derive(Debug)]
#[non_exhaustive]
pub enum Unreachable {
    /// It took too long.
    Timeout,
    /// Anything else.
    Because(Box<dyn Error + Send + Sync>),
}

impl fmt::Display for Unreachable {
    /// The innermost reason, which is the one that says something: "connection refused".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout => f.write_str("no answer in time"),
            Self::Because(error) => {
                let mut innermost: &dyn Error = error.as_ref();
                while let Some(source) = innermost.source() {
                    innermost = source;
                }
                write!(f, "{innermost}")
            }
        }
    }
}

/// Why a WebSocket is over.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SocketError {
    /// The service has closed it.
    #[error("the control service has closed the connection")]
    Closed,
    /// Nothing is heard any more.
    #[error("the control service has fallen silent")]
    Silent,
    /// A message is longer than any.
    #[error("a message is longer than any")]
    TooLarge,
    /// A message that is none.
    #[error("a message that is none of the control service's")]
    Malformed,
    /// The connection broke.
    #[error("{0}")]
    Broken(Unreachable),
}
