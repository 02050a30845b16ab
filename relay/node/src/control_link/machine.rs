//! When the node registers, when it reports, and what it believes: pure, `now` in and actions out.
//!
//! ```text
//! unregistered --registered--> registered --heartbeat answered--> heartbeating
//!      ^   ^                        |                                  |
//!      |   '---- other addresses ---+----------------------------------+
//!      '-------- told that the node is unknown ------------------------'
//! ```
//!
//! The service holds the answer to a heartbeat for the time until the next one, or until it has new
//! orders: so they arrive at once, and nobody calls more often for it.
//!
//! Whatever fails is tried again after a time that is drawn from zero to a bound which doubles (full
//! jitter), so that a fleet whose service comes back does not come back as one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use sterna_control_api::node::{HeartbeatAnswer, NodeRegistered, RegisterNode};
use sterna_control_api::{NodeId, OrdersError};

use sterna_control_api::problem::Code;
use tracing::{debug, info, warn};

use super::limits::{
    INTERVAL_DEFAULT, INTERVAL_MAX, INTERVAL_MIN, INTERVALS_MISSED_MAX, NEWS_APART, PROBE_AGAIN,
    PROBE_EVERY, PROBE_RETRY, RETRY_FIRST, RETRY_INTERVALS_MAX, RETRY_MAX, WAIT_MAX,
};
use super::standing::Standing;

/// What the machine wants done.
#[derive(Debug)]
pub(super) enum Action {
    /// Registers, with the join token or without.
    Register {
        request: Box<RegisterNode>,
        show_token: bool,
    },
    /// Reports; the answer may be held for so long.
    Heartbeat {
        orders: u64,
        reachable: bool,
        wait: Duration,
    },
    /// Finds out whether the node is reached through its public address.
    Probe,
}

/// Why a call came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The service could not be reached, or broke off.
    Unreachable(String),
    /// The service has said no.
    Problem {
        code: Code,
        detail: String,
        retry_after: Option<Duration>,
    },
}

impl Refusal {
    /// Whether the service does not know the node, or says so.
    fn is_unknown(&self) -> bool {
        let Self::Problem { code, .. } = self else {
            return false;
        };
        matches!(code, Code::Unauthorized | Code::Gone | Code::NotFound)
    }

    fn retry_after(&self) -> Duration {
        match self {
            Self::Problem { retry_after, .. } => retry_after.unwrap_or_default().min(RETRY_MAX),
            Self::Unreachable(_) => Duration::ZERO,
        }
    }

    /// What the operator reads.
    fn sentence(&self) -> String {
        match self {
            Self::Unreachable(error) => error.clone(),
            Self::Problem {
                code: Code::StaleSignature,
                detail,
                ..
            } => format!("{detail}: set this host's clock"),
            Self::Problem { detail, .. } => detail.clone(),
        }
    }
}

/// What is under way between node and service.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Step {
    /// Nothing until then.
    Wait(Instant),
    /// A call, whose answer may be held until then.
    Asking { until: Instant, held: bool },
    /// There is no service.
    Off,
}

/// What the node knows of its own reachability.
#[derive(Debug)]
struct Probes {
    /// When the next one is due; none while one is under way.
    due: Option<Instant>,
    /// What the last ones have shown.
    reachable: bool,
    /// One has failed after others had not.
    doubtful: bool,
    /// An address has changed meanwhile: what is under way is of the old one.
    again: bool,
}

/// The link of one node.
pub(super) struct Machine {
    node: NodeId,
    rng: StdRng,
    /// How the node is reached now.
    described: RegisterNode,
    /// What the call under way says of that.
    asked: Option<RegisterNode>,
    /// The service knows the node as it is.
    registered: bool,
    has_token: bool,
    show_token: bool,
    step: Step,
    /// Calls that came to nothing since the last heartbeat that was answered.
    failures: u32,
    /// There is something to tell that does not wait for an interval.
    urgent: bool,
    interval: Duration,
    /// When new orders were confirmed last, or are to be.
    news: Option<Instant>,
    standing: Option<Arc<Standing>>,
    /// When the service has answered last.
    heard: Option<Instant>,
    /// What the log has said last.
    trouble: Option<String>,
    probes: Probes,
}

