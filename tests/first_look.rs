//! `sterna` alone: from nothing to real packets and a summary within ten seconds, and again.
#![forbid(unsafe_code)]

mod common;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use common::node::BINARY;
use common::ports::free_port;
use common::process::Process;
use common::{SOON, http, report, skip, wait_for};
use rustix::process::Signal;

/// The promise of the README.
const SUMMARY_WITHIN: Duration = Duration::from_secs(10);

/// The flow relay on ports of its own too, so that whoever looks at the ports of a first look that
/// was told nothing finds them as the machine left them.
fn flow_elsewhere() -> [String; 2] {
    ["quic", "wss"].map(|rung| {
        let port = free_port();
        format!("flow.{rung}_listen=[\"127.0.0.1:{port}\"]")
    })
}

/// Starts the first look in `folder`, STUN, TURN and the admin API on ports of its own, with these
/// settings; returns it with its admin port.
fn first_look(folder: &Path, settings: &[String]) -> (Process, u16) {
    let (port, tls_port, admin_port) = (free_port(), free_port(), free_port());
    let mut command = Command::new(BINARY);
    for (name, _) in
        std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("STERNA_"))
    {
        command.env_remove(name);
    }
    command
        .args(["--set", &format!("turn.listen=[\"127.0.0.1:{port}\"]")])
        .args([
            "--set",
            &format!("turn.tls_listen=[\"127.0.0.1:{tls_port}\"]"),
        ])
        .args(["--set", &format!("admin.listen=\"127.0.0.1:{admin_port}\"")])
        .args(settings.iter().flat_map(|setting| ["--set", setting]))
        .current_dir(folder);
    (Process::start(&mut command).expect("sterna"), admin_port)
}

/// The line of the summary that begins with this word, if it is there in full.
fn line(text: &str, word: &str) -> Option<String> {
    let ends = text.rfind('\n')?;
    let whole = text[..ends].lines().map(str::trim_start);
    whole
        .filter(|line| line.split([' ', '\t']).next() == Some(word))
        .map(str::to_owned)
        .next()
}

#[test]
fn sterna_alone_relays_real_packets_and_says_what_it_measured_twice_in_a_row() {
    let folder = tempfile::tempdir().expect("a folder");
    for round in 1..=2 {
        let began = Instant::now();
        let (mut process, admin_port) = first_look(folder.path(), &flow_elsewhere());
        let metrics = wait_for("the summary", SUMMARY_WITHIN, || {
            assert!(
                process.ended().is_none(),
                "it ended:\n{}",
                process.written()
            );
            line(&process.stdout(), "metrics")
        });
        report(&format!(
            "first look, round {round}: summary after {} ms",
            began.elapsed().as_millis()
        ));
        let text = process.stdout();
        for transport in ["udp", "tcp", "tls"] {
            let line = line(&text, transport)
                .unwrap_or_else(|| panic!("no line for {transport}:\n{text}"));
            for word in ["loss", "p50", "p99"] {
                assert!(line.contains(word), "{word} is missing in {line:?}");
            }
            assert!(
                line.contains("loss 0"),
                "a packet was lost on loopback: {line:?}"
            );
        }
        every_rung_and_every_pair_of_rungs_passed(&text);
        assert!(metrics.contains(&format!(":{admin_port}")), "{metrics:?}");
        its_node_is_one_of_a_fleet(&text, admin_port);
        for next_step in [
            "turnutils_uclient",
            "iceServers",
            "sterna nodes list",
            "sterna client flow ping",
        ] {
            assert!(
                text.contains(next_step),
                "{next_step} is missing in:\n{text}"
            );
        }
        // It stays up until Ctrl-C.
        let admin = ([127, 0, 0, 1], admin_port).into();
        assert_eq!(
            http::request(admin, "GET", "/healthz", "").map(|answer| answer.status),
            Some(200)
        );
        process.signal(Signal::INT);
        let status = process.wait(SOON);
        assert_eq!(status.code(), Some(0), "{}", process.written());
    }
}

