//! Numbers within the bounds of their keys.

use super::{Fault, Key, Kind, Layered};

/// What is wrong with a number, if anything.
pub(super) fn fault(key: &Key, value: i128) -> Option<String> {
    let Kind::Number(min, max) = key.kind else {
        return None;
    };
    let within = (i128::from(min)..=i128::from(max)).contains(&value);
    (!within).then(|| format!("{value} is out of range; write {}", key.kind.form()))
}

/// The numbers that are out of range, of a configuration that was not read in layers.
///
/// # Panics
/// Where the configuration is more than plain data.
pub fn out_of_range<C: Layered>(config: &C) -> Vec<Fault> {
    let values = serde_json::to_value(config).expect("invariant: the configuration is plain data");
    let of = |key: &'static Key| {
        let value = &values[key.section()][key.name()];
        let value = value
            .as_u64()
            .map(i128::from)
            .or_else(|| value.as_i64().map(i128::from));
        Some((key.path, fault(key, value?)?))
    };
    C::TABLE.keys().filter_map(of).collect()
}
