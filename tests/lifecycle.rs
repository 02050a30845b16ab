//! A node's life: signals, drain, reload under load, ports that are taken, engines that are forbidden.
#![forbid(unsafe_code)]

mod common;

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::client::{Client, Echo};
use common::node::{BINARY, Node, OTHER_PASSWORD, OTHER_USER, PASSWORD, USER};
use common::process::Process;
use common::tls::Certificate;
use common::tools::which;
use common::{SOON, skip, wait_for};
use rustix::process::Signal;
use sterna_stun::attr::ErrorCode;

const CHANNEL: u16 = 0x4000;

/// A client with an allocation and a channel to `peer`.
fn session(node: &Node, user: &str, password: &str, peer: SocketAddr) -> Client {
    let client = Client::new(node.v4(), user, password);
    client.allocate().expect("an allocation");
    client.bind_channel(CHANNEL, peer).expect("a channel");
    client
}

/// Sends `count` messages, a few at a time, and checks that each comes back once.
fn echo(client: &Client, from: u32, count: u32) {
    const AT_ONCE: u32 = 8;
    let mut number = from;
    while number < from + count {
        let until = (from + count).min(number + AT_ONCE);
        (number..until).for_each(|n| client.send(CHANNEL, &n.to_be_bytes()));
        let mut missing: Vec<u32> = (number..until).collect();
        while !missing.is_empty() {
            let (channel, data) = client
                .receive(SOON)
                .unwrap_or_else(|| panic!("messages {missing:?} were lost"));
            let answer = u32::from_be_bytes(data.try_into().expect("four bytes"));
            assert_eq!(channel, CHANNEL);
            let at = missing.iter().position(|n| *n == answer);
            missing.remove(at.unwrap_or_else(|| panic!("{answer} came twice or from nowhere")));
        }
        number = until;
    }
}

/// Waits until a newcomer is turned away.
fn wait_until_draining(node: &Node) {
    wait_for("new allocations to be refused", SOON, || {
        let newcomer = Client::new(node.v4(), OTHER_USER, OTHER_PASSWORD);
        match newcomer.allocate() {
            Ok(_) => {
                newcomer.refresh(0).expect("its end");
                None
            }
            Err(code) => {
                assert_eq!(code, ErrorCode::INSUFFICIENT_CAPACITY);
                Some(())
            }
        }
    });
}

#[test]
fn sigterm_refuses_newcomers_and_serves_the_others_until_they_end() {
    let mut node = Node::start(&[]);
    let peer = Echo::start(Ipv4Addr::LOCALHOST);
    let client = session(&node, USER, PASSWORD, peer.addr());
    echo(&client, 0, 100);

    node.process.signal(Signal::TERM);
    wait_until_draining(&node);
    assert_eq!(
        node.get("/readyz").status,
        503,
        "a draining node is not ready"
    );
    assert_eq!(node.get("/healthz").status, 200, "and healthy");
    echo(&client, 100, 1_000);
    assert!(
        client.refresh(600).expect("a Refresh") >= 600,
        "a living allocation goes on"
    );
    echo(&client, 1_100, 100);

    assert_eq!(client.refresh(0), Ok(0));
    let status = node.wait(SOON);
    assert_eq!(status.code(), Some(0), "nothing is left to wait for");
}

#[test]
fn what_is_left_at_the_drain_deadline_is_ended() {
    let mut node = Node::start(&["node.drain_deadline_s=2"]);
    let peer = Echo::start(Ipv4Addr::LOCALHOST);
    let client = session(&node, USER, PASSWORD, peer.addr());
    let began = Instant::now();
    node.process.signal(Signal::TERM);
    echo(&client, 0, 10);
    let status = node.wait(SOON);
    assert_eq!(status.code(), Some(0));
    assert!(
        began.elapsed() >= Duration::from_secs(2),
        "not before the deadline"
    );
}

