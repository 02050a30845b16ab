//! `sterna bench stun`: how many Bindings a second, and how long one takes.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use clap::Args;
use rand::RngExt as _;
use serde::Serialize;
use sterna_io::{Engine, Packet, Port, RelaySlot};
use sterna_stun::attr::XorMappedAddress;
use sterna_stun::message::{Class, Message, Method, TransactionId};
use sterna_stun::writer::MessageWriter;

use crate::BenchError;
use crate::engine::{self, EngineArg, bind_udp};
use crate::ledger::GIVE_UP_AFTER;
use crate::limits::BURSTS_PER_TURN_MAX;
use crate::report::{Latency, LatencySummary, Totals, per_second};
use crate::target::{Target, Transport, local_addr_towards};
use crate::turn::{WatchedReport, pace::Pace, seconds};
use crate::watch::Watch;

/// Longest wait of one turn, so that lost requests are given up in time.
const TURN_MAX: Duration = Duration::from_millis(20);

/// Bytes of a Binding request without attributes.
const REQUEST_BYTES: usize = 20;

/// Arguments of `sterna bench stun`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Example:
  sterna bench stun --server stun.example.org:3478 --rate 1000 --duration 10")]
pub struct StunArgs {
    /// The server that is measured; over UDP only, and without credentials.
    #[command(flatten)]
    pub target: Target,

    /// Client sockets.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub clients: u32,

    /// Requests a second that are offered in all, whatever is answered.
    #[arg(long, value_name = "RATE", conflicts_with = "outstanding", value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub rate: Option<u64>,

    /// Requests that are on their way at any time.
    #[arg(long, value_name = "N", default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub outstanding: u32,

    /// Seconds that are measured.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    pub duration: Duration,

    /// Processes on this host whose processor time and memory are to be measured meanwhile.
    #[arg(long, value_name = "PID")]
    pub watch: Vec<u32>,

    /// How the generator's own sockets are driven.
    #[arg(long, value_enum, default_value_t = EngineArg::Auto)]
    pub engine: EngineArg,

    /// Print the report as JSON.
    #[arg(long)]
    pub json: bool,
}

/// What a run has shown.
#[derive(Clone, Debug, Serialize)]
pub struct StunReport {
    /// The server, as it was named.
    pub server: String,
    /// Client sockets.
    pub clients: u32,
    /// Requests and their answers.
    pub requests: Totals,
    /// Share of the requests that were not answered.
    pub loss_percent: f64,
    /// Answers a second.
    pub answers_per_s: f64,
    /// From request to answer.
    pub latency: LatencySummary,
    /// What the watched processes used; `cpu_ns_per_packet` is of an answer here.
    pub watched: Vec<WatchedReport>,
}

impl fmt::Display for StunReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let requests = &self.requests;
        writeln!(f, "{}, Bindings from {} sockets", self.server, self.clients)?;
        write!(
            f,
            "  requests    {} sent, {} answered",
            requests.sent, requests.received
        )?;
        writeln!(
            f,
            ", loss {:.2} %, {} wrong",
            self.loss_percent, requests.corrupted
        )?;
        writeln!(f, "  answered    {:.0} a second", self.answers_per_s)?;
        write!(f, "  latency     {}", self.latency)?;
        for watched in &self.watched {
            let each = watched.cpu_ns_per_packet;
            write!(
                f,
                "\n  {} ({})  {each:.0} ns of processor an answer",
                watched.name, watched.pid
            )?;
        }
        Ok(())
    }
}

/// Sends Bindings for as long as the arguments say.
///
/// # Errors
/// When a socket cannot be opened.
pub fn run(args: &StunArgs) -> Result<StunReport, BenchError> {
    if args.target.transport != Transport::Udp {
        return Err(BenchError::Usage("bench stun measures over UDP only"));
    }
    let mut watch = Watch::new(&args.watch)?;
    let mut asker = Asker::new(args)?;
    watch.restart();
    let started = Instant::now();
    asker.drive_for(args.duration)?;
    let measured = started.elapsed();
    let usage = watch.usage();
    asker.drain()?;
    let totals = asker.totals;
    Ok(StunReport {
        server: args.target.server.clone(),
        clients: args.clients,
        requests: totals,
        loss_percent: totals.loss_percent(),
        answers_per_s: per_second(totals.arrived_in_time, measured),
        latency: asker.latency.summary(),
        watched: WatchedReport::of(&usage, totals.arrived_in_time, measured),
    })
}

/// The sockets of a run and what is on its way.
struct Asker {
    engine: Box<dyn Engine>,
    server: SocketAddr,
    slots: Vec<(RelaySlot, SocketAddr)>,
    by_slot: Vec<usize>,
    next_socket: usize,
    pace: Pace,
    epoch: Instant,
    run: u32,
    /// Requests by age: the first one has number `first`.
    waiting: std::collections::VecDeque<Asked>,
    first: u64,
    totals: Totals,
    latency: Latency,
}

#[derive(Clone, Copy)]
struct Asked {
    sent_ns: u64,
    socket: usize,
    is_answered: bool,
}

