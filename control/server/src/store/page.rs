//! Lists, a page at a time.

use sterna_control_api::audit::Page;

/// The greatest number of entries of a page.
pub const PAGE_MAX: u32 = 500;
/// The number of entries of a page where nothing is said.
pub const PAGE_DEFAULT: u32 = 100;

/// Which part of a list is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// The `next` of the page before; none: from the beginning.
    pub after: Option<String>,
    /// How many entries, 1 to [`PAGE_MAX`].
    pub limit: u32,
}

impl Default for PageRequest {
    fn default() -> Self {
        Self {
            after: None,
            limit: PAGE_DEFAULT,
        }
    }
}

impl PageRequest {
    /// How many entries are read: one more than wanted, which tells whether there is a next page.
    pub(super) fn rows(&self) -> i64 {
        i64::from(self.limit.clamp(1, PAGE_MAX)) + 1
    }

    /// Makes the page of what was read.
    pub(super) fn page<T>(&self, mut items: Vec<T>, cursor: impl Fn(&T) -> String) -> Page<T> {
        let wanted = usize::try_from(self.rows() - 1).unwrap_or(usize::MAX);
        let more = items.len() > wanted;
        items.truncate(wanted);
        let next = items.last().filter(|_| more).map(cursor);
        Page { items, next }
    }
}
