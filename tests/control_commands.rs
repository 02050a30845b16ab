//! The operator's commands against a control service that runs: tables, JSON, exit status, remedies.
#![forbid(unsafe_code)]

mod common;

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use common::node::BINARY;
use common::ports::free_port;
use common::process::Process;
use common::{SOON, http, wait_for};
use serde_json::Value;
use sterna_control_api::device::{NatReport, RegisterDevice};
use sterna_control_api::node::{Capacity, RegisterNode, Services};
use sterna_control_api::{DeviceIdentity, DeviceKey, NodeId, RelayKey, SigningKey};
use sterna_control_client::{Caller, ControlClient, Options};

/// A control service in a folder of its own, which the commands run in too: so they find its first
/// administrator's token.
struct Service {
    _process: Process,
    folder: tempfile::TempDir,
    url: String,
}

/// What a run left behind.
struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ran {
    fn json(&self) -> Value {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        serde_json::from_str(&self.stdout).expect("JSON")
    }
}

fn command() -> Command {
    let mut command = Command::new(BINARY);
    for (name, _) in
        std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("STERNA_"))
    {
        command.env_remove(name);
    }
    command
}

impl Service {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let addr = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let mut service = command();
        service
            .args(["control", "--set", &format!("control.listen=\"{addr}\"")])
            .current_dir(folder.path());
        let process = Process::start(&mut service).expect("sterna control");
        wait_for("the control service is ready", SOON, || {
            let answer = http::request(addr, "GET", "/readyz", "")?;
            (answer.status == 200).then_some(())
        });
        Self {
            _process: process,
            folder,
            url: format!("http://{addr}"),
        }
    }

    fn sterna(&self, arguments: &[&str]) -> Ran {
        self.sterna_with(arguments, &[])
    }

    fn sterna_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Ran {
        let mut command = command();
        command
            .args(arguments)
            .env("STERNA_CONTROL_URL", &self.url)
            .envs(environment.iter().copied())
            .current_dir(self.folder.path());
        self.ended(Process::start(&mut command).expect("the command"))
    }

    /// Runs a command that reads a password.
    fn sterna_reading(&self, arguments: &[&str], password: &str) -> Ran {
        let mut command = command();
        command
            .args(arguments)
            .env("STERNA_CONTROL_URL", &self.url)
            .current_dir(self.folder.path());
        let process = Process::start_with_input(&mut command, &format!("{password}\n"));
        self.ended(process.expect("the command"))
    }

    fn ended(&self, mut process: Process) -> Ran {
        let status = process.wait(Duration::from_secs(20));
        Ran {
            code: status.code(),
            stdout: process.stdout(),
            stderr: process.stderr(),
        }
    }

    /// Runs a command that must do what it was asked to, and returns its words.
    fn done(&self, arguments: &[&str]) -> String {
        let ran = self.sterna(arguments);
        assert_eq!(
            ran.code,
            Some(0),
            "{arguments:?}: {}{}",
            ran.stdout,
            ran.stderr
        );
        ran.stdout
    }

    /// Calls the service as a node or a device does.
    fn call<T>(&self, caller: Caller, work: impl AsyncFnOnce(ControlClient) -> T) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let client = ControlClient::new(&self.url, caller, &Options::default()).expect("a client");
        runtime.expect("a runtime").block_on(work(client))
    }

    fn register_node(&self, name: &str, seed: u8) -> NodeId {
        let made = self
            .sterna(&["token", "join", "--region", "eu", "--json"])
            .json();
        let key = SigningKey::from_seed(&[seed; 32]);
        let identity = NodeId(key.verifying_key().to_bytes());
        let node = RegisterNode {
            identity,
            noise_key: RelayKey([seed; 32]),
            name: name.to_owned(),
            region: "eu".to_owned(),
            version: "1.2.3".to_owned(),
            services: Services {
                stun: vec!["192.0.2.1:3478".parse().expect("an address")],
                ..Services::default()
            },
            capacity: Capacity {
                workers: 2,
                relay_ports: 100,
            },
        };
        let token = made["token"].as_str().expect("a token");
        let registered = self.call(Caller::Node(key), async |client| {
            client.register_node(&node, Some(token)).await
        });
        registered.expect("a registration");
        identity
    }
}

