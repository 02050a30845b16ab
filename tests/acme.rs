//! A certificate from an ACME authority that we did not write: pebble, Let's Encrypt's own test
//! server. The node obtains it by itself, serves it, and renews it under a TLS client that stays.
#![forbid(unsafe_code)]

mod common;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use common::client::new_transaction;
use common::node::Node;
use common::ports::free_port;
use common::process::Process;
use common::tls::{self, Certificate};
use common::{SOON, skip, tools, wait_for};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConnection, StreamOwned};
use sterna_stun::message::{Class, Message, Method};
use sterna_stun::writer::MessageWriter;

/// How long a certificate of the test lives: it is renewed two thirds through.
const LIFE_S: u64 = 18;

/// How long until the authority has looked, issued, and the renewal is due, on a busy machine.
const RENEWED: Duration = Duration::from_secs(90);

/// pebble with a configuration of its own.
struct Pebble {
    process: Process,
    certificate: Certificate,
    directory: SocketAddr,
    management: SocketAddr,
    folder: tempfile::TempDir,
}

impl Pebble {
    /// Starts it; it will look for answers on these ports instead of 80 and 443.
    fn start(test: &str, http_port: u16, tls_port: u16) -> Option<Self> {
        let Some(program) = tools::which("pebble") else {
            skip(
                test,
                "pebble is missing; cargo xtask tools --install, which needs Go",
            );
            return None;
        };
        let folder = tempfile::tempdir().expect("a folder");
        let certificate = Certificate::new();
        let (chain, key) = certificate.install(folder.path());
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let (directory, management) = (local(free_port()), local(free_port()));
        let config = serde_json::json!({ "pebble": {
            "listenAddress": directory.to_string(),
            "managementListenAddress": management.to_string(),
            "certificate": chain,
            "privateKey": key,
            "httpPort": http_port,
            "tlsPort": tls_port,
            "externalAccountBindingRequired": true,
            "externalAccountMACKeys": { "operator": "dGhlIGtleSBvZiBhbiBleHRlcm5hbCBhY2NvdW50LCBmb3IgdGVzdHM" },
            "retryAfter": { "authz": 1, "order": 1 },
            "keyAlgorithm": "ecdsa",
            "profiles": {
                "default": { "description": "long", "validityPeriod": 7_776_000 },
                "brief": { "description": "of the test", "validityPeriod": LIFE_S },
            },
        }});
        let path = folder.path().join("pebble.json");
        fs::write(&path, config.to_string()).expect("a file");
        let mut command = Command::new(program);
        command
            .arg("-config")
            .arg(&path)
            .env("PEBBLE_VA_NOSLEEP", "1");
        let process = Process::start(&mut command).expect("pebble");
        wait_for("pebble to listen", SOON, || {
            TcpStream::connect(directory).ok()
        });
        Some(Self {
            process,
            certificate,
            directory,
            management,
            folder,
        })
    }

    /// `tls.acme` of a node that uses it.
    fn acme(&self, more: &str) -> String {
        format!(
            "tls.acme={{ directory = \"https://localhost:{}/dir\", ca_file = {:?}, contact = [\"ops@example.org\"], \
             external_account = {{ key_id = \"operator\", hmac_key = \
             \"dGhlIGtleSBvZiBhbiBleHRlcm5hbCBhY2NvdW50LCBmb3IgdGVzdHM\" }}, {more} }}",
            self.directory.port(),
            self.folder.path().join("cert.pem"),
        )
    }

    /// The root of what it issues.
    fn root(&self) -> CertificateDer<'static> {
        let mut https = self
            .certificate
            .connect(self.management)
            .expect("pebble's management");
        https
            .write_all(b"GET /roots/0 HTTP/1.0\r\n\r\n")
            .expect("a request");
        let mut answer = Vec::new();
        let _ = https.read_to_end(&mut answer);
        CertificateDer::from_pem_slice(&answer).expect("a certificate")
    }
}

type Tls = StreamOwned<ClientConnection, TcpStream>;

/// The certificate that the node shows, where it is one for `localhost` below the root.
fn served(
    to: SocketAddr,
    root: &CertificateDer<'static>,
) -> Option<(Tls, CertificateDer<'static>)> {
    let tls = tls::connect(to, root)?;
    let leaf = tls.conn.peer_certificates()?.first()?.clone().into_owned();
    Some((tls, leaf))
}

