//! The command line: help, wrong usage, the configuration's commands, machine-readable output.
#![forbid(unsafe_code)]

mod common;

use std::fs;
use std::process::Command;
use std::time::Duration;

use common::node::BINARY;
use common::process::Process;

/// What a run left behind.
struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// Runs the command to its end, without settings of whoever runs the tests.
fn sterna(arguments: &[&str]) -> Ran {
    sterna_with(arguments, &[])
}

fn sterna_with(arguments: &[&str], environment: &[(&str, &str)]) -> Ran {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(BINARY);
    for (name, _) in
        std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("STERNA_"))
    {
        command.env_remove(name);
    }
    command
        .args(arguments)
        .envs(environment.iter().copied())
        .current_dir(folder.path());
    let mut process = Process::start(&mut command).expect("the command");
    let status = process.wait(Duration::from_secs(20));
    Ran {
        code: status.code(),
        stdout: process.stdout(),
        stderr: process.stderr(),
    }
}

#[test]
fn every_command_has_a_help_with_an_example() {
    let commands: [&[&str]; 15] = [
        &[],
        &["up"],
        &["relay"],
        &["config"],
        &["config", "explain"],
        &["token"],
        &["token", "turn-user"],
        &["token", "ticket-key"],
        &["token", "ticket"],
        &["token", "relay-node"],
        &["client"],
        &["client", "flow", "ping"],
        &["client", "flow", "pipe"],
        &["bench"],
        &["bench", "flow"],
    ];
    for command in commands {
        let ran = sterna(&[command, &["--help"]].concat());
        assert_eq!(ran.code, Some(0), "{command:?}: {}", ran.stderr);
        assert!(ran.stdout.contains("Usage:"), "{command:?}: {}", ran.stdout);
        assert!(
            ran.stdout.contains("Example"),
            "{command:?}: {}",
            ran.stdout
        );
    }
}

#[test]
fn the_version_is_printed() {
    let ran = sterna(&["--version"]);
    assert_eq!(
        (ran.code, ran.stdout.trim()),
        (Some(0), concat!("sterna ", env!("CARGO_PKG_VERSION")))
    );
}

#[test]
fn wrong_usage_ends_with_status_2() {
    let wrong: [&[&str]; 6] = [
        &["rellay"],
        &["relay", "--confg", "x"],
        &["config"],
        &["config", "check", "--set", "no-equals-sign"],
        &["token", "turn-user"],
        &["token", "ticket", "--fleet", "x", "--group", "not-hex"],
    ];
    for arguments in wrong {
        let ran = sterna(arguments);
        assert_eq!(ran.code, Some(2), "{arguments:?}: {}", ran.stderr);
        assert!(!ran.stderr.is_empty(), "{arguments:?} says nothing");
    }
}

#[test]
fn an_unknown_key_is_an_error_that_names_the_nearest_one() {
    let users = "auth.users=[{name=\"alice\",password=\"secret\"}]";
    for command in [["config", "check"].as_slice(), &["relay"]] {
        let ran = sterna(
            &[
                command,
                &["--set", users, "--set", "turn.relay_port=50000-50010"],
            ]
            .concat(),
        );
        assert_eq!(ran.code, Some(2), "{command:?}: {}", ran.stderr);
        let said = ran.stdout + &ran.stderr;
        assert!(
            said.contains("turn.relay_port") && said.contains("turn.relay_ports"),
            "{said}"
        );
    }
    let ran = sterna_with(
        &["config", "check", "--set", users],
        &[("STERNA_TURN_REALMS", "x")],
    );
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    assert!((ran.stdout + &ran.stderr).contains("STERNA_TURN_REALM"));
}

/// A configuration file with one thing wrong, and what the message must name.
#[test]
fn what_is_wrong_in_a_file_is_said_with_its_line() {
    let users = "[auth]\nusers = [{ name = \"alice\", password = \"secret\" }]\n";
    let wrong = [
        ("[turn]\nlisen = [\"127.0.0.1:3478\"]\n", ["listen", ":4:"]),
        (
            "[peers]\nallow = [\"10.0.0.0/33\"]\n",
            ["10.0.0.0/33", ":4:"],
        ),
        (
            "[turn]\nrelay_ports = \"50000-40000\"\n",
            ["relay_ports", ":4:"],
        ),
        ("[turn]\nrelay_ports = \"0-0\"\n", ["relay_ports", ":4:"]),
        (
            "[tls]\ncertificate = \"cert.pem\"\n",
            ["tls.key", "certificate"],
        ),
        (
            "[turn]\nlisten = [\"127.0.0.1\"]\n",
            ["127.0.0.1:3478", ":4:"],
        ),
        ("[node]\nengine = \"urnig\"\n", ["uring", ":4:"]),
        ("[turn\n", ["TOML", ":3:"]),
    ];
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("node.toml");
    let path = file.to_str().expect("UTF-8");
    for (text, named) in wrong {
        fs::write(&file, format!("{users}{text}")).expect("a file");
        for command in [
            ["config", "check", "--config", path].as_slice(),
            &["relay", "--config", path],
        ] {
            let ran = sterna(command);
            assert_eq!(ran.code, Some(2), "{text}: {}", ran.stderr);
            let said = ran.stdout + &ran.stderr;
            for word in named {
                assert!(
                    said.contains(word),
                    "{text:?}: {word:?} is missing in: {said}"
                );
            }
        }
    }
    fs::write(&file, users).expect("a file");
    let ran = sterna(&["config", "check", "--config", path]);
    assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
}

