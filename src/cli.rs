//! The command line: what can be asked for, and the words of `--help`.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use sterna_control_api::{DeviceId, DeviceKey, Fleet, GroupId, RelayKey, TenantId};

use crate::client::ClientCommand;
use crate::fleet::{
    ApiArgs, AuditArgs, DevicesCommand, EnrolArgs, JoinArgs, KeysCommand, LoginArgs, LogoutArgs,
    NodesCommand, RegionsCommand, RevocationArgs, RevokeArgs, TokensArgs, UsersCommand,
};

/// STUN and TURN relay node, for when peers cannot reach each other.
#[derive(Debug, Parser)]
#[command(
    name = "sterna",
    version,
    about,
    after_help = "Without a command, `sterna` starts a control service and a node on loopback, relays real packets through it, \
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
    /// Starts a first look: a control service, a node with generated credentials, and a self-check that
    /// relays real packets.
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
    /// Runs the control service: nodes register with it, devices find them through it.
    #[command(
        args_conflicts_with_subcommands = true,
        after_help = "Without a configuration it listens on 127.0.0.1:8478 with an embedded database in control-data. The \
                      first start writes an administrator's token to control-data/admin.token.\n\n\
                      Signals: SIGTERM ends after what runs; a second one ends now.\n\n\
                      Example:\n  sterna control --config /etc/sterna/control.toml\n  \
                      sterna control --set database.url=postgres://sterna@db/sterna"
    )]
    Control(ControlArgs),
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
    /// Is a device: reaches others through a relay.
    #[command(
        subcommand,
        after_help = "Example:\n  sterna client flow ping --node node.json --ticket a.json --peer b.json"
    )]
    Client(ClientCommand),
    /// Shows nodes, drains, cordons and activates them, through the control service.
    #[command(
        subcommand,
        after_help = "Example:\n  sterna nodes list\n  sterna nodes drain eu-1"
    )]
    Nodes(NodesCommand),
    /// Shows and changes regions.
    #[command(
        subcommand,
        after_help = "Example:\n  sterna regions add eu-central --name Frankfurt --location 50.1,8.7"
    )]
    Regions(RegionsCommand),
    /// Shows devices, and revokes them.
    #[command(
        subcommand,
        after_help = "Example:\n  sterna devices list --state online"
    )]
    Devices(DevicesCommand),
    /// Rotates the keys that sign tickets, relay maps and orders, and the TURN secrets.
    #[command(
        subcommand,
        after_help = "Example:\n  sterna keys list\n  sterna keys rotate turn prepare"
    )]
    Keys(KeysCommand),
    /// Shows who changed what.
    #[command(after_help = "Example:\n  sterna audit --action node. --limit 20")]
    Audit(AuditArgs),
    /// Begins a session with the control service, by name and password.
    #[command(
        after_help = "The password is asked for, or read from standard input.\n\nExample:\n  \
                      sterna login alice --save session.token\n  sterna nodes list --token-file session.token"
    )]
    Login(LoginArgs),
    /// Ends the session that a login began.
    #[command(after_help = "Example:\n  sterna logout --token-file session.token")]
    Logout(LogoutArgs),
    /// Shows, adds and removes the people who may log in, and gives them roles and passwords.
    #[command(
        subcommand,
        after_help = "Example:\n  sterna users add olga --role operator\n  sterna users list"
    )]
    Users(UsersCommand),
    /// Revokes tickets, devices and tenants: nodes end what runs by them, within a second.
    #[command(
        after_help = "What lets in is taken back with `sterna token revoke`.\n\nExample:\n  \
                      sterna revoke --device laptop\n  sterna revoke --ticket 5f3a --ticket 5f3b"
    )]
    Revoke(RevocationArgs),
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

/// `sterna control`
#[derive(Args, Debug)]
pub(crate) struct ControlArgs {
    /// What to do; serve when left out.
    #[command(subcommand)]
    pub(crate) command: Option<ControlCommand>,
    /// Where the configuration comes from, to serve.
    #[command(flatten)]
    pub(crate) source: ConfigArgs,
}

