//! The layers of a configuration: flag over environment over file over default.
//!
//! Each value is checked alone where it stands, so that a report names the line, the variable or
//! the flag, and names all of them at once.

use std::marker::PhantomData;
use std::path::Path;

use toml::Value;
use toml::de::DeTable;

use super::error::{ConfigError, Origins, Problem, Source};
use super::{Key, Layered, range, spelling};

/// The values of all layers so far, with what was wrong on the way.
pub(super) struct Layers<C> {
    table: toml::Table,
    origins: Origins,
    problems: Vec<Problem>,
    of: PhantomData<C>,
}

impl<C> Default for Layers<C> {
    fn default() -> Self {
        Self {
            table: toml::Table::new(),
            origins: Origins::default(),
            problems: Vec::new(),
            of: PhantomData,
        }
    }
}

impl<C: Layered> Layers<C> {
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

    fn text(&mut self, path: &Path, text: &str) {
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
                let sentence = format!("keys stand in a section; {}", did_you_mean::<C>(section));
                self.problem(section_source, section, sentence);
                continue;
            };
            if !C::TABLE.sections.iter().any(|known| known.name == section) {
                self.problem(section_source, section, unknown_section::<C>(section));
                continue;
            }
            let Some(Value::Table(values)) = values.get_mut(section) else {
                continue;
            };
            for name in entries.keys() {
                let source = at(name.span().start);
                let path = format!("{section}.{}", name.get_ref());
                match (C::TABLE.find(&path), values.remove(name.get_ref().as_ref())) {
                    (Some(key), Some(value)) => self.put(key, value, source),
                    _ => self.problem(source, &path, unknown_key::<C>(&path)),
                }
            }
        }
    }

    pub(super) fn environment(&mut self, variables: impl Iterator<Item = (String, String)>) {
        let mut ours: Vec<_> = variables
            .filter(|(name, _)| name.starts_with(C::TABLE.prefix))
            .collect();
        ours.sort();
        for (name, text) in ours {
            let known = C::TABLE.keys().find(|key| C::TABLE.variable(key) == name);
            let foreign = C::TABLE.foreign.contains(&name.as_str()) || is_service_link(&name);
            let source = Source::Environment(name.clone());
            match known {
                Some(key) => self.spelled(key, &text, source),
                None if foreign => {}
                None => {
                    let nearest = C::TABLE.variable(nearest_by_variable::<C>(&name));
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
            match C::TABLE.find(path) {
                Some(key) => self.spelled(key, text, source),
                None => self.problem(source, path, unknown_key::<C>(path)),
            }
        }
    }

    pub(super) fn finish(mut self) -> Result<(C, Origins), ConfigError> {
        ConfigError::unless_empty(std::mem::take(&mut self.problems))?;
        match deserialize(self.table) {
            Ok(config) => Ok((config, self.origins)),
            Err(message) => {
                let problem = Problem {
                    source: Source::Default,
                    key: String::new(),
                    sentence: message,
                };
                Err(ConfigError {
                    problems: vec![problem],
                })
            }
        }
    }

    fn spelled(&mut self, key: &'static Key, text: &str, source: Source) {
        match spelling::value(key.kind, text) {
            Ok(value) => self.put(key, value, source),
            Err(sentence) => self.problem(source, key.path, sentence),
        }
    }

    fn put(&mut self, key: &'static Key, value: Value, source: Source) {
        let alone = table(key.section(), table(key.name(), value.clone()).into());
        if let Err(message) = deserialize::<C>(alone) {
            return self.problem(source, key.path, explain_type(key, message));
        }
        let number = value.as_integer().map(i128::from);
        if let Some(sentence) = number.and_then(|number| range::fault(key, number)) {
            return self.problem(source, key.path, sentence);
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

/// A configuration of these values alone, or what is wrong with them.
fn deserialize<C: Layered>(values: toml::Table) -> Result<C, String> {
    C::deserialize(Value::Table(values)).map_err(|error| one_line(error.message()))
}

fn unknown_key<C: Layered>(path: &str) -> String {
    format!("no such key; {}", did_you_mean::<C>(path))
}

fn unknown_section<C: Layered>(name: &str) -> String {
    let sections = C::TABLE.sections.iter();
    let nearest = sections.min_by_key(|known| strsim::damerau_levenshtein(known.name, name));
    let nearest = nearest.map_or("", |section| section.name);
    format!("no such section; the nearest is [{nearest}]")
}

fn did_you_mean<C: Layered>(path: &str) -> String {
    format!("the nearest is {}", C::TABLE.nearest(path).path)
}

/// The key that a variable may have meant: with the same name in another section, or spelt nearly so.
fn nearest_by_variable<C: Layered>(variable: &str) -> &'static Key {
    let rest = variable[C::TABLE.prefix.len()..].to_lowercase();
    let name = rest.split_once('_').map_or("", |(_, name)| name);
    let same_name = C::TABLE.keys().find(|key| key.name() == name);
    let spelt_so = || {
        C::TABLE
            .keys()
            .min_by_key(|key| strsim::damerau_levenshtein(&C::TABLE.variable(key), variable))
    };
    same_name
        .or_else(spelt_so)
        .expect("invariant: the table of keys is not empty")
}

/// Serde says "invalid type: string …, expected u32": the unit and the form help more than the
/// type's name.
fn explain_type(key: &Key, message: String) -> String {
    if message.starts_with("invalid type")
        || message.starts_with("invalid value")
        || message.starts_with("unknown variant")
    {
        format!("{message}; write {}", key.kind.form())
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
