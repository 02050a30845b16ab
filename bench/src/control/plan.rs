//! How much of what is asked for, and when.

use clap::ValueEnum;
use serde::Serialize;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Scenario {
    /// Nodes that register for the first time.
    Registration,
    /// Nodes that say how they are.
    Heartbeats,
    /// Devices that enrol.
    Devices,
    /// Devices that fetch the relay map.
    RelayMap,
    /// Devices that want TURN credentials.
    Credentials,
    /// Devices that talk to each other over WebSockets.
    Signalling,
}

/// How much of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Profile {
    /// A little, to see that it works.
    Smoke,
    /// What a service must carry.
    Load,
    /// Little, five times as much at once, and little again.
    Spike,
    /// For minutes.
    Soak,
}

/// A rate for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Stage {
    /// For how long.
    pub(super) seconds: u32,
    /// Requests a second.
    pub(super) per_s: u32,
}

/// Stages one after the other; or, for WebSockets, so many at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Plan {
    /// In order.
    pub(super) stages: Vec<Stage>,
    /// WebSockets that are open at the same time; zero where there are none.
    pub(super) sockets: u32,
}

impl Plan {
    pub(super) fn new(scenario: Scenario, profile: Profile) -> Self {
        // What a fleet of 10,000 nodes' heartbeats is at 5 s, and the rest in its proportion.
        let full = match scenario {
            Scenario::Registration | Scenario::Devices => 100,
            Scenario::Heartbeats => 2000,
            Scenario::RelayMap | Scenario::Credentials => 500,
            Scenario::Signalling => 0,
        };
        let stages = match profile {
            Profile::Smoke => vec![(5, full / 20)],
            Profile::Load => vec![(20, full)],
            Profile::Spike => vec![(5, full / 5), (5, full), (5, full / 5)],
            Profile::Soak => vec![(300, full / 8)],
        };
        let stages: Vec<_> = stages
            .into_iter()
            .map(|(seconds, per_s)| Stage { seconds, per_s })
            .collect();
        let sockets = match (scenario, profile) {
            (Scenario::Signalling, Profile::Smoke) => 10,
            (Scenario::Signalling, Profile::Spike) => 400,
            (Scenario::Signalling, _) => 200,
            _ => 0,
        };
        Self { stages, sockets }
    }

    pub(super) fn seconds(&self) -> u32 {
        self.stages.iter().map(|stage| stage.seconds).sum()
    }

    /// The most requests in a second.
    pub(super) fn per_s_max(&self) -> u32 {
        self.stages
            .iter()
            .map(|stage| stage.per_s)
            .max()
            .unwrap_or(0)
    }

    /// When each request is sent, in milliseconds after the beginning.
    pub(super) fn times_ms(&self) -> Vec<u64> {
        let mut times = Vec::new();
        let mut begins_ms = 0;
        for stage in &self.stages {
            let count = u64::from(stage.seconds) * u64::from(stage.per_s);
            let of_stage = (0..count).map(|n| begins_ms + n * 1000 / u64::from(stage.per_s));
            times.extend(of_stage);
            begins_ms += u64::from(stage.seconds) * 1000;
        }
        if self.sockets > 0 {
            times = vec![0; usize::try_from(self.sockets).unwrap_or_default()];
        }
        times
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_spread_over_the_stages_at_their_rates() {
        let plan = Plan::new(Scenario::Registration, Profile::Spike);
        let times = plan.times_ms();
        assert_eq!(times.len(), 5 * 20 + 5 * 100 + 5 * 20);
        assert_eq!(
            (times[0], times[1], times[100], times[101]),
            (0, 50, 5000, 5010)
        );
        assert!(times.is_sorted());
        assert_eq!((plan.seconds(), plan.per_s_max()), (15, 100));
    }

    #[test]
    fn the_load_of_heartbeats_is_the_bar() {
        let plan = Plan::new(Scenario::Heartbeats, Profile::Load);
        assert_eq!(plan.per_s_max(), 2000);
        let plan = Plan::new(Scenario::Signalling, Profile::Load);
        assert_eq!(plan.times_ms().len(), 200);
    }
}