/// `sterna control …`
#[derive(Debug, Subcommand)]
pub(crate) enum ControlCommand {
    /// Says whether a configuration of the control service is valid, and what is wrong where it is not.
    #[command(after_help = "Example:\n  sterna control check --config /etc/sterna/control.toml")]
    Check {
        /// Where the configuration comes from.
        #[command(flatten)]
        source: ConfigArgs,
        /// Print the result as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Prints a configuration file of the control service with every key at its default.
    #[command(after_help = "Example:\n  sterna control defaults > control.toml")]
    Defaults,
    /// Says what a key, a section, or every key of the control service means.
    #[command(after_help = "Example:\n  sterna control explain database.url")]
    Explain {
        /// A key such as `control.listen`, or a section such as `limits`.
        key: Option<String>,
    },
    /// Brings the database up to date; every start of the service does so, too.
    #[command(
        after_help = "Example:\n  sterna control migrate --check --config /etc/sterna/control.toml"
    )]
    Migrate {
        /// Where the configuration comes from.
        #[command(flatten)]
        source: ConfigArgs,
        /// Only say what is pending, and fail where something is.
        #[arg(long)]
        check: bool,
    },
    /// Copies the embedded database into a new file, while the service runs or not.
    #[command(
        after_help = "The secrets in the database are encrypted with database.key_file, which is not in the copy and without \
                      which the copy is worth nothing: keep that file too, somewhere else.\n\n\
                      To restore: stop the service; put the copy in the place of control.db in control.data_dir and remove \
                      control.db-wal and control.db-shm; put control.key beside it, readable by the service's user only; \
                      start the service. Nodes and devices go on by themselves. What was revoked or taken back after the \
                      backup has to be so again.\n\n\
                      With PostgreSQL take the backup with pg_dump, restore it with pg_restore, and then, before the \
                      service starts, set its numbers ahead of those that nodes and devices have seen: \
                      UPDATE versions SET version = version + 1000000 WHERE name NOT LIKE 'place %'\n\n\
                      Example:\n  sterna control backup /backup/control.db --config /etc/sterna/control.toml"
    )]
    Backup {
        /// The file to make.
        file: PathBuf,
        /// Where the configuration comes from.
        #[command(flatten)]
        source: ConfigArgs,
        /// Print as JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Where the configuration comes from.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ConfigArgs {
    /// The configuration file (TOML). Every key has a default; `sterna config defaults` prints them, of
    /// the control service `sterna control defaults`.
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
    /// Makes an access token of third-party authorisation (RFC 7635), sealed with a key of the configuration.
    #[command(
        after_help = "Example:\n  sterna token oauth --config /etc/sterna/sterna.toml --ttl 3600"
    )]
    Oauth {
        /// The key's name; without it, the current key that began last.
        #[arg(long)]
        kid: Option<String>,
        /// Where the key comes from.
        #[command(flatten)]
        source: ConfigArgs,
        /// How long the token is good for, in seconds.
        #[arg(long, value_name = "SECONDS", default_value_t = 3600, value_parser = clap::value_parser!(u32).range(1..))]
        ttl: u32,
        /// Print as JSON, in the names of an authorisation server's answer.
        #[arg(long)]
        json: bool,
    },
    /// Makes a key of `auth.oauth_keys`, to be shared with an authorisation server.
    #[command(after_help = "Example:\n  sterna token oauth-key 2026-11")]
    OauthKey {
        /// The key's name, which clients will send as user name.
        kid: String,
        /// What it seals tokens with.
        #[arg(long, value_enum, default_value_t = OauthAlgorithm::A256gcm)]
        algorithm: OauthAlgorithm,
        /// Print as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Makes the pair of keys that signs relay tickets and lets nodes verify them.
    #[command(after_help = "Example:\n  sterna token ticket-key --json > ticket-key.json")]
    TicketKey {
        /// Print as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Signs a relay ticket for a device, for when no control service does.
    #[command(
        after_help = "Example:\n  sterna token ticket --key-file ticket.secret --fleet example --group 1\n  \
                      sterna token ticket --key-file ticket.secret --fleet example --group 1 \\\n    \
                      --device-key \"$(wg pubkey < private)\" --relay-key \"$RELAY_PUBLIC\" --ttl 600 --json"
    )]
    Ticket(TicketArgs),
    /// Makes a join token, which lets nodes join the fleet.
    #[command(
        after_help = "Example:\n  sterna token join --region eu-central --uses 3 --ttl 86400"
    )]
    Join(JoinArgs),
    /// Makes an enrolment key, which lets devices enrol.
    #[command(
        after_help = "Example:\n  sterna token enrol --tenant 1 --group 1 --uses 0 --ttl 86400"
    )]
    Enrol(EnrolArgs),
    /// Makes an API token, which lets a script call the control service.
    #[command(after_help = "Example:\n  sterna token api --role auditor --note dashboard")]
    Api(ApiArgs),
    /// Lists join tokens, enrolment keys and API tokens, without their secrets.
    #[command(after_help = "Example:\n  sterna token list join")]
    List(TokensArgs),
    /// Takes a join token, an enrolment key or an API token back.
    #[command(after_help = "Example:\n  sterna token revoke ID")]
    Revoke(RevokeArgs),
    /// Describes a node of the flow relay for devices: its keys, and where each rung is.
    #[command(
        after_help = "Run it on the node's host, as whoever may read node.data_dir.\n\nExample:\n  \
                      sterna token relay-node --config /etc/sterna/sterna.toml --address 203.0.113.7 > node.json"
    )]
    RelayNode {
        /// The node's configuration.
        #[command(flatten)]
        source: ConfigArgs,
        /// Where devices reach the node, in place of its own addresses.
        #[arg(long, value_name = "ADDRESS")]
        address: Option<IpAddr>,
        /// Print as JSON; it always does.
        #[arg(long)]
        json: bool,
    },
}