impl Service {
    /// Enrols a device of tenant a; its id.
    fn enrol_device(&self, seed: u8, name: &str) -> String {
        let made = self
            .sterna(&[
                "token", "enrol", "--tenant", "a", "--group", "1", "--tag", "office", "--json",
            ])
            .json();
        let key = SigningKey::from_seed(&[seed; 32]);
        let device = RegisterDevice {
            identity: DeviceIdentity(key.verifying_key().to_bytes()),
            device_key: DeviceKey([1; 32]),
            relay_key: RelayKey([2; 32]),
            name: name.to_owned(),
            platform: "linux".to_owned(),
            version: "1".to_owned(),
            nat: NatReport::default(),
        };
        let token = made["token"].as_str().expect("a key");
        let registered = self.call(Caller::Device(key), async |client| {
            client.register_device(&device, Some(token)).await
        });
        registered.expect("a registration").id.to_string()
    }
}

/// A seed whose public key, and with it the node's id, begins with a hyphen.
fn seed_of_a_hyphen() -> u8 {
    (0..=255)
        .find(|seed| {
            let key = SigningKey::from_seed(&[*seed; 32]).verifying_key();
            NodeId(key.to_bytes()).to_string().starts_with('-')
        })
        .expect("one of 64 begins with a hyphen")
}

#[test]
fn a_node_that_is_started_as_a_join_token_says_joins() {
    let service = Service::start();
    service.done(&["regions", "add", "eu", "--name", "Europe"]);
    let said = service.done(&["token", "join", "--region", "eu"]);
    let line = said
        .lines()
        .find_map(|line| line.strip_suffix("sterna relay"));
    let settings = line.expect("what to run on the node").split_whitespace();
    let mut node = command();
    node.envs(settings.map(|setting| setting.split_once('=').expect("NAME=VALUE")))
        .arg("relay")
        .args([
            "--set",
            &format!("turn.listen=[\"127.0.0.1:{}\"]", free_port()),
        ])
        .args(["--set", "turn.tls_listen=[]"])
        .args([
            "--set",
            &format!("admin.listen=\"127.0.0.1:{}\"", free_port()),
        ])
        .current_dir(service.folder.path());
    let mut node = Process::start(&mut node).expect("sterna relay");
    wait_for("the node is listed", SOON, || {
        assert!(node.ended().is_none(), "{}", node.written());
        let nodes = service.sterna(&["nodes", "list", "--json"]).json();
        (nodes[0]["region"] == "eu").then_some(())
    });
}

#[test]
fn a_node_is_listed_drained_capped_and_forgotten() {
    let service = Service::start();
    let said = service.done(&[
        "regions",
        "add",
        "eu",
        "--name",
        "Europe",
        "--location",
        "-33.9,151.2",
    ]);
    assert!(said.contains("sterna token join --region eu"), "{said}");
    assert!(service.done(&["nodes", "list"]).contains("no nodes"));
    let id = service.register_node("eu-1", 1);

    let table = service.done(&["nodes", "list", "--region", "eu"]);
    let row = table
        .lines()
        .find(|line| line.starts_with("eu-1"))
        .expect("its row");
    assert!(
        table.starts_with("NAME") && row.contains("unproved") && row.contains("1.2.3"),
        "{table}"
    );
    let listed = service.sterna(&["nodes", "list", "--json"]).json();
    assert_eq!(listed[0]["id"], id.to_string());
    let shown = service.done(&["nodes", "show", "eu-1"]);
    assert!(shown.contains("192.0.2.1:3478"), "{shown}");

    assert!(
        service
            .done(&["nodes", "drain", "eu-1"])
            .contains("is draining")
    );
    let node = service
        .sterna(&["nodes", "show", &id.to_string(), "--json"])
        .json();
    assert_eq!(node["desired"], "draining");
    service.done(&["nodes", "cordon", "eu-1"]);
    service.done(&["nodes", "activate", "eu-1"]);
    service.done(&["nodes", "limits", "eu-1", "--allocations", "7"]);
    let node = service
        .sterna(&["nodes", "limits", "eu-1", "--flow-sessions", "9", "--json"])
        .json();
    assert_eq!(
        (
            &node["limits"]["allocations_max"],
            &node["limits"]["flow_sessions_max"]
        ),
        (&7.into(), &9.into())
    );

    let kept = service.sterna(&["regions", "remove", "eu"]);
    assert_eq!(
        kept.code,
        Some(1),
        "a region that has a node stays: {}",
        kept.stdout
    );
    assert!(
        service
            .done(&["nodes", "forget", "eu-1"])
            .contains("forgotten")
    );
    let unknown = service.sterna(&["nodes", "show", "eu-1"]);
    assert_eq!(unknown.code, Some(1));
    assert!(
        unknown.stderr.contains("sterna nodes list"),
        "{}",
        unknown.stderr
    );

    let audit = service
        .sterna(&["audit", "--action", "node.", "--json"])
        .json();
    let actions: Vec<_> = audit
        .as_array()
        .expect("a list")
        .iter()
        .map(|entry| &entry["action"])
        .collect();
    assert!(actions.len() >= 6, "{actions:?}");
    let audit = service.done(&["audit", "--limit", "2"]);
    assert_eq!(
        audit.lines().count(),
        3,
        "a header and two entries: {audit}"
    );
}

