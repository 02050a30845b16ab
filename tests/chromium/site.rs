//! The web server of one call: it hands out the page and its settings, and takes its reports.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::Value;

use crate::common::SOON;

const PAGE: &str = include_str!("page.html");

/// A call has two sides, and each reports once.
const SIDES: usize = 2;

/// Far more than a report needs.
const BODY_BYTES_MAX: usize = 64 * 1_024;

/// What one side says when it is done, or has given up.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Report {
    role: String,
    /// Candidates that were not to be had, and other things that went wrong on the way.
    pub(crate) troubles: Vec<String>,
    /// Why there is no call.
    pub(crate) error: Option<String>,
    pub(crate) call: Option<Call>,
}

/// A call, as the browser's statistics tell it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Call {
    pub(crate) messages: u32,
    pub(crate) message_bytes: u32,
    pub(crate) messages_intact: bool,
    pub(crate) video: Video,
    /// Of the pair of candidates that carried it.
    pub(crate) local_type: String,
    pub(crate) remote_type: String,
    pub(crate) relay_protocol: String,
}

/// The other side's picture.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Video {
    pub(crate) bytes: u32,
    pub(crate) frames: u32,
    pub(crate) width: u32,
}

/// A web server on loopback that runs until it is dropped.
pub(crate) struct Site {
    addr: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<thread::JoinHandle<()>>,
}

struct Shared {
    settings: String,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    reports: Vec<Report>,
    closed: bool,
}

impl Site {
    pub(crate) fn start(settings: &Value) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
        let addr = listener.local_addr().expect("a bound socket");
        let shared = Arc::new(Shared {
            settings: settings.to_string(),
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let served = shared.clone();
        let accepting = thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if served.state().closed {
                    return;
                }
                let served = served.clone();
                // A browser opens connections ahead and leaves some of them idle.
                thread::spawn(move || served.answer(stream));
            }
        });
        Self {
            addr,
            shared,
            accepting: Some(accepting),
        }
    }

    pub(crate) fn url(&self) -> String {
        // Over loopback a page may have a camera without TLS.
        format!("http://{}/", self.addr)
    }

    /// The reports of caller and callee, once both are there.
    pub(crate) fn reports(&self, within: Duration) -> [Report; SIDES] {
        let state = self.shared.wait_for_all(within);
        let of = |role: &str| {
            let report = state.reports.iter().find(|report| report.role == role);
            report
                .cloned()
                .unwrap_or_else(|| panic!("no report of the {role} in {:?}", state.reports))
        };
        [of("caller"), of("callee")]
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.shared.state().closed = true;
        self.shared.changed.notify_all();
        // One more connection, so that the loop sees it.
        let _ = TcpStream::connect(self.addr);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

impl Shared {
    /// One request and its answer; whatever is none is closed.
    fn answer(&self, stream: TcpStream) {
        let Some((request, body)) = read_request(&stream) else {
            return;
        };
        let (method, target) = request;
        let path = target.split('?').next().unwrap_or_default();
        match (method.as_str(), path) {
            ("GET", "/") => respond(stream, "200 OK", "text/html", PAGE),
            ("GET", "/settings") => respond(stream, "200 OK", "application/json", &self.settings),
            ("POST", "/report") => {
                let report = serde_json::from_slice(&body).expect("a report as page.html makes it");
                self.state().reports.push(report);
                self.changed.notify_all();
                // Answered when both are there: each side stays until the other is done.
                drop(self.wait_for_all(SOON));
                respond(stream, "200 OK", "text/plain", "");
            }
            _ => respond(stream, "404 Not Found", "text/plain", ""),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until all have reported, the site is closed, or the time is over.
    fn wait_for_all(&self, within: Duration) -> MutexGuard<'_, State> {
        let deadline = Instant::now() + within;
        let mut state = self.state();
        while state.reports.len() < SIDES && !state.closed {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state
    }
}

/// Method and target of a request, and its body.
fn read_request(stream: &TcpStream) -> Option<((String, String), Vec<u8>)> {
    stream.set_read_timeout(Some(SOON)).ok()?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_ascii_whitespace().map(str::to_owned);
    let request = words.next().zip(words.next())?;
    let mut len = 0;
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim().split_once(':') else {
            break;
        };
        if name.eq_ignore_ascii_case("content-length") {
            len = value.trim().parse().ok()?;
        }
    }
    if len > BODY_BYTES_MAX {
        return None;
    }
    let mut body = vec![0; len];
    reader.read_exact(&mut body).ok()?;
    Some((request, body))
}

fn respond(mut stream: TcpStream, status: &str, content_type: &str, body: &str) {
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    // The browser may have been ended in the meantime.
    let _ = stream.write_all((head + body).as_bytes());
}
