//! The layers of a configuration: flag over environment over file over default.

use std::fmt;
use std::path::Path;

use serde::Deserialize as _;
use toml::Value;
use toml::de::DeTable;

use super::Config;
use super::keys::{self, KEYS, Key, Kind, SECTIONS};

/// What every variable of the service begins with.
const PREFIX: &str = "STERNA_CONTROL_";
/// Variables of a node's `[control]` section, which has the same beginning.
const OF_THE_NODE: [&str; 4] = ["URL", "JOIN_TOKEN", "JOIN_TOKEN_FILE", "TOKEN"];

/// Everything that is wrong with a configuration, a sentence each; never nothing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConfigError {
    /// In the order of the layers.
    pub problems: Vec<String>,
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problems.join("\n"))
    }
}

/// Reads all layers without checking one value against another.
pub(super) fn read(
    file: Option<&Path>,
    env: impl Iterator<Item = (String, String)>,
    sets: &[String],
) -> Result<Config, ConfigError> {
    let mut layers = Layers::default();
    if let Some(path) = file {
        layers.file(path);
    }
    layers.environment(env);
    layers.flags(sets);
    layers.finish()
}

#[derive(Default)]
struct Layers {
    table: toml::Table,
    problems: Vec<String>,
}

impl Layers {
    fn file(&mut self, path: &Path) {
        match std::fs::read_to_string(path) {
            Ok(text) => self.text(path, &text),
            Err(error) => self.problems.push(format!(
                "{}: cannot be read: {error}; check the path after --config and its permissions",
                path.display()
            )),
        }
    }

    fn text(&mut self, path: &Path, text: &str) {
        let at = |offset: usize| format!("{}:{}", path.display(), line_of(text, offset));
        let parsed = DeTable::parse(text)
            .and_then(|lines| Ok((lines, toml::from_str::<toml::Table>(text)?)));
        let (lines, mut values) = match parsed {
            Ok(parsed) => parsed,
            Err(error) => {
                let line = at(error.span().map_or(0, |span| span.start));
                let message = one_line(error.message());
                return self.problems.push(format!("{line}: not TOML: {message}"));
            }
        };
        for (section, entries) in lines.get_ref() {
            let line = at(section.span().start);
            let section = section.get_ref().as_ref();
            let known = SECTIONS.iter().any(|(name, _)| *name == section);
            let (Some(entries), true) = (entries.get_ref().as_table(), known) else {
                let sentence = format!(
                    "{line}: there is no section [{section}]; {}",
                    did_you_mean(section)
                );
                self.problems.push(sentence);
                continue;
            };
            let Some(Value::Table(values)) = values.get_mut(section) else {
                continue;
            };
            for name in entries.keys() {
                let line = at(name.span().start);
                let path = format!("{section}.{}", name.get_ref());
                match (keys::find(&path), values.remove(name.get_ref().as_ref())) {
                    (Some(key), Some(value)) => self.put(key, value, &line),
                    _ => self.unknown(&line, &path),
                }
            }
        }
    }

    fn environment(&mut self, variables: impl Iterator<Item = (String, String)>) {
        let mut ours: Vec<_> = variables
            .filter(|(name, _)| name.starts_with(PREFIX))
            .collect();
        ours.sort();
        for (name, text) in ours {
            let rest = &name[PREFIX.len()..];
            // Container platforms set such for a service that is called so.
            let is_link = ["SERVICE_", "PORT"]
                .iter()
                .any(|link| rest.starts_with(link));
            match KEYS.iter().find(|key| key.variable() == name) {
                Some(key) => self.spelled(key, &text, &name),
                None if OF_THE_NODE.contains(&rest) || is_link => {}
                None => {
                    let nearest = KEYS
                        .iter()
                        .map(Key::variable)
                        .min_by_key(|known| strsim::damerau_levenshtein(known, &name))
                        .unwrap_or_default();
                    self.problems
                        .push(format!("{name}: no such key; the nearest is {nearest}"));
                }
            }
        }
    }

    fn flags(&mut self, sets: &[String]) {
        for set in sets {
            let Some((path, text)) = set.split_once('=') else {
                let sentence = "write --set section.key=value, such as --set log.level=debug";
                self.problems.push(format!("--set {set}: {sentence}"));
                continue;
            };
            // The value may hold a password: the flag is named without it.
            let path = path.trim();
            let source = format!("--set {path}=…");
            match keys::find(path) {
                Some(key) => self.spelled(key, text, &source),
                None => self.unknown(&source, path),
            }
        }
    }

    fn finish(self) -> Result<Config, ConfigError> {
        if !self.problems.is_empty() {
            return Err(ConfigError {
                problems: self.problems,
            });
        }
        Config::deserialize(Value::Table(self.table)).map_err(|error| ConfigError {
            problems: vec![one_line(error.message())],
        })
    }

    fn spelled(&mut self, key: &'static Key, text: &str, source: &str) {
        let text = text.trim();
        let value = match key.kind {
            Kind::Number(..) => text.parse().map(Value::Integer).ok(),
            Kind::Flag => text.parse().map(Value::Boolean).ok(),
            Kind::Text | Kind::Path | Kind::Socket | Kind::Choice(_) => {
                Some(Value::String(unquoted(text).to_owned()))
            }
        };
        match value {
            Some(value) => self.put(key, value, source),
            None => self.wrong(source, key),
        }
    }

    fn put(&mut self, key: &'static Key, value: Value, source: &str) {
        let in_range = match (key.kind, &value) {
            (Kind::Number(min, max), Value::Integer(number)) => {
                u64::try_from(*number).is_ok_and(|number| (min..=max).contains(&number))
            }
            _ => true,
        };
        let alone = table(key.section(), table(key.name(), value.clone()).into());
        if !in_range {
            return self.wrong(source, key);
        }
        if let Err(error) = Config::deserialize(Value::Table(alone)) {
            let (message, form) = (one_line(error.message()), key.kind.form());
            let sentence = format!("{source}: {}: {message}; write {form}", key.path);
            return self.problems.push(sentence);
        }
        let section = self
            .table
            .entry(key.section())
            .or_insert_with(|| Value::Table(toml::Table::new()));
        if let Value::Table(section) = section {
            section.insert(key.name().to_owned(), value);
        }
    }

    fn wrong(&mut self, source: &str, key: &Key) {
        let form = key.kind.form();
        self.problems
            .push(format!("{source}: {}: write {form}", key.path));
    }

    fn unknown(&mut self, source: &str, path: &str) {
        self.problems
            .push(format!("{source}: no key {path}; {}", did_you_mean(path)));
    }
}

fn table(name: &str, value: Value) -> toml::Table {
    let mut table = toml::Table::new();
    table.insert(name.to_owned(), value);
    table
}

fn did_you_mean(path: &str) -> String {
    format!("the nearest is {}", keys::nearest(path).path)
}

fn unquoted(text: &str) -> &str {
    text.strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .unwrap_or(text)
}

fn line_of(text: &str, offset: usize) -> usize {
    let before = text.bytes().take(offset);
    1 + before.filter(|byte| *byte == b'\n').count()
}

fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}
