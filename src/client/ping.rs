//! `sterna client flow ping`: round trips to another device, by rung.
//!
//! ```text
//! offset  bytes  field
//!      0      4  "STn1"
//!      4      1  kind: 1 ping, 2 answer
//!      5      4  number
//!      9      8  nanoseconds since the sender's start
//!     17      …  filling
//! ```
//!
//! An answer is the ping with its kind changed, so the time it carries is the asker's own.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use serde::Serialize;
use sterna_client::relay::{Event, Mark, Packet, Rung};
use sterna_control_api::DeviceKey;
use tokio::time::sleep_until;

use super::args::PingArgs;
use super::device::{Device, Terms};
use crate::config::print_json;
use crate::{Failure, say};

const MAGIC: [u8; 4] = *b"STn1";
const PING: u8 = 1;
const ANSWER: u8 = 2;

/// How long the last answers are waited for.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// What is printed.
#[derive(Debug, Serialize)]
struct Report {
    peer: String,
    node: String,
    bytes: u16,
    rungs: Vec<Line>,
}

/// What one rung has shown.
#[derive(Debug, Serialize)]
struct Line {
    rung: &'static str,
    /// Until a path stood; none where none did.
    connected_ms: Option<f64>,
    sent: u32,
    answered: u32,
    loss_percent: f64,
    round_trip: Option<RoundTrip>,
    failure: Option<String>,
}

/// Percentiles, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct RoundTrip {
    min_us: f64,
    p50_us: f64,
    p90_us: f64,
    p99_us: f64,
    max_us: f64,
}

/// Pings, or answers.
pub(super) async fn run(args: &PingArgs) -> Result<(), Failure> {
    let mut terms = Terms::of(&args.device).await?;
    let Some(given) = &args.peer else {
        return answer(args, &terms).await;
    };
    let peer = terms.peer(given, args.device.patience).await?;
    let turns: Vec<Vec<Rung>> = match args.race {
        true => vec![terms.rungs.clone()],
        false => terms.rungs.iter().map(|rung| vec![*rung]).collect(),
    };
    let mut lines = Vec::new();
    for rungs in turns {
        for line in one_turn(args, &terms, peer, &rungs).await {
            if !args.json {
                say(&format!("{line}\n"));
            }
            lines.push(line);
        }
    }
    let failure = lines.iter().find_map(|line| line.failure.clone());
    let any = lines.iter().any(|line| line.answered > 0);
    if args.json {
        print_json(&Report {
            peer: peer.to_string(),
            node: terms.nodes[0].identity.to_string(),
            bytes: args.size,
            rungs: lines,
        })?;
    }
    match any {
        true => Ok(()),
        false => Err(Failure::Failed(failure.unwrap_or_else(|| {
            "no answer; the other device answers while `sterna client flow ping` runs on it".into()
        }))),
    }
}

/// Answers until Ctrl-C.
async fn answer(args: &PingArgs, terms: &Terms) -> Result<(), Failure> {
    let deadline = Instant::now() + args.device.patience;
    let mut device = terms.connect(&terms.rungs, deadline).await?;
    let rung = device
        .relay
        .path()
        .map_or("no rung", |path| path.rung.as_str());
    eprintln!("{} answers over {rung}; Ctrl-C ends it", terms.key);
    loop {
        tokio::select! {
            packet = device.packets.recv() => {
                let Some(packet) = packet else { return Ok(()) };
                answer_one(&device, &packet);
            }
            event = device.events.recv() => tell(event.as_ref()),
            _ = tokio::signal::ctrl_c() => {
                device.leave().await;
                return Ok(());
            }
        }
    }
}

/// What changes of the path, for whoever watches.
fn tell(event: Option<&Event>) {
    match event {
        Some(Event::Path { rung, reason, .. }) => {
            eprintln!("path: {} ({reason:?})", rung.as_str());
        }
        Some(Event::Lost) => eprintln!("path: none; it is looked for"),
        Some(Event::Refused { text, .. }) => eprintln!("the node refuses this device: {text}"),
        _ => {}
    }
}

