//! What a run has shown, for people and for programs.

use std::fmt;

use serde::Serialize;

use crate::report::{LatencySummary, Micros, Totals, ratio};

/// What `sterna bench flow` has shown.
#[derive(Clone, Debug, Serialize)]
pub struct FlowReport {
    /// Devices.
    pub devices: u32,
    /// Flows.
    pub flows: u32,
    /// Bytes of a packet.
    pub packet_size: u16,
    /// Packets that left together.
    pub burst: u8,
    /// Packets a second that were to be offered; `None` in a closed loop.
    pub rate: Option<u64>,
    /// Packets on their way at any time; `None` at a given rate.
    pub outstanding: Option<u32>,
    /// Seconds until all devices and flows stood.
    pub setup_s: f64,
    /// One for all pairs, or one for each of them.
    pub runs: Vec<RunReport>,
}

/// What one measurement has shown.
#[derive(Clone, Debug, Serialize)]
pub struct RunReport {
    /// Seconds that were measured.
    pub duration_s: f64,
    /// All its packets.
    pub packets: Totals,
    /// Packets that the device's own path did not take; they count as lost, too.
    pub refused_by_own_path: u64,
    /// Share of the sent packets that did not arrive.
    pub loss_percent: f64,
    /// Sent a second.
    pub offered_per_s: f64,
    /// Arrived a second.
    pub delivered_per_s: f64,
    /// Payload that arrived, in millions of bits a second.
    pub delivered_mbit_per_s: f64,
    /// From one device to the other.
    pub latency: LatencySummary,
    /// The same by pairs of rungs.
    pub pairs: Vec<PairReport>,
    /// What the node used meanwhile, where its process is known.
    pub node: Option<NodeUsage>,
}

/// What one pair of rungs has shown.
#[derive(Clone, Debug, Serialize)]
pub struct PairReport {
    /// The senders' rung and the receivers', such as `udp-quic`.
    pub pair: String,
    /// Flows.
    pub flows: u32,
    /// Packets.
    pub packets: Totals,
    /// Share of the sent packets that did not arrive.
    pub loss_percent: f64,
    /// Arrived a second.
    pub delivered_per_s: f64,
    /// From one device to the other.
    pub latency: LatencySummary,
}

/// What the node's process used over the measured time.
#[derive(Clone, Debug, Serialize)]
pub struct NodeUsage {
    /// Its id.
    pub pid: u32,
    /// Its name, as the kernel has it.
    pub name: String,
    /// Processor time, in nanoseconds.
    pub cpu_ns: u64,
    /// The same, of one delivered packet.
    pub cpu_ns_per_packet: f64,
    /// Payload bytes that arrived for each second of its processor time.
    pub bytes_per_cpu_s: f64,
    /// Share of one processor.
    pub cpu_percent: f64,
    /// Resident memory at the end.
    pub resident_bytes: u64,
}

impl fmt::Display for FlowReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} devices, {} flows, {} bytes, bursts of {}, ",
            self.devices, self.flows, self.packet_size, self.burst
        )?;
        match (self.rate, self.outstanding) {
            (Some(rate), _) => write!(f, "{rate} packets a second")?,
            (None, outstanding) => write!(f, "{} outstanding", outstanding.unwrap_or(0))?,
        }
        let setup = Micros(self.setup_s * 1e6);
        write!(f, "\n  set up in   {setup}")?;
        self.runs.iter().try_for_each(|run| write!(f, "\n{run}"))
    }
}

impl fmt::Display for RunReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.pairs.iter().map(|pair| pair.pair.as_str()).collect();
        let packets = &self.packets;
        writeln!(f, "{}", names.join(" "))?;
        writeln!(
            f,
            "  packets     {} sent, {} received, {} lost, loss {:.2} %",
            packets.sent, packets.received, packets.lost, self.loss_percent
        )?;
        writeln!(
            f,
            "              {} duplicated, {} late, {} reordered, {} corrupted, {} refused by the sender's own path",
            packets.duplicated,
            packets.late,
            packets.reordered,
            packets.corrupted,
            self.refused_by_own_path
        )?;
        writeln!(
            f,
            "  delivered   {:.0} packets a second, {:.1} Mbit/s",
            self.delivered_per_s, self.delivered_mbit_per_s
        )?;
        write!(f, "  latency     {}", self.latency)?;
        if self.pairs.len() > 1 {
            for pair in &self.pairs {
                write!(
                    f,
                    "\n    {:<10}{:>8.0} packets a second  loss {:.2} %  p50 {}  p99 {}",
                    pair.pair,
                    pair.delivered_per_s,
                    pair.loss_percent,
                    Micros(pair.latency.p50_us),
                    Micros(pair.latency.p99_us)
                )?;
            }
        }
        if let Some(node) = &self.node {
            write!(
                f,
                "\n  {} ({})  {:.0} ns of processor a packet, {:.1} MB a processor-second, {:.0} % of one, {:.1} MiB resident",
                node.name,
                node.pid,
                node.cpu_ns_per_packet,
                node.bytes_per_cpu_s / 1e6,
                node.cpu_percent,
                ratio(node.resident_bytes, 1 << 20)
            )?;
        }
        Ok(())
    }
}