impl Machine {
    /// A link that begins at once; `standing` is what the node was told before its restart.
    pub(super) fn new(
        now: Instant,
        described: RegisterNode,
        standing: Option<Arc<Standing>>,
        seed: [u8; 32],
    ) -> Self {
        Self {
            node: described.identity,
            rng: StdRng::from_seed(seed),
            described,
            asked: None,
            registered: false,
            has_token: false,
            show_token: false,
            step: Step::Off,
            failures: 0,
            urgent: false,
            interval: INTERVAL_DEFAULT,
            news: None,
            standing,
            heard: None,
            trouble: None,
            probes: Probes {
                due: Some(now),
                reachable: false,
                doubtful: false,
                again: false,
            },
        }
    }

    /// Begins anew with the service of another configuration. A call that is under way is not answered
    /// any more.
    pub(super) fn connect(&mut self, now: Instant, on: bool, has_token: bool) {
        self.registered = false;
        self.has_token = has_token;
        // Whoever has been here before is known by its key; its token may have been used up.
        self.show_token = has_token && self.standing.is_none();
        self.failures = 0;
        self.trouble = None;
        self.asked = None;
        self.step = if on { Step::Wait(now) } else { Step::Off };
    }

    /// Takes over how the node is reached now; the service and the probe hear of a change at once.
    pub(super) fn describe(&mut self, now: Instant, described: RegisterNode) {
        if described == self.described {
            return;
        }
        info!("the node is reached at other addresses; it registers again");
        self.described = described;
        self.registered = false;
        self.probes.again = self.probes.due.is_none();
        self.probes.due = self.probes.due.map(|due| due.min(now));
        self.tell(now);
    }

    /// There is something to tell the service that does not wait.
    pub(super) fn tell(&mut self, now: Instant) {
        match self.step {
            // While the service is away, the next attempt tells it.
            Step::Wait(at) if self.failures == 0 => self.step = Step::Wait(at.min(now)),
            // A heartbeat whose answer is held is given up for one that says more.
            Step::Asking { held: true, .. } => self.step = Step::Wait(now),
            _ => self.urgent = true,
        }
    }

