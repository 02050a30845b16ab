//! `sterna client flow ping` and `pipe`, as two people at two terminals would use them.
#![forbid(unsafe_code)]

mod common;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use common::node::{BINARY, Node};
use common::ports::free_port;
use common::wait_for;
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(30);

/// A node with all three rungs, and a folder with what its devices need.
struct Stage {
    node: Node,
    folder: tempfile::TempDir,
}

impl Stage {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let key: Value = json_of(&mut sterna(&["token", "ticket-key", "--json"]));
        let text = |name: &str| key[name].as_str().expect("a text").to_owned();
        fs::write(folder.path().join("key"), text("secret")).expect("a file");
        let loopback = |port: u16| format!("[\"127.0.0.1:{port}\"]");
        let settings = [
            format!("flow.ticket_keys=[\"{}\"]", text("public")),
            format!("flow.quic_listen={}", loopback(free_port())),
            format!("flow.wss_listen={}", loopback(free_port())),
        ];
        let node = Node::start(&settings.each_ref().map(String::as_str));
        let stage = Self { node, folder };
        let mut describe = sterna(&["token", "relay-node", "--config"]);
        describe.arg(stage.node.config_file());
        for setting in &settings {
            describe.args(["--set", setting]);
        }
        let described = done(&mut describe);
        assert!(described.status.success(), "{described:?}");
        fs::write(stage.file("node.json"), described.stdout).expect("a file");
        stage.ticket("a", &[]);
        stage.ticket("b", &[]);
        stage
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes a device's ticket, with its secret, as NAME.json.
    fn ticket(&self, name: &str, more: &[&str]) {
        let fleet = if more.contains(&"--fleet") {
            [].as_slice()
        } else {
            &["--fleet", "sterna"]
        };
        let mut command = sterna(&["token", "ticket", "--group", "1"]);
        command.args(fleet);
        command.args(["--json", "--key-file"]).arg(self.file("key"));
        let made = done(command.args(more));
        assert!(made.status.success(), "{made:?}");
        fs::write(self.file(&format!("{name}.json")), made.stdout).expect("a file");
    }

    /// `sterna client flow VERB` as a device.
    fn device(&self, verb: &str, name: &str, more: &[&str]) -> Command {
        let mut command = sterna(&["client", "flow", verb, "--node"]);
        command.arg(self.file("node.json"));
        command
            .arg("--ticket")
            .arg(self.file(&format!("{name}.json")));
        command.args(more).current_dir(self.folder.path());
        command
    }
}

fn sterna(arguments: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("STERNA_") {
            command.env_remove(name);
        }
    }
    command.args(arguments).stdin(Stdio::null());
    command
}

fn done(command: &mut Command) -> Output {
    command.output().expect("the command")
}

