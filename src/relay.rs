//! `sterna relay`: a node, in the foreground, until a signal ends it.

use sterna_daemon::config::environment;
use sterna_daemon::log;
use sterna_relay::config::Config;
use sterna_relay::node::{Node, Source};
use tokio::runtime::{Builder, Runtime};
use tracing::warn;

use crate::Failure;
use crate::cli::ConfigArgs;
use crate::config::load;

/// Runs a node with the given configuration.
pub(crate) fn run(args: &ConfigArgs) -> Result<(), Failure> {
    let loaded = load(args).map_err(|error| Failure::Usage(error.to_string()))?;
    let log = log::init(&loaded.log).map_err(|error| Failure::Failed(error.to_string()))?;
    for warning in loaded.warnings() {
        warn!("{warning}");
    }
    runtime()?.block_on(async {
        let node = Node::start(loaded, source(args), Some(log))
            .await
            .map_err(|error| Failure::Failed(error.to_string()))?;
        node.run()
            .await
            .map_err(|error| Failure::Failed(error.to_string()))
    })
}

/// The one runtime for everything but the workers' packets.
pub(crate) fn runtime() -> Result<Runtime, Failure> {
    Builder::new_multi_thread()
        .worker_threads(RUNTIME_THREADS)
        .thread_name("tokio")
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(format!("cannot start the runtime: {error}")))
}

/// Threads for streams, TLS and the admin side. Small: the cores belong to the workers.
const RUNTIME_THREADS: usize = 2;

/// Reads the same sources again, as a reload does.
pub(crate) fn source(args: &ConfigArgs) -> Source {
    let args = args.clone();
    Box::new(move || Config::load(args.config.as_deref(), environment(), &args.set))
}
