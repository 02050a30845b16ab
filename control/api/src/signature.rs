//! Who asks: HTTP message signatures (RFC 9421) of nodes and devices, made with their identity keys.
//!
//! | part | what |
//! |---|---|
//! | covered | `@method`, `@authority`, `@path`, `@query`; `content-digest` (RFC 9530, SHA-256) when there is a body; `authorization` when it is sent |
//! | parameters | `created`, within [`SIGNATURE_SKEW_MAX_S`] of the service's clock; `nonce`, a [`Freshness`]; `keyid`, the public key in base64url; `alg="ed25519"`; `tag="sterna-control-1"` |
//!
//! A request carries one signature. What is read is the canonical form of structured fields
//! (RFC 8941 §4.1), which every serialiser writes; other spellings of it are refused. Components
//! may come in any order, and none may be covered but those above.

mod base;
mod digest;
mod parse;

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use self::parse::{Input, Value};
use crate::key::{SIGNATURE_BYTES, SigningKey, VerifyingKey};
use crate::limits::{SIGNATURE_HEADER_BYTES_MAX, SIGNATURE_SKEW_MAX_S, SIGNATURE_TARGET_BYTES_MAX};
use crate::text;

/// What a signature is for, so that none made for another protocol counts here (RFC 9421 §7.2.7).
pub const TAG: &str = "sterna-control-1";
/// The one algorithm (RFC 9421 §3.3.6).
pub const ALGORITHM: &str = "ed25519";
/// The label that [`sign`] gives its signature; any other is read too.
const LABEL: &str = "sterna";

const METHOD: &str = "@method";
const AUTHORITY: &str = "@authority";
const PATH: &str = "@path";
const QUERY: &str = "@query";
const CONTENT_DIGEST: &str = "content-digest";
const AUTHORIZATION: &str = "authorization";

/// What a request is signed over.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Target<'a> {
    /// The method, in capitals.
    pub method: &'a str,
    /// The `host` header as it is sent: without the scheme's default port. Its case does not count.
    pub authority: &'a str,
    /// The path as it is sent, percent-encoded.
    pub path: &'a str,
    /// The query as it is sent, without `?`; empty when there is none.
    pub query: &'a str,
    /// The whole `authorization` header; empty when there is none.
    pub authorization: &'a str,
    /// The body; empty when there is none.
    pub body: &'a [u8],
}

/// What makes a request one that was not seen before; it is the `nonce` parameter.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum Freshness {
    /// Of calls that change something: random, and remembered by the service.
    Nonce([u8; 16]),
    /// Of reads and heartbeats: grows from call to call of one key.
    Counter(u64),
}

/// The headers that carry a signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureHeaders {
    /// `signature-input`
    pub signature_input: String,
    /// `signature`
    pub signature: String,
    /// `content-digest`, when there is a body.
    pub content_digest: Option<String>,
}

/// What a signature proves.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// The Ed25519 key that has signed.
    pub key: [u8; 32],
    /// When, in seconds since 1970 by the signer's clock.
    pub created: u64,
    /// What tells this request from others; whether it was seen before is the caller's to decide.
    pub freshness: Freshness,
}

/// Why a signature is refused.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// A header, or what is signed, is too long or not well formed.
    #[error("the signature's headers are not well formed")]
    Malformed,
    /// It is made for something else.
    #[error("the signature's tag is not \"{TAG}\"")]
    Tag,
    /// It is of another algorithm.
    #[error("the signature's algorithm is not \"{ALGORITHM}\"")]
    Algorithm,
    /// A component that must be covered is not, a covered one is not there, or a parameter is left out.
    #[error("the signature lacks {0}")]
    Missing(&'static str),
    /// It covers a component that is not read here.
    #[error("the signature covers what no signature here does")]
    Component,
    /// It was made too long ago, or in the future.
    #[error("the signature was made more than {SIGNATURE_SKEW_MAX_S} s from now; set the clock")]
    Stale,
    /// The body is not the one that was signed.
    #[error("the body is not the one of content-digest")]
    Digest,
    /// It is not the key's, or the key is none.
    #[error("the signature is wrong")]
    BadSignature,
}

/// Signs a request. The key that is named is the one that signs.
#[must_use]
pub fn sign(
    key: &SigningKey,
    target: &Target<'_>,
    created_unix_s: u64,
    freshness: Freshness,
) -> SignatureHeaders {
    let content_digest = (!target.body.is_empty()).then(|| digest::of(target.body));
    let mut components = vec![METHOD, AUTHORITY, PATH, QUERY];
    components.extend(content_digest.is_some().then_some(CONTENT_DIGEST));
    components.extend((!target.authorization.is_empty()).then_some(AUTHORIZATION));
    let params = format!(
        "(\"{}\");created={created_unix_s};nonce=\"{}\";keyid=\"{}\";alg=\"{ALGORITHM}\";tag=\"{TAG}\"",
        components.join("\" \""),
        freshness.to_text(),
        text::encode(&key.verifying_key().to_bytes()),
    );
    let base = base::base(&components, &params, |name| {
        target.component(name, content_digest.as_deref())
    });
    let signature = key.sign(base.unwrap_or_default().as_bytes());
    SignatureHeaders {
        signature_input: format!("{LABEL}={params}"),
        signature: format!("{LABEL}=:{}:", STANDARD.encode(signature)),
        content_digest,
    }
}

