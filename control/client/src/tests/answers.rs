//! What is sent, and what becomes of each kind of answer.

use std::time::Duration;

use hyper::header::{HeaderValue, RETRY_AFTER};
use sterna_control_api::credentials::TicketRequest;
use sterna_control_api::device::RotateDeviceKey;
use sterna_control_api::node::{Heartbeat, ReportedState};
use sterna_control_api::problem::Code;
use sterna_control_api::signature::Freshness;
use sterna_control_api::{DeviceKey, NodeId, RelayKey};
use tokio::net::TcpListener;

use super::server::{NOW, Server, answer, key, options, problem};
use crate::limits::{ANSWER_BYTES_MAX, RETRY_AFTER_MAX};
use crate::{CallError, Caller, ConfigError, ControlClient, Filter, Options, Unreachable};

const JSON: &str = "application/json";
const HEARTBEAT_ANSWER: &str = r#"{"heartbeat_interval_s":5}"#;
const TICKET: &str = r#"{"ticket":"AAAA","id":"0000000000000001","expires":1}"#;

fn heartbeat() -> Heartbeat {
    Heartbeat {
        orders: 1,
        state: ReportedState::Ready,
        reachable: true,
        load: 0,
        allocations: 0,
        sessions: 0,
        dropped: 0,
        relayed_bytes: 0,
    }
}

fn rotation() -> RotateDeviceKey {
    RotateDeviceKey {
        device_key: DeviceKey([1; 32]),
        relay_key: RelayKey([2; 32]),
        rollback: false,
    }
}

#[tokio::test]
async fn a_nodes_calls_are_signed_over_what_arrives() {
    let server = Server::start(|_, _| answer(200, JSON, HEARTBEAT_ANSWER)).await;
    let client = server.client(Caller::Node(key()));
    let node = NodeId(key().verifying_key().to_bytes());
    client.heartbeat(&node, &heartbeat()).await.unwrap();
    client.heartbeat(&node, &heartbeat()).await.unwrap();
    for (number, asked) in (0..).zip(server.asked()) {
        assert_eq!(asked.path, format!("/api/v1/nodes/{node}/heartbeat"));
        let claims = asked.claims().unwrap();
        assert_eq!(claims.key, node.0);
        let counter = NOW * 1_000_000 + number;
        assert_eq!(claims.freshness, Freshness::Counter(counter));
    }
}

#[tokio::test]
async fn how_long_a_heartbeat_may_be_held_is_part_of_what_is_signed() {
    let server = Server::start(|_, _| answer(200, JSON, HEARTBEAT_ANSWER)).await;
    let client = server.client(Caller::Node(key()));
    let node = NodeId(key().verifying_key().to_bytes());
    let wait = Duration::from_millis(4500);
    client
        .heartbeat_held(&node, &heartbeat(), wait)
        .await
        .unwrap();
    let asked = &server.asked()[0];
    assert_eq!(asked.query, "wait_ms=4500");
    assert!(asked.claims().is_ok());
}

