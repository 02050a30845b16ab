//! Starts the workers: their back ends first, their loops when every mailbox exists.
//!
//! An io_uring belongs to the thread that made it, so each worker makes its own back end and then
//! waits for the mailboxes of all.

use std::io;
use std::net::UdpSocket;
use std::sync::{Arc, mpsc};
use std::thread;

use sterna_io::mmsg::MmsgEngine;
use sterna_io::uring::UringEngine;
use sterna_io::{BudgetLine, Description, Engine, EngineKind, Waker};
use sterna_turn::{Registry, Server, ServerConfig, WorkerId, limits};
use tokio::sync::Notify;

use crate::flow::{FlowInbox, FlowMailboxes, FlowPlan, Wake, WorkerFlow, relay_of, shard_of};
use crate::held_ports::HeldPorts;
use crate::mailbox::{Inbox, Mailboxes, mailbox};
use crate::metrics::WORKER_THREAD;
use crate::stream::peer::Peers;
use crate::worker::Worker;

/// What every worker is made of.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// Which back end.
    pub(super) engine: EngineKind,
    /// How its back end is made.
    pub(super) io: sterna_io::Config,
    /// How its machine is made.
    pub(super) server: Arc<ServerConfig>,
    /// What the machines share.
    pub(super) registry: Arc<Registry>,
    /// Sockets that are held for reservations.
    pub(super) held: Arc<HeldPorts>,
    /// The flow relay, where it is on.
    pub(super) flow: Option<FlowPlan>,
    /// Whether workers serve its `udp` rung.
    pub(super) flow_udp: bool,
    /// The driver of TCP allocations.
    pub(super) peers: Peers,
}

/// The running workers.
#[derive(Debug)]
pub(super) struct Workers {
    /// The way to each.
    pub(super) mailboxes: Mailboxes,
    /// Their threads.
    pub(super) threads: Vec<thread::JoinHandle<io::Result<()>>>,
    /// Says which worker has ended; expected only after it was told to.
    pub(super) ended: tokio::sync::mpsc::Receiver<WorkerId>,
    /// What one worker's back end is.
    pub(super) description: Description,
    /// What the memory of one is for.
    pub(super) budget: Vec<BudgetLine>,
    /// The way to every shard of the flow relay, where it is on.
    pub(super) flow: Option<FlowMailboxes>,
    /// The inboxes of its shards behind the workers, and their bells.
    pub(super) flow_threads: Vec<(FlowInbox, Arc<Notify>)>,
}

/// A back end that stands.
struct Ready {
    waker: Waker,
    description: Description,
    budget: Vec<BudgetLine>,
}

/// What a worker needs to begin.
struct Go {
    inbox: Inbox,
    mailboxes: Mailboxes,
    listeners: Vec<UdpSocket>,
    flow: Option<(FlowInbox, FlowMailboxes)>,
}

/// Starts one worker for each row of `listeners`.
///
/// # Errors
/// What a thread or a back end says that cannot be made.
pub(super) fn spawn(plan: &Plan, listeners: Vec<Vec<UdpSocket>>) -> io::Result<Workers> {
    let (ended_in, ended) = tokio::sync::mpsc::channel(listeners.len());
    let (mut threads, mut starts, mut readies) = (Vec::new(), Vec::new(), Vec::new());
    for index in 0..listeners.len() {
        let id = WorkerId(
            u8::try_from(index)
                .map_err(|_| io::Error::other("more workers than can be told apart"))?,
        );
        let (ready_in, ready) = mpsc::sync_channel(1);
        let (start, go) = mpsc::sync_channel(1);
        let (plan, farewell) = (plan.clone(), Farewell(id, ended_in.clone()));
        let run = move || {
            let _farewell = farewell;
            match plan.engine {
                EngineKind::Uring => live(id, UringEngine::new(plan.io), &plan, &ready_in, &go),
                EngineKind::Mmsg => live(id, MmsgEngine::new(plan.io), &plan, &ready_in, &go),
                EngineKind::Sim => Err(io::Error::other(
                    "the simulated back end has no sockets to listen on",
                )),
            }
        };
        threads.push(
            thread::Builder::new()
                .name(format!("{WORKER_THREAD}{index}"))
                .spawn(run)?,
        );
        starts.push(start);
        readies.push(ready);
    }
    let gone = || io::Error::other("a worker's thread ended while its back end was made");
    let mut stands = Vec::new();
    for ready in readies {
        stands.push(ready.recv().map_err(|_| gone())??);
    }
    let (mailboxes, inboxes): (Vec<_>, Vec<_>) = stands
        .iter()
        .map(|ready| mailbox(ready.waker.clone()))
        .unzip();
    let mailboxes = Mailboxes::new(mailboxes);
    let (flow, mut flow_inboxes, flow_threads) = flow_mail(plan, &stands);
    for ((start, inbox), listeners) in starts.into_iter().zip(inboxes).zip(listeners) {
        start
            .send(Go {
                inbox,
                mailboxes: mailboxes.clone(),
                listeners,
                flow: flow_inboxes.next().zip(flow.clone()),
            })
            .map_err(|_| gone())?;
    }
    let first = stands.into_iter().next().ok_or_else(gone)?;
    Ok(Workers {
        mailboxes,
        threads,
        ended,
        description: first.description,
        budget: first.budget,
        flow,
        flow_threads,
    })
}

