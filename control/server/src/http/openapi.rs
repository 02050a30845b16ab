//! `openapi.json`: what the routes say of themselves.

use std::collections::BTreeMap;

use sterna_control_api::problem::{PROBLEM_JSON, Problem};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, OpenApi, ToResponse, ToSchema};

use super::routes;

/// The frame of the document; paths come with the routes.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Sterna control service",
        description = "Nodes register here, devices find them here, operators see it all here. Errors are RFC 9457 problem \
                       details with a `code` that programs act on.\n\nNodes and devices sign each request with their \
                       Ed25519 identity (RFC 9421) over `@method`, `@authority`, `@path`, `@query`, with a body \
                       `content-digest`, with a token `authorization`; parameters `created` (within 60 s), `nonce` \
                       (`n-` and 16 random bytes in base64url for what changes something, `c-` and a growing number for \
                       reads and heartbeats), `keyid` (the public key in base64url), `alg=\"ed25519\"`, \
                       `tag=\"sterna-control-1\"`. People and scripts send a session or an API token as bearer.",
        license(name = "Apache-2.0 OR MIT")
    ),
    components(
        schemas(Problem),
        responses(
            Malformed,
            Unauthorized,
            RoleTooLow,
            NotFound,
            Conflict,
            Gone,
            TooLarge,
            NotJson,
            TooMany,
            Unavailable
        )
    )
)]
struct Document;

/// Answers by their status.
pub(super) type Responses = BTreeMap<String, RefOr<Response>>;

/// How a call may be refused: a component of the document, and what handlers name in their lists.
macro_rules! refusals {
    ($($name:ident = $status:literal, $description:literal;)+) => { $(
        pub(super) struct $name;

        impl IntoResponses for $name {
            fn responses() -> Responses {
                let component = Ref::from_response_name(stringify!($name));
                Responses::from([($status.to_owned(), component.into())])
            }
        }

        impl<'r> ToResponse<'r> for $name {
            fn response() -> (&'r str, RefOr<Response>) {
                let schema = Ref::from_schema_name(Problem::name());
                let content = ContentBuilder::new().schema(Some(schema)).build();
                let response = ResponseBuilder::new()
                    .description($description)
                    .content(PROBLEM_JSON, content);
                (stringify!($name), response.build().into())
            }
        }
    )+ };
}

refusals! {
    Malformed = "400", "The body, the query or a field is not in its form; `detail` names it.";
    Unauthorized = "401", "No proof of who calls that holds.";
    RoleTooLow = "403", "The caller's role does not suffice.";
    NotFound = "404", "No such thing, or none of the caller's.";
    Conflict = "409", "Something else has this name, the state does not allow it, or the signature was used before.";
    Gone = "410", "No node or device has the key that has signed; register with a token.";
    TooLarge = "413", "The body is longer than 64 KiB.";
    NotJson = "415", "The body is no JSON.";
    TooMany = "429", "Too many requests; `retry-after` says when to try again.";
    Unavailable = "503", "The database is away, the service goes down, or no node is ready; try again.";
}

/// How arguments of handlers refuse: each handler names its arguments, and what it refuses beyond them.
macro_rules! refuses {
    ($($argument:ident $(<$of:ident>)?: $($refusal:ident),+;)+) => { $(
        impl $(<$of>)? utoipa::IntoResponses for $argument $(<$of>)? {
            fn responses() -> $crate::http::openapi::Responses {
                let refusals = [$(<$crate::http::openapi::$refusal as utoipa::IntoResponses>::responses()),+];
                refusals.into_iter().flatten().collect()
            }
        }
    )+ };
}
pub(super) use refuses;

/// `openapi.json`.
pub(crate) fn document() -> String {
    let mut document = Document::openapi();
    document.merge(routes().split_for_parts().1);
    let components = document.components.get_or_insert_default();
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some(
            "A session or an API token; at registration a join token or an enrolment key.",
        ))
        .build();
    components.add_security_scheme("token", SecurityScheme::Http(bearer));
    let signature = ApiKeyValue::with_description(
        "signature",
        "An HTTP message signature (RFC 9421) with `signature-input` and, with a body, `content-digest`.",
    );
    components.add_security_scheme(
        "signature",
        SecurityScheme::ApiKey(ApiKey::Header(signature)),
    );
    let text = document
        .to_pretty_json()
        .expect("invariant: the document is JSON");
    with_whole_range(&text)
}

/// Numbers of 32 bits without a sign have the format of those with one, and with it half of their
/// range, as utoipa writes them.
fn with_whole_range(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    let mut whole = String::with_capacity(text.len() + 1);
    for (number, line) in lines.iter().enumerate() {
        let mut next = lines[number + 1..]
            .iter()
            .skip_while(|next| next.trim_start().starts_with("\"description\""));
        let unsigned = next
            .next()
            .is_some_and(|next| next.trim_start() == "\"minimum\": 0");
        if line.trim_start() == "\"format\": \"int32\"," && unsigned {
            let maximum = format!("\"maximum\": {},", u32::MAX);
            whole.push_str(&line.replace("\"format\": \"int32\",", &maximum));
        } else {
            whole.push_str(line);
        }
        whole.push('\n');
    }
    whole
}

#[cfg(test)]
mod tests {
    #[test]
    fn documents_control_openapi_is_current() {
        sterna_daemon::documents::assert_current("openapi-control.json", &super::document());
    }
}