#[test]
fn a_second_sigterm_ends_the_node_at_once() {
    let mut node = Node::start(&[]);
    let peer = Echo::start(Ipv4Addr::LOCALHOST);
    let client = session(&node, USER, PASSWORD, peer.addr());
    node.process.signal(Signal::TERM);
    wait_until_draining(&node);
    echo(&client, 0, 10);
    node.process.signal(Signal::TERM);
    // The deadline of the drain is ten minutes, so only the second signal can have done it.
    let status = node.wait(SOON);
    assert!(status.code().is_some(), "it ends by itself: {status}");
}

#[test]
fn sigint_drains_for_five_seconds() {
    let mut node = Node::start(&[]);
    let peer = Echo::start(Ipv4Addr::LOCALHOST);
    let client = session(&node, USER, PASSWORD, peer.addr());
    let began = Instant::now();
    node.process.signal(Signal::INT);
    wait_until_draining(&node);
    echo(&client, 0, 10);
    let status = node.wait(SOON);
    assert_eq!(status.code(), Some(0));
    let took = began.elapsed();
    assert!(
        took >= Duration::from_secs(4),
        "existing allocations had {took:?}"
    );
}

#[test]
fn sigint_ends_an_idle_node_at_once() {
    let mut node = Node::start(&[]);
    let began = Instant::now();
    node.process.signal(Signal::INT);
    assert_eq!(node.wait(SOON).code(), Some(0));
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "there is nobody to wait for"
    );
}

#[test]
fn a_drain_by_the_admin_api_can_be_taken_back() {
    let node = Node::start(&[]);
    assert!(node.post("/drain", "{\"deadline_s\": 600}").status < 300);
    wait_until_draining(&node);
    let undone = common::http::request(node.admin, "DELETE", "/drain", "").expect("an answer");
    assert!(undone.status < 300, "{undone:?}");
    wait_for("allocations to be made again", SOON, || {
        let client = Client::new(node.v4(), USER, PASSWORD);
        client
            .allocate()
            .is_ok()
            .then(|| client.refresh(0).expect("its end"))
    });
    assert_eq!(node.get("/readyz").status, 200);
    node.stop();
}

#[test]
fn a_reload_under_load_changes_users_certificate_and_policy_and_loses_nothing() {
    let node = Node::start(&[]);
    let (old_certificate, new_certificate) = (Certificate::new(), Certificate::new());
    let tls = SocketAddr::from((Ipv4Addr::LOCALHOST, node.tls_port));

    // A first reload, from the node's own certificate to one that we know.
    let (certificate, key) = old_certificate.install(node.folder());
    node.edit_config(|text| {
        text + &format!("[tls]\ncertificate = {certificate:?}\nkey = {key:?}\n")
    });
    assert!(node.post("/reload", "").status < 300);
    wait_for("the first certificate", SOON, || {
        old_certificate.connect(tls)
    });

    let peer = Echo::start(Ipv4Addr::LOCALHOST);
    let denied_peer = Echo::start(Ipv4Addr::new(127, 0, 0, 2));
    let cut_off = session(&node, USER, PASSWORD, denied_peer.addr());
    echo(&cut_off, 0, 100);

    let stop = Arc::new(AtomicBool::new(false));
    let load: Vec<_> = (0..4)
        .map(|_| {
            let client = session(&node, USER, PASSWORD, peer.addr());
            let stop = stop.clone();
            thread::spawn(move || {
                let mut number = 0;
                while !stop.load(Ordering::Relaxed) {
                    echo(&client, number, 64);
                    number += 64;
                }
                (client, number)
            })
        })
        .collect();

    new_certificate.install(node.folder());
    node.edit_config(|text| {
        text.replace("deny = []", "deny = [\"127.0.0.2/32\"]")
            .replace(OTHER_PASSWORD, "another-password")
    });
    let answer = node.post("/reload", "");
    assert!(answer.status < 300, "{answer:?}");

    // The policy: the denied peer is cut off, and stays so.
    wait_for(
        "the denied peer to be cut off",
        Duration::from_secs(5),
        || {
            cut_off.send(CHANNEL, b"anybody there?");
            cut_off
                .receive(Duration::from_millis(200))
                .is_none()
                .then_some(())
        },
    );
    assert_eq!(
        cut_off.permit(denied_peer.addr()),
        Err(ErrorCode::FORBIDDEN)
    );
    // The user: the new password works, the old one no more.
    let client = Client::new(node.v4(), OTHER_USER, "another-password");
    assert!(client.allocate().is_ok());
    let client = Client::new(node.v4(), OTHER_USER, OTHER_PASSWORD);
    assert_eq!(client.allocate(), Err(ErrorCode::UNAUTHENTICATED));
    // The certificate.
    assert!(
        new_certificate.connect(tls).is_some(),
        "the new certificate is shown"
    );
    assert!(
        old_certificate.connect(tls).is_none(),
        "and the old one no more"
    );

    // And whoever is not concerned has not lost a message: `echo` would have panicked.
    stop.store(true, Ordering::Relaxed);
    for thread in load {
        let (client, sent) = thread.join().expect("no message lost");
        assert!(sent > 0);
        echo(&client, sent, 64);
    }
}

