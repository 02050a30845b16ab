//! `sterna client flow ping --control`: a device that a control service tells where to go, and that
//! tells it where it is.
#![forbid(unsafe_code)]

mod common;
mod fleet;

use common::SOON;
use common::process::Process;
use fleet::{FleetNode, Service, sterna, until};
use sterna_control_api::node::NodeStatus;
use sterna_control_client::Filter;

#[tokio::test(flavor = "multi_thread")]
async fn devices_ping_each_other_by_name_and_the_service_knows_where_they_are() {
    let service = Service::start();
    let token = service.join_token("default").await;
    let _node = FleetNode::start(service.addr, "default", &token, "n1");
    until("the node to be ready", SOON, || async {
        let nodes = service.nodes().await;
        nodes.iter().any(|node| node.status == NodeStatus::Ready)
    })
    .await;
    let key = service.enrolment_key().await;
    let folder = tempfile::tempdir().expect("a folder");
    let ping = |name: &str, more: &[&str]| {
        let mut command = sterna();
        command
            .args(["client", "flow", "ping", "--control", &service.url])
            .args(["--enrol", &key, "--device", &format!("{name}.json")])
            .args(["--patience", "20"])
            .args(more)
            .current_dir(folder.path());
        Process::start(&mut command).expect("a device")
    };
    let answering = ping("a", &["--answer"]);
    let mut asking = ping("b", &["--peer", "a", "--count", "5", "--json"]);
    let status = asking.wait(3 * SOON);
    assert!(status.success(), "{}", asking.written());
    let report: serde_json::Value = serde_json::from_str(&asking.stdout()).expect("JSON");
    let rungs = report["rungs"].as_array().expect("rungs");
    assert_eq!(rungs.len(), 3, "{report}");
    for rung in rungs {
        assert!(rung["answered"].as_u64() > Some(0), "{report}");
    }
    // Both have said where they are at home, and the one that stays is online there.
    let devices = || async {
        let page = service.client.devices(&Filter::default()).await;
        page.expect("devices").items
    };
    until("both homes to be known", SOON, || async {
        let devices = devices().await;
        devices.len() == 2 && devices.iter().all(|device| device.home == "n1")
    })
    .await;
    let listed = service.sterna(&["devices", "list", "--state", "online"]);
    assert!(listed.contains("n1") && listed.contains("a "), "{listed}");
    drop(answering);
    // Who comes again is known by its keys, without the enrolment key.
    let mut again = sterna();
    again
        .args(["client", "flow", "ping", "--control", &service.url])
        .args(["--device", "b.json", "--peer", "nobody", "--patience", "1"])
        .current_dir(folder.path());
    let mut again = Process::start(&mut again).expect("a device");
    assert_eq!(again.wait(SOON).code(), Some(1));
    let said = again.stderr();
    assert!(
        said.contains("neither a public key nor a device") && said.contains("which are: a"),
        "{said}"
    );
}
