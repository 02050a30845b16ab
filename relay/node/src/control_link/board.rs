//! What is known of the link, for the metrics page and the admin API.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use sterna_control_api::node::{DesiredState, Orders};

/// The calls that a node makes.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// `POST /nodes/register`.
    Register,
    /// `POST /nodes/{id}/heartbeat`.
    Heartbeat,
}

/// What came of one.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum CallResult {
    /// An answer.
    Answered,
    /// A no.
    Refused,
    /// Nothing: the service could not be reached.
    Unreachable,
}

impl Call {
    /// Every call.
    pub const ALL: [Self; 2] = [Self::Register, Self::Heartbeat];

    /// The stable name used in metric labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::Heartbeat => "heartbeat",
        }
    }
}

impl CallResult {
    /// Every result.
    pub const ALL: [Self; 3] = [Self::Answered, Self::Refused, Self::Unreachable];

    /// The stable name used in metric labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
        }
    }
}

/// Calls, by what came of them.
pub type CallCounts = [[u64; CallResult::ALL.len()]; Call::ALL.len()];

/// The link at one moment.
#[derive(Clone, Debug, Default)]
pub struct LinkFigures {
    /// Whether the node has a control service at all.
    pub on: bool,
    /// Whether the service knows the node, and was heard within the time that it allows.
    pub registered: bool,
    /// Seconds since the service answered last; since the node's start where it has not yet.
    pub heartbeat_age_s: f64,
    /// Whether the node's probe of its own public address came back.
    pub reachable: bool,
    /// The orders that are followed.
    pub orders: Option<OrdersFigures>,
    /// What is wrong at the moment.
    pub trouble: Option<String>,
    /// Calls so far.
    pub calls: CallCounts,
}

/// The orders that a node follows.
#[derive(Clone, Debug)]
pub struct OrdersFigures {
    /// Their version.
    pub version: u64,
    /// When they were given, in seconds since 1970.
    pub issued: u64,
    /// The fleet.
    pub fleet: String,
    /// What the operator of the fleet wants of the node.
    pub state: DesiredState,
}

impl From<&Orders> for OrdersFigures {
    fn from(orders: &Orders) -> Self {
        Self {
            version: orders.version,
            issued: orders.issued,
            fleet: orders.fleet.to_string(),
            state: orders.state,
        }
    }
}

/// The state that the link leaves for others to read.
#[derive(Clone, Debug, Default)]
pub(super) struct LinkState {
    pub(super) on: bool,
    pub(super) present_until: Option<Instant>,
    pub(super) heard: Option<Instant>,
    pub(super) reachable: bool,
    pub(super) trouble: Option<String>,
}

/// Where the link writes and the admin side reads.
#[derive(Debug)]
pub(crate) struct Board {
    started: Instant,
    state: Mutex<LinkState>,
    calls: [[AtomicU64; CallResult::ALL.len()]; Call::ALL.len()],
}

impl Board {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            started: now,
            state: Mutex::default(),
            calls: Default::default(),
        }
    }

    pub(super) fn count(&self, call: Call, result: CallResult) {
        self.calls[call as usize][result as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn put(&self, state: LinkState) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    /// The link now; `orders` are those that the node follows.
    pub(crate) fn figures(&self, now: Instant, orders: Option<&Orders>) -> LinkFigures {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = state.clone();
        let calls = |call: Call| {
            CallResult::ALL
                .map(|result| self.calls[call as usize][result as usize].load(Ordering::Relaxed))
        };
        let since = state.heard.unwrap_or(self.started);
        LinkFigures {
            on: state.on,
            registered: state.present_until.is_some_and(|until| now < until),
            heartbeat_age_s: if state.on {
                now.saturating_duration_since(since).as_secs_f64()
            } else {
                0.0
            },
            reachable: state.reachable,
            orders: orders.map(OrdersFigures::from),
            trouble: state.trouble,
            calls: Call::ALL.map(calls),
        }
    }
}
