//! `sterna config …`: checks, defaults and explanations of the node's configuration.

use serde_json::json;
use sterna_daemon::config::{self as layered, ConfigError, Key, Layered};
use sterna_relay::config::Config;
use sterna_relay::tls;

use crate::cli::{ConfigArgs, ConfigCommand};
use crate::{Failure, say};

/// Does what `sterna config` was asked to.
pub(crate) fn run(command: ConfigCommand) -> Result<(), Failure> {
    match command {
        ConfigCommand::Check { source, json } => findings(&source).report(json),
        ConfigCommand::Defaults { json: false } => {
            say(&layered::defaults_toml::<Config>());
            Ok(())
        }
        ConfigCommand::Defaults { json: true } => print_json(&Config::default().redacted()),
        ConfigCommand::Explain { key, json: true } => keys_json(key.as_deref()),
        ConfigCommand::Explain { key, json: false } => explain::<Config>(key.as_deref()),
    }
}

/// Reads the configuration as the node would.
pub(crate) fn load(source: &ConfigArgs) -> Result<Config, ConfigError> {
    Config::load(
        source.config.as_deref(),
        layered::environment(),
        &source.set,
    )
}

/// Prints JSON for scripts.
pub(crate) fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    let text =
        serde_json::to_string_pretty(value).map_err(|error| Failure::Failed(error.to_string()))?;
    say(&format!("{text}\n"));
    Ok(())
}

/// What a check has found.
pub(crate) struct Findings {
    /// What keeps the process from starting.
    pub(crate) problems: Vec<String>,
    /// What it starts with all the same.
    pub(crate) warnings: Vec<String>,
}

impl Findings {
    /// A configuration that cannot be read.
    pub(crate) fn of(error: &ConfigError) -> Self {
        Self {
            problems: error.problems.iter().map(ToString::to_string).collect(),
            warnings: Vec::new(),
        }
    }

    /// Says what was found; problems are the command's failure.
    pub(crate) fn report(self, json: bool) -> Result<(), Failure> {
        let Self { problems, warnings } = self;
        if json {
            print_json(
                &json!({ "valid": problems.is_empty(), "problems": problems, "warnings": warnings }),
            )?;
        }
        if !problems.is_empty() {
            return Err(Failure::Usage(problems.join("\n")));
        }
        if !json {
            for warning in warnings {
                say(&format!("warning: {warning}\n"));
            }
            say("the configuration is valid\n");
        }
        Ok(())
    }
}

/// The keys of a path or a section, or all.
pub(crate) fn wanted_keys<C: Layered>(key: Option<&str>) -> Result<Vec<&'static Key>, Failure> {
    let is_wanted =
        |known: &&Key| key.is_none_or(|key| known.path == key || known.section() == key);
    let wanted: Vec<_> = C::TABLE.keys().filter(is_wanted).collect();
    if wanted.is_empty() {
        let key = key.unwrap_or_default();
        let nearest = C::TABLE.nearest(key).path;
        return Err(Failure::Usage(format!(
            "there is no key {key}; did you mean {nearest}?"
        )));
    }
    Ok(wanted)
}

/// Explains a key or those of a section; without one, all keys get a line each.
pub(crate) fn explain<C: Layered>(key: Option<&str>) -> Result<(), Failure> {
    if key.is_none() {
        say(&layered::overview::<C>());
        return Ok(());
    }
    for known in wanted_keys::<C>(key)? {
        say(&layered::explain::<C>(known.path).unwrap_or_default());
    }
    Ok(())
}

/// Problems and warnings, those of the certificate's files included.
fn findings(source: &ConfigArgs) -> Findings {
    let config = match load(source) {
        Ok(config) => config,
        Err(error) => return Findings::of(&error),
    };
    let (mut problems, mut warnings) = (Vec::new(), config.warnings());
    match tls::check(&config.tls) {
        Ok(warning) => warnings.extend(warning.map(str::to_owned)),
        Err(error) => problems.push(error.to_string()),
    }
    Findings { problems, warnings }
}

fn keys_json(key: Option<&str>) -> Result<(), Failure> {
    let keys: Vec<_> = wanted_keys::<Config>(key)?
        .into_iter()
        .map(|key| {
            json!({
                "key": key.path, "meaning": key.meaning, "unit": key.unit, "advice": key.advice,
                "reload": key.reload, "environment": Config::TABLE.variable(key),
            })
        })
        .collect();
    print_json(&keys)
}
