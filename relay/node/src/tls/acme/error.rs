//! Why there is no certificate from the authority, said to the operator with the remedy.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use instant_acme::Problem;
use thiserror::Error;

/// What went wrong with an order.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AcmeError {
    /// The directory does not answer, or answers something else.
    #[error(
        "the ACME directory {url} cannot be used: {reason}; check tls.acme.directory, that this host may connect there, and that \
         its certificate is checked by the right roots (tls.acme.ca_file)"
    )]
    Directory {
        /// Its URL.
        url: String,
        /// What was said, causes included.
        reason: String,
    },
    /// No roots to check the directory's certificate by.
    #[error(
        "there are no roots to check the ACME directory's certificate by: {reason}; install the system's (ca-certificates), or \
         name a PEM file in tls.acme.ca_file"
    )]
    Roots {
        /// What was found instead.
        reason: String,
    },
    /// The authority refuses what was asked.
    #[error("the ACME authority refuses {what}: {detail}; {remedy}")]
    Refused {
        /// What was asked.
        what: &'static str,
        /// What it says.
        detail: String,
        /// What helps.
        remedy: &'static str,
        /// Whether too much was asked of it.
        rate_limited: bool,
        /// Whether it does not know the account.
        unknown_account: bool,
    },
    /// The authority did not find the challenge's answer.
    #[error("the ACME authority could not verify {domain} by {challenge}: {detail}; {remedy}")]
    Challenge {
        /// The name.
        domain: String,
        /// The challenge.
        challenge: &'static str,
        /// What it says.
        detail: String,
        /// What helps.
        remedy: String,
    },
    /// The authority does not offer the challenge.
    #[error(
        "the ACME authority does not offer {challenge} for {domain}; set tls.acme.challenge to one of its own, or use another \
         authority"
    )]
    NotOffered {
        /// The name.
        domain: String,
        /// The challenge.
        challenge: &'static str,
    },
    /// It takes too long.
    #[error(
        "the ACME authority took longer than {} s; it may be overloaded: the order is tried again", .0.as_secs()
    )]
    TooLong(Duration),
    /// The certificate is not one that can be served.
    #[error("the certificate that the ACME authority issued cannot be used: {0}")]
    Unusable(String),
    /// Account or certificate cannot be kept.
    #[error("{} cannot be {verb}: {source}; set node.data_dir to a directory that the node's user may write", path.display())]
    Storage {
        /// The file or directory.
        path: PathBuf,
        /// `read` or `written`.
        verb: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// The account's file is damaged.
    #[error("{}: {reason}; remove the file to have another account made", path.display())]
    Account {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A key of an external account that is none.
    #[error(
        "tls.acme.external_account.hmac_key is not base64url; copy it from the authority's page as it is"
    )]
    ExternalKey,
    /// Keys and requests cannot be made.
    #[error("a key or a certificate request cannot be made: {0}")]
    Generate(#[from] rcgen::Error),
    /// A key cannot be signed with.
    #[error("a key cannot be used: {0}")]
    Tls(#[from] rustls::Error),
}

impl AcmeError {
    /// Sorts the client's error by who is to blame.
    pub(super) fn of(what: &'static str, url: &str, error: &instant_acme::Error) -> Self {
        match error {
            instant_acme::Error::Api(problem) => Self::refused(what, problem),
            other => Self::Directory {
                url: url.to_owned(),
                reason: with_causes(other),
            },
        }
    }

    fn refused(what: &'static str, problem: &Problem) -> Self {
        let kind = kind_of(problem);
        let remedy = match kind {
            "rateLimited" => {
                "it limits how often this may be asked: the node tries again much later; try things out with the \
                              authority's staging directory"
            }
            "accountDoesNotExist" => {
                "it does not know the node's account: another one is made at the next try"
            }
            "externalAccountRequired" => {
                "set tls.acme.external_account to what the authority's page says"
            }
            "invalidContact" | "unsupportedContact" => "correct tls.acme.contact",
            "rejectedIdentifier" | "unsupportedIdentifier" => "correct tls.acme.domains",
            "invalidProfile" => "correct tls.acme.profile",
            "caa" => "allow this authority in the domain's CAA records",
            "userActionRequired" => "read the authority's new terms at the address that it names",
            _ => "its answer says what to mend; the node tries again",
        };
        Self::Refused {
            what,
            detail: detail(problem),
            remedy,
            rate_limited: kind == "rateLimited",
            unknown_account: kind == "accountDoesNotExist",
        }
    }

    /// A challenge's answer that was not found.
    pub(super) fn challenge(
        domain: &str,
        challenge: &'static str,
        problem: Option<&Problem>,
    ) -> Self {
        let port = if challenge == "http-01" { 80 } else { 443 };
        let remedy = match problem.map(kind_of) {
            Some("dns") => format!("let {domain} lead to this node in DNS"),
            Some("caa") => format!("allow this authority in the CAA records of {domain}"),
            _ => format!(
                "let {domain} lead to this node in DNS, and TCP port {port} of it pass the firewall and reach the node itself, \
                 with nothing in between that ends TLS"
            ),
        };
        Self::Challenge {
            domain: domain.to_owned(),
            challenge,
            detail: problem.map_or_else(|| "it does not say why".to_owned(), detail),
            remedy,
        }
    }

    /// Whether a problem is what the authority saw when it looked for an answer (RFC 8555 §6.7).
    pub(super) fn is_of_challenge(problem: &Problem) -> bool {
        let seen = [
            "caa",
            "connection",
            "dns",
            "incorrectResponse",
            "tls",
            "unauthorized",
        ];
        seen.contains(&kind_of(problem))
    }

    /// Whether asking again soon would make it worse.
    pub(super) fn is_rate_limit(&self) -> bool {
        matches!(
            self,
            Self::Refused {
                rate_limited: true,
                ..
            }
        )
    }

    /// Whether the account is to be made anew.
    pub(super) fn is_unknown_account(&self) -> bool {
        matches!(
            self,
            Self::Refused {
                unknown_account: true,
                ..
            }
        )
    }
}

/// The last part of `urn:ietf:params:acme:error:…`.
fn kind_of(problem: &Problem) -> &str {
    let kind = problem.r#type.as_deref().unwrap_or_default();
    kind.rsplit(':').next().unwrap_or_default()
}

/// The authority's own words; they are somebody else's text, so control characters go.
fn detail(problem: &Problem) -> String {
    let mut text = problem
        .detail
        .clone()
        .unwrap_or_else(|| kind_of(problem).to_owned());
    for sub in &problem.subproblems {
        text.push_str(" · ");
        text.push_str(sub.detail.as_deref().unwrap_or_default());
    }
    const DETAIL_CHARS_MAX: usize = 500;
    text.chars()
        .filter(|char| !char.is_control())
        .take(DETAIL_CHARS_MAX)
        .collect()
}

/// An error with all that caused it: a TLS failure says what it is at the bottom only.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = error.source();
    }
    text
}
