//! Chromium against the node, unchanged: two pages of `chromium/page.html` call each other with
//! relayed addresses only, echo messages on a data channel and watch each other's video.
#![forbid(unsafe_code)]

mod chromium;
mod common;

use std::path::Path;
use std::time::Duration;

use chromium::site::{Call, Report, Site};
use chromium::trust::Authority;
use chromium::{Browser, Home, chromium};
use common::node::{Node, PASSWORD, USER};
use common::ports::has_ipv6;
use common::tools::tool;
use common::{SOON, alone, skip, wait_for};
use serde_json::json;

const MESSAGES: u32 = 200;

/// A second or so of video.
const FRAMES: u32 = 30;

/// When a page gives up by itself, and says how far it came.
const PAGE_DEADLINE: Duration = Duration::from_secs(20);

/// From the browser's start to both reports.
const CALL_DEADLINE: Duration = Duration::from_secs(30);

/// How a page reaches the node; the browser's names for it.
#[derive(Debug, Clone, Copy)]
enum Over {
    Udp,
    UdpOverIpv6,
    Tcp,
    Tls,
}

impl Over {
    fn url(self, node: &Node) -> String {
        match self {
            Self::Udp => format!("turn:127.0.0.1:{}?transport=udp", node.port),
            Self::UdpOverIpv6 => format!("turn:[::1]:{}?transport=udp", node.port),
            Self::Tcp => format!("turn:127.0.0.1:{}?transport=tcp", node.port),
            // By name, since that is what the certificate is checked for.
            Self::Tls => format!("turns:localhost:{}?transport=tcp", node.tls_port),
        }
    }

    fn relay_protocol(self) -> &'static str {
        match self {
            Self::Udp | Self::UdpOverIpv6 => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }
}

/// Lets two pages try to call each other; what caller and callee report.
fn call(
    browser: &Path,
    home: &Home,
    node: &Node,
    [caller, callee]: [Over; 2],
    password: &str,
) -> [Report; 2] {
    let server =
        |over: Over| json!({ "urls": over.url(node), "username": USER, "credential": password });
    let site = Site::start(&json!({
        "ice_servers": { "caller": server(caller), "callee": server(callee) },
        "messages": MESSAGES,
        "frames": FRAMES,
        "deadline_ms": PAGE_DEADLINE.as_millis(),
    }));
    let browser = Browser::open(browser, home, &site.url());
    let reports = site.reports(CALL_DEADLINE);
    // A page that closes its connection gives its allocation back, and so does not leave it to expire.
    wait_for("the end of all allocations", SOON, || {
        (node.metric("turn_allocations_active", &[]) == 0.0).then_some(())
    });
    browser.close();
    reports
}

/// A call that has to succeed on both sides, and to go through the node.
fn carries(browser: &Path, home: &Home, node: Node, over: [Over; 2]) {
    let reports = call(browser, home, &node, over, PASSWORD);
    let mut received_bytes = 0.0;
    for (over, side) in over.into_iter().zip(&reports) {
        let Some(call) = &side.call else {
            panic!("no call: {side:#?}");
        };
        assert_carried(call, over);
        received_bytes += f64::from(call.message_bytes) + f64::from(call.video.bytes);
    }
    // Both sides are clients of this node, so all that they received crossed it in process.
    let relayed = "turn_relayed_bytes_total";
    node.wait_for_metric(relayed, &["in_process"], received_bytes);
    node.wait_for_metric("turn_allocations_ended_total", &["released"], 2.0);
    node.stop();
}

fn assert_carried(call: &Call, over: Over) {
    assert_eq!((call.messages, call.messages_intact), (MESSAGES, true));
    assert!(call.video.frames >= FRAMES, "{call:?}");
    assert!(call.video.bytes > 0 && call.video.width > 0, "{call:?}");
    let ways = (&*call.local_type, &*call.remote_type, &*call.relay_protocol);
    assert_eq!(ways, ("relay", "relay", over.relay_protocol()));
}

