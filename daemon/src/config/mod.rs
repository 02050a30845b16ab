//! A configuration in layers: a flag goes over the environment, the environment over the file, the
//! file over the default.
//!
//! Its process says what it is made of by [`Layered`]: a struct, whose `Default` holds the defaults,
//! and a table of keys, which says the rest. The documents are made of both. An unknown key is an
//! error that names the nearest known one, and all errors are reported at once, each where it stands.

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

mod document;
mod error;
mod keys;
mod layers;
mod range;
mod spelling;

pub use document::{defaults_toml, explain, markdown, overview};
pub use error::{ConfigError, Fault, Origins, Problem, Source};
pub use keys::{Key, KeyTable, Kind, Section};
pub use range::out_of_range;

use layers::Layers;

/// A configuration that is read in layers.
pub trait Layered: Default + Serialize + DeserializeOwned {
    /// Its keys: one for each field of each section.
    const TABLE: &'static KeyTable;
}

/// Reads all layers, and tells where each key was set. What one value cannot show alone is the
/// caller's to check.
///
/// # Errors
/// Unknown keys, and values that are not of their form.
pub fn read<C: Layered>(
    file: Option<&Path>,
    env: impl Iterator<Item = (String, String)>,
    sets: &[String],
) -> Result<(C, Origins), ConfigError> {
    let mut layers = Layers::<C>::default();
    if let Some(path) = file {
        layers.file(path);
    }
    layers.environment(env);
    layers.flags(sets);
    layers.finish()
}

/// The process's environment without what is not text, which `std::env::vars` would panic on.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

#[cfg(test)]
mod tests;
