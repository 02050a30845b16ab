//! Who may relay, end to end: who brings an access token of a third party (RFC 7635), of coturn's or
//! of the command's making; and who may not any more, within a second.
#![forbid(unsafe_code)]

mod common;

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::machine::Machine;
use common::node::{BINARY, Node, PASSWORD, USER};
use common::tools::{Counted, EchoPeer, run_uclient, tool, uclient};
use common::{http, wait_for};
use sterna_stun::credentials::rest_password;
use sterna_stun::integrity::Key;
use sterna_turn::client::{AccessGrant, ClientConfig, ClientError, Credentials, Link};

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// The keys that coturn's client seals tokens with under `-J`; it cuts them to their length.
const COTURN_KEYS: &str = "auth.oauth_keys=[\
    { kid = \"north\", key = \"MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=\" }, \
    { kid = \"union\", key = \"MTIzNDU2Nzg5MDEyMzQ1Ng==\", algorithm = \"A128GCM\" }, \
    { kid = \"oldempire\", key = \"MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=\" }]";

/// coturn's client, if it is here, and a node with the keys that it has.
fn coturns_client(test: &str) -> Option<(PathBuf, Node)> {
    let client = tool(test, "turnutils_uclient", "coturn")?;
    Some((
        client,
        Node::start(&[COTURN_KEYS, "turn.rfc5766_channels=true"]),
    ))
}

fn tokens(node: &Node, result: &str) -> f64 {
    let label = format!("result=\"{result}\"");
    node.metric("turn_access_tokens_total", &[&label])
}

/// Its tokens are as they should be, for each of its keys. Its requests are not: it signs with the
/// first 16 bytes of a session key of 20, where RFC 7635 §5 has "the mac_key", and so gets no further.
#[test]
fn coturns_tokens_are_opened_and_its_requests_refused_for_their_mac() {
    let test = "coturns_tokens_are_opened_and_its_requests_refused_for_their_mac";
    let Some((client, node)) = coturns_client(test) else {
        return;
    };
    let arguments = ["-J", "-c", "-n", "1", "-e", "127.0.0.1", "-r", "9"];
    let ended = run_uclient(&client, &node, V4, node.port, &arguments);
    let said = ended.expect_err("an allocation");
    assert!(said.contains("Cannot complete Allocation"), "{said}");
    // It draws a key for each of its attempts.
    let refused = ["result=\"wrong_mac\""];
    node.wait_for_metric("turn_access_tokens_total", &refused, 20.0);
    for never in ["unknown_key", "malformed", "forged", "out_of_time"] {
        assert_eq!(tokens(&node, never), 0.0, "{never}");
    }
    node.stop();
}

#[test]
fn coturns_client_with_a_password_minds_no_keys() {
    let test = "coturns_client_with_a_password_minds_no_keys";
    let Some((client, node)) = coturns_client(test) else {
        return;
    };
    let Some(peer) = tool(test, "turnutils_peer", "coturn") else {
        return;
    };
    let peer = EchoPeer::start(&peer, V4);
    let (peer_addr, peer_port) = (peer.addr.to_string(), peer.port.to_string());
    let echo = ["-e", &peer_addr, "-r", &peer_port];
    let arguments = [&["-c", "-l", "172", "-m", "10", "-n", "50"][..], &echo].concat();
    let counted = uclient(&client, &node, V4, node.port, &arguments);
    let expected = Counted {
        sent: 500,
        received: 500,
        lost: 0,
        send_dropped: 0,
    };
    assert_eq!(counted, expected);
    assert_eq!(node.metric("turn_access_tokens_total", &[]), 0.0);
    node.stop();
}

/// A key of the node, and a token that the command seals with it.
const KEY: &str = "{ kid = \"2026-11\", key = \"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\" }";

fn grant(node: &Node) -> AccessGrant {
    let ran = Command::new(BINARY)
        .args(["token", "oauth", "--json", "--config"])
        .arg(node.config_file())
        .output()
        .expect("the command");
    assert!(
        ran.status.success(),
        "{}",
        String::from_utf8_lossy(&ran.stderr)
    );
    let answer: serde_json::Value = serde_json::from_slice(&ran.stdout).expect("JSON");
    assert_eq!(answer["token_type"], "pop");
    assert_eq!(answer["expires_in"], 3600);
    let bytes = |name: &str| {
        let text = answer[name].as_str().expect("a text");
        STANDARD.decode(text).expect("base64")
    };
    AccessGrant {
        kid: answer["kid"].as_str().expect("a text").to_owned(),
        token: bytes("access_token"),
        key: Key::new(&bytes("key")),
    }
}

