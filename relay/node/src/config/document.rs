//! The configuration's documents, generated from the table of keys and the defaults.

use std::fmt::Write as _;

use toml::Value;

use super::Config;
use super::keys::{self, KEYS, Key, Kind, SECTIONS};
use super::spelling;

/// What `config explain KEY` prints; nothing for an unknown key.
pub fn explain(path: &str) -> Option<String> {
    let key = keys::find(path)?;
    let mut text = format!("{}\n  {}\n", key.path, key.meaning);
    let mut line = |label: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(text, "  {label:<12} {value}");
        }
    };
    line("default", &default_text(key));
    line("form", &spelling::form(key.kind));
    line("unit", key.unit);
    line("advice", key.advice);
    line(
        "applied",
        if key.reload {
            "on reload"
        } else {
            "on restart"
        },
    );
    line("flag", &format!("--set {}=…", key.path));
    line("environment", &key.variable());
    Some(text)
}

/// What `config explain` prints without a key: all keys, a line each.
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

/// What `config defaults` prints: TOML with comments that parses back to the defaults.
pub fn defaults_toml() -> String {
    let mut text = String::from(
        "# A Sterna node, every key at its default. Keep only what you change.\n\
         # A flag (--set section.key=value) goes over the environment (STERNA_SECTION_KEY), which goes over this file.\n",
    );
    for (section, about) in SECTIONS {
        let _ = write!(text, "\n# {}\n[{section}]\n", about.replace('`', ""));
        for key in of_section(section) {
            let _ = writeln!(
                text,
                "# {}{}",
                key.meaning.replace('`', ""),
                unit_suffix(key)
            );
            let _ = match default_value(key) {
                Some(value) => writeln!(text, "{} = {value}", key.name()),
                None if key.kind == Kind::Table => writeln!(text, "# {} = {{ … }}", key.name()),
                None => writeln!(text, "# {} = \"…\"", key.name()),
            };
        }
    }
    text
}

/// `docs/CONFIG.md`.
pub fn markdown() -> String {
    let mut text = String::from(
        "# Node configuration\n\n\
         <!-- Generated from relay/node/src/config by `cargo xtask docs`. -->\n\n\
         A node reads one TOML file (`sterna relay --config FILE`). Every key has a default, so an empty file is a file; only \
         credentials must be given. `--set section.key=value` goes over the environment variable `STERNA_SECTION_KEY`, \
         which goes over the file, which goes over the default. Lists are written `a,b` by flag and environment, users \
         `name:password`, pairs of addresses `internal=public`; TOML is understood there too.\n\n\
         An unknown key is an error that names the nearest known one. `sterna config check` reads the configuration as the \
         node would and reports everything that is wrong at once; `sterna config explain KEY` prints what is below; \
         `sterna config defaults` prints a file to start from. SIGHUP and `POST /reload` apply the keys that are marked \
         \"reload\" without touching a session.\n",
    );
    for (section, about) in SECTIONS {
        let _ = write!(text, "\n## `[{section}]`\n\n{about}\n\n");
        text.push_str("| key | default | meaning | form | applied |\n|---|---|---|---|---|\n");
        for key in of_section(section) {
            let mut meaning = format!("{}{}", key.meaning, unit_suffix(key));
            if !key.advice.is_empty() {
                let _ = write!(meaning, " *Advised: {}.*", key.advice);
            }
            let _ = writeln!(
                text,
                "| `{}` | {} | {} | {} | {} |",
                key.name(),
                code(&default_text(key)),
                cell(&meaning),
                cell(&spelling::form(key.kind)),
                if key.reload { "reload" } else { "restart" },
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

fn unit_suffix(key: &Key) -> String {
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
