//! The lab's NATs translate as their names say.
#![forbid(unsafe_code)]

use std::io::Write as _;
use std::process::{Command, Stdio};

/// Runs in home: asks two ports of public how we are seen, and lets a third one, to which we have
/// sent nothing, answer too. Prints the two mapped ports and whether the third was heard.
const PROBE: &str = r#"
import socket, subprocess, sys
SERVER = '''
import select, socket
sockets = []
for port in (4000, 4001, 4002):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("198.51.100.2", port))
    sockets.append(s)
print("ready", flush=True)
for _ in range(2):
    ready, _, _ = select.select(sockets[:2], [], [], 3)
    for s in ready:
        _, seen = s.recvfrom(99)
        s.sendto(str(seen[1]).encode(), seen)
        if s is sockets[1]:
            sockets[2].sendto(b"uninvited", seen)
'''
server = subprocess.Popen(["lab", "public", sys.executable, "-c", SERVER], stdout=subprocess.PIPE)
server.stdout.readline()
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("0.0.0.0", 5555))
s.settimeout(2)
def hear():
    try: return s.recv(99).decode()
    except TimeoutError: return "nothing"
heard = []
for port in (4000, 4001):
    s.sendto(b"?", ("198.51.100.2", port))
    heard.append(hear())
heard.append(hear())
print(*heard)
server.wait()
"#;

/// What home hears behind this NAT; nothing where this machine cannot have a lab.
fn probe(nat: &str) -> Option<Vec<String>> {
    // What the machine lacks shows without a packet; what goes wrong after that is our fault.
    for needed in [["true"].as_slice(), &["python3", "-c", "pass"]] {
        if let Err(reason) = in_lab("linux-home", needed) {
            let line = format!(
                "\nskipped: lab, {nat}: {}\n",
                reason.trim().replace('\n', "; ")
            );
            std::io::stderr()
                .write_all(line.as_bytes())
                .expect("standard error");
            return None;
        }
    }
    let heard = in_lab(nat, &["python3", "-c", PROBE]).expect("the probe");
    Some(heard.trim().split(' ').map(str::to_owned).collect())
}

/// Runs a command in home: what it printed, or what went wrong.
fn in_lab(nat: &str, command: &[&str]) -> Result<String, String> {
    let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(["lab", "--nat", nat, "--"])
        .args(command)
        .stdin(Stdio::null())
        .output()
        .expect("xtask");
    let bytes = if output.status.success() {
        output.stdout
    } else {
        output.stderr
    };
    let text = String::from_utf8_lossy(&bytes).into_owned();
    if output.status.success() {
        Ok(text)
    } else {
        Err(text)
    }
}

#[test]
fn a_linux_home_router_keeps_the_port_and_lets_nobody_uninvited_in() {
    if let Some(heard) = probe("linux-home") {
        assert_eq!(heard, ["5555", "5555", "nothing"]);
    }
}

#[test]
fn a_full_cone_lets_everybody_in() {
    if let Some(heard) = probe("full-cone") {
        assert_eq!(heard, ["5555", "5555", "uninvited"]);
    }
}

#[test]
fn a_restricted_cone_lets_in_whom_the_inside_has_sent_to() {
    if let Some(heard) = probe("restricted") {
        // The third port is on an address that home has sent to.
        assert_eq!(heard, ["5555", "5555", "uninvited"]);
    }
}

#[test]
fn a_symmetric_nat_has_a_port_for_each_destination() {
    if let Some(heard) = probe("symmetric") {
        assert_ne!(heard[0], heard[1]);
        assert_eq!(heard[2], "nothing");
    }
}

#[test]
fn blocked_udp_is_heard_of_no_more() {
    if let Some(heard) = probe("udp-blocked") {
        assert_eq!(heard, ["nothing", "nothing", "nothing"]);
    }
}