fn by_token(node: &Node, link: Link) -> Machine {
    let config = ClientConfig {
        grant: Some(grant(node)),
        ..ClientConfig::new(link, None)
    };
    Machine::new(node.v4(), config)
}

fn by_password(node: &Node, link: Link, username: &str, password: &str) -> Machine {
    let credentials = Credentials {
        username: username.to_owned(),
        password: password.to_owned(),
    };
    Machine::new(node.v4(), ClientConfig::new(link, Some(credentials)))
}

fn by_secret(node: &Node, link: Link, user: &str, secret: &str) -> Machine {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    let username = format!("{}:{user}", now.as_secs() + 3600);
    let password = rest_password(secret.as_bytes(), &username);
    by_password(node, link, &username, &password)
}

/// Adds lines to `[auth]`.
fn with_auth(node: &Node, lines: &str) {
    node.edit_config(|text| text.replacen("[auth]\n", &format!("[auth]\n{lines}\n"), 1));
}

fn reload(node: &Node) {
    let answer = node.post("/reload", "");
    assert_eq!(answer.status, 200, "{}", answer.body);
}

/// A client that has its allocation, at the first attempt.
fn admitted(mut client: Machine) -> Machine {
    assert_eq!(client.allocate(), Ok(()));
    client
}

fn allocations(node: &Node) -> u64 {
    let page = node.get("/allocations").json();
    page["total"].as_u64().expect("a number")
}

/// Ends what the path names, and tells how many allocations that were.
fn delete(node: &Node, path: &str) -> u64 {
    let answer = http::request(node.admin, "DELETE", path, "").expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()["ended"].as_u64().expect("a number")
}

