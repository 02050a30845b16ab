//! What the end-to-end tests share: a node of their own, other people's tools, a small client.
//!
//! No test sleeps for a guess: it polls for what it waits for, with a deadline. Every process that a
//! test starts is ended by its id and reaped, also when the test fails.
// Each test binary compiles all of this and uses its own part of it.
#![allow(dead_code)]

pub(crate) mod client;
pub(crate) mod control;
pub(crate) mod holdings;
pub(crate) mod http;
pub(crate) mod machine;
pub(crate) mod namespace;
pub(crate) mod node;
pub(crate) mod nonsense;
pub(crate) mod ports;
pub(crate) mod postgres;
pub(crate) mod process;
pub(crate) mod tls;
pub(crate) mod tools;

use std::io::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long anything may take that should be a matter of milliseconds, on a machine that is busy
/// with other things.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Polls until `condition` returns something, and panics with `what` after `within`.
pub(crate) fn wait_for<T>(
    what: &str,
    within: Duration,
    mut condition: impl FnMut() -> Option<T>,
) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "{what}: not within {within:?}");
        // Between two looks, let those work whom we wait for.
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// Says why a test does not run here. `cargo xtask test` counts these lines; they go past the test
/// harness's capture, so that they are seen.
pub(crate) fn skip(test: &str, reason: &str) {
    // One write, since other tests write at the same time.
    let line = format!("\nskipped: {test}: {reason}\n");
    std::io::stderr()
        .write_all(line.as_bytes())
        .expect("standard error");
}

/// Says a measured figure past the test harness's capture.
pub(crate) fn report(figure: &str) {
    let line = format!("\nfigure: {figure}\n");
    std::io::stderr()
        .write_all(line.as_bytes())
        .expect("standard error");
}

/// Lets this process hold as many sockets as the system allows it.
pub(crate) fn raise_descriptor_limit() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).expect("up to the hard limit");
    limit.maximum.unwrap_or(u64::MAX)
}

/// Held by tests that measure memory or load the machine, so that they run one at a time.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A number from the environment, for the longer forms of a test.
pub(crate) fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}