fn json_of(command: &mut Command) -> Value {
    let output = done(command);
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// Ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn wait(running: &mut Running) -> i32 {
    let began = Instant::now();
    loop {
        if let Some(status) = running.0.try_wait().expect("a child") {
            return status.code().expect("a status");
        }
        assert!(began.elapsed() < PATIENCE, "it does not end");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_device_pings_another_over_every_rung_and_prints_percentiles() {
    let stage = Stage::start();
    let errors = File::create(stage.file("answer.log")).expect("a file");
    let answering = stage
        .device("ping", "b", &["--answer"])
        .stderr(errors)
        .spawn();
    let _answering = Running(answering.expect("the command"));
    let log = stage.file("answer.log");
    wait_for("the other device", PATIENCE, || {
        let said = fs::read_to_string(&log).ok()?;
        said.contains("answers over udp").then_some(())
    });
    let pings = ["--peer", "b.json", "--count", "5", "--interval", "0.02"];
    let report = json_of(stage.device("ping", "a", &pings).arg("--json"));
    let lines = report["rungs"].as_array().expect("lines");
    let rungs: Vec<_> = lines.iter().map(|line| line["rung"].as_str()).collect();
    assert_eq!(rungs, [Some("udp"), Some("quic"), Some("wss")], "{report}");
    for line in lines {
        assert!(line["answered"].as_u64() > Some(0), "{report}");
        let trip = &line["round_trip"];
        assert!(
            trip["p50_us"].as_f64() <= trip["p99_us"].as_f64(),
            "{report}"
        );
    }
    let race = ["--race", "--size", "1312"];
    let raced = done(stage.device("ping", "a", &pings).args(race));
    let text = String::from_utf8_lossy(&raced.stdout).into_owned();
    assert!(raced.status.success(), "{raced:?}");
    assert!(text.contains("udp") && text.contains("p99"), "{text}");
}

#[test]
fn two_ends_of_a_pipe_exchange_bytes_over_different_rungs() {
    let stage = Stage::start();
    let there: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    let back = b"so far so good\n".repeat(1000);
    fs::write(stage.file("there"), &there).expect("a file");
    fs::write(stage.file("back"), &back).expect("a file");
    let end = |name: &str, peer: &str, rung: &str, input: &str, output: &str| {
        let mut command = stage.device("pipe", name, &["--peer", peer, "--rung", rung]);
        let input = File::open(stage.file(input)).expect("a file");
        let output = File::create(stage.file(output)).expect("a file");
        Running(
            command
                .stdin(input)
                .stdout(output)
                .spawn()
                .expect("the command"),
        )
    };
    let mut one = end("a", "b.json", "udp", "there", "back.out");
    let mut two = end("b", "a.json", "wss", "back", "there.out");
    assert_eq!((wait(&mut one), wait(&mut two)), (0, 0));
    let read = |name: &str| fs::read(stage.file(name)).expect("a file");
    assert!(read("there.out") == there && read("back.out") == back);
}

#[test]
fn what_goes_wrong_is_said_with_a_remedy() {
    let stage = Stage::start();
    let said = |command: &mut Command, code: i32, words: &[&str]| {
        let output = done(command);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        for word in words {
            assert!(text.contains(word), "{word:?} is missing in {text}");
        }
    };
    let patience = ["--patience", "2"];
    // Nobody there.
    let mut absent = stage.device("ping", "a", &["--peer", "b.json", "--rung", "udp"]);
    said(absent.args(patience), 1, &["is not at this node"]);
    // No node: the port of a listener that is gone.
    let closed = format!("127.0.0.1:{}", free_port());
    let node: Value = read_json(&stage.file("node.json"));
    let key = node["noise_key"].as_str().expect("a key").to_owned();
    let mut nowhere = sterna(&[
        "client", "flow", "ping", "--peer", "b.json", "--ticket", "a.json",
    ]);
    nowhere.current_dir(stage.folder.path());
    nowhere
        .args(["--node-key", &key, "--wss", &closed])
        .args(patience);
    said(&mut nowhere, 1, &["cannot be reached", &closed, "refused"]);
    // An expired ticket.
    stage.ticket("old", &["--ttl", "1"]);
    let old: Value = read_json(&stage.file("old.json"));
    let expires = old["claims"]["expires"].as_u64().expect("a time");
    wait_for("the ticket's end", PATIENCE, || {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        (now.expect("a clock").as_secs() >= expires).then_some(())
    });
    let mut expired = stage.device("ping", "old", &["--peer", "b.json"]);
    said(&mut expired, 1, &["expired", "sterna token ticket"]);
    // A ticket of another fleet, which the node refuses.
    stage.ticket("far", &["--fleet", "elsewhere"]);
    let mut far = stage.device("ping", "far", &["--peer", "b.json", "--rung", "udp"]);
    said(far.args(patience), 1, &["refuses", "fleet"]);
    // Wrong usage: itself, and no node.
    let mut itself = stage.device("ping", "a", &["--peer", "a.json"]);
    said(&mut itself, 2, &["itself"]);
    let mut without = sterna(&[
        "client", "flow", "ping", "--peer", "b.json", "--ticket", "a.json",
    ]);
    said(without.current_dir(stage.folder.path()), 2, &["--node"]);
}

#[test]
fn a_key_that_begins_with_a_hyphen_is_a_key() {
    const KEY: &str = "-oX6bUchNnGpJ6rZhbLMmwEP8nj19ec3-e2SQhFMpgM";
    let stage = Stage::start();
    stage.ticket("hyphen", &["--relay-key", KEY, "--device-key", KEY]);
    let mut absent = stage.device("ping", "a", &["--peer", KEY, "--rung", "udp"]);
    let output = done(absent.args(["--patience", "1"]));
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("is not at this node"), "{text}");
}

fn read_json(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).expect("a file")).expect("JSON")
}