impl Asker {
    fn new(args: &StunArgs) -> Result<Self, BenchError> {
        let server = args.target.addr()?;
        let local = local_addr_towards(server)?;
        let mut asker = Self {
            engine: engine::build(args.engine, args.clients)?,
            server,
            slots: Vec::new(),
            by_slot: Vec::new(),
            next_socket: 0,
            pace: match args.rate {
                Some(rate) => Pace::open(rate, 1, 0),
                None => Pace::closed(args.outstanding, 1),
            },
            epoch: Instant::now(),
            run: rand::rng().random(),
            waiting: std::collections::VecDeque::new(),
            first: 0,
            totals: Totals::default(),
            latency: Latency::default(),
        };
        for index in 0..args.clients as usize {
            let socket = bind_udp((local, 0).into())?;
            let addr = socket.local_addr()?;
            let slot = asker.engine.adopt_relay(socket)?;
            let number = slot.0 as usize;
            asker
                .by_slot
                .resize(asker.by_slot.len().max(number + 1), usize::MAX);
            asker.by_slot[number] = index;
            asker.slots.push((slot, addr));
        }
        Ok(asker)
    }

    fn elapsed_ns(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn drive_for(&mut self, time: Duration) -> Result<(), BenchError> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            let mut now_ns = self.elapsed_ns();
            for _ in 0..BURSTS_PER_TURN_MAX {
                if !self.pace.take(now_ns) {
                    break;
                }
                self.ask(now_ns)?;
                now_ns = self.elapsed_ns();
            }
            let next = self
                .pace
                .next_ns()
                .map(|next| Duration::from_nanos(next.saturating_sub(now_ns)));
            let wait = next.unwrap_or(TURN_MAX).min(TURN_MAX);
            self.turn(Instant::now() + wait, true)?;
        }
        Ok(())
    }

    fn drain(&mut self) -> Result<(), BenchError> {
        let end = Instant::now() + GIVE_UP_AFTER + TURN_MAX;
        while !self.waiting.is_empty() && Instant::now() < end {
            self.turn(Instant::now() + TURN_MAX, false)?;
        }
        Ok(())
    }

    fn ask(&mut self, now_ns: u64) -> Result<(), BenchError> {
        let socket = self.next_socket;
        self.next_socket = (socket + 1) % self.slots.len();
        let number = self.first + self.waiting.len() as u64;
        let mut id = [0; 12];
        id[..4].copy_from_slice(&self.run.to_be_bytes());
        id[4..].copy_from_slice(&number.to_be_bytes());
        let mut request = [0; REQUEST_BYTES];
        let id = TransactionId(id);
        let writer = MessageWriter::new(&mut request, Class::Request, Method::BINDING, id);
        let len = writer
            .map_err(|_| BenchError::Usage("a header fits its own length"))?
            .finish();
        self.waiting.push_back(Asked {
            sent_ns: now_ns,
            socket,
            is_answered: false,
        });
        self.totals.sent += 1;
        let via = Port::Relay(self.slots[socket].0);
        self.engine
            .send_copy(via, self.server, &[], &request[..len], 0);
        Ok(())
    }

    fn turn(&mut self, deadline: Instant, is_in_time: bool) -> Result<(), BenchError> {
        self.engine.turn(Some(deadline))?;
        let now_ns = self.elapsed_ns();
        while let Some(train) = self.engine.next_train() {
            let Port::Relay(RelaySlot(number)) = train.port else {
                continue;
            };
            let socket = self.by_slot[number as usize];
            for packet in train.segments() {
                self.answered(now_ns, socket, packet, is_in_time);
            }
        }
        self.sweep(now_ns);
        Ok(())
    }

    fn answered(&mut self, now_ns: u64, socket: usize, packet: Packet, is_in_time: bool) {
        let own_addr = self.slots[socket].1;
        let answer = read_answer(self.engine.bytes(packet), self.run, own_addr);
        let Some(number) = answer else {
            self.totals.corrupted += 1;
            return;
        };
        let index = number
            .checked_sub(self.first)
            .and_then(|index| usize::try_from(index).ok());
        let asked = index.and_then(|index| self.waiting.get_mut(index));
        match asked.filter(|asked| asked.socket == socket) {
            Some(asked) if !asked.is_answered => {
                asked.is_answered = true;
                self.totals.received += 1;
                self.totals.arrived_in_time += u64::from(is_in_time);
                self.latency.record_ns(now_ns.saturating_sub(asked.sent_ns));
                self.pace.returned(1);
            }
            Some(_) => self.totals.duplicated += 1,
            None => self.totals.late += 1,
        }
    }

    fn sweep(&mut self, now_ns: u64) {
        let give_up_ns = u64::try_from(GIVE_UP_AFTER.as_nanos()).unwrap_or(u64::MAX);
        while let Some(asked) = self.waiting.front() {
            if !asked.is_answered {
                if now_ns < asked.sent_ns + give_up_ns {
                    return;
                }
                self.totals.lost += 1;
                self.pace.returned(1);
            }
            self.waiting.pop_front();
            self.first += 1;
        }
    }
}

/// The number of the request that this answers, if it tells the right address.
fn read_answer(packet: &[u8], run: u32, own_addr: SocketAddr) -> Option<u64> {
    let message = Message::parse(packet).ok()?;
    let XorMappedAddress(mapped) = message.find().ok()??;
    let TransactionId(id) = message.transaction_id();
    let (head, number) = id.split_first_chunk::<4>()?;
    let is_ours = message.class() == Class::Success && *head == run.to_be_bytes();
    let is_right = is_ours && mapped.port() == own_addr.port();
    is_right.then(|| number.try_into().ok().map(u64::from_be_bytes))?
}
