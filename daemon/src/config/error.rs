//! What is wrong with a configuration, said to the operator.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// Where a value came from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Source {
    /// A line of the configuration file; 0 is the file as a whole.
    File(PathBuf, usize),
    /// An environment variable.
    Environment(String),
    /// `--set`, as it was written.
    Set(String),
    /// Nowhere: the default stands.
    Default,
}

/// One thing to mend.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// Where it stands.
    pub source: Source,
    /// The key's path; empty when no key is to blame.
    pub key: String,
    /// What is wrong and what to write instead.
    pub sentence: String,
}

/// Everything that is wrong with a configuration, never nothing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConfigError {
    /// In the order of the layers.
    pub problems: Vec<Problem>,
}

/// What one value cannot show alone: the key to blame and the sentence.
pub type Fault = (&'static str, String);

/// Where each key that is set was set.
#[derive(Clone, Debug, Default)]
pub struct Origins(BTreeMap<&'static str, Source>);

impl Origins {
    /// All faults that a check has found, each with where its key was set.
    ///
    /// # Errors
    /// Where there are any.
    pub fn blame(&self, faults: impl IntoIterator<Item = Fault>) -> Result<(), ConfigError> {
        let problem = |(key, sentence): Fault| Problem {
            source: self.0.get(key).cloned().unwrap_or(Source::Default),
            key: key.to_owned(),
            sentence,
        };
        ConfigError::unless_empty(faults.into_iter().map(problem).collect())
    }

    pub(super) fn insert(&mut self, key: &'static str, source: Source) {
        self.0.insert(key, source);
    }
}

impl ConfigError {
    pub(super) fn unless_empty(problems: Vec<Problem>) -> Result<(), Self> {
        if problems.is_empty() {
            Ok(())
        } else {
            Err(Self { problems })
        }
    }
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Source::File(path, 0) => write!(f, "{}: ", path.display())?,
            Source::File(path, line) => write!(f, "{}:{line}: ", path.display())?,
            Source::Environment(variable) => write!(f, "{variable}: ")?,
            Source::Set(text) => write!(f, "--set {text}: ")?,
            Source::Default => {}
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.sentence)
    }
}