#[test]
fn an_id_that_begins_with_a_hyphen_is_an_id() {
    let service = Service::start();
    service.done(&["regions", "add", "eu"]);
    let id = service
        .register_node("eu-1", seed_of_a_hyphen())
        .to_string();
    assert!(id.starts_with('-'));
    assert!(service.done(&["nodes", "show", &id]).contains("eu-1"));
    assert!(
        service
            .done(&["audit", "--subject", &id, "--limit", "1"])
            .lines()
            .count()
            >= 1
    );
}

#[test]
fn regions_are_added_changed_and_removed() {
    let service = Service::start();
    service.done(&["regions", "add", "ap", "--name", "Asia"]);
    let again = service.sterna(&["regions", "add", "ap"]);
    assert_eq!(again.code, Some(1), "a code is taken once");
    let set = service
        .sterna(&["regions", "set", "ap", "--weight", "200", "--json"])
        .json();
    assert_eq!(
        (&set["name"], &set["weight"]),
        (&"Asia".into(), &200.into())
    );
    let table = service.done(&["regions", "list"]);
    assert!(
        table
            .lines()
            .any(|line| line.starts_with("ap") && line.contains("200")),
        "{table}"
    );
    service.done(&["regions", "remove", "ap"]);
    assert!(!service.done(&["regions", "list"]).contains("Asia"));
}

#[test]
fn a_device_enrols_is_listed_and_revoked() {
    let service = Service::start();
    let id = service.enrol_device(9, "laptop");
    let table = service.done(&["devices", "list", "--tenant", "a"]);
    assert!(
        table.contains("laptop") && table.contains("offline"),
        "{table}"
    );
    let shown = service.done(&["devices", "show", "laptop"]);
    assert!(shown.contains("office") && shown.contains(&id), "{shown}");
    assert!(
        service
            .done(&["devices", "revoke", &id])
            .contains("is revoked")
    );
    let shown = service.sterna(&["devices", "show", &id, "--json"]).json();
    assert_eq!(shown["revoked"], true);
}

#[test]
fn tokens_are_made_listed_and_taken_back_and_roles_hold() {
    let service = Service::start();
    let made = service.done(&["token", "api", "--role", "auditor", "--note", "dashboard"]);
    let value = |name: &str| {
        let line = made.lines().find_map(|line| line.strip_prefix(name));
        line.expect("its line").trim().to_owned()
    };
    let (token, id) = (value("token "), value("id "));
    assert!(token.starts_with("sterna-api-1."), "{made}");

    let auditor = [("STERNA_CONTROL_TOKEN", token.as_str())];
    assert_eq!(
        service.sterna_with(&["nodes", "list"], &auditor).code,
        Some(0)
    );
    let refused = service.sterna_with(&["regions", "add", "eu"], &auditor);
    assert_eq!(refused.code, Some(1));
    assert!(
        refused
            .stderr
            .contains("STERNA_CONTROL_TOKEN may not do this"),
        "{}",
        refused.stderr
    );

    let listed = service.done(&["token", "list", "api"]);
    assert!(
        listed.contains("dashboard") && listed.contains("auditor"),
        "{listed}"
    );
    assert!(!listed.contains(&token));
    service.done(&["token", "revoke", &id]);
    assert!(service.done(&["token", "list"]).contains("revoked"));
    let gone = service.sterna_with(&["nodes", "list"], &auditor);
    assert_eq!(gone.code, Some(1));
    assert!(
        gone.stderr
            .contains("does not accept the token of STERNA_CONTROL_TOKEN"),
        "{}",
        gone.stderr
    );
}

