//! The `sterna` command: reads its arguments and hands over.

#![forbid(unsafe_code)]

mod cli;
mod client;
mod config;
mod control;
mod fleet;
mod relay;
mod token;
mod up;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use cli::{Cli, Command};

/// Exit status of a failure while doing what was asked.
const FAILED: u8 = 1;
/// Exit status of a wrong usage or configuration; clap's own.
const USAGE: u8 = 2;

/// Why the command ends, sorted by exit status.
enum Failure {
    /// Something went wrong on the way: status 1.
    Failed(String),
    /// The usage or the configuration is wrong: status 2.
    Usage(String),
}

/// Writes to standard output. Whoever reads it may have had enough (`sterna … | head`): that is no failure.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        None => up::run(&cli.up),
        Some(Command::Up(args)) => up::run(&args),
        Some(Command::Relay(args)) => relay::run(&args),
        Some(Command::Control(args)) => control::run(&args),
        Some(Command::Config(command)) => config::run(command),
        Some(Command::Token(command)) => token::run(&command),
        Some(Command::Client(command)) => client::run(&command),
        Some(Command::Nodes(command)) => fleet::nodes(&command),
        Some(Command::Regions(command)) => fleet::regions(&command),
        Some(Command::Devices(command)) => fleet::devices(&command),
        Some(Command::Keys(command)) => fleet::keys(&command),
        Some(Command::Audit(args)) => fleet::audit(&args),
        Some(Command::Login(args)) => fleet::login(&args),
        Some(Command::Logout(args)) => fleet::logout(&args),
        Some(Command::Users(command)) => fleet::users(&command),
        Some(Command::Revoke(args)) => fleet::revoke(&args),
        Some(Command::Bench(command)) => return command.run(),
    };
    let (status, message) = match done {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Failed(message)) => (FAILED, message),
        Err(Failure::Usage(message)) => (USAGE, message),
    };
    eprintln!("sterna: {message}");
    ExitCode::from(status)
}
