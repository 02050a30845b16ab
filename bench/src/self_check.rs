//! The self-check: real packets through a node's own public listeners.
//!
//! For each transport that the node serves, one client does what any other would: a Binding, an
//! Allocate with credentials, a permission, a channel, and then [`PACKETS`] packets to an echo peer
//! and back, each compared byte by byte. The echo peer is a plain UDP socket of this process on the
//! address that this host has towards the node, so the node's policy must allow that address.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use rand::RngExt as _;
use serde::Serialize;
use sterna_turn::client::{Credentials, Timers};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::BenchError;
use crate::ledger::Ledger;
use crate::packet::filling;
use crate::report::{LatencySummary, Micros, Totals};
use crate::session::Session;
use crate::target::{Transport, local_addr_towards};
use crate::tls::Trust;
use crate::wire::Route;

/// Packets each way over each transport.
pub const PACKETS: u32 = 1000;

/// Packets on their way at any time: enough to show batching, too few to overflow any buffer.
const WINDOW: u64 = 32;

/// Payload of a packet: 20 ms of G.711 with its RTP header, the most usual load of a relay.
const PACKET_BYTES: usize = 172;

/// How long one transport may take.
const TRANSPORT_TIME_MAX: Duration = Duration::from_millis(1300);

/// The node is on this host: an answer that takes longer than this is not coming.
const TIMERS: Timers = Timers {
    rto: Duration::from_millis(200),
    sends_max: 2,
    last_wait_rtos: 3,
    stream_timeout: Duration::from_millis(1000),
};

/// What is to be checked.
#[derive(Clone, Debug)]
pub struct SelfCheck {
    /// The node's UDP listener.
    pub udp: Option<SocketAddr>,
    /// The node's TCP listener.
    pub tcp: Option<SocketAddr>,
    /// The node's TLS listener.
    pub tls: Option<SocketAddr>,
    /// Whom the TLS client believes, and the name that it asks for.
    pub trust: Trust,
    /// The name that the TLS client asks for; it is checked by [`Trust::Authority`] only.
    pub server_name: String,
    /// A user of the node.
    pub credentials: Credentials,
}

/// How far a self-check has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// A transport's turn has come.
    Started(Transport),
    /// The Binding was answered: the client's address as the node sees it.
    Bound(Transport, SocketAddr),
    /// The node gave this relayed address.
    Allocated(Transport, SocketAddr),
    /// So many packets have come back, of [`PACKETS`].
    Returned(Transport, u64),
    /// The transport is done; true when all is well.
    Done(Transport, bool),
}

/// What a self-check has shown: one line a transport.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// In the order UDP, TCP, TLS.
    pub transports: Vec<TransportReport>,
    /// How long it all took.
    pub seconds: f64,
}

/// What one transport has shown.
#[derive(Clone, Debug, Serialize)]
pub struct TransportReport {
    /// Which one.
    pub transport: Transport,
    /// The listener.
    pub server: SocketAddr,
    /// What was measured; `None` when it failed.
    pub measured: Option<Measured>,
    /// Why it failed.
    pub failure: Option<String>,
}

/// What was measured over one transport.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Measured {
    /// The client's address as the node sees it.
    pub mapped: SocketAddr,
    /// The relayed address.
    pub relayed: SocketAddr,
    /// Packets, each to the peer and back.
    pub packets: Totals,
    /// Share of them that did not come back.
    pub loss_percent: f64,
    /// To the peer and back.
    pub round_trip: LatencySummary,
}

impl Report {
    /// Whether every transport works: all packets came back intact.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.transports.iter().all(TransportReport::is_good)
    }
}

impl TransportReport {
    /// Whether it works: all packets came back intact.
    #[must_use]
    pub fn is_good(&self) -> bool {
        let is_clean = |totals: Totals| totals.lost == 0 && totals.corrupted == 0;
        self.measured
            .is_some_and(|measured| is_clean(measured.packets))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, transport) in self.transports.iter().enumerate() {
            let line_end = if index == 0 { "" } else { "\n" };
            write!(f, "{line_end}{transport}")?;
        }
        Ok(())
    }
}

impl fmt::Display for TransportReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (transport, server) = (self.transport, self.server);
        let Some(measured) = &self.measured else {
            let failure = self.failure.as_deref().unwrap_or("failed");
            return write!(f, "{transport}  {server}  failed: {failure}");
        };
        let (packets, trip) = (measured.packets, measured.round_trip);
        let (p50, p99) = (Micros(trip.p50_us), Micros(trip.p99_us));
        write!(
            f,
            "{transport}  {server}  {} packets each way  ",
            packets.sent
        )?;
        write!(
            f,
            "loss {:.2} %  round trip p50 {p50}  p99 {p99}",
            measured.loss_percent
        )
    }
}

/// Checks each of the node's transports in turn; takes less than four seconds even when none of
/// them answers. What fails is told in the report.
///
/// # Errors
/// When there is nothing to check, or this process cannot open a socket of its own.
pub async fn run(
    check: &SelfCheck,
    mut progress: impl FnMut(Progress),
) -> Result<Report, BenchError> {
    let started = Instant::now();
    let listeners = [
        (Transport::Udp, check.udp),
        (Transport::Tcp, check.tcp),
        (Transport::Tls, check.tls),
    ];
    let mut transports = Vec::new();
    for (transport, server) in listeners {
        let Some(server) = server else {
            continue;
        };
        progress(Progress::Started(transport));
        let checked = timeout(
            TRANSPORT_TIME_MAX,
            one(check, transport, server, &mut progress),
        )
        .await;
        let checked = checked.unwrap_or(Err(BenchError::TooSlow { what: "the check" }));
        let report = TransportReport {
            transport,
            server,
            failure: checked.as_ref().err().map(ToString::to_string),
            measured: checked.ok(),
        };
        progress(Progress::Done(transport, report.is_good()));
        transports.push(report);
    }
    if transports.is_empty() {
        return Err(BenchError::Usage("no transport to check"));
    }
    Ok(Report {
        transports,
        seconds: started.elapsed().as_secs_f64(),
    })
}

