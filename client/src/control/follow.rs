//! Keeps a relay up with its control service: a newer ticket long before the old one has run out, and
//! the nodes of a newer map; and tells the service which node the device is at home on.
//!
//! A service that is away changes nothing: the ticket and the nodes that are known go on, and what is
//! due is tried again at growing intervals.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt as _;
use sterna_control_api::NodeId;
use sterna_control_api::problem::Code;
use sterna_control_api::signal::ToDevice;
use sterna_control_client::{Backoff, CallError, Socket};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};

use super::account::{Account, AccountError};
use crate::relay::Relay;

/// How often the map is asked for where no push says that it has changed.
const MAP_EVERY: Duration = Duration::from_secs(30);

/// How often the device says where it is at home though nothing has changed: it was heard then.
const REPORT_EVERY: Duration = Duration::from_secs(60);

/// The bounds of the pauses after a call that came to nothing.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// Events that may wait for whoever wants them.
const EVENTS_MAX: usize = 16;

/// What the user may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A newer ticket is shown to the nodes.
    TicketRenewed,
    /// A newer relay map counts.
    NodesChanged {
        /// Its version.
        version: u64,
    },
    /// The service has revoked the device: nothing is renewed any more.
    Revoked,
}

/// The task that keeps a relay up; it ends when this is dropped.
#[derive(Debug)]
pub struct Following {
    task: JoinHandle<()>,
}

impl Drop for Following {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Following {
    /// Follows the service on the runtime that this is called on. Events that are not fetched are
    /// dropped.
    #[must_use]
    pub fn start(account: Account, relay: Arc<Relay>) -> (Self, mpsc::Receiver<Event>) {
        let (events, events_out) = mpsc::channel(EVENTS_MAX);
        let follower = Follower {
            ticket_at: renewal(&account),
            map_at: Instant::now() + MAP_EVERY,
            socket_at: Instant::now(),
            report_at: Instant::now(),
            home: None,
            account,
            relay,
            events,
            socket: None,
            retry: Retry::new(),
            socket_retry: Retry::new(),
            report_retry: Retry::new(),
        };
        let task = tokio::spawn(follower.run());
        (Self { task }, events_out)
    }
}

/// When the next attempt is made after one that came to nothing.
struct Retry(Backoff);

impl Retry {
    fn new() -> Self {
        Self(Backoff::new(RETRY_FIRST, RETRY_MAX))
    }

    fn at(&mut self, retry_after: Option<Duration>) -> Instant {
        Instant::now() + self.0.next(&mut rand::rng(), retry_after)
    }
}

struct Follower {
    account: Account,
    relay: Arc<Relay>,
    events: mpsc::Sender<Event>,
    socket: Option<Socket>,
    ticket_at: Instant,
    map_at: Instant,
    socket_at: Instant,
    report_at: Instant,
    /// The node that the device is at home on, once it was on one.
    home: Option<NodeId>,
    retry: Retry,
    socket_retry: Retry,
    report_retry: Retry,
}

/// Why the task ends.
struct Revoked;

impl Follower {
    async fn run(mut self) {
        while self.step().await.is_ok() {}
        warn!("the control service has revoked this device");
        self.say(Event::Revoked);
    }

    async fn step(&mut self) -> Result<(), Revoked> {
        let open = self.socket.is_none();
        let at_home = self.home.is_some();
        tokio::select! {
            node = self.relay.elsewhere_than(self.home) => {
                self.home = Some(node);
                self.report_at = Instant::now();
                Ok(())
            }
            () = sleep_until(self.report_at), if at_home => self.report().await,
            () = sleep_until(self.ticket_at) => self.renew().await,
            () = sleep_until(self.map_at) => self.look_at_map().await,
            () = sleep_until(self.socket_at), if open => self.open().await,
            pushed = next_of(&mut self.socket) => match pushed {
                Some(ToDevice::RelayMapChanged { version }) => {
                    if version != self.account.relay_map().version {
                        self.map_at = Instant::now();
                    }
                    Ok(())
                }
                Some(ToDevice::Revoked) => Err(Revoked),
                Some(ToDevice::Restarting { after_ms }) => {
                    let after = Duration::from_millis(after_ms.into());
                    self.socket = None;
                    self.socket_at = self.socket_retry.at(Some(after));
                    Ok(())
                }
                // Signalling is somebody else's.
                Some(_) => Ok(()),
                None => {
                    self.socket = None;
                    self.socket_at = self.socket_retry.at(None);
                    // What was pushed meanwhile is not known.
                    self.map_at = self.map_at.min(self.socket_at);
                    Ok(())
                }
            },
        }
    }

