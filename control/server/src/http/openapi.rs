//! `openapi.json`: what the routes say of themselves.

use sterna_control_api::problem::{PROBLEM_JSON, Problem};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Ref, ResponseBuilder};
use utoipa::{OpenApi, ToResponse, ToSchema};

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

/// Every call may be answered so.
macro_rules! refusals {
    ($($(#[doc = $doc:literal])+ $name:ident = $description:literal;)+) => { $(
        $(#[doc = $doc])+
        pub(super) struct $name;

        impl<'r> ToResponse<'r> for $name {
            fn response() -> (&'r str, utoipa::openapi::RefOr<utoipa::openapi::Response>) {
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
    /// 400
    Malformed = "The body, the query or a field is not in its form; `detail` names it.";
    /// 401
    Unauthorized = "No proof of who calls that holds.";
    /// 403
    RoleTooLow = "The caller's role does not suffice.";
    /// 404
    NotFound = "No such thing, or none of the caller's.";
    /// 409
    Conflict = "Something else has this name, the state does not allow it, or the signature was used before.";
    /// 410
    Gone = "No node or device has the key that has signed; register with a token.";
    /// 413
    TooLarge = "The body is longer than 64 KiB.";
    /// 415
    NotJson = "The body is no JSON.";
    /// 429
    TooMany = "Too many requests; `retry-after` says when to try again.";
    /// 503
    Unavailable = "The database is away, the service goes down, or no node is ready; try again.";
}

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
    let mut text = document
        .to_pretty_json()
        .expect("invariant: the document is JSON");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn documents_control_openapi_is_current() {
        crate::documents::assert_current("openapi-control.json", &super::document());
    }
}