#[test]
fn a_reload_of_a_broken_file_says_so_and_changes_nothing() {
    let node = Node::start(&[]);
    let peer = Echo::start(Ipv4Addr::LOCALHOST);
    let client = session(&node, USER, PASSWORD, peer.addr());
    node.edit_config(|text| text.replace("deny = []", "deny = [\"127.0.0.0/99\"]"));
    let answer = node.post("/reload", "");
    assert!((400..500).contains(&answer.status), "{answer:?}");
    assert!(answer.body.contains("127.0.0.0/99"), "{answer:?}");
    echo(&client, 0, 100);
    assert_eq!(client.refresh(0), Ok(0));
    node.stop();
}

/// Starts a node on a port and returns what it says before it gives up.
fn refused_start(port: u16, settings: &[String]) -> (i32, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(BINARY);
    command.arg("relay").current_dir(folder.path());
    for setting in settings {
        command.args(["--set", setting]);
    }
    command.args(["--set", &format!("turn.listen=[\"127.0.0.1:{port}\"]")]);
    let mut process = Process::start(&mut command).expect("the node");
    let status = process.wait(SOON);
    (status.code().expect("it ends by itself"), process.written())
}

fn settings(node: &Node) -> Vec<String> {
    vec![
        format!("auth.users=[{{name={USER:?},password={PASSWORD:?}}}]"),
        format!("node.data_dir={:?}", node.folder().join("second")),
        format!("admin.listen=\"127.0.0.1:{}\"", common::ports::free_port()),
    ]
}

#[test]
fn a_taken_port_is_named_and_set_gets_past_it() {
    let node = Node::start(&[]);
    let settings = settings(&node);
    let by_udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    let by_tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    let udp_port = by_udp.local_addr().expect("bound").port();
    let tcp_port = by_tcp.local_addr().expect("bound").port();
    // Another program's socket, another program's listener, another node.
    for port in [udp_port, tcp_port, node.port] {
        let (code, text) = refused_start(port, &settings);
        assert_ne!(code, 0);
        assert!(
            text.contains(&port.to_string()),
            "names the port {port}: {text}"
        );
        assert!(text.contains("--set"), "names the way out: {text}");
    }
    // The same settings with a free port.
    let mut second = Command::new(BINARY);
    second.arg("relay");
    for setting in &settings {
        second.args(["--set", setting]);
    }
    let port = common::ports::free_port();
    second.args(["--set", &format!("turn.listen=[\"127.0.0.1:{port}\"]")]);
    let mut second = Process::start(&mut second).expect("a second node");
    let server = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    wait_for("the second node", SOON, || {
        assert!(second.ended().is_none(), "{}", second.written());
        UdpSocket::bind(server).is_err().then_some(())
    });
    assert!(Client::new(server, USER, PASSWORD).allocate().is_ok());
    node.stop();
}

