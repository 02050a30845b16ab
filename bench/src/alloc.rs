//! `sterna bench alloc`: how many allocations a second.
//!
//! Each client makes an allocation as a stranger would (an Allocate that is answered by 401, the
//! same signed, a ChannelBind), gives it back (Refresh with lifetime 0), and begins again with another
//! socket: some servers keep a 5-tuple for a while after its allocation was given back.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use clap::Args;
use rand::RngExt as _;
use serde::Serialize;
use sterna_io::{Engine, OpenError, Port, RelaySlot};
use sterna_turn::client::{
    AllocateOptions, ClientConfig, Credentials, EndReason, Event, Link, TurnClient,
};

use crate::BenchError;
use crate::engine::{self, EngineArg};
use crate::report::{Latency, LatencySummary, Micros, per_second};
use crate::session::name_of;
use crate::target::{Target, Transport, local_addr_towards};
use crate::turn::{WatchedReport, seconds};
use crate::watch::Watch;

/// The port of the peer to which channels are bound; nothing is ever sent there.
const PEER_PORT: u16 = 40_000;

/// Ports of the clients' sockets.
const PORTS: RangeInclusive<u16> = 10_000..=60_999;

/// Longest wait of one turn: requests that were lost are repeated in time.
const TURN_MAX: Duration = Duration::from_millis(20);

/// Arguments of `sterna bench alloc`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Example:
  sterna bench alloc --server turn.example.org:3478 --user alice --password secret --duration 5")]
pub struct AllocArgs {
    /// The server that is measured; over UDP only.
    #[command(flatten)]
    pub target: Target,

    /// Clients that make allocations at the same time.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub clients: u32,

    /// Seconds that are measured.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    pub duration: Duration,

    /// Seconds of the same before that.
    #[arg(long, value_name = "SECONDS", default_value = "0.5", value_parser = seconds)]
    pub warm_up: Duration,

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
pub struct AllocReport {
    /// The server, as it was named.
    pub server: String,
    /// Clients at the same time.
    pub clients: u32,
    /// Allocations that were made and given back in the measured time.
    pub allocations: u64,
    /// The same, a second.
    pub allocations_per_s: f64,
    /// From the first Allocate to the answer to the last Refresh.
    pub latency: LatencySummary,
    /// What the watched processes used; `cpu_ns_per_packet` is of an allocation here.
    pub watched: Vec<WatchedReport>,
}

impl fmt::Display for AllocReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}, {} clients at a time", self.server, self.clients)?;
        writeln!(
            f,
            "  allocations {} ({:.0} a second)",
            self.allocations, self.allocations_per_s
        )?;
        write!(f, "  each took   {}", self.latency)?;
        for watched in &self.watched {
            let each = Micros(watched.cpu_ns_per_packet / 1000.0);
            write!(
                f,
                "\n  {} ({})  {each} of processor each",
                watched.name, watched.pid
            )?;
        }
        Ok(())
    }
}

/// Makes and gives back allocations for as long as the arguments say.
///
/// # Errors
/// When the server cannot be reached, refuses a request or does not answer.
pub fn run(args: &AllocArgs) -> Result<AllocReport, BenchError> {
    if args.target.transport != Transport::Udp {
        return Err(BenchError::Usage("bench alloc measures over UDP only"));
    }
    let mut watch = Watch::new(&args.watch)?;
    let mut crowd = Crowd::new(args)?;
    crowd.drive_for(args.warm_up)?;
    watch.restart();
    crowd.restart();
    let started = Instant::now();
    crowd.drive_for(args.duration)?;
    let measured = started.elapsed();
    let usage = watch.usage();
    Ok(AllocReport {
        server: args.target.server.clone(),
        clients: args.clients,
        allocations: crowd.done,
        allocations_per_s: per_second(crowd.done, measured),
        latency: crowd.latency.summary(),
        watched: WatchedReport::of(&usage, crowd.done, measured),
    })
}

/// All clients of a run.
struct Crowd {
    engine: Box<dyn Engine>,
    server: SocketAddr,
    local: IpAddr,
    next_port: u16,
    peer: SocketAddr,
    credentials: Option<Credentials>,
    clients: Vec<Client>,
    by_slot: Vec<usize>,
    done: u64,
    latency: Latency,
}

struct Client {
    slot: RelaySlot,
    machine: TurnClient,
    started: Instant,
}

