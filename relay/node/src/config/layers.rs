//! The layers of a configuration: flag over environment over file over default.
//!
//! Each value is checked alone where it stands, so that a report names the line, the variable or
//! the flag, and names all of them at once.

use std::collections::BTreeMap;
use std::path::Path;

use toml::Value;
use toml::de::DeTable;

use super::Config;
use super::error::{ConfigError, Problem, Source};
use super::keys::{self, KEYS, Key, SECTIONS};
use super::spelling;

/// Variables with our prefix that are no keys.
const OTHER_VARIABLES: &[&str] = &[
    "STERNA_CONFIG",
    "STERNA_BENCH_SECRET",
    "STERNA_CONTROL_TOKEN",
    "STERNA_TICKET_SECRET",
];

/// Where each key that is set was set.
pub(super) type Origins = BTreeMap<&'static str, Source>;

/// The values of all layers so far, with what was wrong on the way.
#[derive(Default)]
pub(super) struct Layers {
    table: toml::Table,
    origins: Origins,
    problems: Vec<Problem>,
}

impl Layers {
    pub(super) fn file(&mut self, path: &Path) {
        match std::fs::read_to_string(path) {
            Ok(text) => self.text(path, &text),
            Err(error) => {
                let sentence = format!(
                    "cannot be read: {error}; check the path after --config and its permissions"
                );
                self.problem(Source::File(path.to_owned(), 0), "", sentence);
            }
        }
    }

    pub(super) fn text(&mut self, path: &Path, text: &str) {
        let at = |offset: usize| Source::File(path.to_owned(), line_of(text, offset));
        let parsed = DeTable::parse(text)
            .and_then(|lines| Ok((lines, toml::from_str::<toml::Table>(text)?)));
        let (lines, mut values) = match parsed {
            Ok(parsed) => parsed,
            Err(error) => {
                let offset = error.span().map_or(0, |span| span.start);
                return self.problem(
                    at(offset),
                    "",
                    format!("not TOML: {}", one_line(error.message())),
                );
            }
        };
        for (section, entries) in lines.get_ref() {
            let section_source = at(section.span().start);
            let section = section.get_ref().as_ref();
            let Some(entries) = entries.get_ref().as_table() else {
                let sentence = format!("keys stand in a section; {}", did_you_mean(section));
                self.problem(section_source, section, sentence);
                continue;
            };
            if !SECTIONS.iter().any(|(known, _)| *known == section) {
                self.problem(section_source, section, unknown_section(section));
                continue;
            }
            let Some(Value::Table(values)) = values.get_mut(section) else {
                continue;
            };
            for name in entries.keys() {
                let source = at(name.span().start);
                let path = format!("{section}.{}", name.get_ref());
                match (keys::find(&path), values.remove(name.get_ref().as_ref())) {
                    (Some(key), Some(value)) => self.put(key, value, source),
                    _ => self.problem(source, &path, unknown_key(&path)),
                }
            }
        }
    }

    pub(super) fn environment(&mut self, variables: impl Iterator<Item = (String, String)>) {
        let mut ours: Vec<_> = variables
            .filter(|(name, _)| name.starts_with("STERNA_"))
            .collect();
        ours.sort();
        for (name, text) in ours {
            if OTHER_VARIABLES.contains(&name.as_str()) || is_service_link(&name) {
                continue;
            }
            let source = Source::Environment(name.clone());
            match KEYS.iter().find(|key| key.variable() == name) {
                Some(key) => self.spelled(key, &text, source),
                None => {
                    let path = name["STERNA_".len()..].to_lowercase().replacen('_', ".", 1);
                    let nearest = keys::nearest(&path).variable();
                    self.problem(source, "", format!("no such key; the nearest is {nearest}"));
                }
            }
        }
    }

    pub(super) fn flags(&mut self, sets: &[String]) {
        for set in sets {
            let Some((path, text)) = set.split_once('=') else {
                let sentence = "write --set section.key=value, such as --set log.level=debug";
                self.problem(Source::Set(set.clone()), "", sentence);
                continue;
            };
            // The value may be a secret: the flag is named without it.
            let path = path.trim();
            let source = Source::Set(format!("{path}=…"));
            match keys::find(path) {
                Some(key) => self.spelled(key, text, source),
                None => self.problem(source, path, unknown_key(path)),
            }
        }
    }

    pub(super) fn finish(self) -> Result<(Config, Origins), ConfigError> {
        if !self.problems.is_empty() {
            return Err(ConfigError {
                problems: self.problems,
            });
        }
        let config = Config::deserialize_table(self.table)
            .map_err(|error| ConfigError::one(Source::Default, "", one_line(error.message())))?;
        Ok((config, self.origins))
    }

    fn spelled(&mut self, key: &'static Key, text: &str, source: Source) {
        match spelling::value(key.kind, text) {
            Ok(value) => self.put(key, value, source),
            Err(sentence) => self.problem(source, key.path, sentence),
        }
    }

    fn put(&mut self, key: &'static Key, value: Value, source: Source) {
        let alone = table(key.section(), table(key.name(), value.clone()).into());
        if let Err(error) = Config::deserialize_table(alone) {
            return self.problem(
                source,
                key.path,
                explain_type(key, one_line(error.message())),
            );
        }
        let section = self
            .table
            .entry(key.section())
            .or_insert_with(|| Value::Table(toml::Table::new()));
        if let Value::Table(section) = section {
            section.insert(key.name().to_owned(), value);
        }
        self.origins.insert(key.path, source);
    }

    fn problem(&mut self, source: Source, key: impl Into<String>, sentence: impl Into<String>) {
        self.problems.push(Problem {
            source,
            key: key.into(),
            sentence: sentence.into(),
        });
    }
}

fn table(name: &str, value: Value) -> toml::Table {
    let mut table = toml::Table::new();
    table.insert(name.to_owned(), value);
    table
}

fn unknown_key(path: &str) -> String {
    format!("no such key; {}", did_you_mean(path))
}

fn unknown_section(section: &str) -> String {
    let nearest = SECTIONS
        .iter()
        .min_by_key(|(known, _)| strsim::damerau_levenshtein(known, section));
    let (nearest, _) = nearest.expect("invariant: the table of sections is not empty");
    format!("no such section; the nearest is [{nearest}]")
}

fn did_you_mean(path: &str) -> String {
    format!("the nearest is {}", keys::nearest(path).path)
}

/// Serde says "invalid type: string …, expected u32": the unit and the form help more than the
/// type's name.
fn explain_type(key: &Key, message: String) -> String {
    if message.starts_with("invalid type")
        || message.starts_with("invalid value")
        || message.starts_with("unknown variant")
    {
        format!("{message}; write {}", spelling::form(key.kind))
    } else {
        message
    }
}

/// Whether a variable is one that container platforms set for a service whose name begins with
/// "sterna".
fn is_service_link(name: &str) -> bool {
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || name.ends_with("_PORT")
        || ["_TCP", "_UDP"]
            .iter()
            .any(|protocol| name.contains("_PORT_") && name.contains(protocol))
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text
        .bytes()
        .take(offset)
        .filter(|byte| *byte == b'\n')
        .count()
}

fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}