/// A call for which the browser gets no relayed address, and says why with this code.
fn gets_no_candidate(browser: &Path, node: &Node, over: Over, password: &str, code: &str) {
    for report in call(browser, &Home::new(), node, [over; 2], password) {
        let error = report.error.as_deref().unwrap_or_default();
        assert!(error.starts_with("no candidate"), "{report:#?}");
        assert!(
            !report.troubles.is_empty()
                && report.troubles.iter().all(|trouble| trouble.contains(code)),
            "{report:#?}"
        );
    }
}

#[test]
fn pages_call_each_other_over_udp() {
    let Some(browser) = chromium("pages_call_each_other_over_udp") else {
        return;
    };
    let _alone = alone();
    carries(&browser, &Home::new(), Node::start(&[]), [Over::Udp; 2]);
}

#[test]
fn pages_call_each_other_over_udp_with_the_mmsg_engine() {
    let Some(browser) = chromium("pages_call_each_other_over_udp_with_the_mmsg_engine") else {
        return;
    };
    let _alone = alone();
    let node = Node::start(&["node.engine=mmsg"]);
    carries(&browser, &Home::new(), node, [Over::Udp; 2]);
}

#[test]
fn pages_call_each_other_over_tcp() {
    let Some(browser) = chromium("pages_call_each_other_over_tcp") else {
        return;
    };
    let _alone = alone();
    carries(&browser, &Home::new(), Node::start(&[]), [Over::Tcp; 2]);
}

/// The browser asks for no address family, which means relayed addresses in IPv4 for both.
#[test]
fn a_page_on_ipv6_calls_a_page_on_tcp() {
    let test = "a_page_on_ipv6_calls_a_page_on_tcp";
    let Some(browser) = chromium(test) else {
        return;
    };
    if !has_ipv6() {
        skip(test, "this machine has no ::1");
        return;
    }
    let _alone = alone();
    let over = [Over::UdpOverIpv6, Over::Tcp];
    carries(&browser, &Home::new(), Node::start(&[]), over);
}

#[test]
fn pages_call_each_other_over_tls() {
    let test = "pages_call_each_other_over_tls";
    calls_with_a_trusted_certificate(test, [Over::Tls; 2]);
}

#[test]
fn a_page_on_tls_calls_a_page_on_udp() {
    let test = "a_page_on_tls_calls_a_page_on_udp";
    calls_with_a_trusted_certificate(test, [Over::Tls, Over::Udp]);
}

/// The browser checks the node's chain up to a root that it has been told to trust.
fn calls_with_a_trusted_certificate(test: &str, over: [Over; 2]) {
    let Some(browser) = chromium(test) else {
        return;
    };
    let Some(certutil) = tool(test, "certutil", "libnss3-tools") else {
        return;
    };
    let _alone = alone();
    let authority = Authority::new();
    let home = Home::new();
    authority.make_trusted(&certutil, &home);
    let [certificate, key] = authority.certify(home.path());
    let node = Node::start(&[&certificate, &key]);
    carries(&browser, &home, node, over);
}

#[test]
fn a_certificate_that_nobody_vouches_for_gives_a_page_no_candidate() {
    let Some(browser) = chromium("a_certificate_that_nobody_vouches_for_gives_a_page_no_candidate")
    else {
        return;
    };
    let _alone = alone();
    // The node's own self-signed one. 701: the server could not be reached (WebRTC §4.8.3).
    let node = Node::start(&[]);
    gets_no_candidate(&browser, &node, Over::Tls, PASSWORD, ": 701 ");
    node.wait_for_metric("sterna_stream_cut_total", &["handshake_failed"], 2.0);
    node.stop();
}

#[test]
fn a_wrong_password_gives_a_page_no_candidate() {
    let Some(browser) = chromium("a_wrong_password_gives_a_page_no_candidate") else {
        return;
    };
    let _alone = alone();
    let node = Node::start(&[]);
    gets_no_candidate(&browser, &node, Over::Udp, "wrong", ": 401 ");
    node.stop();
}