#[test]
fn people_are_added_log_in_and_are_taken_away() {
    let service = Service::start();
    let password = "correct horse battery";
    assert!(service.done(&["users", "list"]).contains("nobody"));
    let short = service.sterna_reading(&["users", "add", "olga", "--role", "operator"], "short");
    assert_eq!(short.code, Some(1));
    assert!(short.stderr.contains("12"), "{}", short.stderr);
    let added = service.sterna_reading(&["users", "add", "olga", "--role", "operator"], password);
    assert!(
        added.stdout.contains("olga is operator"),
        "{}{}",
        added.stdout,
        added.stderr
    );
    let again = service.sterna_reading(&["users", "add", "olga", "--role", "operator"], password);
    assert_eq!(again.code, Some(1), "a name is taken once");

    // She logs in, and may what an operator may.
    let log_in = |password: &str| {
        service.sterna_reading(&["login", "olga", "--save", "session.token"], password)
    };
    let wrong = log_in("another password");
    assert_eq!(wrong.code, Some(1));
    assert!(
        wrong.stderr.contains("this name and password"),
        "{}",
        wrong.stderr
    );
    let begun = log_in(password);
    assert_eq!(begun.code, Some(0), "{}", begun.stderr);
    assert!(begun.stdout.contains("operator until"), "{}", begun.stdout);
    use std::os::unix::fs::PermissionsExt as _;
    let file = std::fs::metadata(service.folder.path().join("session.token"));
    let mode = file.expect("the session").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "nobody else reads it");
    let as_olga = |arguments: &[&str]| {
        service.sterna(&[arguments, &["--token-file", "session.token"]].concat())
    };
    assert_eq!(as_olga(&["regions", "add", "eu"]).code, Some(0));
    let refused = as_olga(&["users", "list"]);
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.stderr.contains("may not do this"),
        "{}",
        refused.stderr
    );
    let entries = service
        .sterna(&["audit", "--actor", "user:olga", "--json"])
        .json();
    let created = |entry: &Value| entry["action"] == "region.create";
    assert!(
        entries.as_array().expect("a list").iter().any(created),
        "{entries}"
    );
    let shown = service
        .sterna_reading(&["login", "olga", "--json"], password)
        .json();
    assert_eq!(shown["role"], "operator");

    // Another role counts at once; the end of a session, a new password, and her leave end what was.
    assert!(
        service
            .done(&["users", "role", "olga", "administrator"])
            .contains("administrator")
    );
    let users = as_olga(&["users", "list", "--json"]).json();
    assert_eq!(
        (&users[0]["name"], &users[0]["role"]),
        (&"olga".into(), &"administrator".into())
    );
    assert_eq!(as_olga(&["logout"]).code, Some(0));
    let ended = as_olga(&["nodes", "list"]);
    assert!(
        ended
            .stderr
            .contains("does not accept the token of session.token"),
        "{}",
        ended.stderr
    );
    assert_eq!(log_in(password).code, Some(0));
    let changed = service.sterna_reading(&["users", "password", "olga"], "another password");
    assert_eq!(changed.code, Some(0), "{}", changed.stderr);
    assert_eq!(as_olga(&["nodes", "list"]).code, Some(1));
    assert_eq!(log_in(password).code, Some(1));
    assert_eq!(log_in("another password").code, Some(0));
    let last = service.sterna(&["users", "remove", "olga"]);
    assert_eq!(
        last.code,
        Some(1),
        "the last administrator stays: {}",
        last.stdout
    );
    let ada = service.sterna_reading(
        &["users", "add", "ada", "--role", "administrator"],
        password,
    );
    assert_eq!(ada.code, Some(0), "{}", ada.stderr);
    assert!(
        service
            .done(&["users", "remove", "olga"])
            .contains("olga is gone")
    );
    assert_eq!(as_olga(&["nodes", "list"]).code, Some(1));
}

