//! Regions: where nodes are.

use serde_json::{Value, json};
use sterna_control_api::region::{Location, Region};

/// A region, as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct RegionRecord {
    /// Its code, which never changes.
    pub code: String,
    /// Its name, for people.
    pub name: String,
    /// Where it is.
    pub location: Option<Location>,
    /// How much of the load it should take beside others, 1 to 1000.
    pub weight: u16,
    /// When it was made, in seconds since 1970.
    pub created: u64,
}

impl RegionRecord {
    /// What the audit log says of it.
    #[must_use]
    pub fn described(&self) -> Value {
        json!({ "name": self.name, "location": self.location, "weight": self.weight })
    }
}

impl From<&RegionRecord> for Region {
    fn from(record: &RegionRecord) -> Self {
        Self {
            code: record.code.clone(),
            name: record.name.clone(),
            location: record.location,
            weight: record.weight,
        }
    }
}
