//! The load: all devices on one thread, one sender that serves the flows in turn.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use rand::RngExt as _;
use sterna_client::relay::{Packet, Rung};
use sterna_control_api::DeviceKey;
use tokio::runtime::Builder;
use tokio::sync::{Notify, mpsc};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::sleep;

use super::FlowArgs;
use super::device::{Device, Issuer};
use super::member::{Member, Way};
use super::plan::{self, Flow, Pair};
use super::report::{FlowReport, NodeUsage, PairReport, RunReport};
use crate::BenchError;
use crate::ledger::{Arrival, GIVE_UP_AFTER, Ledger};
use crate::limits::{BURSTS_PER_TURN_MAX, SETUP_WINDOW};
use crate::packet::{Stamp, filling};
use crate::report::{Latency, Totals, per_second, ratio};
use crate::turn::pace::Pace;
use crate::watch::Watch;

/// Longest wait of the sender, so that lost packets are given up in time.
const TURN_MAX: Duration = Duration::from_millis(20);
/// How long devices may take to connect, and one of them to open its flows.
const CONNECT_MAX: Duration = Duration::from_secs(20);
/// How long goodbyes may take.
const GOODBYE: Duration = Duration::from_millis(100);

/// Connects the devices, and measures.
pub(super) fn run(
    args: &FlowArgs,
    issuer: &Issuer,
    pid: Option<u32>,
    pairs: &[Pair],
) -> Result<FlowReport, BenchError> {
    let served = issuer.rungs();
    let is_served = |rung: &Rung| served.contains(rung);
    if !pairs
        .iter()
        .all(|pair| is_served(&pair.from) && is_served(&pair.to))
    {
        return Err(BenchError::Usage(
            "the node does not serve all of the rungs that were asked for",
        ));
    }
    let runtime = Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, run_load(args, issuer, pid, pairs))
}

async fn run_load(
    args: &FlowArgs,
    issuer: &Issuer,
    pid: Option<u32>,
    pairs: &[Pair],
) -> Result<FlowReport, BenchError> {
    let setup = Instant::now();
    let members = members(args, issuer, pairs).await?;
    let setup_s = setup.elapsed().as_secs_f64();
    let mut reports = measure_members(std::slice::from_ref(args), members, pid, pairs).await?;
    let mut report = reports.pop().expect("invariant: a report for each load");
    report.setup_s = setup_s;
    Ok(report)
}

/// Connects the devices of a load and opens their flows.
///
/// # Errors
/// When the node does not take them.
pub(crate) async fn members(
    args: &FlowArgs,
    issuer: &Issuer,
    pairs: &[Pair],
) -> Result<Vec<Member>, BenchError> {
    let rungs = plan::rungs_of(pairs, args.devices);
    let flows = plan::flows(pairs, &rungs, args.flows.unwrap_or(args.devices))?;
    let mut devices = connect(issuer, &rungs).await?;
    open(&mut devices, &flows).await?;
    Ok(devices.into_iter().map(Member::of_device).collect())
}

/// Puts loads on the same members, one after the other; they leave afterwards.
///
/// # Errors
/// When there are too few of them, or the process that is watched is not there.
pub(crate) async fn measure_members(
    loads: &[FlowArgs],
    members: Vec<Member>,
    pid: Option<u32>,
    pairs: &[Pair],
) -> Result<Vec<FlowReport>, BenchError> {
    let mut watch = Watch::new(pid.as_slice())?;
    let (crew, inboxes) = Crew::new(members);
    let crew = Rc::new(crew);
    let listening: Vec<_> = inboxes
        .into_iter()
        .enumerate()
        .map(|(place, inbox)| tokio::task::spawn_local(listen(Rc::clone(&crew), place, inbox)))
        .collect();
    let mut reports = Vec::new();
    for args in loads {
        let rungs = plan::rungs_of(pairs, args.devices);
        let flows = plan::flows(pairs, &rungs, args.flows.unwrap_or(args.devices))?;
        let mut runs = Vec::new();
        let groups: Vec<Vec<usize>> = match args.apart {
            true => (0..pairs.len()).map(|place| vec![place]).collect(),
            false => vec![(0..pairs.len()).collect()],
        };
        for group in groups {
            let taking_part = flows.iter().filter(|flow| group.contains(&flow.pair));
            let taking_part: Vec<_> = taking_part.copied().collect();
            if !taking_part.is_empty() {
                runs.push(measure(args, &crew, &mut watch, pairs, taking_part).await);
            }
        }
        reports.push(FlowReport {
            devices: args.devices,
            flows: u32::try_from(flows.len()).unwrap_or(u32::MAX),
            packet_size: args.packet_size,
            burst: args.burst,
            rate: args.rate,
            outstanding: args.rate.is_none().then_some(args.outstanding),
            setup_s: 0.0,
            runs,
        });
    }
    listening.iter().for_each(tokio::task::JoinHandle::abort);
    drop((listening, crew));
    sleep(GOODBYE).await;
    Ok(reports)
}

