//! Which device sends to which, over which rungs.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use sterna_client::relay::Rung;

use crate::BenchError;

/// The rungs of a flow's two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pair {
    /// The sender's.
    pub from: Rung,
    /// The receiver's.
    pub to: Rung,
}

impl FromStr for Pair {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rung = |name: &str| Rung::ALL.into_iter().find(|rung| rung.as_str() == name);
        let pair = text
            .split_once('-')
            .and_then(|(from, to)| Some((rung(from)?, rung(to)?)));
        let (from, to) = pair.ok_or("a pair is two of udp, quic and wss, such as udp-quic")?;
        Ok(Self { from, to })
    }
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.from.as_str(), self.to.as_str())
    }
}

/// Every pair of these rungs, either way.
pub(super) fn all_pairs(rungs: impl IntoIterator<Item = Rung>) -> Vec<Pair> {
    let rungs: BTreeSet<_> = rungs.into_iter().collect();
    let both = rungs
        .iter()
        .flat_map(|from| rungs.iter().map(move |to| (*from, *to)));
    both.map(|(from, to)| Pair { from, to }).collect()
}

/// A flow: devices by their place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flow {
    /// The place of its pair among those of the run.
    pub(super) pair: usize,
    pub(super) from: usize,
    pub(super) to: usize,
}

/// The rung of each device: evenly shared by those that the pairs name.
pub(super) fn rungs_of(pairs: &[Pair], devices: u32) -> Vec<Rung> {
    let rungs: BTreeSet<_> = pairs.iter().flat_map(|pair| [pair.from, pair.to]).collect();
    let rungs = rungs.iter().copied().cycle();
    rungs.take(devices as usize).collect()
}

/// `count` flows, evenly shared by the pairs, each from another device to another as far as they go.
pub(super) fn flows(pairs: &[Pair], rungs: &[Rung], count: u32) -> Result<Vec<Flow>, BenchError> {
    let of = |wanted: Rung| -> Vec<usize> {
        let places = rungs.iter().enumerate();
        let places = places.filter(|(_, rung)| **rung == wanted);
        places.map(|(place, _)| place).collect()
    };
    let mut flows = Vec::new();
    for number in 0..count as usize {
        let (pair, turn) = (number % pairs.len(), number / pairs.len());
        let Pair { from, to } = pairs[pair];
        let (senders, receivers) = (of(from), of(to));
        let is_same = from == to;
        if senders.is_empty() || receivers.len() < 1 + usize::from(is_same) {
            return Err(BenchError::Usage(
                "--devices: a pair needs a device on each of its rungs, and two where both are the same",
            ));
        }
        let (place, round) = (turn % senders.len(), turn / senders.len());
        let other = match is_same {
            true => (place + 1 + round % (receivers.len() - 1)) % receivers.len(),
            false => (place + round) % receivers.len(),
        };
        flows.push(Flow {
            pair,
            from: senders[place],
            to: receivers[other],
        });
    }
    Ok(flows)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn pairs_are_written_by_their_rungs() {
        let pair: Pair = "udp-wss".parse().unwrap();
        assert_eq!((pair.from, pair.to), (Rung::Udp, Rung::Wss));
        assert_eq!(pair.to_string(), "udp-wss");
        for wrong in ["udp", "udp-tcp", "", "-"] {
            assert!(wrong.parse::<Pair>().is_err(), "{wrong}");
        }
        assert_eq!(all_pairs(Rung::ALL).len(), 9);
    }

    #[test]
    fn flows_share_devices_and_pairs_evenly_and_none_leads_to_itself() {
        let pairs = all_pairs(Rung::ALL);
        let rungs = rungs_of(&pairs, 30);
        let flows = flows(&pairs, &rungs, 90).unwrap();
        for flow in &flows {
            let pair = pairs[flow.pair];
            assert_ne!(flow.from, flow.to);
            assert_eq!((rungs[flow.from], rungs[flow.to]), (pair.from, pair.to));
        }
        for (place, _) in pairs.iter().enumerate() {
            assert_eq!(flows.iter().filter(|flow| flow.pair == place).count(), 10);
        }
        let ends: BTreeSet<_> = flows.iter().map(|flow| (flow.from, flow.to)).collect();
        assert_eq!(ends.len(), flows.len());
    }

    #[test]
    fn too_few_devices_are_told() {
        let pairs = all_pairs(Rung::ALL);
        let rungs = rungs_of(&pairs, 5);
        assert!(flows(&pairs, &rungs, 9).is_err());
    }
}