/// Makes the inboxes of the flow relay's shards: those of workers, and those of threads behind them.
#[expect(
    clippy::type_complexity,
    reason = "three parts of one answer, taken apart at once"
)]
fn flow_mail(
    plan: &Plan,
    workers: &[Ready],
) -> (
    Option<FlowMailboxes>,
    std::vec::IntoIter<FlowInbox>,
    Vec<(FlowInbox, Arc<Notify>)>,
) {
    let Some(flow) = &plan.flow else {
        return (None, Vec::new().into_iter(), Vec::new());
    };
    let bells: Vec<_> = (0..flow.threads).map(|_| Arc::new(Notify::new())).collect();
    let of_workers = workers
        .iter()
        .map(|ready| Wake::Worker(ready.waker.clone()));
    let of_threads = bells.iter().cloned().map(Wake::Thread);
    let (mailboxes, mut inboxes) = FlowMailboxes::new(of_workers.chain(of_threads));
    let threads = inboxes.split_off(workers.len());
    if !plan.flow_udp {
        inboxes.clear();
    }
    (
        Some(mailboxes),
        inboxes.into_iter(),
        threads.into_iter().zip(bells).collect(),
    )
}

/// A worker's whole life, on its own thread.
fn live<E: Engine>(
    id: WorkerId,
    engine: io::Result<E>,
    plan: &Plan,
    ready: &mpsc::SyncSender<io::Result<Ready>>,
    go: &mpsc::Receiver<Go>,
) -> io::Result<()> {
    let gone = |_| io::Error::other("the node gave up starting");
    let engine = match engine {
        Ok(engine) => engine,
        Err(error) => {
            let _ = ready.send(Err(error));
            return Ok(());
        }
    };
    let stands = Ready {
        waker: engine.waker(),
        description: engine.describe(),
        budget: budget(&engine),
    };
    ready
        .send(Ok(stands))
        .map_err(|_| io::Error::other("the node gave up starting"))?;
    let Go {
        inbox,
        mailboxes,
        listeners,
        flow,
    } = go.recv().map_err(gone)?;
    let server = Server::new(
        engine.now(),
        id,
        Arc::clone(&plan.server),
        Arc::clone(&plan.registry),
        rand::random(),
    );
    let now = engine.now();
    let mut worker = Worker::new(
        id,
        engine,
        server,
        inbox,
        mailboxes,
        Arc::clone(&plan.held),
        listeners,
    )?
    .with_peers(plan.peers.clone());
    if let Some((flow_plan, (inbox, shards))) = plan.flow.as_ref().zip(flow) {
        let relay = relay_of(flow_plan, now, shard_of(id));
        worker = worker.with_flow(WorkerFlow::new(relay, inbox, shards));
    }
    worker.run()
}

/// What a worker's memory is for: its back end's, and the machine's fixed part.
fn budget(engine: &impl Engine) -> Vec<BudgetLine> {
    let mut lines = engine.budget();
    lines.push(BudgetLine {
        what: "token buckets of strangers",
        count: limits::RATE_LIMITERS * limits::RATE_BUCKETS,
        bytes_each: limits::RATE_BUCKET_BYTES,
    });
    lines
}

/// Reports a worker's end, also when it panics.
struct Farewell(WorkerId, tokio::sync::mpsc::Sender<WorkerId>);

impl Drop for Farewell {
    fn drop(&mut self) {
        // The channel has room for every worker's only farewell.
        let _ = self.1.try_send(self.0);
    }
}
