//! Who calls, and the headers that prove it.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue};
use sterna_control_api::SigningKey;
use sterna_control_api::limits::SIGNATURE_SKEW_MAX_S;
use sterna_control_api::signature::{self, Freshness, Target};

use crate::edges::Edges;

const SIGNATURE_INPUT: HeaderName = HeaderName::from_static("signature-input");
const SIGNATURE: HeaderName = HeaderName::from_static("signature");
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");

/// Who calls.
#[derive(Clone)]
pub enum Caller {
    /// A node, by its identity.
    Node(SigningKey),
    /// A device, by its identity.
    Device(SigningKey),
    /// A person's session or a script's API token: the token itself.
    Bearer(String),
    /// Nobody, who may ask for little.
    Anonymous,
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(key) => write!(f, "Node({})", key.id()),
            Self::Device(key) => write!(f, "Device({})", key.id()),
            Self::Bearer(_) => f.write_str("Bearer(…)"),
            Self::Anonymous => f.write_str("Anonymous"),
        }
    }
}

/// Whether a call changes something, which says what makes its signature fresh.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It does: its nonce is remembered.
    Changes,
    /// It reads, or is a heartbeat: its counter grows.
    Reads,
}

/// Proves who calls, call after call.
#[derive(Debug)]
pub(crate) struct Prover {
    caller: Caller,
    edges: Edges,
    /// The last counter of this key.
    counter: AtomicU64,
}

impl Prover {
    pub(crate) fn new(caller: Caller, edges: Edges) -> Self {
        Self {
            caller,
            edges,
            counter: AtomicU64::new(0),
        }
    }

    pub(crate) fn edges(&self) -> &Edges {
        &self.edges
    }

    /// The headers of one call. `token` is a join token or an enrolment key beside a signature.
    ///
    /// None where a token cannot be carried by a header.
    pub(crate) fn headers(
        &self,
        target: &Target<'_>,
        effect: Effect,
        token: Option<&str>,
    ) -> Option<HeaderMap> {
        let mut headers = HeaderMap::new();
        let token = match &self.caller {
            Caller::Bearer(own) => Some(own.as_str()),
            _ => token,
        };
        let bearer = token
            .map(|token| format!("Bearer {token}"))
            .unwrap_or_default();
        if !bearer.is_empty() {
            let mut value = HeaderValue::from_str(&bearer).ok()?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let (Caller::Node(key) | Caller::Device(key)) = &self.caller else {
            return Some(headers);
        };
        let now_us = self.edges.unix_us();
        let freshness = match effect {
            Effect::Changes => Freshness::Nonce(self.edges.random()),
            Effect::Reads => Freshness::Counter(self.next_counter(now_us)),
        };
        let target = Target {
            authorization: &bearer,
            ..*target
        };
        let signed = signature::sign(key, &target, now_us / 1_000_000, freshness);
        headers.insert(SIGNATURE_INPUT, signed.signature_input.parse().ok()?);
        headers.insert(SIGNATURE, signed.signature.parse().ok()?);
        if let Some(digest) = signed.content_digest {
            headers.insert(CONTENT_DIGEST, digest.parse().ok()?);
        }
        Some(headers)
    }

    /// Microseconds since 1970, and always more than before: so it grows over a restart, too.
    fn next_counter(&self, now_us: u64) -> u64 {
        let next = |last: u64| now_us.max(last.saturating_add(1));
        let last = self
            .counter
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| {
                Some(next(last))
            });
        next(last.unwrap_or_default())
    }

    /// After a counter was refused as seen: the clock was ahead when it was used last, by no more than
    /// a signature may be.
    pub(crate) fn skip_ahead(&self) {
        let skew_us = 2 * SIGNATURE_SKEW_MAX_S * 1_000_000;
        let ahead = self.edges.unix_us().saturating_add(skew_us);
        self.counter.fetch_max(ahead, Ordering::Relaxed);
    }

    pub(crate) fn signs(&self) -> bool {
        matches!(self.caller, Caller::Node(_) | Caller::Device(_))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const NOW: u64 = 1_700_000_000;

    fn prover(caller: Caller) -> Prover {
        Prover::new(
            caller,
            Edges::new(|| NOW * 1_000_000, |bytes| bytes.fill(7)),
        )
    }

    fn target() -> Target<'static> {
        Target {
            method: "POST",
            authority: "control.example",
            path: "/api/v1/nodes/register",
            body: b"{}",
            ..Target::default()
        }
    }

    fn verified(headers: &HeaderMap, target: &Target<'_>) -> signature::Claims {
        let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap());
        let target = Target {
            authorization: text(AUTHORIZATION).unwrap_or_default(),
            ..*target
        };
        let (input, signature) = (text(SIGNATURE_INPUT), text(SIGNATURE));
        let digest = text(CONTENT_DIGEST);
        signature::verify(&target, input.unwrap(), signature.unwrap(), digest, NOW).unwrap()
    }

    #[test]
    fn a_change_is_signed_with_a_nonce_over_its_token_too() {
        let key = SigningKey::from_seed(&[1; 32]);
        let prover = prover(Caller::Node(key.clone()));
        let headers = prover
            .headers(&target(), Effect::Changes, Some("sterna-join-1.a.b"))
            .unwrap();
        let claims = verified(&headers, &target());
        assert_eq!(claims.key, key.verifying_key().to_bytes());
        assert_eq!(claims.created, NOW);
        assert_eq!(claims.freshness, Freshness::Nonce([7; 16]));
        assert_eq!(headers[AUTHORIZATION], "Bearer sterna-join-1.a.b");
    }

    #[test]
    fn a_reads_counter_grows_though_the_clock_stands_still() {
        let prover = prover(Caller::Device(SigningKey::from_seed(&[1; 32])));
        let count = || {
            let headers = prover.headers(&target(), Effect::Reads, None).unwrap();
            verified(&headers, &target()).freshness
        };
        assert_eq!(count(), Freshness::Counter(NOW * 1_000_000));
        assert_eq!(count(), Freshness::Counter(NOW * 1_000_000 + 1));
        prover.skip_ahead();
        assert_eq!(count(), Freshness::Counter((NOW + 120) * 1_000_000 + 1));
    }

    #[test]
    fn a_token_travels_alone_and_shows_in_no_log() {
        let caller = Caller::Bearer("sterna-api-1.a.secret".to_owned());
        let shown = format!("{caller:?}");
        let headers = prover(caller)
            .headers(&target(), Effect::Reads, None)
            .unwrap();
        assert_eq!(headers.len(), 1);
        assert_eq!(headers[AUTHORIZATION], "Bearer sterna-api-1.a.secret");
        assert!(!shown.contains("secret") && !format!("{headers:?}").contains("secret"));
        let none = prover(Caller::Anonymous).headers(&target(), Effect::Reads, None);
        assert!(none.unwrap().is_empty());
        let broken = prover(Caller::Bearer("a\nb".to_owned()));
        assert!(broken.headers(&target(), Effect::Reads, None).is_none());
    }
}
