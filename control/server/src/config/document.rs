//! The configuration's documents, generated from the table of keys and the defaults.

use std::fmt::Write as _;

use toml::Value;

use super::Config;
use super::keys::{self, KEYS, Key, SECTIONS};

/// What there is to say about one key; nothing for an unknown one.
#[must_use]
pub fn explain(path: &str) -> Option<String> {
    let key = keys::find(path)?;
    let mut text = format!("{}\n  {}\n", key.path, key.meaning.replace('`', ""));
    let _ = writeln!(text, "  default      {}", default_text(key));
    let _ = writeln!(text, "  form         {}", key.kind.form());
    if !key.unit.is_empty() {
        let _ = writeln!(text, "  unit         {}", key.unit);
    }
    let _ = writeln!(text, "  flag         --set {}=…", key.path);
    let _ = writeln!(text, "  environment  {}", key.variable());
    Some(text)
}

/// All keys, a line each.
#[must_use]
pub fn overview() -> String {
    let mut text = String::new();
    for (section, about) in SECTIONS {
        let _ = writeln!(text, "[{section}] {}", about.replace('`', ""));
        for key in of_section(section) {
            let _ = writeln!(text, "  {:<44} {}", key.path, default_text(key));
        }
    }
    text
}

/// TOML with comments that parses back to the defaults.
#[must_use]
pub fn defaults_toml() -> String {
    let mut text = String::from(
        "# A Sterna control service, every key at its default. Keep only what you change.\n\
         # A flag (--set section.key=value) goes over the environment (STERNA_CONTROL_KEY), which goes over this file.\n",
    );
    for (section, about) in SECTIONS {
        let _ = write!(text, "\n# {}\n[{section}]\n", about.replace('`', ""));
        for key in of_section(section) {
            let _ = writeln!(text, "# {}{}", key.meaning.replace('`', ""), unit(key));
            let _ = match default_value(key) {
                Some(value) => writeln!(text, "{} = {value}", key.name()),
                None => writeln!(text, "# {} = \"…\"", key.name()),
            };
        }
    }
    text
}

/// `docs/CONTROL_CONFIG.md`.
#[must_use]
pub fn markdown() -> String {
    let mut text = String::from(
        "# Control service configuration\n\n\
         <!-- Generated from control/server/src/config by `cargo xtask docs`. -->\n\n\
         The service reads one TOML file (`sterna control --config FILE`). Every key has a default, so an empty file is a \
         file. `--set section.key=value` goes over the environment variable, which goes over the file, which goes over the \
         default. Variables are called `STERNA_CONTROL_` and the key's path in capitals, without `control.` where the path \
         begins with it: `STERNA_CONTROL_LISTEN`, `STERNA_CONTROL_DATABASE_URL`.\n\n\
         An unknown key is an error that names the nearest known one. `sterna control check` reads the configuration as the \
         service would and reports everything that is wrong at once; `sterna control explain KEY` prints what is below; \
         `sterna control defaults` prints a file to start from.\n",
    );
    for (section, about) in SECTIONS {
        let _ = write!(text, "\n## `[{section}]`\n\n{about}\n\n");
        text.push_str("| key | default | meaning | form |\n|---|---|---|---|\n");
        for key in of_section(section) {
            let meaning = format!("{}{}", key.meaning, unit(key));
            let _ = writeln!(
                text,
                "| `{}` | {} | {} | {} |",
                key.name(),
                code(&default_text(key)),
                cell(&meaning),
                cell(&key.kind.form()),
            );
        }
    }
    text
}

fn of_section(section: &str) -> impl Iterator<Item = &'static Key> {
    KEYS.iter().filter(move |key| key.section() == section)
}

fn default_value(key: &Key) -> Option<Value> {
    let defaults =
        toml::Table::try_from(Config::default()).expect("invariant: the defaults are TOML");
    defaults.get(key.section())?.get(key.name()).cloned()
}

fn default_text(key: &Key) -> String {
    default_value(key).map_or_else(|| "not set".to_owned(), |value| value.to_string())
}

fn unit(key: &Key) -> String {
    if key.unit.is_empty() {
        String::new()
    } else {
        format!(" ({})", key.unit)
    }
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