/// Sends a ping back to whoever asks; true where the packet was one.
fn answer_one(device: &Device, packet: &Packet) -> bool {
    if !matches!(read(&packet.payload), Some((PING, ..))) {
        return false;
    }
    let mut answer = BytesMut::from(&packet.payload[..]);
    answer[4] = ANSWER;
    // What the path does not take is missed by the asker, like what is lost.
    let _ = device
        .relay
        .send(packet.peer, packet.mark, &answer.freeze());
    true
}

/// Connects by these rungs and pings; one line for each rung that carried an answer.
async fn one_turn(args: &PingArgs, terms: &Terms, peer: DeviceKey, rungs: &[Rung]) -> Vec<Line> {
    let began = Instant::now();
    let deadline = began + args.device.patience;
    let named = rungs[0];
    let mut device = match terms.connect(rungs, deadline).await {
        Ok(device) => device,
        Err(failure) => return vec![Line::failed(named, &failure)],
    };
    let connected_ms = began.elapsed().as_secs_f64() * 1e3;
    let first = device.relay.path().map_or(named, |path| path.rung);
    if let Err(failure) = device.reach(peer, deadline).await {
        device.leave().await;
        return vec![Line::failed(first, &failure)];
    }
    let mut book = Book::default();
    let mut tally: Vec<_> = rungs.iter().map(|_| Vec::new()).collect();
    let start = Instant::now();
    let mut number = 0;
    while number < args.count {
        let now = start.elapsed();
        let ping = ping(number, now, args.size);
        book.sent.insert(number);
        let _ = device.relay.send(peer, Mark::default(), &ping);
        number += 1;
        let next = Instant::now() + args.interval;
        let is_last = number == args.count;
        let until = if is_last {
            Instant::now() + LAST_WAIT
        } else {
            next
        };
        while !(is_last && book.sent.is_empty()) {
            let packet = tokio::select! {
                packet = device.packets.recv() => packet,
                () = sleep_until(until.into()) => break,
            };
            let Some(packet) = packet else { break };
            if answer_one(&device, &packet) || packet.peer != peer {
                continue;
            }
            if let Some((rung, trip)) = book.enter(&packet, start.elapsed())
                && let Some(place) = rungs.iter().position(|known| *known == rung)
            {
                tally[place].push(trip);
            }
        }
    }
    device.leave().await;
    let lost = u32::try_from(book.sent.len()).unwrap_or(u32::MAX);
    let mut lines = Vec::new();
    for (rung, trips) in rungs.iter().zip(tally) {
        // Lost ones count where the path stood at the start.
        let lost = if *rung == first { lost } else { 0 };
        if !trips.is_empty() || *rung == first {
            lines.push(Line::of(*rung, connected_ms, trips, lost));
        }
    }
    lines
}

/// Pings that have not been answered.
#[derive(Debug, Default)]
struct Book {
    sent: HashSet<u32>,
}

impl Book {
    /// An answer: by which rung, and after what time. A second copy is none.
    fn enter(&mut self, packet: &Packet, now: Duration) -> Option<(Rung, Duration)> {
        let (kind, number, left) = read(&packet.payload)?;
        let is_answer = kind == ANSWER && self.sent.remove(&number);
        is_answer.then(|| (packet.rung, now.saturating_sub(left)))
    }
}

fn ping(number: u32, since_start: Duration, bytes: u16) -> Bytes {
    let mut ping = BytesMut::zeroed(bytes.into());
    let nanos = u64::try_from(since_start.as_nanos()).unwrap_or(u64::MAX);
    ping[..4].copy_from_slice(&MAGIC);
    ping[4] = PING;
    ping[5..9].copy_from_slice(&number.to_be_bytes());
    ping[9..17].copy_from_slice(&nanos.to_be_bytes());
    ping.freeze()
}

