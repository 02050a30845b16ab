//! The admin listener on a real socket, in front of a node that only writes down what it is told.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, missing_docs)]

use std::error::Error;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sterna_io::{Description, EngineKind};
use sterna_relay::admin::{
    AdminError, AdminListener, AdminServer, Answer, FlowIdentity, NodeHandle, NodeState, Reloaded,
};
use sterna_relay::config::{Admin, Config, Secret, User};
use sterna_relay::flow::FlowViews;
use sterna_relay::metrics::NodeSnapshot;
use sterna_turn::{AllocationId, AllocationView, Client, Revoke, Traffic, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

struct Fake {
    config: Config,
    told: Mutex<Vec<String>>,
    state: Mutex<NodeState>,
    reload_fails: bool,
}

impl Fake {
    fn tell(&self, what: impl Into<String>) {
        self.told.lock().unwrap().push(what.into());
    }
}

fn id(index: u32) -> AllocationId {
    format!("01000001{index:08x}").parse().unwrap()
}

impl NodeHandle for Fake {
    fn state(&self) -> NodeState {
        *self.state.lock().unwrap()
    }

    fn config(&self) -> Arc<Config> {
        Arc::new(self.config.clone())
    }

    fn snapshot(&self) -> Answer<'_, NodeSnapshot> {
        let snapshot = NodeSnapshot {
            flow: None,
            state: self.state(),
            uptime: Duration::from_secs(1),
            engine: Description {
                engine: EngineKind::Mmsg,
                gro: false,
                gso: false,
                detail: "",
            },
            budget: Vec::new(),
            worker_count: 0,
            workers: Vec::new(),
            streams: sterna_relay::stream::StreamCounters::default(),
            peers: sterna_relay::stream::peer::PeerCounters::default(),
            usage: sterna_turn::Registry::new().usage(),
            ports_capacity: 1,
            certificate_not_after_unix_s: 1,
            acme: sterna_relay::tls::AcmeCounters::default(),
            control: sterna_relay::control_link::LinkFigures::default(),
        };
        Box::pin(async move { snapshot })
    }

    fn allocations(&self) -> Answer<'_, Vec<AllocationView>> {
        let view = |index| AllocationView {
            id: id(index),
            client: Client {
                transport: Transport::Tls,
                route: 1,
                addr: "198.51.100.7:4000".parse().unwrap(),
                server: "192.0.2.1:3478".parse().unwrap(),
            },
            account: Arc::from("alice"),
            relayed: "192.0.2.1:50000".parse().unwrap(),
            relayed_second: None,
            age: Duration::from_secs(3),
            expires_in: Duration::from_secs(597),
            permissions: 1,
            connections: None,
            channels: 2,
            to_peers: Traffic {
                packets: 3,
                bytes: 4,
            },
            to_client: Traffic {
                packets: 5,
                bytes: 6,
            },
        };
        Box::pin(async move { [4, 2, 5, 1, 3].map(view).to_vec() })
    }

    fn revoke(&self, what: Revoke) -> Answer<'_, usize> {
        let ended = match &what {
            Revoke::Allocation(of) => usize::from(*of == id(3)),
            Revoke::User(_) => 2,
        };
        self.tell(format!("{what:?}"));
        Box::pin(async move { ended })
    }

    fn flows(&self) -> Answer<'_, Option<(FlowIdentity, FlowViews)>> {
        let identity = FlowIdentity {
            node: sterna_control_api::NodeId([1; 32]),
            noise_key: sterna_control_api::RelayKey([2; 32]),
        };
        Box::pin(async move { Some((identity, FlowViews::default())) })
    }

    fn revoke_flows(&self, _what: sterna_flow::Revoke) -> Answer<'_, usize> {
        Box::pin(async { 0 })
    }

    fn drain(&self, deadline: Option<Duration>) -> Answer<'_, ()> {
        self.tell(format!("drain {deadline:?}"));
        *self.state.lock().unwrap() = NodeState::Draining;
        Box::pin(async {})
    }

    fn undrain(&self) -> Answer<'_, ()> {
        *self.state.lock().unwrap() = NodeState::Ready;
        Box::pin(async {})
    }

    fn reload(&self) -> Answer<'_, Result<Reloaded, Box<dyn Error + Send + Sync>>> {
        let answer = if self.reload_fails {
            Err("peers.deny: no range".into())
        } else {
            Ok(Reloaded {
                restart_needed: vec!["turn.listen"],
                threads_behind: 1,
            })
        };
        Box::pin(async move { answer })
    }
}

struct Bench {
    addr: SocketAddr,
    node: Arc<Fake>,
    server: AdminServer,
}

struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Reply {
    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

fn start(token: Option<&str>, change: impl FnOnce(&mut Fake)) -> Bench {
    let admin = Admin {
        listen: "127.0.0.1:0".parse().unwrap(),
        token: token.map(Secret::new),
    };
    let mut config = Config {
        admin,
        ..Config::default()
    };
    config.auth.users.push(User {
        name: "alice".to_owned(),
        password: Secret::new("wonderland"),
    });
    let mut node = Fake {
        config,
        told: Mutex::default(),
        state: Mutex::new(NodeState::Ready),
        reload_fails: false,
    };
    change(&mut node);
    let node = Arc::new(node);
    let listener = AdminListener::bind(&node.config.admin).unwrap();
    let addr = listener.local_addr();
    let server = listener.serve(Arc::<Fake>::clone(&node)).unwrap();
    Bench { addr, node, server }
}

impl Bench {
    async fn send(&self, request: &str) -> Reply {
        let exchange = async {
            let mut socket = TcpStream::connect(self.addr).await.unwrap();
            socket.write_all(request.as_bytes()).await.unwrap();
            let mut text = String::new();
            socket.read_to_string(&mut text).await.unwrap();
            text
        };
        let text = tokio::time::timeout(Duration::from_secs(20), exchange)
            .await
            .unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Reply {
            status,
            head: head.to_owned(),
            body: body.to_owned(),
        }
    }

    async fn request(&self, method: &str, path: &str, headers: &str) -> Reply {
        self.send(&format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{headers}\r\n",
            self.addr
        ))
        .await
    }

    async fn get(&self, path: &str) -> Reply {
        self.request("GET", path, "").await
    }

    async fn post(&self, path: &str, body: &str) -> Reply {
        let headers = format!(
            "Content-Type: application/json\r\nContent-Length: {}\r\n",
            body.len()
        );
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{headers}\r\n{body}",
            self.addr
        );
        self.send(&request).await
    }

    fn told(&self) -> Vec<String> {
        self.node.told.lock().unwrap().clone()
    }
}

#[tokio::test]
async fn health_readiness_and_metrics_need_no_token() {
    let bench = start(Some("0123456789abcdef"), |_| {});
    assert_eq!(bench.get("/healthz").await.status, 200);
    assert_eq!(bench.get("/readyz").await.json()["state"], "ready");
    let metrics = bench.get("/metrics").await;
    assert!(
        metrics
            .head
            .contains("content-type: text/plain; version=0.0.4"),
        "{}",
        metrics.head
    );
    assert!(metrics.body.contains("sterna_state{state=\"ready\"} 1"));
    assert!(bench.get("/openapi.json").await.json()["paths"]["/drain"]["post"].is_object());
}

