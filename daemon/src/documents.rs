//! Compares committed documents with what the code generates.

use std::path::Path;

/// Fails where `docs/NAME` is not `text`; with `UPDATE_DOCS` in the environment it writes it
/// instead. For tests.
///
/// # Panics
/// Where the document is not current, or cannot be written.
pub fn assert_current(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../docs")
        .join(name);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, text).expect("docs/ can be written");
        return;
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == text,
        "docs/{name} is out of date; run cargo xtask docs"
    );
}
