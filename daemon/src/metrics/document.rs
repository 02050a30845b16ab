//! The document of the metrics, generated from their table.

use std::fmt::Write as _;

use super::Metric;

/// The introduction, and a row for each metric.
#[must_use]
pub fn markdown(introduction: &str, table: &[Metric]) -> String {
    let mut text =
        format!("{introduction}| metric | type | labels | meaning |\n|---|---|---|---|\n");
    for metric in table {
        let labels: Vec<_> = metric
            .labels
            .iter()
            .map(|label| format!("`{label}`"))
            .collect();
        let (kind, labels) = (metric.kind.as_str(), labels.join(", "));
        let _ = writeln!(
            text,
            "| `{}` | {kind} | {labels} | {} |",
            metric.name, metric.help
        );
    }
    text
}

/// Adds a chapter on the values of a label: its title, what it is about, what a value is called, and
/// each value with its meaning.
pub fn values<'a>(
    text: &mut String,
    (title, about, called): (&str, &str, &str),
    values: impl IntoIterator<Item = (&'a str, &'a str)>,
) {
    let _ = write!(
        text,
        "\n## {title}\n\n{about}\n\n| {called} | meaning |\n|---|---|\n"
    );
    for (value, meaning) in values {
        let _ = writeln!(text, "| `{value}` | {} |", meaning.trim());
    }
}
