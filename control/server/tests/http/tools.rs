//! Software that we did not write, over the running service: schemathesis against its document,
//! promtool over its metrics. Both are skipped, visibly, where they are not there.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sterna_control_api::region::Region;

use crate::scene::{Place, Scene, beat};

/// Where `cargo xtask tools --install` puts it.
const SCHEMATHESIS: &str = "../../target/schemathesis/bin/schemathesis";

/// Requests that are made of each operation's schema; more in the environment's
/// `STERNA_SCHEMATHESIS_EXAMPLES`.
const EXAMPLES: &str = "10";

/// What an answer must be, whatever was asked, and that nobody is answered without the token.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_headers_conformance,response_schema_conformance,\
                      negative_data_rejection,use_after_free,allow_header_conformance,\
                      ignored_auth";

/// Who drains the only node gets no credentials any more, and a 503 with `retry-after` says so, as the
/// document does. Which calls may answer so is seen in the metrics.
const SETTINGS: &str =
    "[checks.not_a_server_error]\nexpected-statuses = [\"2xx\", \"3xx\", \"4xx\", \"503\"]\n";

fn skipped(what: &str, remedy: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {what} is missing; {remedy}");
}

/// A service that has something of each kind.
async fn furnished(place: &Place) -> Scene {
    let mut config = place.config();
    let limits = &mut config.limits;
    limits.requests_per_address_per_s = 100_000;
    limits.requests_per_caller_per_s = 100_000;
    limits.attempts_per_address_per_min = 1_000_000;
    limits.logins_per_name_per_min = 1_000_000;
    let scene = place.start_with(config).await;
    let (node, id, _) = scene.ready_node(1).await;
    node.heartbeat(&id, &beat(0, true)).await.unwrap();
    let region = Region {
        code: "eu".to_owned(),
        name: "Europe".to_owned(),
        location: None,
        weight: 1,
    };
    scene.admin.add_region(&region).await.unwrap();
    scene.device(1, &scene.enrolment_key(1, &[1]).await).await;
    scene
}

#[test]
fn no_answer_is_outside_the_document_and_none_is_a_failure_of_ours() {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join(SCHEMATHESIS);
    if !program.exists() {
        return skipped("schemathesis", "cargo xtask tools --install");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let place = Place::sqlite();
        let scene = furnished(&place).await;
        let token = std::fs::read_to_string(scene.control.admin_token_file()).unwrap();
        let url = scene.url.clone();
        let examples = std::env::var("STERNA_SCHEMATHESIS_EXAMPLES");
        let examples = examples.unwrap_or_else(|_| EXAMPLES.to_owned());
        let folder = tempfile::tempdir().unwrap();
        let settings = folder.path().join("schemathesis.toml");
        std::fs::write(&settings, SETTINGS).unwrap();
        let asked = tokio::task::spawn_blocking(move || {
            Command::new(program)
                .arg("--config-file")
                .arg(settings)
                .args(["run", &format!("{url}/openapi.json"), "--checks", CHECKS])
                .args(["--phases", "examples,coverage,fuzzing"])
                .args(["--max-examples", &examples, "--seed", "1", "--no-shrink"])
                .args(["--generation-database", "none", "--no-color"])
                .args([
                    "--header",
                    &format!("Authorization: Bearer {}", token.trim()),
                ])
                .stdin(Stdio::null())
                .output()
        });
        let output = asked.await.unwrap().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}\n{errors}");
        let failed = scene.metrics().await;
        let ours = failed
            .lines()
            .filter(|line| {
                line.contains("code=\"5") && !line.contains("/turn-credentials\",code=\"503\"")
            })
            .count();
        assert_eq!(ours, 0, "{failed}");
        scene.control.stop().await;
    });
}

#[test]
fn prometheus_finds_nothing_wrong_with_the_metrics() {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = std::env::split_paths(&path);
    let promtool: Option<PathBuf> =
        folders.find_map(|folder| Some(folder.join("promtool")).filter(|program| program.exists()));
    let Some(promtool) = promtool else {
        return skipped("promtool", "apt-get install prometheus");
    };
    crate::runtime().block_on(async {
        let place = Place::sqlite();
        let scene = furnished(&place).await;
        let page = scene.metrics().await;
        let mut child = Command::new(promtool)
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(page.as_bytes())
            .unwrap();
        let output = child.wait_with_output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(
            output.status.success() && said.trim().is_empty(),
            "{said}\n{page}"
        );
        scene.control.stop().await;
    });
}
