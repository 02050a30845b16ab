//! Regions: where nodes are.

use serde::{Deserialize, Serialize};

/// A region, as it is made (`POST /regions`) and seen (`GET /regions`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Region {
    /// Its code: 1 to 32 of a-z, 0-9 and '-'. Never changes.
    pub code: String,
    /// Its name, for people.
    pub name: String,
    /// Where it is, so that a device without measurements begins near itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<Location>,
    /// How much of the load it should take beside others, 1 to 1000.
    #[serde(default = "weight")]
    pub weight: u16,
}

/// A place on the earth, in degrees.
#[derive(Copy, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Location {
    /// -90 to 90.
    pub latitude: f64,
    /// -180 to 180.
    pub longitude: f64,
}

/// `PATCH /regions/{code}`: what is named changes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PatchRegion {
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<Location>,
    /// Its weight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u16>,
}

const fn weight() -> u16 {
    100
}
