//! `sterna` alone: from nothing to real packets and a summary within ten seconds, and again.
#![forbid(unsafe_code)]

mod common;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use common::node::BINARY;
use common::ports::free_port;
use common::process::Process;
use common::{SOON, http, report, wait_for};
use rustix::process::Signal;

/// The promise of the README.
const SUMMARY_WITHIN: Duration = Duration::from_secs(10);

/// Starts the first look in `folder` on ports of its own; returns it with its admin port.
fn first_look(folder: &Path) -> (Process, u16) {
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
        let (mut process, admin_port) = first_look(folder.path());
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
        assert!(metrics.contains(&format!(":{admin_port}")), "{metrics:?}");
        for next_step in ["turnutils_uclient", "iceServers"] {
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
