//! Who calls: extractors that only let through what has proved itself.
//!
//! Each is the argument of a handler, so that a path without proof does not compile to one with.

use axum::extract::{FromRequestParts, OriginalUri};
use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, HOST, HeaderName};
use axum::http::request::Parts;
use sterna_control_api::NodeId;
use sterna_control_api::access::Role;
use sterna_control_api::signature::{self, Claims, Freshness, SignatureError, Target};

use super::App;
use super::around::Arrived;
use super::openapi::refuses;
use crate::service::callers::{Device, Node, Person, Shown};
use crate::service::refusal::{Proof, Refusal};

const SIGNATURE_INPUT: HeaderName = HeaderName::from_static("signature-input");
const SIGNATURE: HeaderName = HeaderName::from_static("signature");
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");

/// Whoever has signed, known or not, with the token that was shown beside it: who registers.
pub(super) struct Newcomer {
    /// What the signature proves.
    pub(super) claims: Claims,
    /// The token.
    pub(super) shown: Option<Shown>,
}

/// A node's heartbeat.
pub(super) struct BeatingNode(pub(super) Node);

/// A device whose call changes something.
pub(super) struct ChangingDevice(pub(super) Device);

/// A device that asks for what is made anew for it and kept nowhere: by counter, or by nonce.
pub(super) struct AskingDevice(pub(super) Device);

/// A device that reads or reports.
pub(super) struct ReadingDevice(pub(super) Device);

/// A device, or a script with an API token of an operator, that asks for credentials of its users.
pub(super) enum DeviceOrApp {
    /// A device.
    Device(Box<Device>),
    /// An application.
    App,
}

/// A device, a node or a person that reads the relay map.
pub(super) struct Reader;

/// Who has shown nothing yet, from an address that has not guessed too often.
pub(super) struct Anybody;

/// A person or a script who may look.
pub(super) struct Auditor(pub(super) Person);

/// A person or a script who may change the fleet.
pub(super) struct Operator(pub(super) Person);

/// A person or a script who may change who may.
pub(super) struct Administrator(pub(super) Person);

impl FromRequestParts<App> for Newcomer {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Refusal> {
        let claims = signed(app, parts)?;
        app.rates.caller(claims.key)?;
        let shown = bearer(&parts.headers).map(Shown::parse).transpose()?;
        app.take_nonce(&claims).await?;
        Ok(Self { claims, shown })
    }
}

impl FromRequestParts<App> for BeatingNode {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Refusal> {
        let claims = signed(app, parts)?;
        app.rates.caller(claims.key)?;
        let node = app.known_node(&claims).await?;
        app.take_counter(&claims)?;
        Ok(Self(node))
    }
}

impl FromRequestParts<App> for ChangingDevice {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Refusal> {
        let claims = signed(app, parts)?;
        app.rates.caller(claims.key)?;
        let device = app.known_device(&claims).await?;
        app.take_nonce(&claims).await?;
        Ok(Self(device))
    }
}

impl FromRequestParts<App> for ReadingDevice {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Refusal> {
        let claims = signed(app, parts)?;
        app.rates.caller(claims.key)?;
        let device = app.known_device(&claims).await?;
        app.take_counter(&claims)?;
        Ok(Self(device))
    }
}

impl FromRequestParts<App> for AskingDevice {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Refusal> {
        let claims = signed(app, parts)?;
        app.rates.caller(claims.key)?;
        let device = app.known_device(&claims).await?;
        match claims.freshness {
            Freshness::Counter(_) => app.take_counter(&claims)?,
            Freshness::Nonce(_) => app.take_nonce(&claims).await?,
        }
        Ok(Self(device))
    }
}

impl FromRequestParts<App> for DeviceOrApp {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Refusal> {
        if parts.headers.contains_key(SIGNATURE) {
            let AskingDevice(device) = AskingDevice::from_request_parts(parts, app).await?;
            return Ok(Self::Device(Box::new(device)));
        }
        let Operator(_) = Operator::from_request_parts(parts, app).await?;
        Ok(Self::App)
    }
}

