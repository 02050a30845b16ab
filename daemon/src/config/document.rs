//! The configuration's documents, generated from the table of keys and the defaults.

use std::fmt::Write as _;

use toml::Value;

use super::{Key, Kind, Layered, Section};

/// All there is to say about one key; nothing for an unknown one.
#[must_use]
pub fn explain<C: Layered>(path: &str) -> Option<String> {
    let key = C::TABLE.find(path)?;
    let mut text = format!("{}\n  {}\n", key.path, key.meaning);
    let mut line = |label: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(text, "  {label:<12} {value}");
        }
    };
    line("default", &default_text::<C>(key));
    line("form", &key.kind.form());
    line("unit", key.unit);
    line("advice", key.advice);
    if C::TABLE.reloads() {
        line(
            "applied",
            if key.reload {
                "on reload"
            } else {
                "on restart"
            },
        );
    }
    line("flag", &format!("--set {}=…", key.path));
    line("environment", &C::TABLE.variable(key));
    Some(text)
}

/// All keys, a line each.
#[must_use]
pub fn overview<C: Layered>() -> String {
    let mut text = String::new();
    for section in C::TABLE.sections {
        let _ = writeln!(text, "[{}] {}", section.name, plain(section.about));
        for key in section.keys {
            let _ = writeln!(text, "  {:<44} {}", key.path, default_text::<C>(key));
        }
    }
    text
}

/// TOML with comments that parses back to the defaults.
#[must_use]
pub fn defaults_toml<C: Layered>() -> String {
    let mut text = C::TABLE.file_introduction.to_owned();
    for section in C::TABLE.sections {
        let _ = write!(text, "\n# {}\n[{}]\n", plain(section.about), section.name);
        for key in section.keys {
            let _ = writeln!(text, "# {}{}", plain(key.meaning), unit(key));
            let _ = match (default_value::<C>(key), key.kind) {
                (Some(value), _) => writeln!(text, "{} = {value}", key.name()),
                (None, Kind::Table(_)) => writeln!(text, "# {} = {{ … }}", key.name()),
                (None, _) => writeln!(text, "# {} = \"…\"", key.name()),
            };
        }
    }
    text
}

/// The document in `docs/`: a table a section. How a key is applied is told where any is applied on
/// reload.
#[must_use]
pub fn markdown<C: Layered>() -> String {
    let mut text = C::TABLE.document_introduction.to_owned();
    for section in C::TABLE.sections {
        table::<C>(&mut text, section);
    }
    text
}

fn table<C: Layered>(text: &mut String, section: &Section) {
    let reloads = C::TABLE.reloads();
    let _ = write!(text, "\n## `[{}]`\n\n{}\n\n", section.name, section.about);
    text.push_str(if reloads {
        "| key | default | meaning | form | applied |\n|---|---|---|---|---|\n"
    } else {
        "| key | default | meaning | form |\n|---|---|---|---|\n"
    });
    for key in section.keys {
        let mut meaning = format!("{}{}", key.meaning, unit(key));
        if !key.advice.is_empty() {
            let _ = write!(meaning, " *Advised: {}.*", key.advice);
        }
        let _ = write!(
            text,
            "| `{}` | {} | {} | {} |",
            key.name(),
            code(&default_text::<C>(key)),
            cell(&meaning),
            cell(&key.kind.form()),
        );
        text.push_str(match (reloads, key.reload) {
            (false, _) => "\n",
            (true, true) => " reload |\n",
            (true, false) => " restart |\n",
        });
    }
}

fn default_value<C: Layered>(key: &Key) -> Option<Value> {
    let defaults = toml::Table::try_from(C::default()).expect("invariant: the defaults are TOML");
    defaults.get(key.section())?.get(key.name()).cloned()
}

fn default_text<C: Layered>(key: &Key) -> String {
    default_value::<C>(key).map_or_else(|| "not set".to_owned(), |value| value.to_string())
}

fn unit(key: &Key) -> String {
    if key.unit.is_empty() {
        String::new()
    } else {
        format!(" ({})", key.unit)
    }
}

/// Without the marks that a page turns into code.
fn plain(text: &str) -> String {
    text.replace('`', "")
}

fn code(text: &str) -> String {
    if text == "not set" {
        text.to_owned()
    } else {
        format!("`{}`", cell(text))
    }
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