#[test]
fn a_node_without_credentials_refuses_to_start_and_names_the_way_out() {
    let ran = sterna(&["relay"]);
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    let said = ran.stdout + &ran.stderr;
    assert!(
        said.contains("auth.users") && said.contains("auth.secrets"),
        "{said}"
    );
}

#[test]
fn the_defaults_are_a_valid_configuration_but_for_the_credentials() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("node.toml");
    let defaults = sterna(&["config", "defaults"]);
    assert_eq!(defaults.code, Some(0));
    fs::write(&file, &defaults.stdout).expect("a file");
    let path = file.to_str().expect("UTF-8");
    let users = "auth.users=[{name=\"alice\",password=\"secret\"}]";
    let ran = sterna(&["config", "check", "--config", path, "--set", users]);
    assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
}

#[test]
fn the_configuration_that_we_hand_out_is_valid() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/sterna.toml");
    let ran = sterna(&["config", "check", "--config", file]);
    assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
}

#[test]
fn explain_tells_meaning_default_and_environment() {
    let ran = sterna(&["config", "explain", "turn.relay_ports"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    for word in ["turn.relay_ports", "49152-65535", "STERNA_TURN_RELAY_PORTS"] {
        assert!(
            ran.stdout.contains(word),
            "{word} is missing in: {}",
            ran.stdout
        );
    }
    let ran = sterna(&["config", "explain", "turn.relay_prots"]);
    assert_eq!(ran.code, Some(2));
    assert!((ran.stdout + &ran.stderr).contains("turn.relay_ports"));
}

#[test]
fn json_output_is_json() {
    let users = "auth.users=[{name=\"alice\",password=\"secret\"}]";
    let printing: [&[&str]; 4] = [
        &["config", "defaults", "--json"],
        &["config", "explain", "turn.realm", "--json"],
        &["config", "check", "--json", "--set", users],
        &[
            "token",
            "turn-user",
            "alice",
            "--secret",
            "of-the-node",
            "--json",
        ],
    ];
    for arguments in printing {
        let ran = sterna(arguments);
        assert_eq!(ran.code, Some(0), "{arguments:?}: {}", ran.stderr);
        let parsed: Result<serde_json::Value, _> = serde_json::from_str(&ran.stdout);
        assert!(
            parsed.is_ok(),
            "{arguments:?}: {parsed:?} in {}",
            ran.stdout
        );
    }
}

#[test]
fn a_ticket_issued_offline_verifies_under_the_key_that_was_made_for_it() {
    use sterna_control_api::{Fleet, KeySet, Ticket, TicketError};
    let json = |arguments: &[&str]| -> serde_json::Value {
        let ran = sterna(arguments);
        assert_eq!(ran.code, Some(0), "{arguments:?}: {}", ran.stderr);
        serde_json::from_str(&ran.stdout).expect("--json prints JSON")
    };
    let key = json(&["token", "ticket-key", "--json"]);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("ticket.secret");
    fs::write(&file, key["secret"].as_str().expect("a secret")).expect("a file");
    let file = file.to_str().expect("a plain name");
    let issued = json(&[
        "token",
        "ticket",
        "--key-file",
        file,
        "--fleet",
        "example",
        "--group",
        "1f",
        "--ttl",
        "60",
        "--json",
    ]);
    let public = key["public"].as_str().expect("a public key");
    let keys = KeySet::new([public.parse().expect("a key")]).expect("one key");
    let bytes = Ticket::bytes_of_text(issued["ticket"].as_str().expect("a ticket")).expect("text");
    let now = issued["claims"]["not_before"].as_u64().expect("a time");
    let fleet = Fleet::new("example").expect("a name");
    let ticket = Ticket::verify(&bytes, &keys, &fleet, now, 0).expect("a valid ticket");
    assert_eq!(ticket.expires, now + 60);
    let secret: sterna_control_api::RelayKey = issued["relay_secret"]
        .as_str()
        .expect("a secret")
        .parse()
        .expect("32 bytes");
    assert_eq!(
        sterna_flow::Secret::new(secret.0).public(),
        ticket.relay_key
    );
    let late = Ticket::verify(&bytes, &keys, &fleet, now + 60, 0);
    assert_eq!(late, Err(TicketError::Expired));
}