    async fn renew(&mut self) -> Result<(), Revoked> {
        match self.account.renew_ticket().await {
            Ok(()) => {
                self.retry.0.reset();
                self.ticket_at = renewal(&self.account);
                self.relay.renew(self.account.ticket().to_vec()).await;
                self.say(Event::TicketRenewed);
            }
            Err(error) => self.ticket_at = self.after(&error, "the ticket is not renewed")?,
        }
        Ok(())
    }

    async fn look_at_map(&mut self) -> Result<(), Revoked> {
        match self.account.refresh_map().await {
            Ok(newer) => {
                self.retry.0.reset();
                self.map_at =
                    Instant::now() + MAP_EVERY.mul_f64(rand::rng().random_range(0.8..1.2));
                if newer {
                    let version = self.account.relay_map().version;
                    let nodes = self.account.nodes();
                    info!(version, nodes = nodes.len(), "the relay map has changed");
                    self.relay.set_nodes(nodes).await;
                    self.say(Event::NodesChanged { version });
                }
            }
            Err(error) => self.map_at = self.after(&error, "the relay map is not to be had")?,
        }
        Ok(())
    }

    async fn open(&mut self) -> Result<(), Revoked> {
        match self.account.socket().await {
            Ok(socket) => {
                self.socket_retry.0.reset();
                self.socket = Some(socket);
                // It may have changed before there was somebody to push to.
                self.map_at = Instant::now();
            }
            Err(error) if is_revoked(&error) => return Err(Revoked),
            Err(error) => {
                debug!(%error, "no pushes of the control service; the map is asked for now and then");
                self.socket_at = self.socket_retry.at(error.retry_after());
            }
        }
        Ok(())
    }

    async fn report(&mut self) -> Result<(), Revoked> {
        let Some(home) = self.home else { return Ok(()) };
        self.report_at = match self.account.report_home(home).await {
            Ok(()) => {
                self.report_retry.0.reset();
                Instant::now() + REPORT_EVERY.mul_f64(rand::rng().random_range(0.8..1.2))
            }
            Err(AccountError::Call(error)) if is_revoked(&error) => return Err(Revoked),
            Err(error) => {
                debug!(%error, "the control service does not hear where this device is at home");
                self.report_retry.at(None)
            }
        };
        Ok(())
    }

    /// When to try again.
    fn after(&mut self, error: &AccountError, what: &'static str) -> Result<Instant, Revoked> {
        let retry_after = match error {
            AccountError::Call(error) if is_revoked(error) => return Err(Revoked),
            AccountError::Call(error) => error.retry_after(),
            _ => None,
        };
        warn!(%error, "{what}; what is known goes on, and it is tried again");
        Ok(self.retry.at(retry_after))
    }

    fn say(&self, event: Event) {
        // Who does not fetch events does not want them.
        let _ = self.events.try_send(event);
    }
}

async fn next_of(socket: &mut Option<Socket>) -> Option<ToDevice> {
    match socket {
        Some(socket) => socket.next().await.ok(),
        None => std::future::pending().await,
    }
}

fn is_revoked(error: &CallError) -> bool {
    error.code() == Some(Code::Gone)
}

/// At half of a ticket's life: a service that is away for as long again is not noticed.
fn renewal(account: &Account) -> Instant {
    let spread = rand::rng().random_range(0.45..0.55);
    Instant::now() + account.fresh_ticket().left().mul_f64(spread)
}