/// The AEADs of RFC 7635.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum OauthAlgorithm {
    /// AES-GCM with 128 bits.
    #[value(name = "A128GCM", alias = "a128gcm")]
    A128gcm,
    /// AES-GCM with 256 bits.
    #[value(name = "A256GCM", alias = "a256gcm")]
    A256gcm,
}

/// `sterna token ticket`
#[derive(Args, Debug)]
pub(crate) struct TicketArgs {
    /// The file with the signing key that `ticket-key` made.
    #[arg(long, value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
    /// The signing key itself; from the environment only, where other users do not see it.
    #[arg(
        long,
        env = "STERNA_TICKET_SECRET",
        hide = true,
        hide_env_values = true
    )]
    pub(crate) key: Option<String>,
    /// The fleet whose nodes the ticket is for (`flow.fleet` of their configuration).
    #[arg(long, value_name = "NAME")]
    pub(crate) fleet: Fleet,
    /// The device's WireGuard public key; a random one when left out.
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    pub(crate) device_key: Option<DeviceKey>,
    /// The device's relay key (X25519, public); when left out, a pair is made and its secret printed.
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    pub(crate) relay_key: Option<RelayKey>,
    /// The device's registration; a random one when left out.
    #[arg(long, value_name = "ID", allow_hyphen_values = true)]
    pub(crate) device_id: Option<DeviceId>,
    /// The device's tenant, in hexadecimal; 1 when left out. Devices of different tenants never meet.
    #[arg(long, value_name = "HEX")]
    pub(crate) tenant: Option<TenantId>,
    /// A group of the device, in hexadecimal; two devices may talk when they share one. Up to 8 times.
    #[arg(long = "group", value_name = "HEX", required = true)]
    pub(crate) groups: Vec<GroupId>,
    /// How long the ticket is valid, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 3600, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub(crate) ttl: u32,
    /// Payload bytes that the device may send in a second; 0 leaves it to the node.
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    pub(crate) bytes_per_s: u64,
    /// Packets that the device may send in a second; 0 leaves it to the node.
    #[arg(long, value_name = "PACKETS", default_value_t = 0)]
    pub(crate) packets_per_s: u32,
    /// Flows that the device may have at a time; 0 leaves it to the node.
    #[arg(long, value_name = "FLOWS", default_value_t = 0)]
    pub(crate) flows: u16,
    /// Print as JSON, with what the ticket says.
    #[arg(long)]
    pub(crate) json: bool,
}
