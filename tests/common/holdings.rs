//! What a node holds at one moment, by its own account and by the kernel's: what must be as it was
//! when all sessions have gone.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::{Duration, Instant};

use super::http::metric;
use super::node::Node;

/// Gauges of /metrics that are zero on a node without sessions.
const EMPTY: [&str; 10] = [
    "turn_allocations_active",
    "turn_users_active",
    "turn_prefixes_active",
    "turn_ports_in_use",
    "turn_reservations",
    "turn_mobility_tickets",
    "turn_moved_clients",
    "sterna_tcp_peer_connections",
    "sterna_stream_connections",
    "sterna_stream_queue_bytes",
];

/// Descriptors, ports, buffers and entries of a node.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Holdings {
    /// Open descriptors by kind: `udp`, `tcp`, `socket`, `anon_inode:[io_uring]`, a file …
    pub(crate) descriptors: BTreeMap<String, usize>,
    /// Local addresses of its UDP sockets, as /proc writes them. The members of a SO_REUSEPORT group
    /// have one together.
    pub(crate) udp: BTreeSet<String>,
    /// What the registry and the stream side hold.
    pub(crate) entries: BTreeMap<&'static str, f64>,
    /// Receive buffers that are free, of all workers.
    pub(crate) buffers_free: f64,
}

impl Holdings {
    pub(crate) fn of(node: &Node) -> Self {
        // The page first: its own connection is gone when the descriptors are counted, or soon.
        let page = node.get("/metrics").body;
        let entries = EMPTY.map(|name| (name, metric(&page, name, &[]).unwrap_or(f64::NAN)));
        let (descriptors, udp) = descriptors(node.process.id());
        Self {
            descriptors,
            udp,
            entries: entries.into(),
            buffers_free: metric(&page, "sterna_buffer_pool_free", &[]).unwrap_or(f64::NAN),
        }
    }

    /// Whether no session, no port and no connection is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.values().all(|value| *value == 0.0)
    }

    /// What a node without sessions holds: two looks that agree.
    pub(crate) fn of_idle(node: &Node, within: Duration) -> Self {
        let deadline = Instant::now() + within;
        loop {
            let (first, second) = (Self::of(node), Self::of(node));
            if first == second && first.is_empty() {
                return first;
            }
            assert!(
                Instant::now() < deadline,
                "the node does not come to rest: {second:#?}"
            );
            std::thread::park_timeout(Duration::from_millis(100));
        }
    }
}

/// How many UDP sockets of this machine are bound within a range of ports, those included that have no
/// descriptor since a ring holds them.
pub(crate) fn udp_sockets_within(ports: &RangeInclusive<u16>) -> usize {
    let within = |table: &str| {
        let table = fs::read_to_string(table).unwrap_or_default();
        let ports_of = sockets(&table).filter_map(|(_, local)| {
            let (_, port) = local.rsplit_once(':')?;
            u16::from_str_radix(port, 16).ok()
        });
        ports_of.filter(|port| ports.contains(port)).count()
    };
    within("/proc/self/net/udp") + within("/proc/self/net/udp6")
}

fn descriptors(process: u32) -> (BTreeMap<String, usize>, BTreeSet<String>) {
    let folder = Path::new("/proc").join(process.to_string());
    let kinds: BTreeMap<String, (&str, String)> = ["udp", "udp6", "tcp", "tcp6"]
        .into_iter()
        .flat_map(|kind| {
            let table = fs::read_to_string(folder.join("net").join(kind)).unwrap_or_default();
            sockets(&table)
                .map(|(inode, local)| (inode, (kind, local)))
                .collect::<Vec<_>>()
        })
        .collect();
    let (mut counts, mut udp) = (BTreeMap::new(), BTreeSet::new());
    for entry in fs::read_dir(folder.join("fd")).expect("a living process") {
        // One that was closed while we looked.
        let Ok(target) = entry.and_then(|entry| fs::read_link(entry.path())) else {
            continue;
        };
        let target = target.to_string_lossy().into_owned();
        let inode = target
            .strip_prefix("socket:[")
            .and_then(|rest| rest.strip_suffix(']'));
        let kind = match inode.map(|inode| kinds.get(inode)) {
            None => target,
            Some(None) => "socket".to_owned(),
            Some(Some((kind, local))) => {
                if kind.starts_with("udp") {
                    udp.insert(local.clone());
                }
                (*kind).to_owned()
            }
        };
        *counts.entry(kind).or_default() += 1;
    }
    (counts, udp)
}

/// Inode and local address of each line of /proc/net/udp and its like.
fn sockets(table: &str) -> impl Iterator<Item = (String, String)> + '_ {
    table.lines().skip(1).filter_map(|line| {
        let mut words = line.split_whitespace();
        let local = words.nth(1)?.to_owned();
        Some((words.nth(7)?.to_owned(), local))
    })
}