/// Kind, number and time of a ping or an answer.
fn read(packet: &[u8]) -> Option<(u8, u32, Duration)> {
    let (magic, rest) = packet.split_first_chunk::<4>()?;
    let (kind, rest) = rest.split_first()?;
    let (number, rest) = rest.split_first_chunk::<4>()?;
    let nanos = rest.first_chunk::<8>()?;
    let left = Duration::from_nanos(u64::from_be_bytes(*nanos));
    (*magic == MAGIC).then_some((*kind, u32::from_be_bytes(*number), left))
}

impl Line {
    fn failed(rung: Rung, failure: &Failure) -> Self {
        let (Failure::Failed(text) | Failure::Usage(text)) = failure;
        Self {
            rung: rung.as_str(),
            connected_ms: None,
            sent: 0,
            answered: 0,
            loss_percent: 0.0,
            round_trip: None,
            failure: Some(text.clone()),
        }
    }

    fn of(rung: Rung, connected_ms: f64, mut trips: Vec<Duration>, lost: u32) -> Self {
        trips.sort_unstable();
        let answered = u32::try_from(trips.len()).unwrap_or(u32::MAX);
        let sent = answered.saturating_add(lost);
        Self {
            rung: rung.as_str(),
            connected_ms: Some(connected_ms),
            sent,
            answered,
            loss_percent: 100.0 * f64::from(lost) / f64::from(sent.max(1)),
            round_trip: RoundTrip::of(&trips),
            failure: None,
        }
    }
}

impl RoundTrip {
    /// Of sorted times; each percentile is one of them (nearest rank).
    fn of(sorted: &[Duration]) -> Option<Self> {
        let at = |percent: usize| {
            let rank = (sorted.len() * percent).div_ceil(100).max(1);
            sorted.get(rank - 1).map(|time| time.as_secs_f64() * 1e6)
        };
        Some(Self {
            min_us: at(0)?,
            p50_us: at(50)?,
            p90_us: at(90)?,
            p99_us: at(99)?,
            max_us: at(100)?,
        })
    }
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:<4}  ", self.rung)?;
        if let Some(failure) = &self.failure {
            return write!(f, "failed: {failure}");
        }
        write!(
            f,
            "{} sent  {} answered  loss {:.2} %",
            self.sent, self.answered, self.loss_percent
        )?;
        if let Some(trip) = &self.round_trip {
            let times = [
                ("min", trip.min_us),
                ("p50", trip.p50_us),
                ("p90", trip.p90_us),
                ("p99", trip.p99_us),
                ("max", trip.max_us),
            ];
            write!(f, "  round trip")?;
            for (name, us) in times {
                write!(f, "  {name} {:.2} ms", us / 1e3)?;
            }
        }
        if let Some(ms) = self.connected_ms {
            write!(f, "  (connected in {ms:.0} ms)")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_ping_carries_its_number_and_its_time() {
        let sent = ping(7, Duration::from_micros(5), 64);
        assert_eq!(read(&sent), Some((PING, 7, Duration::from_micros(5))));
        assert_eq!(read(b"STn1"), None);
        assert_eq!(read(&[0; 64]), None);
    }

    #[test]
    fn percentiles_are_among_the_times_that_were_measured() {
        let times: Vec<_> = (1..=10).map(Duration::from_micros).collect();
        let trip = RoundTrip::of(&times).unwrap();
        assert!((trip.min_us - 1.0).abs() < 0.01 && (trip.max_us - 10.0).abs() < 0.01);
        assert!((trip.p50_us - 5.0).abs() < 0.01 && (trip.p99_us - 10.0).abs() < 0.01);
        assert_eq!(RoundTrip::of(&[]), None);
    }

    #[test]
    fn an_answer_counts_once() {
        let mut book = Book::default();
        book.sent.insert(1);
        let mut payload = BytesMut::from(&ping(1, Duration::ZERO, 32)[..]);
        payload[4] = ANSWER;
        let packet = Packet {
            peer: DeviceKey([1; 32]),
            mark: Mark::default(),
            payload: payload.freeze(),
            rung: Rung::Quic,
        };
        let now = Duration::from_millis(3);
        assert_eq!(book.enter(&packet, now), Some((Rung::Quic, now)));
        assert_eq!(book.enter(&packet, now), None);
    }
}
