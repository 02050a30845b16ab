//! Schemas of what is written as text, for documents of the API (feature `openapi`).

/// A type that is a string of one pattern.
macro_rules! text_schema {
    ($name:ident, $description:expr, $pattern:expr) => {
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                utoipa::openapi::ObjectBuilder::new()
                    .schema_type(utoipa::openapi::schema::Type::String)
                    .pattern(Some($pattern))
                    .description(Some($description))
                    .into()
            }
        }

        impl utoipa::ToSchema for $name {
            fn name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
        }
    };
}

pub(crate) use text_schema;

/// The pattern of so many bytes in base64url.
pub(crate) fn base64url(bytes: usize) -> String {
    format!("^[A-Za-z0-9_-]{{{}}}$", (bytes * 8).div_ceil(6))
}
