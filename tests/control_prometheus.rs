//! A real Prometheus scrapes the control service and a node of its fleet.
#![forbid(unsafe_code)]

mod common;
mod fleet;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use common::process::Process;
use common::{SOON, http, report, tools, wait_for};
use fleet::{FleetNode, Service, until};
use serde_json::Value;
use sterna_control_api::node::NodeStatus;

/// A Prometheus of the test's own: its data in a folder, its page on a port.
struct Prometheus {
    _process: Process,
    addr: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    /// Starts one that scrapes these, by the names of their jobs.
    fn start(program: &Path, targets: &[(&str, SocketAddr)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut config =
            "global:\n  scrape_interval: 2s\n  scrape_timeout: 2s\nscrape_configs:\n".to_owned();
        for (job, addr) in targets {
            config += &format!(
                "  - job_name: {job}\n    static_configs:\n      - targets: [\"{addr}\"]\n"
            );
        }
        fs::write(folder.path().join("prometheus.yml"), config).expect("a configuration");
        let addr = SocketAddr::from(([127, 0, 0, 1], common::ports::free_port()));
        let mut command = Command::new(program);
        command
            .arg("--config.file=prometheus.yml")
            .arg("--storage.tsdb.path=data")
            .arg(format!("--web.listen-address={addr}"))
            .current_dir(folder.path());
        let mut process = Process::start(&mut command).expect("prometheus");
        wait_for("prometheus to be ready", SOON, || {
            assert!(process.ended().is_none(), "{}", process.written());
            let answer = http::request(addr, "GET", "/-/ready", "")?;
            (answer.status == 200).then_some(())
        });
        Self {
            _process: process,
            addr,
            _folder: folder,
        }
    }

    fn get(&self, path: &str) -> Value {
        let answer = http::request(self.addr, "GET", path, "").expect("an answer");
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.json()["data"].clone()
    }

    /// The health of each job's target, and what Prometheus says of one that is not up.
    fn targets(&self) -> Vec<(String, String, String)> {
        let targets = self.get("/api/v1/targets?state=active");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let targets = targets["activeTargets"].as_array().expect("a list").iter();
        let mut targets: Vec<_> = targets
            .map(|target| {
                let job = text(&target["labels"]["job"]);
                (job, text(&target["health"]), text(&target["lastError"]))
            })
            .collect();
        targets.sort();
        targets
    }

    /// The value of one series, where there is exactly one.
    fn value(&self, query: &str) -> Option<f64> {
        let found = self.get(&format!("/api/v1/query?query={query}"));
        let found = found["result"].as_array()?.clone();
        let [series] = &found[..] else { return None };
        series["value"][1].as_str()?.parse().ok()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_scrapes_the_service_and_a_node() {
    let test = "prometheus_scrapes_the_service_and_a_node";
    let Some(program) = tools::tool(test, "prometheus", "prometheus") else {
        return;
    };
    let service = Service::start();
    let token = service.join_token("default").await;
    let node = FleetNode::start(service.addr, "default", &token, "n1");
    until("the node to be ready", SOON, || async {
        let nodes = service.nodes().await;
        nodes.iter().any(|node| node.status == NodeStatus::Ready)
    })
    .await;
    let targets = [("control", service.addr), ("node", node.admin)];
    let prometheus = Prometheus::start(&program, &targets);
    let up = |job: &str| (job.to_owned(), "up".to_owned(), String::new());
    until("both targets to be up", SOON, || async {
        prometheus.targets() == [up("control"), up("node")]
    })
    .await;
    // What each says of itself, and of the other.
    for query in [
        "control_nodes{job=\"control\",status=\"ready\"}",
        "sterna_control_registered{job=\"node\"}",
    ] {
        let query: String = query.bytes().map(escaped).collect();
        until(&query, SOON, || async {
            prometheus.value(&query) == Some(1.0)
        })
        .await;
    }
    for job in ["control", "node"] {
        let query: String = format!("scrape_samples_scraped{{job=\"{job}\"}}")
            .bytes()
            .map(escaped)
            .collect();
        let samples = prometheus.value(&query).expect("a number");
        report(&format!("prometheus takes {samples} samples of the {job}"));
        assert!(samples > 50.0, "{job}: {samples}");
    }
}

/// A byte of a query, as a URL has it.
fn escaped(byte: u8) -> String {
    if byte.is_ascii_alphanumeric() || byte == b'_' {
        char::from(byte).to_string()
    } else {
        format!("%{byte:02X}")
    }
}
