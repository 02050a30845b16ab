//! Notices addresses and routes that the host gets or loses while the node runs.
//!
//! A listener on a wildcard then listens there too, and the policy learns of addresses that are the
//! host's own. A listener whose address is gone stays: it costs nothing, and closing a member of a
//! SO_REUSEPORT group would re-hash living 5-tuples.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use sterna_io::interfaces::AddressWatch;
use tokio::runtime::Handle;
use tracing::{info, warn};

use super::bind::steer;
use super::compile::{host_addresses, host_prefixes};
use super::shared::Shared;
use crate::listeners::{bind_udp_late, expand};
use crate::mailbox::Control;

/// How often the watch looks whether it is to end.
const STOP_POLL_MS: u32 = 500;
/// How long news is left to gather: a router may have much to say.
const PAUSE: Duration = Duration::from_millis(200);

/// The running watch.
#[derive(Debug)]
pub(super) struct Watch(Arc<AtomicBool>);

impl Watch {
    /// Ends the watch's thread, soon.
    pub(super) fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Starts the watch; without it, where the kernel refuses it, the node serves the addresses of its start.
pub(super) fn start(shared: Arc<Shared>) -> Watch {
    let stop = Arc::new(AtomicBool::new(false));
    let watch = Watch(Arc::clone(&stop));
    let runtime = Handle::current();
    match AddressWatch::new() {
        Ok(news) => {
            let run = move || {
                let mut seen = (Vec::new(), Vec::new());
                while !stop.load(Ordering::Relaxed) {
                    let changed = news
                        .wait(STOP_POLL_MS)
                        .and_then(|ready| if ready { news.changed() } else { Ok(false) });
                    match changed {
                        Ok(true) => {
                            let now = (host_addresses(), host_prefixes());
                            if now != seen {
                                seen = now;
                                runtime.block_on(follow(&shared));
                            }
                            thread::sleep(PAUSE);
                        }
                        Ok(false) => {}
                        Err(error) => {
                            warn!(%error, "changes of the host's addresses are not noticed any more");
                            return;
                        }
                    }
                }
            };
            if let Err(error) = thread::Builder::new().name("addresses".into()).spawn(run) {
                warn!(%error, "changes of the host's addresses are not noticed");
            }
        }
        Err(error) => warn!(%error, "changes of the host's addresses are not noticed"),
    }
    watch
}

/// Listens on what is new, and tells the policy.
async fn follow(shared: &Shared) {
    let mut facts = (**shared.facts.load()).clone();
    let known: BTreeSet<SocketAddr> = facts.turn_listeners.iter().copied().collect();
    let wildcards: Vec<SocketAddr> = shared
        .config
        .load()
        .turn
        .listen
        .iter()
        .filter(|addr| addr.ip().is_unspecified())
        .copied()
        .collect();
    let serves_udp = shared.config.load().flow.udp;
    for wildcard in wildcards {
        // Where the system chose the port, the first listener of the family has it.
        let port = known
            .iter()
            .find(|addr| addr.is_ipv4() == wildcard.is_ipv4())
            .map_or(wildcard.port(), SocketAddr::port);
        for ip in expand(wildcard.ip()) {
            let addr = SocketAddr::new(ip, port);
            if known.contains(&addr) {
                continue;
            }
            match bind_udp_late(addr, shared.mailboxes.len()) {
                Ok(sockets) => {
                    info!(%addr, "listening on a new address of the host");
                    if let Some(flow) = shared.flow.as_ref().filter(|_| serves_udp) {
                        steer(&flow.plan, sockets.first());
                    }
                    for (mailbox, socket) in shared.mailboxes.iter().zip(sockets) {
                        // A worker that has ended needs no listener.
                        let _ = mailbox.post_control(Control::AddListener(socket)).await;
                    }
                    facts.turn_listeners.push(addr);
                    shared.addresses.rcu(|known| {
                        let mut grown = (**known).clone();
                        grown.udp.push(addr);
                        grown
                    });
                }
                Err(error) => warn!(%error, "cannot listen on a new address of the host"),
            }
        }
    }
    shared.facts.store(Arc::new(facts));
    shared.recompile().await;
    shared.changes.send_replace(());
}