impl FromRequestParts<App> for Reader {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Refusal> {
        if !parts.headers.contains_key(SIGNATURE) {
            Auditor::from_request_parts(parts, app).await?;
            return Ok(Self);
        }
        let claims = signed(app, parts)?;
        app.rates.caller(claims.key)?;
        if !app.live.knows(&NodeId(claims.key)) {
            app.known_device(&claims).await?;
        }
        app.take_counter(&claims)?;
        Ok(Self)
    }
}

impl FromRequestParts<App> for Anybody {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Refusal> {
        app.rates.may_attempt(Arrived::of(parts)?.addr)?;
        Ok(Self)
    }
}

/// Persons of at least a role.
macro_rules! people {
    ($($name:ident: $role:ident;)+) => { $(
        impl FromRequestParts<App> for $name {
            type Rejection = Refusal;

            async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Refusal> {
                person(app, parts, Role::$role).await.map(Self)
            }
        }
    )+ };
}

people! {
    Auditor: Auditor;
    Operator: Operator;
    Administrator: Administrator;
}

refuses! {
    Newcomer: Unauthorized, Conflict, TooMany, Unavailable;
    BeatingNode: Unauthorized, Conflict, Gone, TooMany, Unavailable;
    ChangingDevice: Unauthorized, Conflict, Gone, TooMany, Unavailable;
    AskingDevice: Unauthorized, Conflict, Gone, TooMany, Unavailable;
    ReadingDevice: Unauthorized, Conflict, Gone, TooMany, Unavailable;
    DeviceOrApp: Unauthorized, RoleTooLow, Conflict, Gone, TooMany, Unavailable;
    Reader: Unauthorized, Conflict, Gone, TooMany, Unavailable;
    Anybody: TooMany;
    Auditor: Unauthorized, TooMany, Unavailable;
    Operator: Unauthorized, RoleTooLow, TooMany, Unavailable;
    Administrator: Unauthorized, RoleTooLow, TooMany, Unavailable;
}

async fn person(app: &App, parts: &Parts, least: Role) -> Result<Person, Refusal> {
    app.rates.may_attempt(Arrived::of(parts)?.addr)?;
    let token = bearer(&parts.headers).ok_or_else(|| Refusal::unauthorized(Proof::Missing))?;
    let person = app.person(&Shown::parse(token)?).await?;
    app.rates.caller(&person.actor)?;
    if person.role < least {
        let (subject, what) = (parts.uri.path(), parts.method.as_str());
        app.note_refusal(&person.actor, subject, what).await;
        return Err(Refusal::role_too_low());
    }
    Ok(person)
}

/// Verifies the request's signature.
fn signed(app: &App, parts: &Parts) -> Result<Claims, Refusal> {
    let arrived = Arrived::of(parts)?;
    app.rates.may_attempt(arrived.addr)?;
    let headers = &parts.headers;
    let missing = || Refusal::unauthorized(Proof::Missing);
    let input = text(headers, &SIGNATURE_INPUT)?.ok_or_else(missing)?;
    let given = text(headers, &SIGNATURE)?.ok_or_else(missing)?;
    let digest = text(headers, &CONTENT_DIGEST)?;
    // Nested routers see a part of the path only.
    let uri = parts
        .extensions
        .get::<OriginalUri>()
        .map_or(&parts.uri, |OriginalUri(uri)| uri);
    let authority = text(headers, &HOST)?.unwrap_or_default();
    let target = Target {
        method: parts.method.as_str(),
        authority: app.authority(authority),
        path: uri.path(),
        query: uri.query().unwrap_or_default(),
        authorization: text(headers, &AUTHORIZATION)?.unwrap_or_default(),
        body: &arrived.body,
    };
    signature::verify(&target, input, given, digest, app.now()).map_err(|error| match error {
        SignatureError::Stale => Refusal::stale(),
        SignatureError::Digest | SignatureError::BadSignature => {
            Refusal::unauthorized(Proof::BadSignature)
        }
        _ => Refusal::unauthorized(Proof::Malformed),
    })
}

/// The one value of a header. Two would be two stories.
fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Refusal> {
    let malformed = || Refusal::unauthorized(Proof::Malformed);
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(malformed());
    }
    value.to_str().map(Some).map_err(|_| malformed())
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(token.trim())
}
