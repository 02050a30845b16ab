//! What the documents promise: files they link to, tests they name.

use std::collections::BTreeSet;
use std::path::Path;

use super::Findings;
use super::sources::Tree;
use crate::process::root;

/// The documents that name tests as their proof.
const PROVEN: [&str; 2] = ["docs/COMPLIANCE.md", "docs/SECURITY.md"];

/// Relative links of Markdown files that lead nowhere.
pub(super) fn broken_links(tree: &Tree) -> Findings {
    let root = root();
    let mut findings = Findings::new();
    for (path, text) in tree.ending(".md") {
        let folder = Path::new(path).parent().unwrap_or(Path::new(""));
        for link in links(text) {
            let target = link.split('#').next().unwrap_or_default();
            let outside = target.contains("://") || target.starts_with("mailto:");
            if !target.is_empty() && !outside && !root.join(folder).join(target).exists() {
                findings.push(format!("{path}: links to {target}, which does not exist"));
            }
        }
    }
    findings
}

/// Tests that a document of [`PROVEN`] names in backticks and that no source file defines.
pub(super) fn missing_tests(tree: &Tree) -> Findings {
    let defined: BTreeSet<&str> = tree
        .ending(".rs")
        .flat_map(|(_, text)| functions(text))
        .collect();
    let mut findings = Findings::new();
    for (path, text) in PROVEN
        .iter()
        .filter_map(|path| Some((path, tree.file(path)?)))
    {
        let named: BTreeSet<&str> = in_backticks(text).filter_map(test_name).collect();
        if named.is_empty() {
            findings.push(format!("{path}: names no test at all"));
        }
        let missing = named.difference(&defined);
        findings.extend(missing.map(|name| format!("{path}: no test is called {name}")));
    }
    findings
}

/// The targets of `[text](target)`.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split([')', ' ', '\n']).next())
}

/// The names of all functions and of the property tests that a macro turns into functions.
fn functions(text: &str) -> impl Iterator<Item = &str> {
    text.split("fn ")
        .skip(1)
        .filter_map(|rest| rest.split(['(', '<']).next())
}

fn in_backticks(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .flat_map(|line| line.split('`').skip(1).step_by(2))
}

/// The last part of `module::a_test_whose_name_is_a_sentence`: a sentence has three words or more,
/// which tells it from a field or a file.
fn test_name(code: &str) -> Option<&str> {
    let name = code.rsplit("::").next()?;
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    (name.chars().all(is_word) && name.matches('_').count() >= 2).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_is_told_from_other_code_by_its_name_being_a_sentence() {
        assert_eq!(
            test_name("a_channel_is_refused"),
            Some("a_channel_is_refused")
        );
        assert_eq!(
            test_name("server::tests::a_channel_is_refused"),
            Some("a_channel_is_refused")
        );
        assert_eq!(test_name("lifetime_s"), None);
        assert_eq!(test_name("stun/src/attr/"), None);
        assert_eq!(test_name("MESSAGE-INTEGRITY"), None);
    }

    #[test]
    fn links_are_read_without_their_titles() {
        let text = "see [a](docs/A.md) and [b](B.md \"title\")\n![c](c.svg)";
        assert_eq!(
            links(text).collect::<Vec<_>>(),
            ["docs/A.md", "B.md", "c.svg"]
        );
    }

    #[test]
    fn functions_are_found_by_their_keyword() {
        let text = "fn one() {}\n    pub(crate) fn two<T>(t: T) {}";
        assert_eq!(functions(text).collect::<Vec<_>>(), ["one", "two"]);
    }
}