/// Waits until so many allocations are left, and checks that it took less than a second since
/// `began`.
fn left_within_a_second(node: &Node, began: Instant, left: u64) {
    wait_for(
        &format!("{left} allocations to be left"),
        common::SOON,
        || (allocations(node) == left).then_some(()),
    );
    let took = began.elapsed();
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[test]
fn a_token_of_the_command_makes_an_allocation() {
    // Tokens only: there is no password to fall back to.
    let node = Node::start(&[&format!("auth.oauth_keys=[{KEY}]"), "auth.users=[]"]);
    // The command reads the file.
    with_auth(&node, &format!("oauth_keys = [{KEY}]"));
    let mut by_password = by_password(&node, Link::Datagram, USER, PASSWORD);
    assert!(by_password.allocate().is_err());
    for link in [Link::Datagram, Link::Stream] {
        let mut client = by_token(&node, link);
        assert_eq!(client.allocate(), Ok(()));
        assert_eq!(client.refresh(), Ok(()));
    }
    let shown = node.get("/config").body;
    assert!(
        shown.contains("2026-11") && !shown.contains("AAEC"),
        "{shown}"
    );
    node.stop_now();
}

/// Each of what may be revoked has a session over UDP and one over TCP; taking one away ends its two
/// within a second and leaves the others.
fn what_is_revoked_ends_within_a_second(engine: &str) {
    let node = Node::start(&[&format!("node.engine={engine}"), "node.workers=2"]);
    with_auth(
        &node,
        &format!("secrets = [\"of-today\", \"of-yesterday\"]\noauth_keys = [{KEY}]"),
    );
    reload(&node);
    let links = [Link::Datagram, Link::Stream];
    let mut pairs: Vec<[Machine; 2]> = vec![
        links.map(|link| admitted(by_token(&node, link))),
        links.map(|link| admitted(by_secret(&node, link, "carol", "of-yesterday"))),
        links.map(|link| admitted(by_password(&node, link, USER, PASSWORD))),
        links.map(|link| admitted(by_secret(&node, link, "dave", "of-today"))),
        links.map(|link| admitted(by_secret(&node, link, "erin", "of-today"))),
    ];
    assert_eq!(allocations(&node), 10);

    let edits: [(&str, String, &str); 3] = [
        (
            "the key",
            format!("oauth_keys = [{KEY}]"),
            "oauth_keys = [{ kid = \"other\", key = \"HwECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\" }]",
        ),
        (
            "the secret",
            "secrets = [\"of-today\", \"of-yesterday\"]".to_owned(),
            "secrets = [\"of-today\"]",
        ),
        (
            "the user",
            format!("name = \"{USER}\""),
            "name = \"somebody\"",
        ),
    ];
    let mut left = 10;
    for (what, before, after) in edits {
        node.edit_config(|text| text.replacen(&before, after, 1));
        let began = Instant::now();
        reload(&node);
        left -= 2;
        left_within_a_second(&node, began, left);
        for client in &mut pairs.remove(0) {
            assert!(client.is_refused(), "{what}");
        }
    }
    let began = Instant::now();
    assert_eq!(delete(&node, "/users/dave/allocations"), 2);
    left_within_a_second(&node, began, 2);
    for client in &mut pairs.remove(0) {
        // His credentials are still good; his allocations are not.
        assert!(client.is_refused());
    }
    let page = node.get("/allocations").json();
    let id = page["allocations"][0]["id"].as_str().expect("a name");
    let began = Instant::now();
    assert_eq!(delete(&node, &format!("/allocations/{id}")), 1);
    left_within_a_second(&node, began, 1);
    let refused = pairs.remove(0).map(|mut client| client.is_refused());
    assert_eq!(refused.into_iter().filter(|refused| *refused).count(), 1);
    node.stop_now();
}

#[test]
fn what_is_revoked_ends_within_a_second_with_io_uring() {
    if sterna_io::probe::choose(sterna_io::probe::EngineChoice::Uring).is_err() {
        common::skip(
            "what_is_revoked_ends_within_a_second_with_io_uring",
            "the kernel forbids io_uring",
        );
        return;
    }
    what_is_revoked_ends_within_a_second("uring");
}

#[test]
fn what_is_revoked_ends_within_a_second_with_recvmmsg() {
    what_is_revoked_ends_within_a_second("mmsg");
}

/// Current, then next before current, then current as previous: nobody notices, static users neither.
#[test]
fn secrets_are_rolled_over_by_reloads_without_a_failure() {
    let node = Node::start(&[]);
    with_auth(&node, "secrets = [\"first\"]");
    reload(&node);
    let mut living = vec![
        admitted(by_secret(&node, Link::Datagram, "carol", "first")),
        admitted(by_secret(&node, Link::Stream, "carol", "first")),
        admitted(by_password(&node, Link::Datagram, USER, PASSWORD)),
    ];
    let lists = [
        ("[\"second\", \"first\"]", "second"),
        ("[\"third\", \"second\", \"first\"]", "third"),
        ("[\"third\", \"first\"]", "first"),
    ];
    let mut before = "secrets = [\"first\"]".to_owned();
    for (list, newest) in lists {
        let after = format!("secrets = {list}");
        // Who came with "second" is gone when it is taken away; those of "first" stay.
        living.retain_mut(|client| client.refresh().is_ok());
        node.edit_config(|text| text.replacen(&before, &after, 1));
        reload(&node);
        before = after;
        for client in &mut living[..3] {
            assert_eq!(client.refresh(), Ok(()), "{list}");
        }
        living.push(admitted({
            by_secret(&node, Link::Datagram, "frank", newest)
        }));
    }
    // The one that came with the second secret, and nobody else.
    let ended = ["reason=\"user_removed\""];
    node.wait_for_metric("turn_allocations_ended_total", &ended, 1.0);
    assert_eq!(node.metric("turn_allocations_ended_total", &ended), 1.0);
    node.stop_now();
}

/// A client each of several sockets and connections, so that every worker is asked.
#[test]
fn a_reload_is_in_force_at_every_worker_when_it_is_answered() {
    let node = Node::start(&["node.workers=3"]);
    let erin = "{ name = \"erin\", password = \"of-today\" },\n";
    for round in 0..10 {
        let is_known = round % 2 == 0;
        node.edit_config(|text| match is_known {
            true => text.replace("users = [\n", &format!("users = [\n{erin}")),
            false => text.replace(erin, ""),
        });
        let answer = node.post("/reload", "");
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(answer.json()["threads_behind"], 0, "{}", answer.body);
        for link in [Link::Datagram, Link::Stream] {
            for _ in 0..6 {
                let mut client = by_password(&node, link, "erin", "of-today");
                let expected = match is_known {
                    true => Ok(()),
                    false => Err(ClientError::Unauthorized),
                };
                assert_eq!(client.allocate(), expected, "round {round}");
            }
        }
    }
    node.stop_now();
}