/// The control service is where the summary says, and the node has registered with it.
fn its_node_is_one_of_a_fleet(text: &str, admin_port: u16) {
    let control = line(text, "control").expect("a line on the control service");
    let addr = control
        .rsplit("http://")
        .next()
        .and_then(|addr| addr.parse().ok());
    let ready = http::request(addr.expect("its address"), "GET", "/readyz", "");
    assert_eq!(ready.map(|answer| answer.status), Some(200));
    let admin = ([127, 0, 0, 1], admin_port).into();
    let link = http::request(admin, "GET", "/control", "")
        .expect("an answer")
        .json();
    assert_eq!(
        (&link["registered"], &link["reachable"]),
        (&true.into(), &true.into()),
        "{link}"
    );
}

/// The lines of the flow relay: one a rung, one for the pairs. Of single packets nothing is asked,
/// since the relay drops what waits too long while the machine does something else.
fn every_rung_and_every_pair_of_rungs_passed(text: &str) {
    for rung in ["udp", "quic", "wss"] {
        let line = flow_line(text, rung);
        for word in ["loss", "p50", "p99"] {
            assert!(line.contains(word), "{word} is missing in {line:?}");
        }
    }
    let pairs = flow_line(text, "pairs");
    assert!(pairs.contains("9 of 9 pairs"), "{text}");
}

fn flow_line<'a>(text: &'a str, of: &str) -> &'a str {
    let start = format!("flow {of} ");
    let found = text.lines().find(|line| line.starts_with(&start));
    found.unwrap_or_else(|| panic!("no line {start:?}:\n{text}"))
}

#[test]
fn a_port_that_is_taken_is_told_and_another_one_is_used() {
    let Ok(taken) = std::net::UdpSocket::bind(("127.0.0.1", 7443)) else {
        // Somebody else's, who may give it up at any time.
        return skip(
            "first_look: a port that is taken",
            "UDP port 7443 is in use here by others",
        );
    };
    let folder = tempfile::tempdir().expect("a folder");
    let (mut process, _admin) = first_look(folder.path(), &[]);
    let text = wait_for("the summary", SUMMARY_WITHIN, || {
        assert!(process.ended().is_none(), "{}", process.written());
        let text = process.stdout();
        line(&text, "metrics").is_some().then_some(text)
    });
    every_rung_and_every_pair_of_rungs_passed(&text);
    assert!(!flow_line(&text, "quic").contains(":7443"), "{text}");
    drop(taken);
    wait_for("the note", SOON, || {
        line(&process.stdout(), "note:").filter(|line| line.contains("7443"))
    });
    process.signal(Signal::INT);
    assert_eq!(process.wait(SOON).code(), Some(0), "{}", process.written());
}

#[test]
fn a_port_of_the_control_service_that_is_taken_is_told_and_another_one_is_used() {
    let Ok(taken) = std::net::TcpListener::bind(("127.0.0.1", 8478)) else {
        return skip(
            "first_look: a control port that is taken",
            "TCP port 8478 is in use here by others",
        );
    };
    let folder = tempfile::tempdir().expect("a folder");
    let (mut process, admin_port) = first_look(folder.path(), &flow_elsewhere());
    let text = wait_for("the summary", SUMMARY_WITHIN, || {
        assert!(process.ended().is_none(), "{}", process.written());
        let text = process.stdout();
        line(&text, "Ctrl-C").is_some().then_some(text)
    });
    drop(taken);
    let mut notes = text.lines().filter(|line| line.starts_with("note:"));
    assert!(notes.any(|note| note.contains("8478")), "{text}");
    its_node_is_one_of_a_fleet(&text, admin_port);
    process.signal(Signal::INT);
    assert_eq!(process.wait(SOON).code(), Some(0), "{}", process.written());
}
