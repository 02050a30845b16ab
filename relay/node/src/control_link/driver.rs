//! The task that turns the machine: makes its calls, stores and hands on what it believes.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::random;
use sterna_control_api::node::{HeartbeatAnswer, NodeRegistered};
use tokio::task::JoinHandle;
use tokio::time::{sleep_until, timeout};
use tracing::warn;

use super::board::{Board, Call, CallResult, LinkState};
use super::cache::Cache;
use super::calls::{self, Service};
use super::limits::{ANSWER_MAX, CALL_MAX};
use super::machine::{Action, Machine, Refusal};
use super::probe::probe;
use super::{Host, Standing};
use crate::config;
use crate::flow::Identity;

/// The running link; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct ControlLink(JoinHandle<()>);

impl ControlLink {
    /// Starts the link; `standing` is what the node has begun with.
    pub(crate) fn start(
        host: Arc<dyn Host>,
        identity: Identity,
        standing: Option<Arc<Standing>>,
        board: Arc<Board>,
    ) -> Self {
        let machine = Machine::new(Instant::now(), host.describe(), standing, random());
        let cache = Cache::new(&host.config().node.data_dir);
        let driver = Driver {
            host,
            identity,
            machine,
            cache,
            board,
            terms: config::Control::default(),
            service: None,
            call: None,
            probing: None,
        };
        Self(tokio::spawn(driver.run()))
    }
}

impl Drop for ControlLink {
    fn drop(&mut self) {
        self.0.abort();
    }
}

type Under<T> = Option<Pin<Box<dyn Future<Output = T> + Send>>>;

/// What a call has come to.
enum Called {
    Registered(Result<NodeRegistered, Refusal>),
    Beaten(Result<HeartbeatAnswer, Refusal>),
}

struct Driver {
    host: Arc<dyn Host>,
    identity: Identity,
    machine: Machine,
    cache: Cache,
    board: Arc<Board>,
    /// The section that the link runs by.
    terms: config::Control,
    service: Option<Arc<Service>>,
    call: Under<Called>,
    probing: Under<bool>,
}

impl Driver {
    async fn run(mut self) {
        let mut changes = self.host.changes();
        changes.mark_changed();
        loop {
            while let Some(action) = self.machine.poll_action(Instant::now()) {
                self.act(action);
            }
            self.post();
            let due = self.machine.poll_timeout();
            tokio::select! {
                changed = changes.changed() => match changed {
                    Ok(()) => self.look().await,
                    Err(_) => return,
                },
                called = under_way(&mut self.call) => {
                    self.call = None;
                    self.hear(called).await;
                }
                reached = under_way(&mut self.probing) => {
                    self.probing = None;
                    self.machine.on_probed(Instant::now(), reached);
                }
                () = sleep_until(due.unwrap_or_else(Instant::now).into()), if due.is_some() => {}
            }
        }
    }

    /// Takes over what may have changed in the node.
    async fn look(&mut self) {
        let now = Instant::now();
        self.machine.describe(now, self.host.describe());
        let terms = self.host.config().control.clone();
        if terms == self.terms {
            // The state, perhaps.
            self.machine.tell(now);
            return;
        }
        self.call = None;
        let was_on = self.terms.is_on();
        self.service = match Service::new(&terms, &self.identity) {
            Ok(service) => service.map(Arc::new),
            Err(error) => {
                warn!(%error, "the control service cannot be called as control.ca_file and control.url say");
                None
            }
        };
        let has_token = terms.join_token.is_some() || terms.join_token_file.is_some();
        self.machine.connect(now, self.service.is_some(), has_token);
        if was_on && !terms.is_on() {
            self.host.follow(None).await;
        }
        self.terms = terms;
    }

    fn act(&mut self, action: Action) {
        let Some(service) = self.service.clone() else {
            return;
        };
        match action {
            Action::Probe => {
                let services = self.host.describe().services;
                self.probing = Some(Box::pin(async move { probe(&services).await }));
            }
            Action::Register {
                request,
                show_token,
            } => {
                let token = if show_token {
                    calls::join_token(&self.terms)
                } else {
                    Ok(None)
                };
                self.call = Some(Box::pin(async move {
                    let asked = async { service.register(&request, token?.as_ref()).await };
                    Called::Registered(in_time(CALL_MAX, asked).await)
                }));
            }
            Action::Heartbeat {
                orders,
                reachable,
                wait,
            } => {
                let host = Arc::clone(&self.host);
                self.call = Some(Box::pin(async move {
                    let mut heartbeat = host.report().await;
                    heartbeat.orders = orders;
                    heartbeat.reachable = reachable;
                    let asked = service.heartbeat(&heartbeat, wait);
                    Called::Beaten(in_time(CALL_MAX.max(wait + ANSWER_MAX), asked).await)
                }));
            }
        }
    }

    async fn hear(&mut self, called: Called) {
        let now = Instant::now();
        let news = match called {
            Called::Registered(answer) => {
                self.board.count(Call::Register, result_of(&answer));
                self.machine.on_registered(now, answer)
            }
            Called::Beaten(answer) => {
                self.board.count(Call::Heartbeat, result_of(&answer));
                self.machine.on_heartbeat(now, answer)
            }
        };
        let Some(standing) = news else { return };
        // What is revoked ends first; a disk may be slow.
        self.host.follow(Some(Arc::clone(&standing))).await;
        let cache = self.cache.clone();
        let stored = tokio::task::spawn_blocking(move || cache.store(&standing)).await;
        if let Err(error) = stored.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
            warn!(path = %self.cache.path().display(), %error, "the orders of the control service are not on the disk; a restart would do without them");
        }
    }

    fn post(&self) {
        self.board.put(LinkState {
            on: self.terms.is_on(),
            present_until: self.machine.present_until(),
            heard: self.machine.heard(),
            reachable: self.machine.reachable(),
            trouble: self.machine.trouble().map(str::to_owned),
        });
    }
}

/// Waits for what is under way; for ever where nothing is.
async fn under_way<T>(future: &mut Under<T>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

async fn in_time<T>(
    most: Duration,
    asked: impl Future<Output = Result<T, Refusal>>,
) -> Result<T, Refusal> {
    timeout(most, asked).await.unwrap_or_else(|_| {
        Err(Refusal::Unreachable(
            "the control service does not answer".to_owned(),
        ))
    })
}

fn result_of<T>(answer: &Result<T, Refusal>) -> CallResult {
    match answer {
        Ok(_) => CallResult::Answered,
        Err(Refusal::Unreachable(_)) => CallResult::Unreachable,
        Err(Refusal::Problem { .. }) => CallResult::Refused,
    }
}
