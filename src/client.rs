//! `sterna client …`: the device side, by hand.

mod account;
mod args;
mod device;
mod ping;
mod pipe;
mod stream;

pub(crate) use args::ClientCommand;

use self::args::FlowCommand;
use crate::Failure;

/// Does what `sterna client` was asked to.
pub(crate) fn run(command: &ClientCommand) -> Result<(), Failure> {
    let ClientCommand::Flow(command) = command;
    let runtime = crate::relay::runtime()?;
    let done = runtime.block_on(async {
        match command {
            FlowCommand::Ping(args) => ping::run(args).await,
            FlowCommand::Pipe(args) => pipe::run(args).await,
        }
    });
    // A thread that still reads a terminal is not waited for.
    runtime.shutdown_background();
    done
}