#[test]
fn the_mmsg_engine_runs_when_asked_for() {
    let node = Node::start(&["node.engine=mmsg"]);
    let peer = Echo::start(Ipv4Addr::LOCALHOST);
    let client = session(&node, USER, PASSWORD, peer.addr());
    echo(&client, 0, 1_000);
    assert_eq!(client.refresh(0), Ok(0));
    assert!(
        node.process.written().contains("mmsg"),
        "the log says which engine runs"
    );
    node.stop();
}

/// Becomes the program in its arguments after having forbidden io_uring to itself, as the default
/// seccomp profile of containers does: io_uring_setup (425 on every architecture) fails with EPERM.
const WITHOUT_URING: &str = "
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
load_number = struct.pack('HBBI', 0x20, 0, 0, 0)
if_setup = struct.pack('HBBI', 0x15, 0, 1, 425)
fail = struct.pack('HBBI', 0x06, 0, 0, 0x00050000 | 1)
allow = struct.pack('HBBI', 0x06, 0, 0, 0x7fff0000)
program = ctypes.create_string_buffer(load_number + if_setup + fail + allow)
class Filter(ctypes.Structure):
    _fields_ = [('len', ctypes.c_ushort), ('filter', ctypes.c_void_p)]
rules = Filter(4, ctypes.addressof(program))
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.byref(rules), 0, 0):
    sys.exit('seccomp is not available: errno %d' % ctypes.get_errno())
os.execv(sys.argv[1], sys.argv[1:])
";

fn without_uring(test: &str) -> Option<Command> {
    let Some(python) = which("python3") else {
        skip(test, "python3 is missing; apt-get install python3");
        return None;
    };
    let mut command = Command::new(python);
    command.args(["-c", WITHOUT_URING, BINARY]);
    Some(command)
}

#[test]
fn a_node_that_may_not_use_io_uring_says_so_and_serves_all_the_same() {
    let test = "a_node_that_may_not_use_io_uring_says_so_and_serves_all_the_same";
    let Some(command) = without_uring(test) else {
        return;
    };
    let node = Node::start_by(command, &["node.engine=auto"]);
    let peer = Echo::start(Ipv4Addr::LOCALHOST);
    let client = session(&node, USER, PASSWORD, peer.addr());
    echo(&client, 0, 1_000);
    assert_eq!(client.refresh(0), Ok(0));
    let log = node.process.written();
    assert!(
        log.contains("mmsg") && log.contains("io_uring"),
        "says what runs, and why: {log}"
    );
    node.stop();
}

#[test]
fn a_node_that_must_use_io_uring_and_may_not_refuses_to_start() {
    let test = "a_node_that_must_use_io_uring_and_may_not_refuses_to_start";
    let Some(mut command) = without_uring(test) else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    command.arg("relay").current_dir(folder.path());
    for setting in [
        "node.engine=uring".to_owned(),
        format!("node.data_dir={:?}", folder.path()),
        format!("auth.users=[{{name={USER:?},password={PASSWORD:?}}}]"),
        format!("admin.listen=\"127.0.0.1:{}\"", common::ports::free_port()),
        format!("turn.listen=[\"127.0.0.1:{}\"]", common::ports::free_port()),
    ] {
        command.args(["--set", &setting]);
    }
    let mut process = Process::start(&mut command).expect("the node");
    let status = process.wait(SOON);
    let text = process.written();
    assert!(
        status.code().is_some_and(|code| code != 0),
        "{status}\n{text}"
    );
    assert!(
        text.contains("io_uring") && text.contains("mmsg"),
        "the reason and the remedy: {text}"
    );
}