impl Crowd {
    fn new(args: &AllocArgs) -> Result<Self, BenchError> {
        let server = args.target.addr()?;
        let local = local_addr_towards(server)?;
        let mut crowd = Self {
            engine: engine::build(args.engine, args.clients)?,
            server,
            local,
            next_port: *PORTS.start(),
            peer: SocketAddr::new(local, PEER_PORT),
            credentials: args.target.credentials(),
            clients: Vec::new(),
            by_slot: Vec::new(),
            done: 0,
            latency: Latency::default(),
        };
        for _ in 0..args.clients {
            let client = crowd.open()?;
            crowd.clients.push(client);
            crowd.begin(crowd.clients.len() - 1)?;
        }
        Ok(crowd)
    }

    /// A client that has not heard of the server, with a new socket.
    fn open(&mut self) -> Result<Client, BenchError> {
        let slot = self.open_socket()?;
        let config = ClientConfig::new(Link::Datagram, self.credentials.clone());
        let machine = TurnClient::new(config, rand::rng().random());
        Ok(Client {
            slot,
            machine,
            started: Instant::now(),
        })
    }

    /// A socket on the next free port, so that none is used again before all others were.
    fn open_socket(&mut self) -> Result<RelaySlot, BenchError> {
        for _ in PORTS {
            let port = self.next_port;
            self.next_port = if port == *PORTS.end() {
                *PORTS.start()
            } else {
                port + 1
            };
            match self.engine.open_relay((self.local, port).into()) {
                Err(OpenError::InUse) => {}
                opened => return Ok(opened?),
            }
        }
        Err(BenchError::Engine(OpenError::InUse))
    }

    fn restart(&mut self) {
        self.done = 0;
        self.latency = Latency::default();
    }

    fn begin(&mut self, index: usize) -> Result<(), BenchError> {
        let number = self.clients[index].slot.0 as usize;
        self.by_slot
            .resize(self.by_slot.len().max(number + 1), usize::MAX);
        self.by_slot[number] = index;
        let client = &mut self.clients[index];
        let asked = client
            .machine
            .allocate(client.started, AllocateOptions::default());
        asked.map_err(|error| BenchError::Refused {
            what: "Allocate",
            error,
        })?;
        self.flush(index);
        Ok(())
    }

    fn drive_for(&mut self, time: Duration) -> Result<(), BenchError> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.engine.turn(Some(Instant::now() + TURN_MAX))?;
            let now = Instant::now();
            while let Some(train) = self.engine.next_train() {
                let Port::Relay(RelaySlot(number)) = train.port else {
                    continue;
                };
                let index = self.by_slot[number as usize];
                for packet in train.segments() {
                    let bytes = self.engine.bytes(packet);
                    self.clients[index].machine.handle_packet(now, bytes);
                    self.follow(index, now)?;
                }
            }
            self.ring(now)?;
        }
        Ok(())
    }

    /// Repeats what was lost. A look at each client a turn, which is cheap beside its packets.
    fn ring(&mut self, now: Instant) -> Result<(), BenchError> {
        for index in 0..self.clients.len() {
            let machine = &mut self.clients[index].machine;
            if machine.poll_timeout().is_some_and(|at| at <= now) {
                machine.handle_timeout(now);
                self.follow(index, now)?;
            }
        }
        Ok(())
    }

    /// Takes the next step of a client that has heard something.
    fn follow(&mut self, index: usize, now: Instant) -> Result<(), BenchError> {
        while let Some(event) = self.clients[index].machine.poll_event() {
            let client = &mut self.clients[index];
            match event {
                Event::Allocated(_) => {
                    let asked = client.machine.bind_channel(now, self.peer);
                    asked.map_err(|error| BenchError::Refused {
                        what: "ChannelBind",
                        error,
                    })?;
                }
                Event::ChannelBound { .. } => {
                    let asked = client.machine.release(now);
                    asked.map_err(|error| BenchError::Refused {
                        what: "Refresh",
                        error,
                    })?;
                }
                Event::Ended(EndReason::Released) => {
                    self.done += 1;
                    let took = client.started.elapsed();
                    let took_ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
                    self.latency.record_ns(took_ns);
                    self.engine.close_relay(client.slot);
                    self.clients[index] = self.open()?;
                    return self.begin(index);
                }
                Event::Failed { request, error } => {
                    return Err(BenchError::Refused {
                        what: name_of(&request),
                        error,
                    });
                }
                _ => {}
            }
        }
        self.flush(index);
        Ok(())
    }

    fn flush(&mut self, index: usize) {
        let client = &mut self.clients[index];
        while let Some(bytes) = client.machine.poll_transmit() {
            self.engine
                .send_copy(Port::Relay(client.slot), self.server, &[], bytes, 0);
        }
    }
}