#[test]
fn tickets_devices_and_tenants_are_revoked() {
    let service = Service::start();
    let id = service.enrol_device(9, "laptop");
    let said = service.done(&[
        "revoke", "--ticket", "5f3a", "--ticket", "5f3b", "--device", "laptop",
    ]);
    assert!(said.contains("2 tickets, 1 device;"), "{said}");
    let shown = service.sterna(&["devices", "show", &id, "--json"]).json();
    assert_eq!(shown["revoked"], true);
    let revoked = service
        .sterna(&["revoke", "--tenant", "a", "--json"])
        .json();
    assert_eq!(revoked["tenants"][0], "000000000000000a");
    for (arguments, code) in [
        (&["revoke"][..], 2),
        (&["revoke", "--ticket", "nonsense"], 2),
        (&["revoke", "--device", "nobody"], 1),
    ] {
        let refused = service.sterna(arguments);
        assert_eq!(
            refused.code,
            Some(code),
            "{arguments:?}: {}",
            refused.stderr
        );
    }
    assert!(service.done(&["devices", "paths"]).contains("no paths"));
}

#[test]
fn keys_rotate_step_by_step() {
    let service = Service::start();
    let stages = || {
        let keys = service.sterna(&["keys", "list", "--json"]).json();
        let turn = keys
            .as_array()
            .expect("a list")
            .iter()
            .filter(|key| key["purpose"] == "turn");
        let mut stages: Vec<_> = turn
            .map(|key| key["stage"].as_str().expect("a stage").to_owned())
            .collect();
        stages.sort();
        stages
    };
    assert_eq!(stages(), ["current"]);
    assert!(
        service
            .done(&["keys", "rotate", "turn", "prepare"])
            .contains("next")
    );
    assert_eq!(stages(), ["current", "next"]);
    service.done(&["keys", "rotate", "turn", "promote", "--force"]);
    assert_eq!(stages(), ["current", "previous"]);
    service.done(&["keys", "rotate", "turn", "rollback"]);
    assert_eq!(stages(), ["current", "next"]);
    let wrong = service.sterna(&["keys", "rotate", "turn", "rollback"]);
    assert_eq!(
        wrong.code,
        Some(1),
        "nothing to go back to: {}",
        wrong.stdout
    );
}

#[test]
fn what_is_missing_is_said_with_its_remedy() {
    let service = Service::start();
    let dir = tempfile::tempdir().expect("a folder");
    let run = |arguments: &[&str]| {
        let mut command = command();
        command.args(arguments).current_dir(dir.path());
        let mut process = Process::start(&mut command).expect("the command");
        let code = process.wait(Duration::from_secs(20)).code();
        (code, process.stderr())
    };
    let nobody = format!("http://127.0.0.1:{}", free_port());
    let cases: [(&[&str], i32, &str); 7] = [
        (&["nodes", "list", "--url", &service.url], 1, "--token-file"),
        (&["nodes", "list", "--url", &nobody], 1, "sterna control"),
        (
            &["nodes", "list", "--url", "http://control.example"],
            2,
            "https://",
        ),
        (
            &["nodes", "list", "--url", "nonsense"],
            2,
            "https://control.example",
        ),
        (
            &["nodes", "list", "--token-file", "missing.token"],
            2,
            "missing.token",
        ),
        (&["nodes", "list", "--state", "asleep"], 2, "unproved"),
        (&["regions", "set", "eu"], 2, "--name"),
    ];
    for (arguments, expected, word) in cases {
        let (code, said) = run(arguments);
        assert_eq!(code, Some(expected), "{arguments:?}: {said}");
        assert!(said.contains(word), "{arguments:?}: {said}");
    }
    for command in [
        "nodes", "regions", "devices", "keys", "audit", "login", "logout", "users", "revoke",
    ] {
        let mut help = self::command();
        let mut process = Process::start(help.args([command, "--help"])).expect("the command");
        process.wait(Duration::from_secs(20));
        assert!(process.stdout().contains("Example:"), "{command}");
    }
}