fn binding(tls: &mut Tls) {
    let mut request = [0; 64];
    let transaction = new_transaction();
    let writer = MessageWriter::new(&mut request, Class::Request, Method::BINDING, transaction);
    let len = writer.expect("fits").finish();
    tls.write_all(&request[..len]).expect("a living connection");
    let mut answer = [0; 512];
    let mut read = 0;
    while read < 20 || read < 20 + usize::from(u16::from_be_bytes([answer[2], answer[3]])) {
        let more = tls.read(&mut answer[read..]).expect("an answer");
        assert_ne!(more, 0, "the connection was closed");
        read += more;
    }
    let answer = Message::parse(&answer[..read]).expect("a STUN message");
    assert_eq!(
        (answer.class(), answer.transaction_id()),
        (Class::Success, transaction)
    );
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("a file").permissions().mode() & 0o777
}

#[test]
fn a_certificate_is_obtained_by_tls_alpn_01_and_renewed_under_a_client_that_stays() {
    let tls_port = free_port();
    let Some(pebble) = Pebble::start("acme", free_port(), tls_port) else {
        return;
    };
    let listen = format!("turn.tls_listen=127.0.0.1:{tls_port},[::1]:{tls_port}");
    let listen = if common::ports::has_ipv6() {
        listen
    } else {
        format!("turn.tls_listen=127.0.0.1:{tls_port}")
    };
    let acme = pebble.acme("domains = [\"localhost\", \"127.0.0.1\"], profile = \"brief\"");
    let node = Node::start(&[&listen, &acme]);
    let (to, root) = (
        SocketAddr::from((Ipv4Addr::LOCALHOST, tls_port)),
        pebble.root(),
    );
    let (mut standing, first) = wait_for("the first certificate", RENEWED, || served(to, &root));
    binding(&mut standing);
    assert!(node.metric("sterna_acme_orders_total", &["issued"]) >= 1.0);
    assert!(
        node.metric("sterna_tls_certificate_expiry_timestamp_seconds", &[]) < 4e9,
        "not the self-signed one's"
    );
    let data = node.folder().join("data/acme");
    for file in fs::read_dir(&data).expect("the folder") {
        assert_eq!(mode(&file.expect("a file").path()), 0o600);
    }
    assert_eq!(mode(&data), 0o700);

    wait_for("the renewed certificate", RENEWED, || {
        served(to, &root).filter(|(_, leaf)| *leaf != first)
    });
    assert!(node.metric("sterna_acme_orders_total", &["issued"]) >= 2.0);
    assert!(node.metric("sterna_stream_connections", &[]) >= 1.0);
    binding(&mut standing);
    drop(standing);
    node.stop();
}

#[test]
fn a_certificate_is_obtained_by_http_01_and_survives_a_restart_without_another_order() {
    let http_port = free_port();
    let Some(mut pebble) = Pebble::start("acme", http_port, free_port()) else {
        return;
    };
    let listen = if common::ports::has_ipv6() {
        format!("\"127.0.0.1:{http_port}\", \"[::1]:{http_port}\"")
    } else {
        format!("\"127.0.0.1:{http_port}\"")
    };
    let acme = pebble.acme(&format!(
        "domains = [\"localhost\"], challenge = \"http-01\", http_listen = [{listen}]"
    ));
    let data = tempfile::tempdir().expect("a folder");
    let data = format!("node.data_dir={}", data.path().display());
    let node = Node::start(&[&acme, &data]);
    let root = pebble.root();
    let to = |node: &Node| SocketAddr::from((Ipv4Addr::LOCALHOST, node.tls_port));
    let (_, first) = wait_for("the certificate", RENEWED, || served(to(&node), &root));
    node.stop();
    // Nobody to ask any more: what was obtained is served from the first moment on.
    pebble.process.signal(rustix::process::Signal::TERM);
    pebble.process.wait(SOON);
    let node = Node::start(&[&acme, &data]);
    let (_, again) = served(to(&node), &root).expect("the certificate of the last run");
    assert_eq!(first, again);
    assert_eq!(node.metric("sterna_acme_orders_total", &[]), 0.0);
    node.stop();
}

#[test]
fn a_name_that_the_authority_cannot_verify_is_said_with_the_remedy_while_the_node_serves() {
    // Nothing listens where the authority looks.
    let Some(pebble) = Pebble::start("acme", free_port(), free_port()) else {
        return;
    };
    let node = Node::start(&[&pebble.acme("domains = [\"localhost\"]")]);
    node.wait_for_metric("sterna_acme_orders_total", &["failed"], 1.0);
    wait_for("the warning", SOON, || {
        let said = node.process.written();
        let said = said.contains("could not verify localhost by tls-alpn-01")
            && said.contains("TCP port 443");
        said.then_some(())
    });
    let mut client = common::client::Client::new(node.v4(), node.user(), node.password());
    client.binding();
    client = common::client::Client::new(node.v4(), node.user(), node.password());
    client.allocate().expect("an allocation");
    assert_eq!(client.refresh(0), Ok(0));
    node.stop();
}
