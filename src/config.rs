//! `sterna config …`: checks, defaults and explanations of the node's configuration.

use serde_json::json;
use sterna_relay::config::{self, Config, ConfigError};
use sterna_relay::tls;

use crate::cli::{ConfigArgs, ConfigCommand};
use crate::{Failure, say};

/// Does what `sterna config` was asked to.
pub(crate) fn run(command: ConfigCommand) -> Result<(), Failure> {
    match command {
        ConfigCommand::Check { source, json } => check(&source, json),
        ConfigCommand::Defaults { json: false } => {
            say(&config::defaults_toml());
            Ok(())
        }
        ConfigCommand::Defaults { json: true } => print_json(&Config::default().redacted()),
        ConfigCommand::Explain { key, json } => explain(key.as_deref(), json),
    }
}

/// Reads the configuration as the node would.
pub(crate) fn load(source: &ConfigArgs) -> Result<Config, ConfigError> {
    Config::load(source.config.as_deref(), config::environment(), &source.set)
}

/// Prints JSON for scripts.
pub(crate) fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    let text =
        serde_json::to_string_pretty(value).map_err(|error| Failure::Failed(error.to_string()))?;
    say(&format!("{text}\n"));
    Ok(())
}

fn check(source: &ConfigArgs, json: bool) -> Result<(), Failure> {
    let (problems, warnings) = findings(source);
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

/// Problems and warnings, those of the certificate's files included.
fn findings(source: &ConfigArgs) -> (Vec<String>, Vec<String>) {
    let config = match load(source) {
        Ok(config) => config,
        Err(error) => {
            let problems = error.problems.iter().map(ToString::to_string).collect();
            return (problems, Vec::new());
        }
    };
    let mut warnings = config.warnings();
    match tls::check(&config.tls) {
        Ok(warning) => warnings.extend(warning.map(str::to_owned)),
        Err(error) => return (vec![error.to_string()], warnings),
    }
    (Vec::new(), warnings)
}

fn explain(key: Option<&str>, json: bool) -> Result<(), Failure> {
    let wanted: Vec<_> = config::keys::KEYS
        .iter()
        .filter(|known| key.is_none_or(|key| known.path == key || known.section() == key))
        .collect();
    if wanted.is_empty() {
        let key = key.unwrap_or_default();
        let nearest = config::keys::nearest(key).path;
        return Err(Failure::Usage(format!(
            "there is no key {key}; did you mean {nearest}?"
        )));
    }
    if json {
        let keys: Vec<_> = wanted
            .iter()
            .map(|key| {
                json!({
                    "key": key.path, "meaning": key.meaning, "unit": key.unit, "advice": key.advice,
                    "reload": key.reload, "environment": key.variable(),
                })
            })
            .collect();
        return print_json(&keys);
    }
    if key.is_none() {
        say(&config::overview());
        return Ok(());
    }
    for known in wanted {
        say(&config::explain(known.path).unwrap_or_default());
    }
    Ok(())
}
