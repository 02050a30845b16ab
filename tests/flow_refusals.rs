//! Whom the flow relay turns away, each with a code of its own: tickets that do not hold, a device
//! whose ticket is taken back while it talks, and whoever ends TLS on the way.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, missing_docs)]

mod common;
mod flow;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{http, wait_for};
use flow::{Device, FlowNode, Identity, LOOPBACK, SOON, numbered};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use sterna_client::relay::limits::Timing;
use sterna_client::relay::{self, Event, Refusal, Rung, Secret, tls};
use sterna_control_api::Fleet;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// The first refusal that a device hears, and whether the node's key stands behind it.
async fn refusal(config: relay::Config) -> (Option<Refusal>, bool) {
    let mut device = Device::start(Identity::new(1).key, config, Timing::default());
    let heard = async {
        loop {
            if let Event::Refused {
                refusal, sealed, ..
            } = device.events.recv().await.expect("the relay runs")
            {
                return (refusal, sealed);
            }
        }
    };
    let heard = timeout(SOON, heard).await.expect("a refusal");
    assert_eq!(device.relay.path(), None, "a refused device has no path");
    heard
}

#[tokio::test]
async fn a_ticket_that_does_not_hold_is_refused_with_its_own_code_on_every_rung() {
    let node = FlowNode::start(LOOPBACK, &[]);
    for rung in Rung::ALL {
        let who = Identity::new(1);
        let mut expired = who.clone();
        expired.ticket.not_before -= 3_000;
        expired.ticket.expires -= 2_000;
        let mut elsewhere = who.clone();
        elsewhere.ticket.audience = Fleet::new("another").unwrap();
        let mut thief = who.clone();
        thief.secret = Secret::new([0x77; 32]);
        let mut cut_short = who.config(&[&node], &[rung]);
        cut_short.ticket.truncate(cut_short.ticket.len() / 2);
        let mut altered = who.config(&[&node], &[rung]);
        altered.ticket[20] ^= 1;
        let cases = [
            (expired.config(&[&node], &[rung]), Refusal::TicketExpired),
            (elsewhere.config(&[&node], &[rung]), Refusal::TicketAudience),
            (thief.config(&[&node], &[rung]), Refusal::NotTheHolder),
            (cut_short, Refusal::TicketMalformed),
            (altered, Refusal::TicketSignature),
        ];
        for (config, code) in cases {
            let before = node.refusals(code.as_str());
            let (heard, sealed) = refusal(config).await;
            assert_eq!(heard, Some(code), "{rung:?}");
            assert!(sealed, "{rung:?}: only the node may say so: {code}");
            wait_for("the metric", SOON, || {
                (node.refusals(code.as_str()) > before).then_some(())
            });
        }
    }
    let flows = node.flows();
    assert_eq!(flows["sessions_total"], 0, "{flows}");
    node.node.stop();
}

async fn revoked(rung: Rung) {
    let node = FlowNode::start(LOOPBACK, &[]);
    let who = [Identity::new(1), Identity::new(2)];
    let mut devices = who.clone().map(|who| {
        let config = who.config(&[&node], &[rung]);
        Device::start(who.key, config, Timing::default())
    });
    let [first, second] = &mut devices;
    first.connected().await;
    second.connected().await;
    first.exchange(second, &numbered(1, 148)).await;
    let device = who[0].key.to_string();
    let of_first = |flows: &serde_json::Value| {
        let sessions = flows["sessions"].as_array().unwrap();
        sessions
            .iter()
            .find(|session| session["device"] == device.as_str())
            .cloned()
    };
    let ticket = of_first(&node.flows()).expect("a session")["ticket"]
        .as_str()
        .unwrap()
        .to_owned();

    let taken_back = Instant::now();
    let path = format!("/flows/ticket/{ticket}");
    let answer = http::request(node.node.admin, "DELETE", &path, "").expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.json()["ended"], 1);
    wait_for("the session's end", Duration::from_secs(1), || {
        of_first(&node.flows()).is_none().then_some(())
    });
    assert!(taken_back.elapsed() < Duration::from_secs(1));

    let kept_out = async {
        loop {
            if let Event::Refused {
                refusal, sealed, ..
            } = first.events.recv().await.unwrap()
            {
                return (refusal, sealed);
            }
        }
    };
    let heard = timeout(SOON, kept_out).await.expect("a refusal");
    assert_eq!(heard, (Some(Refusal::Revoked), true));
    assert!(node.refusals("revoked") >= 1.0);
    assert!(of_first(&node.flows()).is_none());

    // Another ticket of the same device is not the one that was taken back.
    let mut newer = who[0].clone();
    newer.ticket.ticket_id.0 += 1_000;
    let config = newer.config(&[&node], &[rung]);
    let mut back = Device::start(newer.key, config, Timing::default());
    back.connected().await;
    back.exchange(second, &numbered(2, 148)).await;
    node.node.stop_now();
}

#[tokio::test]
async fn a_ticket_that_is_taken_back_ends_its_udp_session_and_keeps_it_out() {
    revoked(Rung::Udp).await;
}

#[tokio::test]
async fn a_ticket_that_is_taken_back_ends_its_quic_session_and_keeps_it_out() {
    revoked(Rung::Quic).await;
}

#[tokio::test]
async fn a_ticket_that_is_taken_back_ends_its_wss_session_and_keeps_it_out() {
    revoked(Rung::Wss).await;
}

/// Ends TLS towards the device with a certificate of its own, and begins it again towards the node.
async fn middlebox(node: SocketAddr) -> SocketAddr {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    // The middlebox asks nobody who the node is.
    let (acceptor, connector) = (
        TlsAcceptor::from(Arc::new(server)),
        TlsConnector::from(tls::config(b"http/1.1")),
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let (acceptor, connector) = (acceptor.clone(), connector.clone());
            tokio::spawn(async move {
                let mut device = acceptor.accept(socket).await?;
                let name = ServerName::try_from("localhost").unwrap();
                let socket = TcpStream::connect(node).await?;
                let mut node = connector.connect(name, socket).await?;
                copy_bidirectional(&mut device, &mut node).await
            });
        }
    });
    addr
}

#[tokio::test]
async fn whoever_ends_tls_on_the_way_is_found_out_before_anything_is_said() {
    let node = FlowNode::start(LOOPBACK, &[]);
    let who = Identity::new(1);
    let mut config = who.config(&[&node], &[Rung::Wss]);
    config.nodes[0].wss = vec![middlebox(node.wss).await];
    let (heard, sealed) = refusal(config).await;
    // The node's word in clear: the device takes it from nobody, and has said nothing yet.
    assert_eq!((heard, sealed), (Some(Refusal::Handshake), false));
    wait_for("the metric", SOON, || {
        (node.refusals("handshake") >= 1.0).then_some(())
    });
    assert_eq!(node.flows()["sessions_total"], 0);

    // The same device, with nobody between, comes in.
    let mut device = Device::start(
        who.key,
        who.config(&[&node], &[Rung::Wss]),
        Timing::default(),
    );
    device.connected().await;
    node.node.stop_now();
}