/// Connects all devices, some at a time, in their order.
pub(super) async fn connect(issuer: &Issuer, rungs: &[Rung]) -> Result<Vec<Device>, BenchError> {
    let mut devices = Vec::with_capacity(rungs.len());
    for some in rungs.chunks(SETUP_WINDOW) {
        let mut making = JoinSet::new();
        let deadline = Instant::now() + CONNECT_MAX;
        for (place, rung) in some.iter().enumerate() {
            let mut device = issuer.start(*rung)?;
            making.spawn(async move {
                device.connected(deadline).await?;
                Ok::<_, BenchError>((place, device))
            });
        }
        let mut made = Vec::with_capacity(some.len());
        while let Some(done) = making.join_next().await {
            made.push(done.expect("invariant: a set-up neither panics nor is cancelled")?);
        }
        made.sort_by_key(|(place, _)| *place);
        devices.extend(made.into_iter().map(|(_, device)| device));
    }
    Ok(devices)
}

async fn open(devices: &mut [Device], flows: &[Flow]) -> Result<(), BenchError> {
    let keys: Vec<_> = devices.iter().map(|device| device.key).collect();
    for (place, device) in devices.iter_mut().enumerate() {
        let peers = flows.iter().filter(|flow| flow.from == place);
        let peers: Vec<_> = peers.map(|flow| keys[flow.to]).collect();
        device.open(&peers, Instant::now() + CONNECT_MAX).await?;
    }
    Ok(())
}

/// The devices, and the books of the run that is on.
struct Crew {
    ways: Vec<Way>,
    keys: Vec<DeviceKey>,
    epoch: Instant,
    books: RefCell<Books>,
    /// Bursts that have arrived whole since the sender looked.
    returned: Cell<u32>,
    /// Wakes the sender.
    news: Notify,
}

/// The books of one run: one for each of its pairs.
#[derive(Default)]
struct Books {
    flows: Vec<Flow>,
    /// By the number of a book, which is what packets carry: its pair.
    pairs: Vec<usize>,
    ledgers: Vec<Ledger>,
    refused: u64,
}

impl Crew {
    fn new(members: Vec<Member>) -> (Self, Vec<mpsc::Receiver<Packet>>) {
        let (mut ways, mut keys, mut inboxes) = (Vec::new(), Vec::new(), Vec::new());
        for member in members {
            ways.push(member.way);
            keys.push(member.key);
            inboxes.push(member.packets);
        }
        let crew = Self {
            ways,
            keys,
            epoch: Instant::now(),
            books: RefCell::default(),
            returned: Cell::new(0),
            news: Notify::new(),
        };
        (crew, inboxes)
    }

