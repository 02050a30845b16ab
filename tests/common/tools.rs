//! coturn's tools, and what they print.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::node::Node;
use super::ports::free_ports;
use super::process::Process;
use super::{report, skip, wait_for};

/// The file of that name in `PATH`, where administrators' tools lie or where `go install` puts them.
pub(crate) fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/local/bin"].map(PathBuf::from))
        .chain(go_folders())
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

fn go_folders() -> impl Iterator<Item = PathBuf> {
    let folder = |name, below: &str| Some(PathBuf::from(std::env::var_os(name)?).join(below));
    let folders = [
        folder("GOBIN", ""),
        folder("GOPATH", "bin"),
        folder("HOME", "go/bin"),
    ];
    folders.into_iter().flatten()
}

/// The tool, or nothing after having said that `test` is skipped without it.
pub(crate) fn tool(test: &str, program: &str, package: &str) -> Option<PathBuf> {
    let found = which(program);
    if found.is_none() {
        skip(
            test,
            &format!("{program} is missing; apt-get install {package}"),
        );
    }
    found
}

/// coturn's echo peer.
pub(crate) struct EchoPeer {
    _process: Process,
    pub(crate) addr: IpAddr,
    pub(crate) port: u16,
}

impl EchoPeer {
    pub(crate) fn start(program: &Path, addr: IpAddr) -> Self {
        // It takes the next one too.
        let port = free_ports(2);
        let mut command = Command::new(program);
        command.args(["-p", &port.to_string(), "-L", &addr.to_string()]);
        let process = Process::start(&mut command).expect("turnutils_peer");
        // It says nothing when it is ready; its socket does.
        wait_for("turnutils_peer to listen", super::SOON, || {
            std::net::UdpSocket::bind((addr, port))
                .is_err()
                .then_some(())
        });
        Self {
            _process: process,
            addr,
            port,
        }
    }
}

/// What `turnutils_uclient` counted.
#[derive(Debug, PartialEq)]
pub(crate) struct Counted {
    pub(crate) sent: u64,
    pub(crate) received: u64,
    pub(crate) lost: i64,
    pub(crate) send_dropped: i64,
}

/// Runs `turnutils_uclient` against the node to its end and reads its last totals.
pub(crate) fn uclient(
    program: &Path,
    node: &Node,
    server: IpAddr,
    port: u16,
    arguments: &[&str],
) -> Counted {
    let text = match run_uclient(program, node, server, port, arguments) {
        // The tool binds two random channel numbers per allocation, each to another peer, and gives
        // up when it happens to draw the same one twice, which has to be refused (RFC 8656 §12.2).
        // That is one allocation in thousands, so it does not happen twice in a row.
        Err(text) if text.contains("channel bind: error 400") => {
            report("turnutils_uclient drew a channel number twice; running it once more");
            run_uclient(program, node, server, port, arguments)
        }
        other => other,
    };
    let text =
        text.unwrap_or_else(|text| panic!("turnutils_uclient {arguments:?} failed:\n{text}"));
    let counted = parse_totals(&text);
    counted.unwrap_or_else(|| panic!("no totals of turnutils_uclient {arguments:?} in:\n{text}"))
}

/// What the tool wrote, as an error when it did not end well.
pub(crate) fn run_uclient(
    program: &Path,
    node: &Node,
    server: IpAddr,
    port: u16,
    arguments: &[&str],
) -> Result<String, String> {
    let mut command = Command::new(program);
    command
        .args(["-u", node.user(), "-w", node.password()])
        .args(["-p", &port.to_string()])
        .args(arguments)
        .arg(server.to_string());
    let mut process = Process::start(&mut command).expect("turnutils_uclient");
    let status = process.wait(Duration::from_secs(120));
    let text = process.written();
    if status.success() {
        Ok(text)
    } else {
        Err(format!("{text}\n{status}"))
    }
}

/// Reads `tot_send_msgs=…, tot_recv_msgs=…` and `Total lost packets … total send dropped …`, each
/// from its last line.
pub(crate) fn parse_totals(text: &str) -> Option<Counted> {
    fn last<N: std::str::FromStr>(text: &str, label: &str) -> Option<N> {
        let rest = text.rsplit_once(label)?.1;
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '-')
            .unwrap_or(rest.len());
        rest[..end].parse().ok()
    }
    Some(Counted {
        sent: last(text, "tot_send_msgs=")?,
        received: last(text, "tot_recv_msgs=")?,
        lost: last(text, "Total lost packets ")?,
        send_dropped: last(text, "total send dropped ")?,
    })
}