    /// When [`Machine::poll_action`] wants to be called.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let call = match self.step {
            Step::Wait(at) => Some(at),
            Step::Asking { .. } | Step::Off => None,
        };
        call.into_iter().chain(self.probe_due()).min()
    }

    /// Hands out what is due, one action a call.
    pub(super) fn poll_action(&mut self, now: Instant) -> Option<Action> {
        if self.probe_due().is_some_and(|due| due <= now) {
            self.probes.due = None;
            return Some(Action::Probe);
        }
        match self.step {
            Step::Wait(at) if at <= now => {}
            _ => return None,
        }
        self.urgent = false;
        if self.registered {
            let wait = self.wait();
            self.step = Step::Asking {
                until: now + wait,
                held: !wait.is_zero(),
            };
            return Some(Action::Heartbeat {
                orders: self.orders_version(),
                reachable: self.probes.reachable,
                wait,
            });
        }
        self.step = Step::Asking {
            until: now,
            held: false,
        };
        self.asked = Some(self.described.clone());
        Some(Action::Register {
            request: Box::new(self.described.clone()),
            show_token: self.show_token,
        })
    }

    /// The answer to a registration; returns orders that are new.
    pub(super) fn on_registered(
        &mut self,
        now: Instant,
        answer: Result<NodeRegistered, Refusal>,
    ) -> Option<Arc<Standing>> {
        let asked = self.asked.take();
        let answer = match answer {
            Ok(answer) => answer,
            Err(refusal) => {
                self.on_unregistered(now, &refusal);
                return None;
            }
        };
        match Standing::joined(&answer, &self.node, self.standing.as_deref()) {
            Ok(standing) => {
                self.registered = asked.as_ref() == Some(&self.described);
                self.show_token = false;
                self.heard = Some(now);
                self.set_interval(answer.heartbeat_interval_s);
                // The first heartbeat says whether the node is reachable; it comes at once, unless the
                // service goes round in circles.
                let pause = self.pause();
                self.step = Step::Wait(now + pause);
                info!(fleet = %answer.fleet, orders = standing.orders().version, "registered with the control service");
                self.take(standing)
            }
            Err(error) => {
                self.fail(
                    now,
                    format!("the registration's {}", of_orders(error)),
                    Duration::ZERO,
                );
                None
            }
        }
    }

    /// The answer to a heartbeat; returns orders that are new.
    pub(super) fn on_heartbeat(
        &mut self,
        now: Instant,
        answer: Result<HeartbeatAnswer, Refusal>,
    ) -> Option<Arc<Standing>> {
        let answer = match answer {
            Ok(answer) => answer,
            Err(refusal) if refusal.is_unknown() => {
                self.registered = false;
                self.show_token = false;
                self.fail(now, refusal.sentence(), refusal.retry_after());
                return None;
            }
            Err(refusal) => {
                self.fail(now, refusal.sentence(), refusal.retry_after());
                return None;
            }
        };
        if self.trouble.take().is_some() {
            info!("the control service answers again");
        }
        self.failures = 0;
        self.heard = Some(now);
        self.set_interval(answer.heartbeat_interval_s);
        let news = answer.orders.and_then(|signed| self.hear(now, signed));
        if self.failures == 0 {
            let soon = std::mem::take(&mut self.urgent) || !self.registered;
            let at = match self.step {
                Step::Off => return news,
                _ if soon => now,
                _ if news.is_some() => self.after_news(now),
                // A service that does not hold answers hears no more of the node than one that does.
                Step::Asking { until, .. } | Step::Wait(until) => until.max(now),
            };
            self.step = Step::Wait(at);
        }
        news
    }

    /// When the service hears that its new orders are followed: at once, unless they come one after
    /// the other.
    fn after_news(&mut self, now: Instant) -> Instant {
        let at = self.news.map_or(now, |last| now.max(last + NEWS_APART));
        self.news = Some(at);
        at
    }

    /// How long the answer to a heartbeat may be held: for the time until the next one. Not while
    /// something is amiss, for whoever has heard nothing for a while wants to hear something.
    fn wait(&mut self) -> Duration {
        if self.failures > 0 {
            return Duration::ZERO;
        }
        let interval = self.interval.min(WAIT_MAX);
        self.rng.random_range(interval * 9 / 10..=interval)
    }

    /// The end of a probe.
    pub(super) fn on_probed(&mut self, now: Instant, reached: bool) {
        let probes = &mut self.probes;
        if std::mem::take(&mut probes.again) {
            probes.due = Some(now);
            return;
        }
        if !reached && probes.reachable && !probes.doubtful {
            probes.doubtful = true;
            probes.due = Some(now + PROBE_AGAIN);
            return;
        }
        probes.doubtful = false;
        probes.due = Some(now + if reached { PROBE_EVERY } else { PROBE_RETRY });
        if probes.reachable != reached {
            probes.reachable = reached;
            if reached {
                info!("the node is reached through its public address");
            } else {
                warn!(
                    "the node is not reached through its public address; it asks to be left out of the relay map"
                );
            }
            self.tell(now);
        }
    }

    /// Until when the service has the node for present, by what it was heard to say last.
    pub(super) fn present_until(&self) -> Option<Instant> {
        let patience = self.interval * INTERVALS_MISSED_MAX;
        self.heard
            .filter(|_| self.registered)
            .map(|heard| heard + patience)
    }

    /// When the service has answered last.
    pub(super) fn heard(&self) -> Option<Instant> {
        self.heard
    }

    /// Whether the node's own probe comes back.
    pub(super) fn reachable(&self) -> bool {
        self.probes.reachable
    }

    /// What is wrong at the moment.
    pub(super) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    fn orders_version(&self) -> u64 {
        self.standing
            .as_ref()
            .map_or(0, |standing| standing.orders().version)
    }

    /// Nobody asks whether the node is reached where there is no service.
    fn probe_due(&self) -> Option<Instant> {
        self.probes.due.filter(|_| self.step != Step::Off)
    }

    fn on_unregistered(&mut self, now: Instant, refusal: &Refusal) {
        let mut sentence = refusal.sentence();
        if refusal.is_unknown() {
            if !self.has_token {
                sentence.push_str(
                    "; it does not know this node: set control.join_token (`sterna token join` makes one)",
                );
            } else if !self.show_token {
                // The token is for this; it is shown at once.
                self.show_token = true;
                self.step = Step::Wait(now);
                self.failures += 1;
                return;
            } else {
                // A token that is used up helps nobody; the key may be known all the same.
                self.show_token = false;
            }
        }
        self.fail(now, sentence, refusal.retry_after());
    }

    fn hear(
        &mut self,
        now: Instant,
        signed: sterna_control_api::node::SignedOrders,
    ) -> Option<Arc<Standing>> {
        let standing = self.standing.clone()?;
        match standing.next(signed, &self.node) {
            Ok(Some(next)) => self.take(next),
            Ok(None) => None,
            Err(OrdersError::Older) => {
                debug!("the service has sent older orders than those that are followed");
                None
            }
            Err(error) => {
                // A registration brings the keys that count now.
                self.registered = false;
                self.fail(
                    now,
                    format!("a heartbeat's {}", of_orders(error)),
                    Duration::ZERO,
                );
                None
            }
        }
    }

    fn take(&mut self, standing: Standing) -> Option<Arc<Standing>> {
        let known = self.standing.as_ref();
        let is_new = known.is_none_or(|known| !known.says_the_same_as(&standing));
        let standing = Arc::new(standing);
        self.standing = Some(Arc::clone(&standing));
        is_new.then_some(standing)
    }

    fn set_interval(&mut self, seconds: u32) {
        self.interval = Duration::from_secs(seconds.into()).clamp(INTERVAL_MIN, INTERVAL_MAX);
    }

    /// Tries again later, `at_least` from now.
    fn fail(&mut self, now: Instant, sentence: String, at_least: Duration) {
        let pause = self.pause();
        // Whom the service has told to wait comes back over as long a time again.
        let spread = self.rng.random_range(Duration::ZERO..=at_least);
        self.failures = self.failures.saturating_add(1);
        self.step = Step::Wait(now + pause.max(at_least + spread));
        if self.trouble.as_ref() == Some(&sentence) {
            debug!(
                reason = sentence,
                failures = self.failures,
                "the control service is tried again"
            );
        } else {
            warn!(
                reason = sentence,
                "the control service does not help; the node goes on with what it has, and tries again"
            );
            self.trouble = Some(sentence);
        }
    }

    /// The pause before the next call: none after the first failure of a series, for whoever is told
    /// that it is unknown may help itself.
    fn pause(&mut self) -> Duration {
        if self.failures == 0 {
            return Duration::ZERO;
        }
        let doubled = RETRY_FIRST * 2u32.saturating_pow((self.failures - 1).min(16));
        let bound = doubled.min((self.interval * RETRY_INTERVALS_MAX).min(RETRY_MAX));
        self.rng.random_range(Duration::ZERO..=bound)
    }
}

fn of_orders(error: OrdersError) -> String {
    format!("orders were not taken: {error}")
}

#[cfg(test)]
mod tests;