#[tokio::test]
async fn administration_needs_the_token_where_one_is_set() {
    let bench = start(Some("0123456789abcdef"), |_| {});
    for (method, path) in [
        ("GET", "/allocations"),
        ("GET", "/config"),
        ("POST", "/reload"),
        ("POST", "/drain"),
        ("DELETE", "/drain"),
    ] {
        let refused = bench.request(method, path, "").await;
        assert_eq!(refused.status, 401, "{method} {path}");
        assert!(
            refused
                .head
                .to_lowercase()
                .contains("www-authenticate: bearer"),
            "{}",
            refused.head
        );
        assert_eq!(
            bench
                .request(method, path, "Authorization: Bearer wrong\r\n")
                .await
                .status,
            401
        );
    }
    assert!(bench.told().is_empty());
    assert_eq!(
        bench
            .request(
                "GET",
                "/config",
                "Authorization: Bearer 0123456789abcdef\r\n"
            )
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn beyond_loopback_there_is_no_listener_without_a_token() {
    let admin = Admin {
        listen: "0.0.0.0:0".parse().unwrap(),
        token: None,
    };
    let refused = AdminListener::bind(&admin).unwrap_err();
    assert!(matches!(refused, AdminError::NoToken(_)));
    assert!(refused.to_string().contains("there is no admin.token"));
}

#[tokio::test]
async fn a_taken_port_is_named_with_the_remedy() {
    let bench = start(None, |_| {});
    let said = AdminListener::bind(&Admin {
        listen: bench.addr,
        token: None,
    })
    .unwrap_err()
    .to_string();
    assert!(
        said.contains("in use") && said.contains("--set admin.listen"),
        "{said}"
    );
}

#[tokio::test]
async fn pages_of_other_sites_are_refused_on_loopback() {
    let bench = start(None, |_| {});
    let rebound = bench
        .send("GET /config HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n")
        .await;
    assert_eq!(rebound.status, 403);
    let posted = bench
        .request(
            "POST",
            "/reload",
            "Origin: https://evil.example\r\nContent-Length: 0\r\n",
        )
        .await;
    assert_eq!(posted.status, 403);
    assert_eq!(
        bench
            .request("POST", "/reload", "Content-Length: 0\r\n")
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn allocations_are_listed_page_by_page_in_the_order_of_their_names() {
    let bench = start(None, |_| {});
    let first = bench.get("/allocations?limit=2").await.json();
    assert_eq!(first["total"], 5);
    assert_eq!(first["allocations"][0]["id"], id(1).to_string());
    assert_eq!(first["allocations"][0]["transport"], "tls");
    assert_eq!(first["allocations"][0]["user"], "alice");
    assert_eq!(first["allocations"][0]["to_client"]["bytes"], 6);
    let mut after = first["next"].as_str().unwrap().to_owned();
    let mut seen = 2;
    loop {
        let page = bench
            .get(&format!("/allocations?limit=2&after={after}"))
            .await
            .json();
        seen += page["allocations"].as_array().unwrap().len();
        match page["next"].as_str() {
            Some(next) => next.clone_into(&mut after),
            None => break,
        }
    }
    assert_eq!(seen, 5);
    for wrong in ["limit=0", "limit=1001", "limit=x", "after=zz", "page=2"] {
        assert_eq!(
            bench.get(&format!("/allocations?{wrong}")).await.status,
            400,
            "{wrong}"
        );
    }
}

#[tokio::test]
async fn one_allocation_or_all_of_a_user_are_ended() {
    let bench = start(None, |_| {});
    let ended = bench
        .request("DELETE", &format!("/allocations/{}", id(3)), "")
        .await;
    assert_eq!(
        (ended.status, ended.json()["ended"].as_u64()),
        (200, Some(1))
    );
    assert_eq!(
        bench
            .request("DELETE", &format!("/allocations/{}", id(9)), "")
            .await
            .status,
        404
    );
    assert_eq!(
        bench
            .request("DELETE", "/allocations/nonsense", "")
            .await
            .status,
        400
    );
    let ended = bench
        .request("DELETE", "/users/org%3Aalice%2Fbob/allocations", "")
        .await;
    assert_eq!(ended.json()["ended"], 2);
    assert!(
        bench.told().contains(&"User(\"org:alice/bob\")".to_owned()),
        "{:?}",
        bench.told()
    );
}

#[tokio::test]
async fn a_drain_is_asked_for_with_and_without_a_deadline_and_called_off() {
    let bench = start(None, |_| {});
    assert_eq!(
        bench.post("/drain", r#"{"deadline_s": 7}"#).await.status,
        202
    );
    assert_eq!(bench.get("/readyz").await.status, 503);
    assert_eq!(bench.get("/healthz").await.status, 200);
    assert_eq!(
        bench.request("DELETE", "/drain", "").await.json()["state"],
        "ready"
    );
    assert_eq!(
        bench
            .request("POST", "/drain", "Content-Length: 0\r\n")
            .await
            .status,
        202
    );
    assert_eq!(bench.told(), ["drain Some(7s)", "drain None"]);
    for wrong in [r#"{"deadline": 7}"#, r#"{"deadline_s": "soon"}"#, "{"] {
        assert_eq!(bench.post("/drain", wrong).await.status, 400, "{wrong}");
    }
}

#[tokio::test]
async fn a_reload_says_what_waits_for_a_restart_or_what_is_wrong() {
    let bench = start(None, |_| {});
    let done = bench.post("/reload", "").await.json();
    assert_eq!(done["restart_needed"][0], "turn.listen");
    assert_eq!(done["threads_behind"], 1);
    let broken = start(None, |node| node.reload_fails = true);
    let refused = broken.post("/reload", "").await;
    assert_eq!(refused.status, 422);
    assert!(refused.head.contains("application/problem+json"));
    assert_eq!(refused.json()["detail"], "peers.deny: no range");
}

#[tokio::test]
async fn the_configuration_is_shown_without_its_secrets() {
    let bench = start(None, |_| {});
    let shown = bench.get("/config").await;
    assert!(!shown.body.contains("wonderland"));
    assert_eq!(shown.json()["auth"]["users"][0]["name"], "alice");
}

#[tokio::test]
async fn every_operation_of_the_document_is_served_and_nothing_else_is() {
    let bench = start(None, |_| {});
    let document = bench.get("/openapi.json").await.json();
    for (path, operations) in document["paths"].as_object().unwrap() {
        let path = path
            .replace("{id}", &id(3).to_string())
            .replace("{name}", "alice");
        for method in ["GET", "POST", "PUT", "DELETE"] {
            let reply = bench.request(method, &path, "Content-Length: 0\r\n").await;
            let documented = operations.get(method.to_lowercase()).is_some();
            assert_eq!(
                reply.status != 405 && reply.status != 404,
                documented,
                "{method} {path}: {}",
                reply.status
            );
        }
    }
    let unknown = bench.get("/console").await;
    assert_eq!(
        (unknown.status, unknown.json()["status"].as_u64()),
        (404, Some(404))
    );
}

#[tokio::test]
async fn a_stopped_listener_accepts_no_more() {
    let bench = start(None, |_| {});
    bench.server.stop().await;
    assert!(TcpStream::connect(bench.addr).await.is_err());
}
