//! Lists: `?limit=&after=`, and as comma-separated values for whoever asks for them.

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sterna_control_api::audit::Page;

use super::body::{Json, Queried};
use super::openapi::refuses;
use crate::service::refusal::Refusal;
use crate::store::{PAGE_DEFAULT, PAGE_MAX, PageRequest};

/// What a query may ask of a list: which part of it, and which entries.
pub(super) trait Query: DeserializeOwned {
    /// Entries at most, and the `next` of the page before.
    fn part(&self) -> (Option<u32>, Option<&String>);
}

/// Makes the [`Query`] of a list out of its filters, and what its limit counts where that is not entries.
macro_rules! query {
    ($(#[$about:meta])* struct $name:ident { $($filters:tt)* }) => {
        $crate::http::paging::query! {
            $(#[$about])* struct $name: "Entries at most; 100 when left out." { $($filters)* }
        }
    };
    (
        $(#[$about:meta])*
        struct $name:ident: $limit:literal { $($(#[$of:meta])* $filter:ident: $kind:ty,)* }
    ) => {
        $(#[$about])*
        #[derive(Debug, serde::Deserialize, utoipa::IntoParams)]
        #[into_params(parameter_in = Query)]
        #[serde(deny_unknown_fields)]
        pub(super) struct $name {
            #[doc = $limit]
            #[param(minimum = 1, maximum = 500)]
            limit: Option<u32>,
            /// The `next` of the page before.
            #[param(max_length = 128)]
            after: Option<String>,
            $($(#[$of])* $filter: $kind,)*
        }

        impl $crate::http::paging::Query for $name {
            fn part(&self) -> (Option<u32>, Option<&String>) {
                (self.limit, self.after.as_ref())
            }
        }
    };
}
pub(super) use query;

query! {
    /// Which part of a list without filters is wanted.
    struct Paging {}
}

/// The longest cursor.
const AFTER_BYTES_MAX: usize = 128;

/// What every list says of its answer.
pub(super) const LISTED: &str =
    "A page of them; `accept: text/csv` makes it comma-separated values.";

/// What is asked of a list.
pub(super) struct Asked<Q> {
    /// Which entries.
    pub(super) query: Q,
    /// Which part of them.
    pub(super) page: PageRequest,
    /// In which form.
    pub(super) form: Form,
}

/// How a list is written.
#[derive(Clone, Copy)]
pub(super) enum Form {
    Json,
    CommaSeparated,
}

impl<S: Send + Sync, Q: Query> FromRequestParts<S> for Asked<Q> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let Queried(query) = Queried::<Q>::from_request_parts(parts, state).await?;
        let (limit, after) = query.part();
        let page = request(limit, after)?;
        let form = Form::wanted(&parts.headers);
        Ok(Self { query, page, form })
    }
}

refuses! {
    Asked<Q>: Malformed;
}

/// A page of what is asked for.
fn request(limit: Option<u32>, after: Option<&String>) -> Result<PageRequest, Refusal> {
    let limit = limit.unwrap_or(PAGE_DEFAULT);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(Refusal::malformed(format!("limit: 1 to {PAGE_MAX}")));
    }
    if after.is_some_and(|after| after.len() > AFTER_BYTES_MAX || after.contains('\0')) {
        return Err(Refusal::malformed("after: the next of the page before"));
    }
    Ok(PageRequest {
        after: after.filter(|after| !after.is_empty()).cloned(),
        limit,
    })
}

impl Form {
    fn wanted(headers: &HeaderMap) -> Self {
        let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
        if accept.is_some_and(|accept| accept.trim_start().starts_with("text/csv")) {
            return Self::CommaSeparated;
        }
        Self::Json
    }

    /// Writes a page.
    pub(super) fn answer<T: Serialize>(self, page: Page<T>) -> Result<Response, Refusal> {
        if let Self::Json = self {
            return Ok(Json(page).into_response());
        }
        let rows = page.items.iter().map(serde_json::to_value);
        let rows: Result<Vec<_>, _> = rows.collect();
        let text = csv(&rows.map_err(|_| Refusal::internal())?);
        Ok(([(CONTENT_TYPE, "text/csv; charset=utf-8")], text).into_response())
    }
}

/// RFC 4180, with a header. What is no plain value is JSON in its cell.
fn csv(rows: &[Value]) -> String {
    let mut columns: Vec<&str> = Vec::new();
    for key in rows
        .iter()
        .filter_map(Value::as_object)
        .flat_map(|row| row.keys())
    {
        if !columns.contains(&key.as_str()) {
            columns.push(key);
        }
    }
    let mut text = columns.join(",") + "\r\n";
    for row in rows {
        let cells: Vec<_> = columns.iter().map(|column| cell(&row[*column])).collect();
        text += &cells.join(",");
        text += "\r\n";
    }
    text
}

fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    // A spreadsheet would take it for a formula.
    let formula = text.starts_with(['=', '+', '-', '@']) && value.is_string();
    let text = if formula { format!("'{text}") } else { text };
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_list_as_comma_separated_values_is_quoted_where_it_must_be() {
        let rows = [
            json!({ "name": "a,b", "load": 3, "of": { "x": 1 } }),
            json!({ "name": "=1+1", "load": -2, "note": "say \"hi\"" }),
        ];
        let text = csv(&rows);
        assert_eq!(
            text,
            "load,name,of,note\r\n3,\"a,b\",\"{\"\"x\"\":1}\",\r\n-2,'=1+1,,\"say \"\"hi\"\"\"\r\n"
        );
    }

    #[test]
    fn a_page_has_one_to_five_hundred_entries() {
        assert!(request(Some(0), None).is_err() && request(Some(501), None).is_err());
        assert!(request(Some(500), None).is_ok());
        assert!(request(None, Some(&"x".repeat(129))).is_err());
    }
}
