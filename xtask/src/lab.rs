//! `cargo xtask lab`: a small network with a NAT, in namespaces that end with it.
//!
//! ```text
//!   home 10.77.0.2 ── 10.77.0.1 router 198.51.100.1 ── 198.51.100.2 public
//!                                NAT
//! ```
//!
//! Everything happens in a network and a mount namespace of our own, so that nothing of it can be
//! seen from outside and nothing is left behind, however the lab ends. Where we are not root, a
//! user namespace makes us root inside.

mod nat;

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use nat::Nat;

use crate::process::{self, Failure, Outcome, failed, metadata, run as run_command};

pub(crate) const HELP: &str = "\
Builds a small network with a NAT in namespaces and opens a shell, or runs a command, in it.

    home 10.77.0.2 ── 10.77.0.1 router 198.51.100.1 ── 198.51.100.2 public

Usage: cargo xtask lab [--nat NAT] [--] [COMMAND ARGUMENTS…]

Options:
  --nat NAT   how the router translates (linux-home when nothing is said):
                open          routing only
                full-cone     any outside address reaches a mapped port
                restricted    only addresses that the inside has sent to
                linux-home    keeps the port; only address and port that the inside has sent to
                linux-host    the same until an early packet from outside re-maps it
                symmetric     another random port for each destination
                udp-blocked   UDP does not pass; TCP does

The command runs in home. `lab public COMMAND` and `lab router COMMAND` run one in the others, and
`sterna` is the last release build. The network lives as long as the command. It needs ip and nft
(cargo xtask tools), and root or user namespaces.

Examples:
  cargo xtask lab
  cargo xtask lab --nat symmetric -- sh -c 'lab public ss -lun; ping -c 1 198.51.100.2'
";

/// The router's address towards public.
const OUTSIDE: &str = "198.51.100.1";

/// What can be pasted into the shell; the folder goes with the lab.
const TRY: &str = "  \
lab public sterna relay --set 'turn.listen=[\"198.51.100.2:3478\"]' --set auth.users=u:lab-password \\
    --set node.data_dir=/run/lab/data &
  sterna bench turn --server 198.51.100.2:3478 --user u --password lab-password --mode pair --duration 2";

/// Set in the process that already lives in the lab's own namespaces.
const INSIDE: &str = "XTASK_LAB_INSIDE";

/// The shell function `lab` as a program, since the command need not be a shell.
const ENTER: &str = "#!/bin/sh\nhost=$1\nshift\nexec ip netns exec \"$host\" \"$@\"\n";

/// Hosts and the links between them; `ip -batch` reads it, as it does the next ones.
const LINKS: &str = "\
netns add home
netns add router
netns add public
link add lan netns router type veth peer name uplink netns home
link add wan netns router type veth peer name uplink netns public
";

/// What each host does with its ends.
const HOSTS: [(&str, &str); 3] = [
    (
        "router",
        "link set lo up\nlink set lan up\nlink set wan up\n\
         addr add 10.77.0.1/24 dev lan\naddr add 198.51.100.1/24 dev wan\n",
    ),
    (
        "public",
        "link set lo up\nlink set uplink up\naddr add 198.51.100.2/24 dev uplink\n",
    ),
    (
        "home",
        "link set lo up\nlink set uplink up\naddr add 10.77.0.2/24 dev uplink\n\
         route add default via 10.77.0.1\n",
    ),
];

pub(crate) fn run(arguments: &[String]) -> Outcome {
    let (nat, command) = parse(arguments)?;
    for tool in ["ip", "nft", "unshare"] {
        if process::which(tool).is_none() {
            return Err(failed(format!("{tool} is missing; see cargo xtask tools")));
        }
    }
    if std::env::var_os(INSIDE).is_none() {
        return enter_own_namespaces(arguments);
    }
    let folder = build(nat)?;
    open(&folder, nat, command)
}

fn parse(arguments: &[String]) -> Result<(Nat, &[String]), Failure> {
    let (nat, rest) = match arguments {
        [flag, name, rest @ ..] if flag == "--nat" => {
            let nat = Nat::named(name).ok_or_else(|| {
                Failure::Usage(format!("no NAT {name:?}; see cargo xtask lab --help"))
            })?;
            (nat, rest)
        }
        _ => (Nat::LinuxHome, arguments),
    };
    match rest {
        [dashes, command @ ..] if dashes == "--" => Ok((nat, command)),
        [first, ..] if first.starts_with('-') => Err(Failure::Usage(format!(
            "{first}: see cargo xtask lab --help"
        ))),
        command => Ok((nat, command)),
    }
}

