//! Which part of a list is wanted.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// RFC 3986 §2.3: what stands for itself.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Filters of a list; what is left out does not count, and what a list does not know is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Entries of a page, 500 at most.
    pub limit: Option<u32>,
    /// `next` of the page before.
    pub after: Option<String>,
    /// Of this region.
    pub region: Option<String>,
    /// In this state.
    pub state: Option<String>,
    /// Of this tenant.
    pub tenant: Option<String>,
    /// With this in a name.
    pub q: Option<String>,
    /// Of the audit log: by whom, exactly.
    pub actor: Option<String>,
    /// Of the audit log: what, by its beginning.
    pub action: Option<String>,
    /// Of the audit log: to whom or what, exactly.
    pub subject: Option<String>,
    /// Of the audit log: not before this, in seconds since 1970.
    pub since: Option<u64>,
    /// Of the audit log: before this, in seconds since 1970.
    pub until: Option<u64>,
}

impl Filter {
    /// The query, without `?`.
    pub(crate) fn to_query(&self) -> String {
        let limit = self.limit.map(|limit| limit.to_string());
        let [since, until] = [self.since, self.until].map(|at| at.map(|at| at.to_string()));
        let pairs = [
            ("limit", &limit),
            ("after", &self.after),
            ("region", &self.region),
            ("state", &self.state),
            ("tenant", &self.tenant),
            ("q", &self.q),
            ("actor", &self.actor),
            ("action", &self.action),
            ("subject", &self.subject),
            ("since", &since),
            ("until", &until),
        ];
        let given = pairs.into_iter().filter_map(|(name, value)| {
            let value = segment(value.as_ref()?);
            Some(format!("{name}={value}"))
        });
        given.collect::<Vec<_>>().join("&")
    }
}

/// A text as one segment of a path, or a value of a query.
pub(crate) fn segment(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_a_query_that_nothing_breaks_out_of() {
        assert_eq!(Filter::default().to_query(), "");
        let filter = Filter {
            limit: Some(50),
            region: Some("eu-1".to_owned()),
            q: Some("a b&c=d/é".to_owned()),
            ..Filter::default()
        };
        assert_eq!(
            filter.to_query(),
            "limit=50&region=eu-1&q=a%20b%26c%3Dd%2F%C3%A9"
        );
    }
}
