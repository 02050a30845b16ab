//! The command line: what can be asked for, and the words of `--help`.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// STUN and TURN relay node, for when peers cannot reach each other.
#[derive(Debug, Parser)]
#[command(
    name = "sterna",
    version,
    about,
    after_help = "Without a command, `sterna` starts one node on loopback, relays real packets through it, \
                  shows what it measured and stays up until Ctrl-C.\n\n\
                  Example:\n  sterna\n  sterna up --public 203.0.113.7\n  sterna relay --config /etc/sterna/sterna.toml"
)]
pub(crate) struct Cli {
    /// What to do; `up` when left out.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    /// The options of `up`, so that they work without naming it.
    #[command(flatten)]
    pub(crate) up: UpArgs,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Starts a first look: one node with generated credentials, and a self-check that relays real packets.
    #[command(
        after_help = "Example:\n  sterna up\n  sterna up --public 203.0.113.7 --data-dir /var/lib/sterna"
    )]
    Up(UpArgs),
    /// Runs a node.
    #[command(
        after_help = "Signals: SIGHUP reloads users, secrets, certificates, policy and limits; SIGTERM drains and \
                      ends; a second one ends now.\n\nExample:\n  sterna relay --config /etc/sterna/sterna.toml\n  \
                      sterna relay --set 'auth.users=[{name=\"alice\",password=\"…\"}]' --set node.engine=mmsg"
    )]
    Relay(ConfigArgs),
    /// Checks, shows and explains the configuration.
    #[command(
        subcommand,
        after_help = "Example:\n  sterna config explain turn.relay_ports"
    )]
    Config(ConfigCommand),
    /// Makes credentials.
    #[command(
        subcommand,
        after_help = "Example:\n  sterna token turn-user alice --config /etc/sterna/sterna.toml"
    )]
    Token(TokenCommand),
    /// Measures a STUN or TURN server: ours, or any other.
    #[command(
        subcommand,
        after_help = "Example:\n  sterna bench turn --server 127.0.0.1:3478 --user sterna --password … --allocations 100"
    )]
    Bench(sterna_bench::BenchCommand),
}

/// Options of `up`.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct UpArgs {
    /// Serve others too: an address of this host that they reach.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) public: Option<IpAddr>,
    /// Where generated credentials and the self-signed certificate are kept.
    #[arg(long, value_name = "DIR", default_value = "sterna-data")]
    pub(crate) data_dir: PathBuf,
    /// End after the summary instead of staying up.
    #[arg(long)]
    pub(crate) once: bool,
    /// Print the summary as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Set a configuration key, in TOML: `--set 'turn.listen=["127.0.0.1:4478"]'`. Repeatable.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
}

/// Where the configuration comes from.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ConfigArgs {
    /// The configuration file (TOML). Every key has a default; `sterna config defaults` prints them.
    #[arg(long, short, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Set a key, over file and environment: `--set section.key=value`. Repeatable.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
}

/// `sterna config …`
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Says whether a configuration is valid, and what is wrong where it is not.
    #[command(after_help = "Example:\n  sterna config check --config /etc/sterna/sterna.toml")]
    Check {
        /// Where the configuration comes from.
        #[command(flatten)]
        source: ConfigArgs,
        /// Print the result as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Prints a configuration file with every key at its default.
    #[command(after_help = "Example:\n  sterna config defaults > sterna.toml")]
    Defaults {
        /// Print the keys as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Says what a key, a section, or every key means: unit, default, safe range.
    #[command(after_help = "Example:\n  sterna config explain limits.allocations_per_user_max")]
    Explain {
        /// A key such as `turn.relay_ports`, or a section such as `limits`.
        key: Option<String>,
        /// Print as JSON.
        #[arg(long)]
        json: bool,
    },
}

/// `sterna token …`
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Makes a TURN user: time-limited where the configuration has a secret, else a static one.
    #[command(
        after_help = "Example:\n  sterna token turn-user alice --config /etc/sterna/sterna.toml --ttl 86400\n  \
                      sterna token turn-user alice --secret \"$SECRET\""
    )]
    TurnUser {
        /// The user's name; no colon.
        name: String,
        /// Where the secret comes from, when --secret is not given.
        #[command(flatten)]
        source: ConfigArgs,
        /// The shared secret of `auth.secrets` to sign with.
        #[arg(long, value_name = "SECRET")]
        secret: Option<String>,
        /// How long the credentials can be used to make an allocation, in seconds.
        #[arg(long, value_name = "SECONDS", default_value_t = 86_400, value_parser = clap::value_parser!(u32).range(1..))]
        ttl: u32,
        /// Print as JSON.
        #[arg(long)]
        json: bool,
    },
}