async fn one(
    check: &SelfCheck,
    transport: Transport,
    server: SocketAddr,
    progress: &mut impl FnMut(Progress),
) -> Result<Measured, BenchError> {
    let route = Route::new(server, transport, &check.trust, &check.server_name)?;
    let echo = EchoPeer::start(local_addr_towards(server)?).await?;
    let mut session = Session::connect(&route, Some(check.credentials.clone()), TIMERS).await?;
    let mapped = session.binding().await?;
    progress(Progress::Bound(transport, mapped));
    let relayed = session.allocate().await?.relayed;
    progress(Progress::Allocated(transport, relayed));
    session.permit(echo.addr.ip()).await?;
    session.bind_channel(echo.addr).await?;
    let report = |returned| progress(Progress::Returned(transport, returned));
    let ledger = exchange(&mut session, echo.addr, report).await?;
    session.release().await?;
    let (packets, latency) = ledger.into_results();
    Ok(Measured {
        mapped,
        relayed,
        packets,
        loss_percent: packets.loss_percent(),
        round_trip: latency.summary(),
    })
}

/// Sends [`PACKETS`] packets to the echo peer, [`WINDOW`] at a time, and takes in what comes back.
async fn exchange(
    session: &mut Session,
    peer: SocketAddr,
    mut report: impl FnMut(u64),
) -> Result<Ledger, BenchError> {
    let started = Instant::now();
    let elapsed_ns = || u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
    let mut ledger = Ledger::new(rand::rng().random(), 1);
    ledger.start_counting(0);
    let mut packet = filling(PACKET_BYTES);
    let mut unsent = PACKETS;
    while unsent > 0 || ledger.in_flight() > 0 {
        while unsent > 0 && ledger.in_flight() < WINDOW {
            unsent -= 1;
            ledger.open(elapsed_ns(), 0, 1).stamp(0).write(&mut packet);
            session.send(peer, &packet).await?;
        }
        let patience = Instant::now() + Duration::from_millis(20);
        if let Some(data) = session.receive_until(patience).await? {
            ledger.arrive(elapsed_ns(), &data.payload, |_| data.peer == peer);
        }
        ledger.sweep(elapsed_ns());
        report(u64::from(PACKETS - unsent) - ledger.in_flight());
    }
    Ok(ledger)
}

/// A UDP socket that sends everything back to where it came from, until it is dropped.
#[derive(Debug)]
struct EchoPeer {
    addr: SocketAddr,
    task: JoinHandle<()>,
}

impl EchoPeer {
    async fn start(ip: IpAddr) -> std::io::Result<Self> {
        let socket = UdpSocket::bind((ip, 0)).await?;
        let addr = socket.local_addr()?;
        let task = tokio::spawn(async move {
            let mut buf = [0; 2048];
            while let Ok((len, from)) = socket.recv_from(&mut buf).await {
                // What cannot be sent back is missed, and counted, by whoever waits for it.
                let _ = socket.send_to(&buf[..len], from).await;
            }
        });
        Ok(Self { addr, task })
    }
}

impl Drop for EchoPeer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(measured: Option<Measured>) -> TransportReport {
        let failure = measured.is_none().then(|| "Allocate: no".to_owned());
        let server = ([127, 0, 0, 1], 3478).into();
        TransportReport {
            transport: Transport::Udp,
            server,
            measured,
            failure,
        }
    }

    #[test]
    fn a_line_names_transport_loss_and_percentiles() {
        let addr = ([127, 0, 0, 1], 1).into();
        let packets = Totals {
            sent: 1000,
            received: 1000,
            ..Totals::default()
        };
        let round_trip = LatencySummary {
            p50_us: 87.2,
            p99_us: 1234.0,
            ..LatencySummary::default()
        };
        let measured = Measured {
            mapped: addr,
            relayed: addr,
            packets,
            loss_percent: 0.0,
            round_trip,
        };
        let line = report(Some(measured)).to_string();
        let wanted = "udp  127.0.0.1:3478  1000 packets each way  loss 0.00 %  round trip p50 87 µs  p99 1.23 ms";
        assert_eq!(line, wanted);
        assert!(report(Some(measured)).is_good());
        assert!(!report(None).is_good());
        assert_eq!(
            report(None).to_string(),
            "udp  127.0.0.1:3478  failed: Allocate: no"
        );
    }

    #[tokio::test]
    async fn a_node_that_does_not_answer_is_told_of_in_time() {
        // A socket that listens to nobody, and a port that nobody listens on.
        let silent = UdpSocket::bind(("127.0.0.1", 0)).await.expect("a socket");
        let closed = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a socket");
        let closed_addr = closed.local_addr().expect("bound");
        drop(closed);
        let check = SelfCheck {
            udp: Some(silent.local_addr().expect("bound")),
            tcp: Some(closed_addr),
            tls: Some(closed_addr),
            trust: Trust::Anybody,
            server_name: "localhost".into(),
            credentials: Credentials {
                username: "a".into(),
                password: "b".into(),
            },
        };
        let report = run(&check, |_| ()).await.expect("a report");
        assert_eq!(report.transports.len(), 3);
        assert!(
            report
                .transports
                .iter()
                .all(|transport| transport.failure.is_some())
        );
        assert!(report.seconds < 4.0, "{}", report.seconds);
    }
}