    fn elapsed_ns(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Enters a packet that has come to the device at `place`.
    fn arrive(&self, place: usize, packet: &Packet) {
        let now_ns = self.elapsed_ns();
        let books = &mut *self.books.borrow_mut();
        // A damaged packet names no flow; the first book counts it.
        let flow = Stamp::read(&packet.payload).and_then(|stamp| {
            let flow = books.flows.get(stamp.flow as usize)?;
            books.pairs.iter().position(|pair| *pair == flow.pair)
        });
        let flows = &books.flows;
        let at_home = |flow: u32| {
            let flow = flows.get(flow as usize);
            flow.is_some_and(|flow| flow.to == place && self.keys[flow.from] == packet.peer)
        };
        let Some(ledger) = books.ledgers.get_mut(flow.unwrap_or(0)) else {
            return;
        };
        let arrival = ledger.arrive(now_ns, &packet.payload, at_home);
        if let Arrival::First {
            is_last_of_burst: true,
            ..
        } = arrival
        {
            self.returned.set(self.returned.get() + 1);
            self.news.notify_one();
        }
    }
}

async fn listen(crew: Rc<Crew>, place: usize, mut inbox: mpsc::Receiver<Packet>) {
    while let Some(packet) = inbox.recv().await {
        crew.arrive(place, &packet);
    }
}

/// One measurement over these flows.
async fn measure(
    args: &FlowArgs,
    crew: &Crew,
    watch: &mut Watch,
    pairs: &[Pair],
    flows: Vec<Flow>,
) -> RunReport {
    let taking_part = (0..pairs.len()).filter(|place| flows.iter().any(|flow| flow.pair == *place));
    let of_books: Vec<_> = taking_part.collect();
    let ledger = |_: &usize| Ledger::new(rand::rng().random(), flows.len());
    *crew.books.borrow_mut() = Books {
        ledgers: of_books.iter().map(ledger).collect(),
        pairs: of_books.clone(),
        flows: flows.clone(),
        refused: 0,
    };
    let mut sender = Sender {
        args,
        crew,
        flows: &flows,
        packet: filling(usize::from(args.packet_size)),
        next: 0,
    };
    let mut pace = match args.rate {
        Some(rate) => Pace::open(rate, args.burst.into(), crew.elapsed_ns()),
        None => Pace::closed(args.outstanding, args.burst.into()),
    };
    sender.drive_for(&mut pace, args.warm_up).await;
    watch.restart();
    let started = crew.elapsed_ns();
    sender.each_ledger(|ledger| ledger.start_counting(started));
    crew.books.borrow_mut().refused = 0;
    sender.drive_for(&mut pace, args.duration).await;
    let stopped = crew.elapsed_ns();
    sender.each_ledger(|ledger| ledger.stop_counting(stopped));
    let usage = watch.usage();
    let refused = crew.books.borrow().refused;
    sender.drain().await;
    let books = crew.books.take();
    let measured = Duration::from_nanos(stopped - started);
    let (mut packets, mut latency, mut of_pairs) =
        (Totals::default(), Latency::default(), Vec::new());
    for (pair, ledger) in books.pairs.iter().zip(books.ledgers) {
        let (totals, latencies) = ledger.into_results();
        packets.add(&totals);
        latency.add(&latencies);
        let flows = books.flows.iter().filter(|flow| flow.pair == *pair).count();
        of_pairs.push(PairReport {
            pair: pairs[*pair].to_string(),
            flows: u32::try_from(flows).unwrap_or(u32::MAX),
            packets: totals,
            loss_percent: totals.loss_percent(),
            delivered_per_s: per_second(totals.arrived_in_time, measured),
            latency: latencies.summary(),
        });
    }
    let delivered_per_s = per_second(packets.arrived_in_time, measured);
    let bytes = packets.arrived_in_time * u64::from(args.packet_size);
    let measured_ns = stopped - started;
    RunReport {
        duration_s: measured.as_secs_f64(),
        packets,
        refused_by_own_path: refused,
        loss_percent: packets.loss_percent(),
        offered_per_s: per_second(packets.sent, measured),
        delivered_per_s,
        delivered_mbit_per_s: delivered_per_s * ratio(u64::from(args.packet_size) * 8, 1_000_000),
        latency: latency.summary(),
        pairs: of_pairs,
        node: usage.first().map(|usage| NodeUsage {
            pid: usage.pid,
            name: usage.name.clone(),
            cpu_ns: usage.cpu_ns,
            cpu_ns_per_packet: ratio(usage.cpu_ns, packets.arrived_in_time),
            bytes_per_cpu_s: 1e9 * ratio(bytes, usage.cpu_ns),
            cpu_percent: 100.0 * ratio(usage.cpu_ns, measured_ns),
            resident_bytes: usage.resident_bytes,
        }),
    }
}

/// The sending side of a measurement.
struct Sender<'a> {
    args: &'a FlowArgs,
    crew: &'a Crew,
    flows: &'a [Flow],
    packet: Vec<u8>,
    next: usize,
}

impl Sender<'_> {
    async fn drive_for(&mut self, pace: &mut Pace, time: Duration) {
        let end = Instant::now() + time;
        loop {
            pace.returned(self.take_returned());
            if Instant::now() >= end {
                return;
            }
            for _ in 0..BURSTS_PER_TURN_MAX {
                if !pace.take(self.crew.elapsed_ns()) {
                    break;
                }
                self.send_burst();
            }
            let now_ns = self.crew.elapsed_ns();
            let wait = pace
                .next_ns()
                .map(|next| Duration::from_nanos(next.saturating_sub(now_ns)));
            let wait = wait.unwrap_or(TURN_MAX).min(TURN_MAX);
            tokio::select! {
                () = self.crew.news.notified() => {}
                () = sleep(wait) => {}
            }
        }
    }

    fn send_burst(&mut self) {
        let number = self.next;
        self.next = (number + 1) % self.flows.len();
        let flow = self.flows[number];
        let now_ns = self.crew.elapsed_ns();
        let books = &mut *self.crew.books.borrow_mut();
        let book = books.pairs.iter().position(|pair| *pair == flow.pair);
        let book = book.expect("invariant: each pair of the flows has a book");
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        let opened = books.ledgers[book].open(now_ns, number, self.args.burst.into());
        for place in 0..self.args.burst {
            opened.stamp(place).write(&mut self.packet);
            let payload = bytes::Bytes::copy_from_slice(&self.packet);
            let to = self.crew.keys[flow.to];
            let is_sent = self.crew.ways[flow.from].send(to, &payload);
            books.refused += u64::from(!is_sent);
        }
    }

    fn take_returned(&self) -> u32 {
        let now_ns = self.crew.elapsed_ns();
        let mut given_up = 0;
        self.each_ledger(|ledger| given_up += ledger.sweep(now_ns));
        self.crew.returned.take() + given_up
    }

    fn each_ledger(&self, act: impl FnMut(&mut Ledger)) {
        self.crew
            .books
            .borrow_mut()
            .ledgers
            .iter_mut()
            .for_each(act);
    }

    /// Waits for what is still on its way.
    async fn drain(&self) {
        let end = Instant::now() + GIVE_UP_AFTER + TURN_MAX;
        loop {
            self.take_returned();
            let mut in_flight = 0;
            self.each_ledger(|ledger| in_flight += ledger.in_flight());
            if in_flight == 0 || Instant::now() >= end {
                return;
            }
            sleep(Duration::from_millis(5)).await;
        }
    }
}