/// Verifies a request's signature. Work and memory are bounded by the lengths in `limits`.
///
/// # Errors
/// The first reason that applies, in the order of [`SignatureError`].
pub fn verify(
    target: &Target<'_>,
    signature_input: &str,
    signature: &str,
    content_digest: Option<&str>,
    now_unix_s: u64,
) -> Result<Claims, SignatureError> {
    if !target.fits() || content_digest.is_some_and(|text| text.len() > SIGNATURE_HEADER_BYTES_MAX)
    {
        return Err(SignatureError::Malformed);
    }
    let input = parse::input(signature_input).ok_or(SignatureError::Malformed)?;
    let signature: [u8; SIGNATURE_BYTES] = parse::signature(signature, input.label)
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(SignatureError::Malformed)?;
    let claims = read_params(&input, now_unix_s)?;
    check_components(target, &input.components, content_digest)?;
    if content_digest.is_some_and(|given| !digest::holds(given, target.body)) {
        return Err(SignatureError::Digest);
    }
    let base = base::base(&input.components, input.params_text, |name| {
        target.component(name, content_digest)
    })
    .ok_or(SignatureError::Malformed)?;
    let key = VerifyingKey::from_bytes(&claims.key).map_err(|_| SignatureError::BadSignature)?;
    if !key.verify(base.as_bytes(), &signature) {
        return Err(SignatureError::BadSignature);
    }
    Ok(claims)
}

/// RFC 9421 §2.3: each parameter, once, and none that is not known.
fn read_params(input: &Input<'_>, now_unix_s: u64) -> Result<Claims, SignatureError> {
    let (mut created, mut nonce, mut keyid, mut alg, mut tag) = (None, None, None, None, None);
    for (name, value) in &input.params {
        match (*name, value) {
            ("created", Value::Integer(at)) => created = Some(*at),
            ("nonce", Value::Text(text)) => nonce = Some(*text),
            ("keyid", Value::Text(text)) => keyid = Some(*text),
            ("alg", Value::Text(text)) => alg = Some(*text),
            ("tag", Value::Text(text)) => tag = Some(*text),
            _ => return Err(SignatureError::Malformed),
        }
    }
    if tag != Some(TAG) {
        return Err(SignatureError::Tag);
    }
    if alg != Some(ALGORITHM) {
        return Err(SignatureError::Algorithm);
    }
    let created = created.ok_or(SignatureError::Missing("created"))?;
    let nonce = nonce.ok_or(SignatureError::Missing("nonce"))?;
    let keyid = keyid.ok_or(SignatureError::Missing("keyid"))?;
    let freshness = Freshness::from_text(nonce).ok_or(SignatureError::Malformed)?;
    let key = text::decode_array(keyid).ok_or(SignatureError::Malformed)?;
    if created.abs_diff(now_unix_s) > SIGNATURE_SKEW_MAX_S {
        return Err(SignatureError::Stale);
    }
    Ok(Claims {
        key,
        created,
        freshness,
    })
}

/// Everything that counts is covered, and everything that is covered is there.
fn check_components(
    target: &Target<'_>,
    covered: &[&str],
    content_digest: Option<&str>,
) -> Result<(), SignatureError> {
    let required = [
        (METHOD, true),
        (AUTHORITY, true),
        (PATH, true),
        (QUERY, true),
        (CONTENT_DIGEST, !target.body.is_empty()),
        (AUTHORIZATION, !target.authorization.is_empty()),
    ];
    for (name, needed) in required {
        if needed && !covered.contains(&name) {
            return Err(SignatureError::Missing(name));
        }
    }
    for name in covered {
        let Some((name, _)) = required.iter().find(|(known, _)| known == name) else {
            return Err(SignatureError::Component);
        };
        if target.component(name, content_digest).is_none() {
            return Err(SignatureError::Missing(name));
        }
    }
    Ok(())
}

impl<'a> Target<'a> {
    /// The value of a component that is read here (RFC 9421 §2.1 and §2.2).
    fn component<'v>(&self, name: &str, content_digest: Option<&'v str>) -> Option<Cow<'v, str>>
    where
        'a: 'v,
    {
        Some(match name {
            METHOD => self.method.into(),
            // §2.2.3: normalised as in RFC 9110 §4.2.3, that is in lower case.
            AUTHORITY if self.authority.bytes().any(|byte| byte.is_ascii_uppercase()) => {
                self.authority.to_ascii_lowercase().into()
            }
            AUTHORITY => self.authority.into(),
            // §2.2.6: an empty path is "/".
            PATH if self.path.is_empty() => "/".into(),
            PATH => self.path.into(),
            // §2.2.7: with its "?", which stands alone where there is no query.
            QUERY => format!("?{}", self.query).into(),
            CONTENT_DIGEST => content_digest?.trim().into(),
            AUTHORIZATION if !self.authorization.is_empty() => self.authorization.trim().into(),
            _ => return None,
        })
    }

    fn fits(&self) -> bool {
        let texts = [
            self.method,
            self.authority,
            self.path,
            self.query,
            self.authorization,
        ];
        texts.iter().map(|text| text.len()).sum::<usize>() <= SIGNATURE_TARGET_BYTES_MAX
    }
}

impl Freshness {
    fn to_text(self) -> String {
        match self {
            Self::Nonce(bytes) => format!("n-{}", text::encode(&bytes)),
            Self::Counter(count) => format!("c-{count}"),
        }
    }

    fn from_text(given: &str) -> Option<Self> {
        let read = match given.split_at_checked(2)? {
            ("n-", rest) => Self::Nonce(text::decode_array(rest)?),
            ("c-", rest) => Self::Counter(rest.parse().ok()?),
            _ => return None,
        };
        // One spelling each, so that nothing is remembered under two names.
        (read.to_text() == given).then_some(read)
    }
}

#[cfg(test)]
mod tests;