#[tokio::test]
async fn a_filter_is_part_of_what_is_signed() {
    let server = Server::start(|_, _| answer(200, JSON, r#"{"items":[],"next":"a"}"#)).await;
    let filter = Filter {
        limit: Some(2),
        q: Some("a&b".to_owned()),
        ..Filter::default()
    };
    let client = server.client(Caller::Device(key()));
    let page = client.nodes(&filter).await.unwrap();
    assert_eq!(page.next.as_deref(), Some("a"));
    let asked = &server.asked()[0];
    assert_eq!(
        (asked.path.as_str(), asked.query.as_str()),
        ("/api/v1/nodes", "limit=2&q=a%26b")
    );
    assert!(asked.claims().is_ok());
}

#[tokio::test]
async fn a_token_is_sent_alone_and_nobody_sends_nothing() {
    let server = Server::start(|_, _| answer(200, JSON, r#"{"items":[]}"#)).await;
    let client = server.client(Caller::Bearer("sterna-api-1.a.b".to_owned()));
    client.keys(&Filter::default()).await.unwrap();
    let nobody = client.with_caller(Caller::Anonymous);
    nobody.keys(&Filter::default()).await.unwrap();
    let asked = server.asked();
    assert_eq!(
        asked[0].header("authorization"),
        Some("Bearer sterna-api-1.a.b")
    );
    assert_eq!(asked[0].header("signature"), None);
    assert_eq!(asked[1].header("authorization"), None);
}

#[tokio::test]
async fn what_the_caller_has_already_is_not_sent_again() {
    let server = Server::start(|_, _| answer(304, JSON, "")).await;
    let client = server.client(Caller::Device(key()));
    assert_eq!(client.relay_map(Some(7)).await.unwrap(), None);
    assert_eq!(server.asked()[0].header("if-none-match"), Some("\"7\""));
}

#[tokio::test]
async fn a_refusal_says_what_and_when_to_come_back() {
    let server = Server::start(|before, _| {
        let mut refusal = problem(429, "too_many");
        let seconds = ["30", "99999999", "Tue, 20 Apr 2021 02:07:55 GMT"][before];
        refusal
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from_static(seconds));
        refusal
    })
    .await;
    let client = server.client(Caller::Device(key()));
    let mut refused = Vec::new();
    for _ in 0..3 {
        let error = client
            .relay_ticket(&TicketRequest::default())
            .await
            .unwrap_err();
        assert_eq!(error.code(), Some(Code::TooMany));
        assert_eq!(error.to_string(), "because (429)");
        assert!(error.is_passing());
        refused.push(error.retry_after());
    }
    assert_eq!(
        refused,
        [Some(Duration::from_secs(30)), Some(RETRY_AFTER_MAX), None]
    );
}

#[tokio::test]
async fn a_counter_that_was_seen_is_drawn_anew_once() {
    let server = Server::start(|before, _| match before {
        0 | 2 | 3 => problem(409, "replayed"),
        _ => answer(200, JSON, HEARTBEAT_ANSWER),
    })
    .await;
    let client = server.client(Caller::Node(key()));
    let node = NodeId(key().verifying_key().to_bytes());
    client.heartbeat(&node, &heartbeat()).await.unwrap();
    let counters: Vec<_> = server
        .asked()
        .iter()
        .map(|asked| asked.claims().unwrap().freshness)
        .collect();
    let ahead = (NOW + 120) * 1_000_000 + 1;
    assert_eq!(
        counters,
        [
            Freshness::Counter(NOW * 1_000_000),
            Freshness::Counter(ahead)
        ]
    );
    let error = client.heartbeat(&node, &heartbeat()).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::Replayed));
    assert_eq!(server.asked().len(), 4);
}

#[tokio::test]
async fn a_change_whose_nonce_was_seen_is_not_done_again() {
    let server = Server::start(|_, _| problem(409, "replayed")).await;
    let client = server.client(Caller::Device(key()));
    let error = client.rotate_device_key(&rotation()).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::Replayed));
    assert_eq!(server.asked().len(), 1);
    assert_eq!(
        server.asked()[0].claims().unwrap().freshness,
        Freshness::Nonce([7; 16])
    );
}

#[tokio::test]
async fn a_proxys_own_answer_is_not_taken_for_the_services() {
    let server = Server::start(|before, _| {
        let status = [502, 404, 404][before];
        let broken = before == 2;
        let kind = if broken {
            "application/problem+json"
        } else {
            "text/html"
        };
        answer(status, kind, "<html>")
    })
    .await;
    let client = server.client(Caller::Device(key()));
    for (code, passing) in [
        (Code::Unavailable, true),
        (Code::Unknown, false),
        (Code::Unknown, false),
    ] {
        let error = client.relay_map(None).await.unwrap_err();
        assert_eq!((error.code(), error.is_passing()), (Some(code), passing));
    }
}

// RFC 9457 §3.1: "If a member's value type does not match the specified type, the member MUST be ignored
// -- i.e., processing will continue as if the member had not been present." §3.2: "Clients consuming
// problem details MUST ignore any such extensions that they don't recognize".
#[tokio::test]
async fn members_of_another_type_or_unknown_are_as_if_they_were_not_there() {
    let server = Server::start(|before, _| {
        let body = match before {
            0 => {
                r#"{"type":7,"status":"409","code":"conflict","title":[],"detail":"taken","balance":30}"#
            }
            _ => r#"{"status":99999,"code":{"a":1},"title":"Odd","detail":null}"#,
        };
        answer(409, "application/problem+json", body)
    })
    .await;
    let client = server.client(Caller::Device(key()));
    for (code, title, detail) in [
        (Code::Conflict, "Conflict", "taken"),
        (
            Code::Unknown,
            "Odd",
            "something other than a control service has answered",
        ),
    ] {
        let CallError::Refused(refusal) = client.relay_map(None).await.unwrap_err() else {
            panic!("refused");
        };
        let problem = refusal.problem;
        assert_eq!((problem.status, problem.code), (409, code));
        assert_eq!((&*problem.title, &*problem.detail), (title, detail));
    }
}