/// Becomes the same task in a network and a mount namespace of its own.
fn enter_own_namespaces(arguments: &[String]) -> Outcome {
    let myself = std::env::current_exe().map_err(|error| failed(error.to_string()))?;
    let mut unshare = Command::new("unshare");
    if !process::is_root() {
        unshare.arg("--map-root-user");
    }
    unshare
        .args(["--net", "--mount", "--"])
        .arg(myself)
        .arg("lab")
        .args(arguments);
    let error = unshare.env(INSIDE, "1").exec();
    Err(failed(format!("unshare: {error}")))
}

/// Makes the hosts and the router's rules; returns the folder with the `lab` program.
fn build(nat: Nat) -> Result<String, Failure> {
    // `ip netns` keeps its names there; ours are seen by this mount namespace only.
    run_command(Command::new("mount").args(["-t", "tmpfs", "lab", "/run"]))?;
    feed(Command::new("ip").args(["-batch", "-"]), LINKS)?;
    for (host, orders) in HOSTS {
        feed(
            Command::new("ip").args(["-netns", host, "-batch", "-"]),
            orders,
        )?;
    }
    if nat == Nat::Open {
        // Without a NAT, the outside answers to the inside's own addresses.
        let route = ["ip", "route", "add", "10.77.0.0/24", "via", "198.51.100.1"];
        run_command(in_host("public").args(route))?;
    }
    run_command(in_host("router").args(["sysctl", "-qw", "net.ipv4.ip_forward=1"]))?;
    feed(
        in_host("router").args(["nft", "-f", "-"]),
        &nat.rules(OUTSIDE),
    )?;

    let folder = "/run/lab";
    let program = format!("{folder}/lab");
    let written = std::fs::create_dir(folder).and_then(|()| std::fs::write(&program, ENTER));
    written.map_err(|error| failed(format!("{program}: {error}")))?;
    run_command(Command::new("chmod").args(["+x", &program]))?;
    Ok(folder.to_owned())
}

/// Becomes the command, or a shell, in `home`.
fn open(folder: &str, nat: Nat, command: &[String]) -> Outcome {
    let release = metadata(false)?.target_directory.join("release");
    let path = std::env::var("PATH").unwrap_or_default();
    let mut home = in_host("home");
    home.env("PATH", format!("{folder}:{release}:{path}"))
        // The lab's outside is a documentation prefix, which a node refuses as a peer by itself.
        .env("STERNA_PEERS_ALLOW", "[\"198.51.100.0/24\"]");
    if command.is_empty() {
        eprintln!(
            "lab: home 10.77.0.2, router 198.51.100.1 ({}), public 198.51.100.2\n\
             lab: a node outside, and clients inside that reach each other through it:\n{TRY}",
            nat.name()
        );
        home.arg(std::env::var("SHELL").unwrap_or_else(|_| "sh".to_owned()));
    } else {
        home.args(command);
    }
    Err(failed(format!("ip netns exec home: {}", home.exec())))
}

fn in_host(host: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", host]);
    command
}

/// Runs a command that reads its orders from its standard input.
fn feed(command: &mut Command, orders: &str) -> Outcome {
    let mut child = command
        .stdin(Stdio::piped())
        .spawn()
        .map_err(|error| failed(format!("{:?}: {error}", command.get_program())))?;
    let written = child
        .stdin
        .take()
        .map_or(Ok(()), |mut stdin| stdin.write_all(orders.as_bytes()));
    let status = child.wait();
    match (written, status) {
        (Ok(()), Ok(status)) if status.success() => Ok(()),
        (_, status) => Err(failed(format!("{command:?}: {status:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn the_command_is_what_follows_the_options() {
        let arguments = words("--nat symmetric -- ping -c 1 198.51.100.2");
        let (nat, command) = parse(&arguments).expect("good usage");
        assert_eq!((nat, command.len()), (Nat::Symmetric, 4));
        assert!(matches!(
            parse(&words("--nat round")),
            Err(Failure::Usage(_))
        ));
        assert!(matches!(
            parse(&words("--nta open")),
            Err(Failure::Usage(_))
        ));
    }

    #[test]
    fn every_nat_of_the_help_has_its_rules() {
        for (name, nat) in Nat::ALL {
            assert!(
                HELP.contains(&format!("\n                {name} ")),
                "{name}"
            );
            assert_eq!(Nat::named(name), Some(nat));
            let rules = nat.rules(OUTSIDE);
            assert_eq!(rules.matches('{').count(), rules.matches('}').count());
        }
    }
}
