//! `sterna control`: the control service, in the foreground, until a signal ends it.

use std::path::Path;

use serde_json::json;
use sterna_control::config::Config;
use sterna_control::{Control, store};
use sterna_daemon::config::{ConfigError, defaults_toml, environment};
use sterna_daemon::log;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

use crate::cli::{ConfigArgs, ControlArgs, ControlCommand};
use crate::config::{Findings, explain, print_json};
use crate::relay::runtime;
use crate::{Failure, say};

/// Does what `sterna control` was asked to.
pub(crate) fn run(args: &ControlArgs) -> Result<(), Failure> {
    match &args.command {
        None => serve(&args.source),
        Some(ControlCommand::Check { source, json }) => findings(source).report(*json),
        Some(ControlCommand::Defaults) => {
            say(&defaults_toml::<Config>());
            Ok(())
        }
        Some(ControlCommand::Explain { key }) => explain::<Config>(key.as_deref()),
        Some(ControlCommand::Migrate { source, check }) => migrate(source, *check),
        Some(ControlCommand::Backup { file, source, json }) => backup(file, source, *json),
    }
}

fn serve(source: &ConfigArgs) -> Result<(), Failure> {
    let config = load(source)?;
    log::init(&config.log).map_err(|error| Failure::Failed(error.to_string()))?;
    for warning in config.warnings() {
        warn!("{warning}");
    }
    // Each connection takes one.
    if let Err(error) = sterna_io::sockets::raise_descriptor_limit() {
        warn!(%error, "the limit of open files stays as it is");
    }
    runtime()?.block_on(async {
        let failed = |error: &dyn std::fmt::Display| Failure::Failed(error.to_string());
        let (mut terminate, mut interrupt) = (
            signal(SignalKind::terminate()).map_err(|error| failed(&error))?,
            signal(SignalKind::interrupt()).map_err(|error| failed(&error))?,
        );
        let control = Control::start(config)
            .await
            .map_err(|error| failed(&error))?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        info!("ending; a second signal ends at once");
        tokio::select! {
            () = control.stop() => Ok(()),
            _ = terminate.recv() => Err(Failure::Failed("ended at once".to_owned())),
            _ = interrupt.recv() => Err(Failure::Failed("ended at once".to_owned())),
        }
    })
}

fn load(source: &ConfigArgs) -> Result<Config, Failure> {
    read(source).map_err(|error| Failure::Usage(error.to_string()))
}

fn read(source: &ConfigArgs) -> Result<Config, ConfigError> {
    Config::load(source.config.as_deref(), environment(), &source.set)
}

fn findings(source: &ConfigArgs) -> Findings {
    match read(source) {
        Ok(config) => Findings {
            problems: Vec::new(),
            warnings: config.warnings(),
        },
        Err(error) => Findings::of(&error),
    }
}

/// Brings the database up to date without serving, or says what is pending.
fn migrate(source: &ConfigArgs, check: bool) -> Result<(), Failure> {
    let config = load(source)?;
    runtime()?.block_on(async {
        let failed = |error: store::OpenError| Failure::Failed(error.to_string());
        let of = config.store();
        let pending = store::pending_migrations(&of).await.map_err(failed)?;
        for migration in &pending {
            say(&format!("{:04} {}\n", migration.version, migration.name));
        }
        if pending.is_empty() {
            say("the database is up to date\n");
            return Ok(());
        }
        if check {
            return Err(Failure::Failed(format!(
                "{} pending; `sterna control migrate` or a start of the service applies them",
                pending.len()
            )));
        }
        store::open(&of).await.map_err(failed)?.close().await;
        say("applied\n");
        Ok(())
    })
}

/// Copies the embedded database, and says what else has to be kept.
fn backup(file: &Path, source: &ConfigArgs, as_json: bool) -> Result<(), Failure> {
    let config = load(source)?;
    let taken = runtime()?.block_on(store::backup(&config.store(), file));
    let taken = taken.map_err(|error| Failure::Failed(error.to_string()))?;
    if as_json {
        return print_json(&json!({
            "file": file,
            "bytes": taken.bytes,
            "database": taken.database,
            "key_file": taken.key_file,
        }));
    }
    say(&format!(
        "{}: {} bytes, as {} was just now\n\nThe secrets in it are encrypted with {}, which is not in it: keep a copy of that \
         file too, somewhere else. `sterna control backup --help` says how to restore.\n",
        file.display(),
        taken.bytes,
        taken.database.display(),
        taken.key_file.display(),
    ));
    Ok(())
}