#[tokio::test]
async fn an_answer_of_another_shape_or_without_end_is_refused() {
    let server = Server::start(|before, _| match before {
        0 => answer(200, JSON, "{}"),
        1 => answer(200, "text/html", "<html>"),
        2 => answer(204, JSON, ""),
        _ => answer(200, JSON, vec![b' '; ANSWER_BYTES_MAX + 1]),
    })
    .await;
    let client = server.client(Caller::Device(key()));
    for _ in 0..3 {
        let error = client
            .relay_ticket(&TicketRequest::default())
            .await
            .unwrap_err();
        assert!(matches!(error, CallError::Malformed(_)), "{error:?}");
    }
    let error = client
        .relay_ticket(&TicketRequest::default())
        .await
        .unwrap_err();
    assert!(matches!(error, CallError::TooLarge), "{error:?}");
}

#[tokio::test]
async fn nobody_there_and_no_answer_are_told_apart() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let hasty = Options {
        call_timeout: Duration::from_millis(50),
        ..options()
    };
    let client = ControlClient::new(&url, Caller::Anonymous, &hasty).unwrap();
    let error = client.ready().await.unwrap_err();
    assert!(
        matches!(error, CallError::Unreachable(Unreachable::Timeout)),
        "{error:?}"
    );
    drop(silent);
    let client = ControlClient::new(&url, Caller::Anonymous, &options()).unwrap();
    let error = client.ready().await.unwrap_err();
    assert!(
        error.is_passing() && error.to_string().contains("refused"),
        "{error}"
    );
}

#[tokio::test]
async fn calls_of_clones_share_a_counter() {
    let server = Server::start(|_, _| answer(200, JSON, TICKET)).await;
    let client = server.client(Caller::Device(key()));
    let clone = client.clone();
    drop(tokio::join!(client.relay_map(None), clone.relay_map(None)));
    let mut counters: Vec<_> = server
        .asked()
        .iter()
        .map(|asked| match asked.claims().unwrap().freshness {
            Freshness::Counter(counter) => counter,
            Freshness::Nonce(_) => panic!("a read has a counter"),
        })
        .collect();
    counters.sort_unstable();
    counters.dedup();
    assert_eq!(counters.len(), 2);
}

#[test]
fn an_address_without_tls_is_on_this_host_unless_somebody_says_so() {
    let make = |url: &str, insecure_http| {
        let options = Options {
            insecure_http,
            ..options()
        };
        ControlClient::new(url, Caller::Anonymous, &options)
    };
    for url in [
        "http://127.0.0.1:8478",
        "http://localhost/",
        "http://[::1]:8478",
        " http://127.0.0.2 ",
    ] {
        assert!(make(url, false).is_ok(), "{url}");
    }
    let refused = |url, insecure| make(url, insecure).unwrap_err();
    for url in [
        "http://control.example",
        "http://192.0.2.1",
        "http://localhost.example",
    ] {
        assert!(
            matches!(refused(url, false), ConfigError::Insecure(_)),
            "{url}"
        );
        assert!(make(url, true).is_ok(), "{url}");
    }
    for url in [
        "",
        "control.example",
        "ftp://control.example",
        "http://",
        "http://a@127.0.0.1",
        "/x",
    ] {
        assert!(matches!(refused(url, true), ConfigError::Url(_)), "{url}");
    }
    for url in ["http://127.0.0.1/api", "http://127.0.0.1/?a"] {
        assert!(matches!(refused(url, true), ConfigError::Path(_)), "{url}");
    }
    let broken = Caller::Bearer("two\nlines".to_owned());
    let made = ControlClient::new("http://127.0.0.1", broken, &options());
    assert!(matches!(made, Err(ConfigError::Token)));
}
