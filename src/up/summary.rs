//! What the first look ends with: addresses, measurements, credentials and next steps.

use std::fmt::Write as _;
use std::net::SocketAddr;

use serde_json::json;
use sterna_bench::Credentials;
use sterna_bench::self_check::Report;
use sterna_relay::node::{Addresses, Node};

use super::first;
use super::first_look::FirstLook;
use super::fleet::Fleet;
use super::flow::FlowLook;
use crate::cli::UpArgs;
use crate::config::print_json;
use crate::{Failure, say};

/// Prints the summary, for people or for scripts.
pub(super) fn print(
    args: &UpArgs,
    look: &FirstLook,
    node: &Node,
    fleet: Option<&Fleet>,
    credentials: Option<&Credentials>,
    report: Option<&Report>,
    flow: &FlowLook,
) -> Result<(), Failure> {
    let addresses = node.addresses();
    if args.json {
        let credentials =
            credentials.map(|user| json!({ "username": user.username, "password": user.password }));
        return print_json(&json!({
            "udp": addresses.udp, "tcp": addresses.tcp, "tls": addresses.tls,
            "metrics": metrics(addresses), "certificate_sha256": node.certificate_sha256(),
            "credentials": credentials, "ice_servers": ice_servers(addresses, look),
            "self_check": report, "config": look.config_file, "flow": flow.to_json(look),
            "control": fleet.map(Fleet::to_json), "notes": notes(look, fleet),
        }));
    }
    say(&text(args, look, node, fleet, credentials, report, flow));
    Ok(())
}

fn text(
    args: &UpArgs,
    look: &FirstLook,
    node: &Node,
    fleet: Option<&Fleet>,
    credentials: Option<&Credentials>,
    report: Option<&Report>,
    flow: &FlowLook,
) -> String {
    let addresses = node.addresses();
    let mut text = String::new();
    let mut line = |words: &str| {
        let _ = writeln!(text, "{words}");
    };
    line(&format!(
        "Sterna {} is up: {}\n",
        env!("CARGO_PKG_VERSION"),
        node.describe()
    ));
    match report {
        Some(report) => {
            line(
                "self-check: each packet from a client through the node to an echo peer and back, byte for byte",
            );
            line(&format!("{report}"));
        }
        None => line(
            "self-check: left out, since its peer would be on this host and the policy refuses that to everybody",
        ),
    }
    flow.lines().iter().for_each(|words| line(words));
    line(&format!("metrics  {}\n", metrics(addresses)));
    notes(look, fleet)
        .iter()
        .for_each(|note| line(&format!("note: {note}\n")));
    if let Some(fleet) = fleet {
        fleet.lines().iter().for_each(|words| line(words));
    }
    if let Some(user) = credentials {
        line(&format!(
            "user      {}\npassword  {}",
            user.username, user.password
        ));
        line(&format!("config    {}\n", look.config_file.display()));
        line("Next");
        if let Some(udp) = first(&addresses.udp) {
            line(
                "  coturn's client, two of its own to each other (Debian: apt-get install coturn):",
            );
            line(&format!(
                "    turnutils_uclient -y -m 10 -n 100 -u {} -w {} -p {} {}",
                user.username,
                user.password,
                udp.port(),
                udp.ip()
            ));
        }
        line("  a browser, or anything else with WebRTC:");
        line(&format!(
            "    iceServers: [{{ urls: {}, username: {:?}, credential: {:?} }}]",
            json!(ice_servers(addresses, look)),
            user.username,
            user.password
        ));
    }
    match fleet {
        Some(fleet) => fleet.next_steps(),
        None => flow.next_steps(look),
    }
    .iter()
    .for_each(|words| line(words));
    if args.public.is_none() {
        line("  serve others:");
        line("    sterna up --public ADDRESS      then sterna relay --config FILE, see README.md");
    }
    if !args.once {
        line("\nCtrl-C ends it.");
    }
    text
}

fn notes(look: &FirstLook, fleet: Option<&Fleet>) -> Vec<String> {
    let of_fleet = fleet.map_or(&[][..], |fleet| &fleet.notes);
    [&look.notes, of_fleet].concat()
}

fn metrics(addresses: &Addresses) -> String {
    format!("http://{}/metrics", addresses.admin)
}

/// The URIs of RFC 7065 that a browser takes.
fn ice_servers(addresses: &Addresses, look: &FirstLook) -> Vec<String> {
    let outside =
        |addr: SocketAddr| SocketAddr::new(look.external.unwrap_or(addr.ip()), addr.port());
    let uri = |scheme: &str, transport: &str, addr: SocketAddr| {
        format!("{scheme}:{}?transport={transport}", outside(addr))
    };
    let plain = [
        (first(&addresses.udp), "udp"),
        (first(&addresses.tcp), "tcp"),
    ];
    let mut uris: Vec<String> = plain
        .into_iter()
        .filter_map(|(addr, transport)| Some(uri("turn", transport, addr?)))
        .collect();
    uris.extend(first(&addresses.tls).map(|addr| uri("turns", "tcp", addr)));
    uris
}
