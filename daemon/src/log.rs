//! Logs: set up once, levels changed on reload, repeated warnings counted.

use std::io::{self, IsTerminal};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Layer, Registry, fmt as lines, reload};

/// A warning that repeats is written once in this time, with how often it happened.
pub const REPEAT_WINDOW: Duration = Duration::from_secs(10);

/// The `[log]` section.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// The least important level that is written.
    pub level: LogLevel,
    /// One line a record, for people or for machines.
    pub format: LogFormat,
}

/// The values of `log.level`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Only that the process stops.
    Error,
    /// What is worth a look in the morning.
    Warn,
    /// Steps in the process's life.
    #[default]
    Info,
    /// Decisions; may show client addresses.
    Debug,
    /// Everything.
    Trace,
}

/// The values of `log.format`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Changes the level of a log that runs.
#[derive(Clone, Debug)]
pub struct LogHandle(reload::Handle<LevelFilter, Registry>);

/// Why logging could not be set up.
#[derive(Debug, Error)]
#[error("logging is set up already in this process: {0}")]
pub struct LogError(#[from] TryInitError);

/// Sets logging up for the process: to standard error, a record a line.
///
/// # Errors
/// When it was set up before.
pub fn init(log: &Log) -> Result<LogHandle, LogError> {
    let (filter, handle) = reload::Layer::new(filter(log.level));
    let lines = lines::layer().with_writer(io::stderr);
    let lines = match log.format {
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
        LogFormat::Text => {
            let colour = io::stderr().is_terminal()
                && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
            lines.with_ansi(colour).with_target(false).boxed()
        }
    };
    tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .try_init()?;
    Ok(LogHandle(handle))
}

impl LogHandle {
    /// Applies a new level.
    pub fn set_level(&self, level: LogLevel) {
        // Fails only when the subscriber is gone, and then nothing is logged anyway.
        let _ = self.0.reload(filter(level));
    }
}

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

/// A warning that may come thousands of times a second: one line a window, with the count.
///
/// ```
/// # use sterna_daemon::log::Repeated;
/// static FULL: Repeated = Repeated::new();
/// if let Some(times) = FULL.due() {
///     tracing::warn!(times, "a mailbox was full");
/// }
/// ```
#[derive(Debug)]
pub struct Repeated {
    /// When the next line may be written, in milliseconds of [`since_start_ms`].
    next_ms: AtomicU64,
    unsaid: AtomicU64,
}

impl Default for Repeated {
    fn default() -> Self {
        Self::new()
    }
}

impl Repeated {
    /// One that has not happened yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            next_ms: AtomicU64::new(0),
            unsaid: AtomicU64::new(0),
        }
    }

    /// Counts one; when a line is due, how often it happened since the last.
    pub fn due(&self) -> Option<u64> {
        self.due_at(since_start_ms())
    }

    fn due_at(&self, now_ms: u64) -> Option<u64> {
        self.unsaid.fetch_add(1, Ordering::Relaxed);
        let next_ms = self.next_ms.load(Ordering::Relaxed);
        let window_ms = u64::try_from(REPEAT_WINDOW.as_millis()).unwrap_or(u64::MAX);
        let ours = now_ms >= next_ms
            && self
                .next_ms
                .compare_exchange(
                    next_ms,
                    now_ms + window_ms,
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                )
                .is_ok();
        ours.then(|| self.unsaid.swap(0, Ordering::Relaxed))
    }
}

fn since_start_ms() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    u64::try_from(START.get_or_init(Instant::now).elapsed().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_warning_is_written_once_a_window_with_its_count() {
        let repeated = Repeated::new();
        assert_eq!(repeated.due_at(5), Some(1));
        assert_eq!(repeated.due_at(6), None);
        assert_eq!(repeated.due_at(10_004), None);
        assert_eq!(repeated.due_at(10_005), Some(3));
        assert_eq!(repeated.due_at(10_006), None);
    }
}
